"""The one kind of failure that the lab shows to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class LabError(Exception):
    """What is wrong, where, and what to do: the whole message is meant to be read by a person.

    The command line prints it without a traceback and exits with status 2; a notebook shows it without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class GraphError(LabError):
    """A network that can't be written down as a graph, or a saved graph that can't be trusted."""


class DataError(LabError):
    """The images cannot be had, or are not the right ones."""


class SandboxError(LabError):
    """This machine can give no sandbox: the grader's trouble, never the student's."""


def first_fault(error: ValidationError) -> str:
    """The first thing that a schema minds, and where: "at rules.0.below: Input should be greater than 0"."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"at {place or 'the top'}: {first['msg']}"
