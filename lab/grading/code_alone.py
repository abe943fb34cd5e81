"""Of a hand-in, the code alone: what trains inside the sandbox starts from nothing that was learnt before.

    with staged(Path("folder"), "main.ipynb") as (place, left_out):
        ...                                   # a folder to show to the sandbox

Weights in a file beside a script may have been trained on the test images, for as long as one likes. So the session
finds Python files, the executed notebook's code cells without their outputs, and text files too small to hold a
network. Numbers can stand in the code itself, too: `oddities` says where there are many.
"""

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import definitions
from lab._files import FileError, read_regular
from lab._terminal import harmless
from lab.errors import LabError

MOST_CODE = 1 << 20
"""Bytes of all Python files together."""
MOST_NOTEBOOK = 64 << 20
"""Bytes of a notebook, with its outputs."""
MOST_TEXT = 4 << 10
"""Bytes of a file of another kind: settings, a list of names."""
MOST_FILES = 500
LEVELS = 4
WINDOW = 2000
"""Bytes of code that are looked at together: less holds no network's weights."""
DENSEST = 0.65
"""What zlib leaves of so many bytes. Of 333 Python files the densest part came to 0.56; packed numbers come to 0.77."""
MOST_DIGITS = 0.36
"""The share of digits in them. In those files 0.19, beside a table of checksums; in a list of small numbers 0.40."""
_TEXTS = {".txt", ".md", ".json", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".csv"}
_LISTED = 10


class CodeError(LabError):
    """A hand-in whose code can't be shown to a session."""


@contextmanager
def staged(path: Path, file: str = "") -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder with the code of the file or folder at `path`, and what of it was left out.

    file: where `path` is a folder, what is executed: another notebook in it is left out. Raises CodeError.
    """
    with tempfile.TemporaryDirectory(prefix="lab-code-", ignore_cleanup_errors=True) as made:
        place, left_out, size = Path(made), list[str](), 0
        folder, main = (path, file) if path.is_dir() else (path.parent, path.name)
        for name in _names(folder) if path.is_dir() else [main]:
            try:
                content = _content(folder / name, is_main=name == main)
            except (OSError, FileError) as error:
                if name == main:
                    raise CodeError(f"{main} can't be read: {getattr(error, 'strerror', None) or error}.") from error
                content = None
            if content is None:
                left_out.append(name)
                continue
            size += len(content)
            if size > MOST_CODE:
                raise CodeError(f"there is more than {MOST_CODE >> 20} MB of code in it. Hand in what is needed alone.")
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        yield place, tuple(left_out)


def left_out_in_words(names: Iterable[str]) -> list[str]:
    """What to say of files that were left out: nothing where there are none."""
    names = [harmless(name) for name in names]
    if not names:
        return []
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    listed = ", ".join(names[:_LISTED]) + more
    return [f"only code is executed, so that training starts from nothing; left out: {listed}."]


def oddities(cells: Iterable[definitions.Cell]) -> list[str]:
    """Where so much data stands in the code, comments included, that it could be a trained network's weights."""
    found = []
    for cell in cells:
        content = cell.source.encode("utf-8", "replace")
        for start in range(0, max(1, len(content) - WINDOW // 2), WINDOW // 2):
            window = content[start : start + WINDOW]
            if len(window) == WINDOW and _is_data(window):
                line = content.count(b"\n", 0, start) + 1
                found.append(f"{Path(cell.name).name}, from about line {line}: data stands in the code. Weights?")
                break
    return found[:_LISTED]


def _is_data(window: bytes) -> bool:
    packed = len(zlib.compress(window, 9)) / len(window)
    digits = sum(map(window.count, (str(n).encode() for n in range(10)))) / max(1, len(b"".join(window.split())))
    return packed > DENSEST or digits > MOST_DIGITS


def _names(folder: Path) -> list[str]:
    """The files below a folder, as paths from there; links and what is hidden are passed over. Raises CodeError."""
    names: list[str] = []
    for at, folders, files in os.walk(folder):
        here = Path(at).relative_to(folder)
        is_deep = len(here.parts) >= LEVELS
        folders[:] = [] if is_deep else [one for one in sorted(folders) if not one.startswith((".", "__pycache__"))]
        names += [str(here / one) for one in sorted(files) if not one.startswith(".")]
        if len(names) > MOST_FILES:
            raise CodeError(f"there are more than {MOST_FILES} files in it. Hand in what is needed alone.")
    return names


def _content(path: Path, is_main: bool) -> bytes | None:
    """What the session sees of a file; None for nothing."""
    if path.is_symlink():
        return None
    if path.suffix == ".ipynb":
        return _code_cells(path) if is_main else None
    if path.suffix == ".py" or is_main:
        return read_regular(path, MOST_CODE)
    if path.suffix not in _TEXTS or path.stat().st_size > MOST_TEXT:
        return None
    return read_regular(path, MOST_TEXT)


def _code_cells(path: Path) -> bytes:
    """A notebook of the same code cells, and of nothing else."""
    read_regular(path, MOST_NOTEBOOK)  # a file, and not too large a one
    cells = [{"cell_type": "code", "source": cell.source} for cell in definitions.cells(path)]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()
