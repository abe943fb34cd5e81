"""nbgrader's autograde, without executing a copy beside the grades.

One line in `nbgrader_config.py`, after `c = get_config()`:

    from lab.grading.nbgrader import sandboxed; sandboxed(c)

Then the place of nbgrader's `Execute` is taken by `Sandboxed`: the copy's cells run in a sandbox, the lab's own checks
here, and each check's cell gets the output that nbgrader reads its points from. And before anything is overwritten
with the teacher's version, `Mended` takes nbgrader's metadata from cells that are there twice, over which nbgrader
would stop with status 1, and leave later copies ungraded.

What can't be had in nbgrader: a check that a student deleted comes back only where `c.OverwriteCells.add_missing_cells`
is on, which `sandboxed` switches on; an answer that has lost its metadata is graded, and formgrader does not show it as
one. The assignment's own points (accuracy, parameters) are no exercise: `lab grade` gives them.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from lab.course.copies import Copy, copy_of, grade_id_of, is_answer, is_check
from lab.course.exercises import Exercise
from lab.course.plan import STUB, Edition, edition_of
from lab.errors import LabError
from lab.grading import doctor
from lab.grading.answers import Session
from lab.grading.exercises import try_copy
from lab.grading.sandbox import SESSION_SECONDS, Limits, Sandbox

BEFORE = (
    *("lab.grading.nbgrader.Mended", "nbgrader.preprocessors.ClearOutput", "nbgrader.preprocessors.DeduplicateIds"),
    *("nbgrader.preprocessors.OverwriteKernelspec", "nbgrader.preprocessors.OverwriteCells"),
    "nbgrader.preprocessors.CheckCellMetadata",
)
AFTER = (
    *("lab.grading.nbgrader.Sandboxed", "nbgrader.preprocessors.IgnorePattern"),
    *("nbconvert.preprocessors.ClearMetadataPreprocessor", "nbgrader.preprocessors.LimitOutput"),
    *("nbgrader.preprocessors.SaveAutoGrades", "nbgrader.preprocessors.AssignLatePenalties"),
    "nbgrader.preprocessors.CheckCellMetadata",
)


def sandboxed(c: Any) -> None:
    """Let a course's `nbgrader autograde` take its points from the lab; c: what `get_config()` gives."""
    c.Autograde.sanitize_preprocessors = list(BEFORE)
    c.Autograde.autograde_preprocessors = list(AFTER)
    c.OverwriteCells.add_missing_cells = True


class Mended(NbGraderPreprocessor):  # type: ignore[misc]
    """Takes nbgrader's metadata from all but one of the cells that share a grade_id."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook, with one cell a grade_id: the last, and of answers the last that is not still open."""
        places: dict[str, list[int]] = {}
        for place, cell in enumerate(nb.cells):
            if isinstance(cell.metadata.get("nbgrader"), dict) and grade_id_of(cell):
                places.setdefault(grade_id_of(cell), []).append(place)
        for name, found in places.items():
            done = [place for place in found if STUB not in nb.cells[place].source]
            kept = max(done or found)
            for place in set(found) - {kept}:
                del nb.cells[place].metadata["nbgrader"]
                self.log.warning("cell %d is another %r: cell %d counts.", place + 1, name, kept + 1)
        return nb, resources


class Sandboxed(NbGraderPreprocessor):  # type: ignore[misc]
    """Grades a copy of one of the lab's notebooks in a sandbox, in the place of nbgrader's `Execute`."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook, with an output in each check's cell that nbgrader reads its points from.

        Raises LabError where the notebook is none of the lab's, or this machine has no sandbox.
        """
        copy = copy_of(nb.cells)
        edition = edition_of(copy)
        if not edition.name:
            raise LabError("this notebook is none of the lab's: take lab.grading.nbgrader out of nbgrader_config.py.")
        doctor.require(())
        folder = Path(resources.get("metadata", {}).get("path") or ".")
        for number, exercise in enumerate(points(copy, edition, folder), 1):
            for cell in nb.cells:
                if is_check(cell) and grade_id_of(cell) == f"{exercise.name}-check":
                    cell.outputs, cell.execution_count = [output(exercise)], number
        return nb, resources


def points(copy: Copy, edition: Edition, folder: Path) -> list[Exercise]:
    """What each exercise of a copy in `folder` earns."""

    def start() -> Session:
        return Session(Sandbox("lab.grading.session", hand_in=folder, limits=Limits(seconds=SESSION_SECONDS)))

    if not any(is_answer(cell) for cell in copy.cells):
        return []
    return try_copy(copy, edition, start).report.exercises


def output(exercise: Exercise) -> NotebookNode:
    """What a check's cell shows: nbgrader gives no points where it is an error."""
    if exercise.passed:
        shown: NotebookNode = nbformat.v4.new_output("stream", name="stdout", text=f"{exercise.message}\n")
        return shown
    kind = "NotImplementedError" if exercise.passed is None else "CheckFailed"
    shown = nbformat.v4.new_output("error", ename=kind, evalue=exercise.message, traceback=[exercise.message])
    return shown
