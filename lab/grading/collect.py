"""What is this hand-in, and what of it is graded?

    NAME.lab             data: a graph, weights, a recipe, the notebook's cells as text
    COPY.ipynb           a copy of one of the lab's notebooks
    any.py, any.ipynb    code that makes a network, and may train it
    FOLDER               of one student: one of these, and what it needs beside it

Nothing is executed here. What is asked for in vain is told in one message (CollectError).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from lab._files import FileError, read_regular
from lab.course.copies import Copy, copy_of, is_check, read_copy
from lab.course.plan import STUB, Edition, answer_of, edition_of, editions, names_defined
from lab.errors import LabError
from lab.submission import Cell, HandIn, read

MAX_FILE = 64 * 2**20
"""Bytes of one file that is read here."""
MAX_FILES = 2_000
MAX_CODE = 2 * 2**20
"""Characters of all code in it: a hundred times what the lab's own notebook has."""
SKIPPED = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", "__MACOSX", "node_modules", ".venv"})
"""What tools leave in a folder: no part of what was handed in, as are links and names that start with `._`."""


class CollectError(LabError):
    """What was handed in is nothing that can be graded."""


@dataclass(frozen=True)
class Collected:
    """A hand-in, before anything of it is executed."""

    path: Path  # the file that is graded
    folder: Path | None  # what it may need beside it, where it came in a folder
    digest: str  # SHA-256 of all that was handed in, hexadecimal
    hand_in: HandIn | None  # its data, where it came as such
    copy: Copy | None  # its cells, where it is a copy of one of the lab's notebooks
    edition: Edition  # the notebook that it is a copy of; one without a name where it is none
    notes: tuple[str, ...] = ()


def collect(target: str | Path) -> Collected:
    """What is at `target`. Raises CollectError, HandInError for a .lab file that is broken, ExerciseError."""
    path = Path(target)
    if path.is_symlink() or not path.exists():
        raise CollectError(f"there is no file or folder {path}." if not path.exists() else f"{path} is a link.")
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise CollectError(f"{path} is no ordinary file. Hand in a .lab, .ipynb or .py file.")
    return _file(path, None, _digest([(path.name, path)]), ())


def _folder(folder: Path) -> Collected:
    files = sorted(files_in(folder))
    if not files:
        raise CollectError(f"{folder} is empty: there is nothing to grade.")
    digest = digest_of(folder)
    data = [path for path in files if path.suffix == ".lab"]
    notebooks = [path for path in files if path.suffix == ".ipynb"]
    copies = [path for path in notebooks if edition_of(read_copy(path)).name]
    others = [path for path in notebooks if path not in copies]
    scripts = [path for path in files if path.suffix == ".py" and path.parent == folder]
    for kind in (data, copies, others, scripts):
        if len(kind) > 1 and kind is not data:
            named = ", ".join(str(path.relative_to(folder)) for path in kind[:5])
            kind = _main_one(kind)
            if len(kind) > 1:
                raise CollectError(
                    f"{folder} holds several that could be graded ({named}): name the one that is meant."
                )
        if len(kind) > 1:
            named = ", ".join(path.name for path in kind[:5])
            raise CollectError(f"{folder} holds several hand-ins ({named}): keep the one that counts.")
        if kind:
            left = [path for path in [*data, *copies, *others, *scripts] if path not in kind]
            notes = [f"graded is {kind[0].relative_to(folder)}; {len(left)} more were left."] if left else []
            return _file(kind[0], folder, digest, tuple(notes))
    names = ", ".join(path.name for path in files[:5])
    raise CollectError(f"{folder} holds nothing that can be graded ({names}): no .lab, .ipynb or .py file.")


def _main_one(paths: list[Path]) -> list[Path]:
    """Of several files the one that the others are imported by, by its name."""
    chosen = [path for path in paths if path.stem.lower() in ("main", "train", "mnist", "net", "model", "solution")]
    return chosen[:1] if len(chosen) == 1 else paths


def _file(path: Path, folder: Path | None, digest: str, notes: tuple[str, ...]) -> Collected:
    if path.suffix == ".lab":
        hand_in = read(path)
        known = editions() if hand_in.cells else []  # reading them takes a third of a second
        edition = next((one for one in known if one.name == hand_in.rubric), Edition(""))
        copy = _copy_of_cells(hand_in.cells, edition) if edition.name else None
        return Collected(path, folder, digest, hand_in, copy, edition, notes)
    if path.suffix == ".ipynb":
        copy = read_copy(path)
        _check_code(path, sum(len(cell.source) for cell in copy.cells if cell.cell_type == "code"))
        edition = edition_of(copy)
        return Collected(path, folder, digest, None, copy if edition.name else None, edition, notes)
    if path.suffix == ".py":
        _check_code(path, path.stat().st_size)
        return Collected(path, folder, digest, None, None, Edition(""), notes)
    raise CollectError(f"{path} can't be graded: hand in a .lab, .ipynb or .py file, or a folder with one.")


