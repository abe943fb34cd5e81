"""How a notebook's editions are made.

A lab is one notebook and one TOML file: `notebooks/NAME.py` (jupytext's percent format, with solutions), the source
that is edited by hand, and `lab/rubrics/NAME.toml`, which it is judged by. From the source come the student's copy
(`NAME.ipynb`: stubs for solutions, no outputs) and the solved one (`NAME_solved.ipynb`: executed, with outputs).

    python -m lab.course.editions build [NAME]     makes both, of every notebook or of one; executes the solved one
    python -m lab.course.editions check [NAME]     fails where their cells differ from the source (outputs aside)
"""

import json
import re
import sys
from base64 import b64decode
from pathlib import Path

import nbformat

from lab import _place
from lab._files import write_whole
from lab.course.execution import execute
from lab.course.student_copy import notebook_of, student_copy
from lab.errors import LabError

ROOT = _place.PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"


class EditionError(LabError):
    """A notebook that there is not, an edition that is not its source's, or a solved one that falls short."""


def names() -> list[str]:
    """The notebooks that the repository has. Raises EditionError outside a clone."""
    found = sorted(path.stem for path in NOTEBOOKS.glob("[!_]*.py"))
    if not found or _place.root() is None:  # beside an installed lab, `notebooks` is somebody else's
        raise EditionError(f"{NOTEBOOKS} has no notebooks: run this in a clone of the repository.")
    return found


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
    if name not in names():
        raise EditionError(f"there is no notebook {name!r}: take {', '.join(names())}.")
    return notebook_of(NOTEBOOKS / f"{name}.py")


def build(name: str) -> None:
    """Write both editions beside the source; the solved one is executed in full.

    Raises EditionError, and what `execute` raises.
    """
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


if __name__ == "__main__":
    try:
        action = {"build": build, "check": check}[sys.argv[1]]
        for chosen in sys.argv[2:] or names():
            action(chosen)
    except (LabError, KeyError, IndexError) as problem:
        sys.exit(f"error: {problem}" if isinstance(problem, LabError) else __doc__)
