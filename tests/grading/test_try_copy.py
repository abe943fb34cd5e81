"""A copy's exercises and its network, from a session. No sandbox here: what is taken from where is tested."""

import nbformat
import pytest
from nbformat import NotebookNode

from benchmarks.bare import Bare
from lab.course import editions
from lab.course.copies import Copy, ExerciseError, copy_of
from lab.course.plan import Edition, edition_of
from lab.grading.answers import Session
from lab.grading.exercises import Entry, try_copy
from lab.graph import Graph
from lab.train import Recipe


def copy_with(*others: str) -> Copy:
    """The set-up and the answer with the network of the solved notebook, and these cells."""

    def is_kept(cell: NotebookNode) -> bool:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        return "setup" in cell.metadata.get("tags", []) or name in ("conv-block", "version-3")

    kept = [cell for cell in editions.solved_edition("mnist_994").cells if is_kept(cell)]
    return copy_of([*kept, *map(nbformat.v4.new_code_cell, others)])


def entry_of(copy: Copy) -> tuple[Entry, list[str]]:
    tried = try_copy(copy, edition_of(copy), lambda: Session(Bare()), quick=True)
    return tried.entry, tried.report.warnings


def test_the_recipe_is_the_students_where_there_is_one() -> None:
    entry, _ = entry_of(copy_with("from lab.train import Recipe", "recipe = Recipe(epochs=7)"))
    assert isinstance(entry.network, Graph)
    assert entry.recipe == Recipe(epochs=7)


@pytest.mark.parametrize("cells", [(), ("recipe = 3",)])
def test_a_recipe_that_was_lost_costs_nobody_the_network(cells: tuple[str, ...]) -> None:
    entry, flags = entry_of(copy_with(*cells))
    assert isinstance(entry.network, Graph)
    assert isinstance(entry.recipe, Recipe)
    assert "`recipe` is no recipe in this copy: the notebook's own was taken." in flags


def test_checks_that_a_copy_brings_are_never_executed_here() -> None:
    known = {"grade_id": "mine", "solution": True, "grade": False, "locked": False, "schema_version": 3}
    check = known | {"grade_id": "mine-check", "grade": True, "solution": False, "locked": True, "points": 1200}
    copy = copy_of(
        [
            nbformat.v4.new_code_cell("mine = 1", metadata={"nbgrader": known}),
            nbformat.v4.new_code_cell("raise SystemExit('executed')", metadata={"nbgrader": check}),
        ]
    )
    with pytest.raises(ExerciseError, match="no check of ours"):
        try_copy(copy, Edition(""), lambda: Session(Bare()))
