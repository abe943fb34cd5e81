"""A source without its solutions."""

import nbformat
import pytest
from nbgrader.preprocessors import ClearSolutions

from lab.course.plan import edition_sources
from lab.course.student_copy import SolutionError, notebook_of, student_copy

BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "# YOUR CODE HERE\nraise NotImplementedError()"


def notebook(*sources: str, solution: bool = True, kind: str = "code") -> nbformat.NotebookNode:
    """Of cells with these texts, which are answers."""
    made = nbformat.v4.new_notebook()
    for number, source in enumerate(sources):
        cell = nbformat.v4.new_code_cell(source) if kind == "code" else nbformat.v4.new_markdown_cell(source)
        known = {"schema_version": 3, "grade": False, "locked": False, "solution": solution, "grade_id": f"a{number}"}
        cell.metadata["nbgrader"] = nbformat.from_dict(known)
        made.cells.append(cell)
    return made


@pytest.mark.parametrize("path", edition_sources(), ids=lambda path: path.stem)
def test_it_is_what_nbgrader_makes_of_each_source(path):
    theirs = ClearSolutions(enforce_metadata=True).preprocess(notebook_of(path), {})[0]
    ours = student_copy(notebook_of(path))
    assert nbformat.writes(ours) == nbformat.writes(theirs)
    assert "BEGIN SOLUTION" not in nbformat.writes(ours)
    assert nbformat.writes(ours).count("YOUR CODE HERE") >= 5


@pytest.mark.parametrize(
    "source",
    [
        f"def f():\n    {BEGIN}\n    return 1\n    {END}\n\nf()",
        f"{BEGIN}\na = 1\n{END}\nb = 2\n{BEGIN}\nc = 3\n{END}",
        "everything = 'is the answer'",
        f"a  {BEGIN}\n{END} b",
        "",
    ],
)
def test_so_it_is_of_any_cell(source):
    for kind in ("code", "markdown"):
        theirs = ClearSolutions(enforce_metadata=True).preprocess(notebook(source, kind=kind), {})[0]
        ours = student_copy(notebook(source, kind=kind))
        assert [cell.source for cell in ours.cells] == [cell.source for cell in theirs.cells]


def test_the_stub_stands_as_far_in_as_the_solution():
    made = student_copy(notebook(f"def f():\n    {BEGIN}\n    return 1\n    {END}"))
    assert made.cells[0].source == "def f():\n    # YOUR CODE HERE\n    raise NotImplementedError()"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"{BEGIN}\n{BEGIN}\n{END}", "a solution in a solution"),
        (f"{BEGIN}\n1", "does not end it"),
    ],
)
def test_marks_that_do_not_fit_are_told(source, words):
    with pytest.raises(SolutionError, match=f"^cell 2 .*{words}"):
        student_copy(notebook("1", source))


def test_a_solution_in_a_cell_that_is_no_answer_would_be_handed_out():
    with pytest.raises(SolutionError, match="cell 1 has a solution and is not marked"):
        student_copy(notebook(f"{BEGIN}\n1\n{END}", solution=False))
