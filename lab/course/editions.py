"""How a notebook's editions are made.

A lab is one notebook and one TOML file: `notebooks/NAME.py` (jupytext's percent format, with solutions), the source
that is edited by hand, and `lab/rubrics/NAME.toml`, which it is judged by. From the source come the student's copy
(`NAME.ipynb`: stubs for solutions, no outputs) and the solved one (`NAME_solved.ipynb`: executed, with outputs).

    python -m lab.course.editions build [NAME]     makes both, of every notebook or of one; executes the solved one
    python -m lab.course.editions check [NAME]     fails where their cells differ from the source (outputs aside), or
                                                   where what a reader opens or fetches is of another release
    python -m lab.course.editions release          writes this lab's release into the sources, README and book

On Colab a notebook fetches the release of the lab that it was written for, and a link opens the notebook of one: main
may be ahead of both. The release stands there as text, for a reader sees it; its home is lab/__init__.py.
"""

import json
import re
import sys
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import nbformat

from lab import _place, _release
from lab._files import write_whole
from lab.course.execution import execute
from lab.course.plan import edition_sources
from lab.course.student_copy import notebook_of, student_copy
from lab.errors import LabError

ROOT = _place.PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
_FETCHED = f"git+https://github.com/{_release.REPOSITORY}@"
_OPENED = f"https://colab.research.google.com/github/{_release.REPOSITORY}/blob/"
_NAMED = re.compile(rf"(?P<place>{re.escape(_FETCHED)}|{re.escape(_OPENED)})(?P<release>[\w.+-]*)")
"""Where a text names the release that a reader fetches or opens."""


class EditionError(LabError):
    """A notebook that there is not, an edition that is not its source's or its release's, or one that falls short."""


def names() -> list[str]:
    """The lab's notebooks. Raises EditionError where there are none."""
    return sorted(_sources())


def _sources() -> dict[str, Path]:
    """The notebooks' sources by name: a clone's, or those that pip put beside the lab. Raises EditionError."""
    sources = {path.stem: path for path in edition_sources()}
    if not sources:
        raise EditionError("the lab's notebooks are not beside it: install it anew, or run this in a clone.")
    return sources


def _require_clone() -> None:
    if _place.root() is None:  # beside an installed lab, `notebooks` is somebody else's
        raise EditionError(f"{NOTEBOOKS} is not the lab's: run this in a clone of the repository.")


# -- editions ---------------------------------------------------------------------------------------------------------


def solved_edition(name: str) -> nbformat.NotebookNode:
    """The source as a notebook without outputs, the solution marks taken out. Raises EditionError."""
    notebook = _source(name)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^ *### (BEGIN|END) SOLUTION\n?", "", cell.source).rstrip("\n")
    return notebook


def student_edition(name: str) -> nbformat.NotebookNode:
    """The source with a stub in place of every solution, as nbgrader makes it. Raises EditionError, SolutionError."""
    return student_copy(_source(name))


def _source(name: str) -> nbformat.NotebookNode:
    sources = _sources()
    if name not in sources:
        raise EditionError(f"there is no notebook {name!r}: take {', '.join(sorted(sources))}.")
    return notebook_of(sources[name])


def build(name: str) -> None:
    """Write both editions beside the source; the solved one is executed in full.

    Raises EditionError, and what `execute` raises.
    """
    _require_clone()
    _write(student_edition(name), NOTEBOOKS / f"{name}.ipynb")
    outcome = execute(solved_edition(name), name, {}, ROOT / "build")
    print(f"{name}: {outcome.line()}")
    if not outcome.passed:
        raise EditionError(f"the solved {name} does not meet its assignment; it was not replaced.")
    executed = nbformat.read(outcome.notebook, as_version=4)
    _write(executed, NOTEBOOKS / f"{name}_solved.ipynb")
    _write_picture(executed)


def _write_picture(executed: nbformat.NotebookNode) -> None:
    """The README's picture: what the cell with the tag `readme-picture` drew, if there is one."""
    for cell in executed.cells:
        if "readme-picture" in cell.metadata.get("tags", []):
            image = next(o["data"]["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            write_whole(NOTEBOOKS / "receptive_field.png", b64decode(image))


def check(name: str) -> None:
    """Raise EditionError where a committed edition's cells differ from the source's."""
    _require_clone()
    for path, fresh in (
        (NOTEBOOKS / f"{name}.ipynb", student_edition(name)),
        (NOTEBOOKS / f"{name}_solved.ipynb", solved_edition(name)),
    ):
        committed = nbformat.read(path, as_version=4) if path.is_file() else None
        if committed is None or _cells(committed) != _cells(fresh):
            raise EditionError(f"{path.name} is not what {name}.py gives: run `make notebooks` and commit it.")


def _cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """What an edition is compared by: kind, source and nbgrader's metadata of each cell that the source has."""
    return [
        (cell.cell_type, cell.source, json.dumps(cell.metadata.get("nbgrader"), sort_keys=True))
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def _write(notebook: nbformat.NotebookNode, path: Path) -> None:
    write_whole(path, nbformat.writes(notebook) + "\n")


# -- the release that they fetch --------------------------------------------------------------------------------------


def check_release() -> None:
    """Raise EditionError where the sources, the README or the book name another release than this lab's."""
    for path in _naming():
        others = {found["release"] for found in _NAMED.finditer(path.read_text(encoding="utf-8"))} - {_release.tag()}
        if others:
            named = ", ".join(sorted(others)) or "main branch"
            raise EditionError(
                f"{path.relative_to(ROOT)} names the lab's {named}, and this lab is {_release.tag()}: run "
                "`python -m lab.course.editions release`, then `make notebooks`."
            )


def write_release() -> None:
    """Write this lab's release into the sources, the README and the book. Raises EditionError outside a clone."""
    for path in _naming():
        text = path.read_text(encoding="utf-8")
        named = _NAMED.sub(rf"\g<place>{_release.tag()}", text)
        if named != text:
            write_whole(path, named)
            print(f"{path.relative_to(ROOT)}: {_release.tag()}")


def _naming() -> list[Path]:
    """Whatever a person writes that may name a release."""
    _require_clone()
    return [ROOT / "README.md", *sorted(NOTEBOOKS.glob("*.py")), *sorted(NOTEBOOKS.glob("book/*.md"))]


def main(arguments: Sequence[str]) -> str | None:
    """Do what a person typed. What is wrong, or None."""
    action, *chosen = arguments or [""]
    if action not in ("build", "check", "release"):
        return __doc__
    try:
        if action == "release":
            write_release()
            return None
        if action == "check":
            check_release()
        for name in chosen or names():
            {"build": build, "check": check}[action](name)
    except LabError as problem:
        return f"error: {problem}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
