"""The digits that a script finds where it is graded: MNIST's files under their own names, with training images only.

    place = folder()                # made once for each machine, checked each time; nothing of the test set is read

A script asks for 60,000 images to train on and 10,000 to test on, and often has these numbers written into it. So there
are as many, of other images:

    "test"   the 5,000 training images that `split(seed=0)` holds out, each of them twice
    "train"  the other 55,000, and behind them 5,000 of these once more, drawn by the same seed

What that costs an honest script: it learns from 55,000 images in place of 60,000, of which 5,000 count double; what it
holds out of its own training images at the end of the file has a part that it has learnt from; and the accuracy that it
prints is that of other images than the test set's. Its network is tested on the real test set, outside.
"""

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor

from lab._files import FileError, part_name, read_regular, sweep, write_whole
from lab.data import Data, DataError, Labelled, cache_root, load

TEST_IMAGES = 10_000
RAW = Path("MNIST", "raw")
"""Where torchvision looks for the files, below its root."""
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SUMS = "sums.json"
_LARGEST = 64 << 20  # bytes of one file
_FOLDER = "digits-without-test"


def folder() -> Path:
    """The folder with the files, a `root` for torchvision's MNIST; made where it is not there, or is damaged.

    Raises DataError where MNIST can't be had, or the cache can't be written.
    """
    place = cache_root() / _FOLDER
    if not is_whole(place):
        write(load("mnist"), place)
    return place


def write(data: Data, place: Path, test_images: int = TEST_IMAGES) -> None:
    """Put the files into the folder `place`, whole or not at all: an even number of "test" images, as many of "train".

    Raises DataError where the images do not suffice, or the folder can't be written.
    """
    part = place.with_name(part_name(place.name))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent, place.name)
        try:
            (part / RAW).mkdir(parents=True)
            sums = {name: _written(part / RAW / name, content) for name, content in contents(data, test_images).items()}
            write_whole(part / _SUMS, json.dumps(sums, indent=1))
            _put(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, FileError) as error:
        raise DataError(
            f"The digits for a script can't be written to {place}: {getattr(error, 'strerror', None) or error}. "
            "Set LAB_CACHE to a folder that you may write to, with 150 MB free."
        ) from error


def contents(data: Data, test_images: int) -> dict[str, bytes]:
    """The files by name, each plain and packed. data: with its training images not yet split."""
    parts = data.split(seed=0, held_out=test_images // 2)
    assert parts.validation is not None
    chosen = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(0))[: test_images // 2]
    train, test = _with(parts.train, _part(parts.train, chosen)), _with(parts.validation, parts.validation)
    plain = dict(zip(NAMES, map(_idx, (train.images, train.labels, test.images, test.labels)), strict=True))
    return plain | {f"{name}.gz": gzip.compress(content, 1, mtime=0) for name, content in plain.items()}


def sums_of(place: Path) -> dict[str, str]:
    """The SHA-256 of each file that was written there, by name; none where that can't be read."""
    try:
        sums = json.loads(read_regular(place / _SUMS, 1 << 16))
        return {str(name): str(one) for name, one in sums.items()}
    except (OSError, FileError, ValueError, AttributeError):
        return {}


def is_whole(place: Path) -> bool:
    """Are all files there, and what they were when they were written?"""
    sums = sums_of(place)
    try:
        return bool(sums) and all(
            hashlib.sha256(read_regular(place / RAW / name, _LARGEST)).hexdigest() == sums[name] for name in sums
        )
    except (OSError, FileError):
        return False


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _put(part: Path, place: Path) -> None:
    """Give the folder its name. One that is there and whole was made by another process meanwhile: it stays."""
    if place.exists() and not is_whole(place):
        old = place.with_name(part_name(place.name))
        os.replace(place, old)
        shutil.rmtree(old, ignore_errors=True)
    if not place.exists():
        os.replace(part, place)


def _idx(values: Tensor) -> bytes:
    """(N, 28, 28) or (N,) whole numbers from 0 to 255 as an IDX file."""
    header = bytes([0, 0, 8, values.dim()]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


def _part(whole: Labelled, chosen: Tensor) -> Labelled:
    return Labelled(whole.images[chosen], whole.labels[chosen])


def _with(one: Labelled, other: Labelled) -> Labelled:
    return Labelled(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))
