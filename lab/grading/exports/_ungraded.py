"""Gradescope's results.json where nothing was graded, and how text is written into it.

No torch is imported here: this is what is left where the process that grades has died.
"""

from collections.abc import Iterable
from typing import Any

from lab._terminal import legible

LONGEST = 4000
"""Characters of a text; what is longer is cut, with a mark."""
NOT_YOUR_FAULT = (
    "NOT GRADED: this is the grader's trouble, not yours, and it costs you nothing. Your teacher can run the "
    "autograder again, or grade it elsewhere. What went wrong: {message}"
)
HEAD = {
    "output_format": "text",
    "test_output_format": "text",
    "test_name_format": "text",
    "visibility": "visible",  # of a test case that does not say; each does
    "stdout_visibility": "hidden",
}
"""What is the same in every results.json."""


def ungraded(message: str) -> dict[str, Any]:
    """Of the grader's own trouble: no score, which would look like one that was earned, and no test case."""
    output = text([NOT_YOUR_FAULT.format(message=message)])
    return {"output": output, **HEAD, "extra_data": {"state": "grader error"}, "tests": [], "leaderboard": []}


def text(lines: Iterable[str]) -> str:
    """Lines as Gradescope shows them, which takes them for text and nothing else."""
    found = "\n".join(legible(line) for line in lines if line)
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 2]} …"
