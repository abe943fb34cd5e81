"""What a notebook's last cell calls: it hands its figures to whoever executes the notebook.

How editions are made is in `lab.course.editions`, how they are executed and judged in `lab.course.execution`.
"""

import json
import math
from typing import Any

from lab.errors import LabError

RESULT_TYPE = "application/vnd.lab994.result+json"
"""The kind of cell output in which a notebook hands over its result (see `hand_over`)."""


class HandOverError(LabError):
    """A result that can't be written down as JSON."""


def hand_over(result: dict[str, Any]) -> None:
    """Called in the notebook's last cell: hands its figures to whoever executes it.

    A figure may be a tensor or an array of one number. Raises HandOverError for what JSON has no form for.
    """
    from IPython.display import display

    figures = {str(name): _plain(name, value) for name, value in result.items()}
    text = ", ".join(f"{name}={value}" for name, value in figures.items())
    display({RESULT_TYPE: figures, "text/plain": text}, raw=True)


def _plain(name: str, value: Any) -> Any:
    """A figure as JSON has it: not-a-number and infinity, which it has not, as text."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise HandOverError(
            f"{name!r} can't be handed over: {error}. Hand over a number, such as float({name})."
        ) from error
    return value
