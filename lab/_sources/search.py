"""Looks for a set's files where people put them, under whatever name: what a file is, its SHA-256 says.

The work is bounded: so many levels of folders, so many entries, and of these only what could be the right one by its
size is read whole. Nothing but regular files is opened.
"""

import contextlib
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab._files import FileError, open_regular, read_regular
from lab._sources import formats
from lab._sources.catalogue import Dataset, File
from lab.errors import DataError

LEVELS = 3  # of folders below the given one: data/MNIST/raw
MOST_ENTRIES = 20_000  # of all folders together, and of an archive
MOST_READ = 1 << 30  # bytes of files that have the right size and are others
LARGEST = 64 << 20  # bytes; the largest file of a set has 47 million
LARGEST_ARCHIVE = 256 << 20
_LISTED = 12  # names in a message


class Unavailable(Exception):
    """Why one source could not give a file: becomes a line of the DataError if no other source can."""


@dataclass(frozen=True)
class Place:
    """Where a file lies: a path, or the path of an archive and the name in it."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)


# --- what lies at a place ---------------------------------------------------------------------------------

_seen: set[tuple[str, int, int, str]] = set()  # place, time, size and SHA-256 of what this process has checked


def content_at(file: File, place: Place) -> bytes:
    """The unpacked content of `file` as it lies at `place`: plain, gzipped or as an array.

    Raises DataError if it cannot be read, or is not the right one.
    """
    found, stored = _read(place)
    key = (str(place), found.st_mtime_ns, found.st_size, file.sha256)
    if file.packed and key not in _seen:
        check_sum(file, stored, place)
    content = _idx(stored, file.size, place)
    if not file.packed and key not in _seen:
        check_sum(file, content, place)
    _seen.add(key)
    return content


def stored_at(file: File, place: Place) -> bytes:
    """The content of `file` at `place` as the cache stores it: gzipped if only that sum is known. Raises DataError."""
    content = content_at(file, place)
    return _read(place)[1] if file.packed else content


def check_sum(file: File, content: bytes, place: object) -> None:
    """Raise DataError if the SHA-256 of `content` is not that of `file`."""
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{place} has SHA-256 {found}, expected {file.sha256}")


def _read(place: Place) -> tuple[os.stat_result, bytes]:
    try:
        found = place.path.stat()
        if not place.member:
            return found, read_regular(place.path, LARGEST)
        with _archive(place.path) as archive:
            return found, _member(archive, archive.getinfo(place.member))
    except (OSError, ValueError, FileError) as error:
        raise DataError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _idx(stored: bytes, size: int, place: Place) -> bytes:
    if stored.startswith(formats.GZIP):
        return formats.unpacked(stored, size, place)
    if stored.startswith(formats.NUMPY):
        return formats.idx_of_npy(stored, size, place)
    return stored


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .zip, whatever its name. Raises FileError for a damaged one, also where it is read later."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, ValueError, struct.error) as error:
        raise FileError(f"{path} is no archive that can be read: {error}") from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"{info.filename} is packed in a way that is rarely used")
    with archive.open(info) as member:
        content = member.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise FileError(f"{info.filename} has more than {LARGEST:,} bytes")
    return content


# --- where to look ----------------------------------------------------------------------------------------


@dataclass
class _Hunt:
    """One search for `wanted` in a folder: what it has found, and why what has the right name does not serve."""

    wanted: Sequence[File]
    found: dict[File, Place] = field(default_factory=dict)
    problems: dict[File, list[str]] = field(default_factory=dict)
    read: int = 0  # bytes

    @property
    def over(self) -> bool:
        return len(self.found) == len(self.wanted) or self.read > MOST_READ

    def open(self) -> list[File]:
        return [file for file in self.wanted if file not in self.found]

    def try_place(self, file: File, place: Place) -> None:
        """Take `place` for `file` if it is the right one. Under its own name, what is wrong with it is kept."""
        if self.over:
            return
        try:
            content_at(file, place)
            self.found[file] = place
        except DataError as error:
            self.read += file.size
            if place.path.name in (file.name, f"{file.name}.gz"):
                self.problems.setdefault(file, []).append(str(error))


def find_all(dataset: Dataset, folder: Path) -> list[Place]:
    """Where each file of `dataset` lies: in `folder`, up to LEVELS below, or in an archive there.

    `folder` may be an archive. Raises Unavailable, which says what is wrong or missing and lists what is there.
    """
    found, reason = find(dataset, dataset.files, folder)
    if len(found) < len(dataset.files):
        raise Unavailable(reason)
    return [found[file] for file in dataset.files]


def find(dataset: Dataset, files: Sequence[File], folder: Path) -> tuple[dict[File, Place], str]:
    """Those of `files` that are in `folder`, as `find_all` does; and what to say where some are not.

    Raises Unavailable if the folder can't be looked into.
    """
    _look_into(folder)
    hunt = _Hunt(files)
    for place in (folder / dataset.torchvision / "raw", folder / dataset.torchvision, folder):
        for file in hunt.open():
            for name in (file.name, f"{file.name}.gz"):
                if file not in hunt.found and _is_there(place / name):
                    hunt.try_place(file, Place(place / name))
    if len(hunt.found) == len(files):  # the usual case: nothing else is looked at
        return hunt.found, ""
    entries = _entries(folder)
    tried = {str(place) for place in hunt.found.values()}
    for path, size in entries:
        if not hunt.over and str(path) not in tried:
            _try_path(hunt, path, size)
    return hunt.found, _reason(hunt, folder, entries)


def _look_into(folder: Path) -> None:
    try:
        if not stat.S_ISREG(folder.stat().st_mode):
            os.scandir(folder).close()
    except FileNotFoundError:
        raise Unavailable("there is no such folder") from None
    except NotADirectoryError:
        raise Unavailable("it is neither a folder nor an archive") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"it can't be looked into: {getattr(error, 'strerror', None) or error}") from error


def _is_there(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)  # Kaggle has folders with the names of files


def _entries(folder: Path) -> list[tuple[Path, int]]:
    """The regular files of `folder` and up to LEVELS below, with their sizes: MOST_ENTRIES entries are looked at."""
    if not folder.is_dir():
        return [(folder, folder.stat().st_size)]
    files: list[tuple[Path, int]] = []
    level, budget = [folder], MOST_ENTRIES
    for depth in range(LEVELS + 1):
        below: list[Path] = []
        for place in level:
            with contextlib.suppress(OSError), os.scandir(place) as entries:
                for entry, _ in zip(entries, range(budget), strict=False):
                    budget -= 1
                    with contextlib.suppress(OSError):  # a loop of links, say
                        found = entry.stat()
                        if stat.S_ISREG(found.st_mode):
                            files.append((Path(entry.path), found.st_size))
                        elif stat.S_ISDIR(found.st_mode) and depth < LEVELS and not entry.name.startswith("."):
                            below.append(Path(entry.path))
        level = sorted(below)
    return sorted(files, key=lambda it: (len(it[0].parts), it[0]))


def _try_path(hunt: _Hunt, path: Path, size: int) -> None:
    """Try `path`, or what is in it if it is an archive, for what it could be by its size and its first bytes."""
    candidates = [file for file in hunt.open() if size == file.size]
    head = tail = b""
    if not candidates and size > 20:
        with contextlib.suppress(OSError, FileError), open_regular(path) as opened:
            head = opened.read(8)
            opened.seek(-4, os.SEEK_END)
            tail = opened.read(4)
        candidates = [file for file in hunt.open() if formats.could_hold(size, head, tail, file.size)]
    for file in candidates:
        hunt.try_place(file, Place(path))
    if head.startswith(formats.ZIP) and size <= LARGEST_ARCHIVE:
        with contextlib.suppress(OSError, FileError):
            _try_members(hunt, path)


def _try_members(hunt: _Hunt, path: Path) -> None:
    with _archive(path) as archive:
        members = archive.infolist()[:MOST_ENTRIES]
        for info in members:
            for file in hunt.open():
                if _could_be(file, info):
                    hunt.try_place(file, Place(path, info.filename))


def _could_be(file: File, member: zipfile.ZipInfo) -> bool:
    name, size = member.filename.lower(), member.file_size
    if name.endswith(".gz"):
        return 20 < size < file.size + 1000
    if name.endswith(".npy"):
        return formats.could_hold(size, formats.NUMPY, b"", file.size)
    return size == file.size


def _reason(hunt: _Hunt, folder: Path, entries: Sequence[tuple[Path, int]]) -> str:
    """What is wrong or missing, and what is there instead."""
    parts = []
    for file in hunt.open():
        parts += hunt.problems.get(file) or [f"{file.stored} is missing"]
    named = [path.relative_to(folder).as_posix() for path, _ in entries[:_LISTED] if path != folder]
    if named:
        more = f" and {len(entries) - len(named):,} more" if len(entries) > len(named) else ""
        parts.append(f"there are {', '.join(map(_printable, named))}{more}")
    elif folder.is_dir():
        parts.append(f"there is no file in it, nor up to {LEVELS} levels below")
    return "; ".join(parts)


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
