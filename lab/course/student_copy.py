"""A lab's source as the notebook that students get: a stub in the place of every solution.

The marks and the stubs are nbgrader's (`### BEGIN SOLUTION`, `# YOUR CODE HERE`); what comes out is what its own
generate_assignment makes of the source. An installed lab has no nbgrader.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lab.course.copies import is_answer
from lab.course.plan import STUB
from lab.errors import LabError

STUBS = {"code": f"# YOUR CODE HERE\n{STUB}()", "markdown": "YOUR ANSWER HERE"}
_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"


class SolutionError(LabError):
    """Solution marks of a source that do not fit together: in which cell."""


def notebook_of(source: Path) -> NotebookNode:
    """A source in jupytext's percent format as a notebook, solutions and all; its ids are the same with every build."""
    import jupytext

    notebook: NotebookNode = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"  # random ids would change with every build
    return notebook


def student_copy(notebook: NotebookNode) -> NotebookNode:
    """The same notebook, changed in place, without its solutions. Raises SolutionError."""
    for number, cell in enumerate(notebook.cells, 1):
        cell.source, has_solution = _cleared(cell.source, STUBS.get(cell.cell_type, ""), f"cell {number}")
        if has_solution and not is_answer(cell):
            raise SolutionError(f"cell {number} has a solution and is not marked as an answer: it would be handed out.")
        if is_answer(cell) and not has_solution:
            cell.source = STUBS[cell.cell_type]
    return notebook


def _cleared(source: str, stub: str, where: str) -> tuple[str, bool]:
    """A cell's text with the stub in the place of each solution, as far in as its mark; has it one?"""
    kept, inside, found = list[str](), False, False
    for line in source.split("\n"):
        if _BEGIN in line:
            if inside:
                raise SolutionError(f"{where} begins a solution in a solution.")
            inside = found = True
            indent = re.match(r"\s*", line)[0]  # type: ignore[index]  # matches everywhere
            kept += [indent + part for part in stub.split("\n")]
        elif _END in line:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise SolutionError(f"{where} begins a solution and does not end it.")
    return "\n".join(kept), found
