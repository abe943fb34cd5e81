"""A bar that follows a run: tqdm's on a terminal; on a notebook's page one that is gone when the run is over."""

import sys
from functools import lru_cache
from typing import Any

from tqdm import tqdm

_NOTHING = {"text/html": "", "text/plain": ""}
"""An output that takes no room. None at all can't be had: what was displayed can be changed and not taken away."""


def has_screen() -> bool:
    """Is there something to draw a bar on: a terminal, or a notebook's page?"""
    return _kernel_shell() is not None or sys.stderr.isatty()


def progress_bar(steps: int, shown: bool) -> "tqdm[Any]":
    """A bar for so many steps, as a context manager: `update()` after each; when it closes, it is gone."""
    kind: type[tqdm[Any]] = tqdm if _kernel_shell() is None else _PageBar
    return kind(total=steps, unit="step", disable=not shown, leave=False, dynamic_ncols=kind is tqdm)


def _kernel_shell() -> Any:
    """IPython's shell where it is a kernel's, with a page to draw on."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell if hasattr(shell, "kernel") else None


class _PageBar(tqdm):  # type: ignore[type-arg]  # tqdm is no generic class when the program runs
    """One line of text, drawn anew in place, in an output that says nothing once the bar is closed.

    tqdm's own bar for notebooks is a widget. Saved, it is an "Error displaying widget", and it needs ipywidgets.
    """

    monitor_interval = 0  # no thread that draws from outside the cell

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, gui=True, ncols=80, mininterval=0.25)  # gui: nothing goes to a terminal
        self._draws = not self.disable
        if self._draws:
            self.refresh()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        _output(_kernel_shell().execution_count).update({"text/plain": str(self)}, raw=True)

    def close(self) -> None:
        if self._draws and not self.disable:
            _output(_kernel_shell().execution_count).update(_NOTHING, raw=True)
        super().close()


@lru_cache(maxsize=1)
def _output(execution_count: int) -> Any:
    """The handle of an output in the cell that is executed; all bars of the cell share it, one after the other."""
    from IPython.display import display

    return display(_NOTHING, raw=True, display_id=True)