def _check_code(path: Path, characters: int) -> None:
    if characters > MAX_CODE:
        raise CollectError(f"{path} has {characters:,} characters of code, limit {MAX_CODE:,}: what is all that for?")


def _copy_of_cells(cells: tuple[Cell, ...], edition: Edition) -> Copy:
    """The cells of a hand-in as those of a notebook.

    One that was handed in from where the notebook's file is not known (Colab, say) holds what was executed, without
    any names: then a cell is the answer whose names it defines, the last of several.
    """
    names = [cell.grade_id for cell in cells]
    if not any(names):
        names = _answers_among(cells, edition)
    set_up, checks = _set_up_among(cells, edition), _checks_before(names, edition)
    written: list[Mapping[str, Any]] = []
    for place, (cell, name) in enumerate(zip(cells, names, strict=True)):
        known = {"grade_id": name, "solution": True, "grade": False, "locked": False, "schema_version": 3}
        metadata = {"tags": ["setup"] if cell.source.strip() in set_up else []} | ({"nbgrader": known} if name else {})
        written += [*checks[place], {"cell_type": cell.kind, "source": cell.source, "metadata": metadata}]
    return copy_of([*written, *checks[len(cells)]])


def _checks_before(names: list[str], edition: Edition) -> list[list[NotebookNode]]:
    """The edition's own checks, which are not handed in, by the place of the cell that they stand before.

    Each stands behind its answer and what follows that, up to the next answer: it may read more than the answer.
    """
    order = {name: number for number, name in enumerate(edition.named)}
    answers = {name for name, cell in edition.named.items() if not is_check(cell)}
    last = {name: place for place, name in enumerate(names)}
    before: list[list[NotebookNode]] = [[] for _ in range(len(names) + 1)]
    for name, cell in edition.named.items():
        if is_check(cell):
            answered = last.get(answer_of(name.removesuffix("-check"), answers), -1)
            later = [place for place, other in enumerate(names)
                     if place > answered and order.get(other, -1) > order[name]]  # fmt: skip
            before[min(later, default=len(names))].append(cell)
    return before


def _answers_among(cells: tuple[Cell, ...], edition: Edition) -> list[str]:
    """The grade_id of each cell that defines what the edition's answer of that name does; empty for the others."""
    defined = [names_defined(cell.source) if cell.kind == "code" else set[str]() for cell in cells]
    found = [""] * len(cells)
    for name, own in edition.named.items():
        wanted = names_defined(own.source) if not is_check(own) else set[str]()
        places = [place for place, names in enumerate(defined) if wanted and wanted <= names]
        done = [place for place in places if STUB not in cells[place].source]
        for place in (done or places)[-1:]:
            found[place] = name
    return found


def _set_up_among(cells: tuple[Cell, ...], edition: Edition) -> set[str]:
    """The text of the edition's set-up cells, where all of them are there."""
    own = {cell.source.strip() for cell in edition.set_up}
    return own if own <= {cell.source.strip() for cell in cells} else set()


def files_in(folder: Path) -> Iterator[Path]:
    """The ordinary files of a folder; no links, and not what tools leave behind."""
    count, waiting = 0, [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.is_symlink() or path.name in SKIPPED or path.name.startswith("._"):
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file():
                count += 1
                if count > MAX_FILES:
                    raise CollectError(f"{folder} holds more than {MAX_FILES:,} files: hand in what is graded alone.")
                yield path


def digest_of(folder: Path) -> str:
    """SHA-256 of all that a folder holds, by names and contents, hexadecimal. Raises CollectError."""
    return _digest([(path.relative_to(folder).as_posix(), path) for path in sorted(files_in(folder))])


def _digest(files: list[tuple[str, Path]]) -> str:
    """SHA-256 of the names and the contents, in order."""
    return content_digest((name, _content(path)) for name, path in files)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_FILE)
    except (OSError, FileError) as error:
        raise CollectError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def content_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of names and contents, in this order, hexadecimal."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()
