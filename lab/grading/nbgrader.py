"""nbgrader's autograde, without executing a copy beside the grades.

One line in `nbgrader_config.py`, after `c = get_config()`:

    from lab.grading.nbgrader import sandboxed; sandboxed(c)

Then the place of nbgrader's `Execute` is taken by `Sandboxed`: the copy's cells run in a sandbox, the lab's own checks
here, and each check's cell gets the output that nbgrader reads its points from. Before that `Mended` gives each cell
the metadata that were handed out with it, and takes them from any other: over a cell that is there twice nbgrader
leaves the copy ungraded, over metadata of an old format the whole class.

What can't be had in nbgrader, and what mends it:

- A check that a student deleted comes back only with `c.OverwriteCells.add_missing_cells`, which `sandboxed` sets. An
  answer that has lost its metadata is graded, and formgrader does not show it as one.
- nbgrader gives full points to a check without any output. A check that is the teacher's own, and not of the lab's
  notebook, is therefore given an error here, and 0 points: grade it by hand, or in an assignment of its own.
- A file under another name ("Copy of mnist_994.ipynb") is nothing that nbgrader knows, and one that is no JSON can't be
  read: it tells them and grades the others. `lab grade` takes any name.
- The assignment's own points (accuracy, parameters, epochs) are no exercise: `lab grade` gives them.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from lab.course.copies import Copy, ExerciseError, copy_of, grade_id_of, is_check
from lab.course.exercises import Exercise
from lab.course.plan import STUB, Edition, edition_of
from lab.errors import LabError
from lab.grading import doctor
from lab.grading.answers import Session
from lab.grading.collect import digest_of
from lab.grading.exercises import try_copy
from lab.grading.sandbox import for_session

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


class Mended(NbGraderPreprocessor):  # type: ignore[misc]  # nbgrader has no types
    """Gives each cell the metadata that it was handed out with: one cell for each grade_id, and none for another."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook; of cells with one grade_id the last counts, of answers the last that is not still open."""
        known = handed_out(resources["nbgrader"])
        places: dict[str, list[int]] = {}
        for place, (cell, mended) in enumerate(zip(nb.cells, copy_of(nb.cells).cells, strict=True)):
            theirs = mended.metadata.pop("nbgrader", {})
            name = theirs.get("grade_id")
            cell.source = mended.source
            cell.metadata = mended.metadata
            if isinstance(name, str) and name in known:
                places.setdefault(name, []).append(place)
            elif name is not None:
                self.log.warning("cell %d says that it is %r, which was not handed out.", place + 1, name)
        for name, found in places.items():
            done = [place for place in found if STUB not in nb.cells[place].source]
            kept = max(done or found)
            nb.cells[kept].metadata["nbgrader"] = nbformat.from_dict(known[name])
            for place in set(found) - {kept}:
                self.log.warning("cell %d is another %r: cell %d counts.", place + 1, name, kept + 1)
        return nb, resources


def handed_out(assignment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """nbgrader's metadata of each cell that was handed out, by grade_id. assignment: nbgrader's names for it."""
    with Gradebook(assignment["db_url"]) as gradebook:
        notebook = gradebook.find_notebook(assignment["notebook"], assignment["assignment"])
        points = {cell.name: cell.max_score for cell in notebook.grade_cells}
        solutions, tasks = ({cell.name for cell in some} for some in (notebook.solution_cells, notebook.task_cells))
        points |= {cell.name: cell.max_score for cell in notebook.task_cells}
        return {
            cell.name: {
                "schema_version": 3,
                "grade_id": cell.name,
                "grade": cell.name in points and cell.name not in tasks,
                "solution": cell.name in solutions,
                "task": cell.name in tasks,
                "locked": cell.locked,
                "cell_type": cell.cell_type,
                "checksum": cell.checksum,
            }
            | ({"points": points[cell.name]} if cell.name in points else {})
            for cell in notebook.source_cells
        }


class Sandboxed(NbGraderPreprocessor):  # type: ignore[misc]  # nbgrader has no types
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
        folder = Path(resources["metadata"]["path"])
        otherwise = f"not checked: it is no exercise of the lab's notebook {edition.name}."
        try:
            found = {exercise.name: exercise for exercise in points(copy, edition, folder)}
        except ExerciseError as error:
            found, otherwise = {}, str(error)
        for number, cell in enumerate(filter(is_check, nb.cells), 1):  # every one: without an output it earns all
            name = grade_id_of(cell).removesuffix("-check")
            exercise = found.get(name) or Exercise(name, "exercise", False, 0, 0, otherwise)
            cell.outputs, cell.execution_count = [output(exercise)], number
        return nb, resources


def points(copy: Copy, edition: Edition, folder: Path) -> list[Exercise]:
    """What each exercise of a copy in `folder` earns. Raises ExerciseError where none is answered."""

    def start() -> Session:
        return Session(for_session(folder))

    seed = int(digest_of(folder)[:16], 16)  # the cases that are drawn: nobody knows them who has yet to write the copy
    return try_copy(copy, edition, start, seed).report.exercises


def output(exercise: Exercise) -> NotebookNode:
    """What a check's cell shows: nbgrader gives no points where it is an error."""
    if exercise.passed:
        shown: NotebookNode = nbformat.v4.new_output("stream", name="stdout", text=f"{exercise.message}\n")
        return shown
    kind = "NotImplementedError" if exercise.passed is None else "CheckFailed"
    shown = nbformat.v4.new_output("error", ename=kind, evalue=exercise.message, traceback=[exercise.message])
    return shown
