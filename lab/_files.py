"""Writes a file whole or not at all, and reads one that is a file, of a size that is bounded.

Whoever reads a file while it is written anew finds the old one or the new one.

What is being written lies beside its place under the name `part_name` gives. A process that is killed leaves it
there; `sweep` removes what no living process writes to.
"""

import contextlib
import glob
import os
import secrets
import shutil
import socket
import stat
import time
import zlib
from pathlib import Path
from typing import BinaryIO

from lab.errors import LabError

PART_HOURS = 6.0  # a partial file of another machine's process is taken for abandoned after so many hours
_SUFFIX = ".part"
_LONGEST = 100  # characters that are kept of a name: it has 255 bytes at most
_HERE = f"{zlib.crc32(socket.gethostname().encode('utf-8', 'replace')):08x}"  # a process id means nothing elsewhere


class FileError(LabError):
    """A file that can't be written, or read: which one, and why."""


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Put `content` in the place of `path`, whole or not at all.

    Text is written as UTF-8; its line ends stay, a lone surrogate becomes a "?". The folder must be there. A link is
    replaced, not followed. Raises FileError, with the system's OSError as its cause, and leaves the old file as it was
    and nothing half written behind.
    """
    path = Path(path)
    encoded = content.encode("utf-8", "replace") if isinstance(content, str) else content
    part = path.with_name(part_name(path.name))
    sweep(path.parent, path.name)
    try:
        try:
            part.write_bytes(encoded)
            os.replace(part, path)
        except PermissionError:
            # On Windows a file that another process is reading cannot be replaced: fine if it is the same file.
            if not _holds(path, encoded):
                raise
        finally:
            with contextlib.suppress(OSError):  # the first failure is the one to tell
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open the file `path` to read, which must be one: a pipe would keep its reader waiting, a device be touched.

    Raises OSError as opening does, and FileError if it is no regular file.
    """
    _require_regular(os.stat(path), path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = open(os.open(path, flags), "rb")  # noqa: SIM115 (the caller closes it)
    try:
        _require_regular(os.fstat(file.fileno()), path)  # it may be another one than a moment ago
    except FileError:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike[str], largest: int) -> bytes:
    """The content of the regular file `path`.

    Raises OSError as opening does, and FileError if it is no regular file or has more than `largest` bytes.
    """
    with open_regular(path) as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    if len(content) > largest:
        raise FileError(f"{path} is larger than {largest:,} bytes")
    return content


def part_name(name: str) -> str:
    """A name for what becomes `name`, of no other process and no other call: a file's, or a folder's."""
    return f"{name[:_LONGEST]}.{_HERE}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"


def sweep(folder: Path, name: str = "") -> None:
    """Remove from `folder` what is half written, of `name` or of all, and no living process writes to.

    What can't be removed is left.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{glob.escape(name[:_LONGEST])}*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                if _abandoned(path, found):
                    shutil.rmtree(path) if stat.S_ISDIR(found.st_mode) else path.unlink()


def _require_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path} is no ordinary file, but a {_kind(found.st_mode)}")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    return "pipe" if stat.S_ISFIFO(mode) else "device or socket"


def _holds(path: Path, content: bytes) -> bool:
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and found.st_size == len(content) and path.read_bytes() == content


def _abandoned(path: Path, found: os.stat_result) -> bool:
    host, _, rest = path.name.removesuffix(_SUFFIX).rpartition(".")[2].partition("-")
    process = rest.partition("-")[0]
    if host == _HERE and process.isdecimal() and os.name != "nt":  # there, signal 0 would end the process
        return not _runs(int(process))
    return time.time() - found.st_mtime > PART_HOURS * 3600


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
