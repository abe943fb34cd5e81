"""What makes a notebook kind to the person in front of it; `set_up()` is called in its first cell.

A name that no cell has made yet, and an exercise that is still open, are told in one line instead of a traceback. They
stay the errors that they are: papermill, nbclient and nbgrader see a NameError and a NotImplementedError.
"""

import difflib
import importlib
import linecache
import re
import sys
import traceback
from types import TracebackType
from typing import Any

from lab import _hosted, ready


def set_up() -> None:
    """Check that this Python is ready, and turn the notebook's two commonest errors into one line each.

    On Colab, the lab is fetched from the repository that the notebook was opened from, and so are missing packages;
    elsewhere these are named. Outside IPython nothing is turned, and a second call changes nothing. Raises
    ready.NotReady.
    """
    if _hosted.on_colab() and _hosted.renew():
        importlib.import_module("lab.classroom").set_up()  # the new one's
        return
    ready.check_versions()
    ready.install_missing() if _hosted.on_colab() else ready.check_packages()
    ready.check_cache()
    shell = _shell()
    if shell is not None:
        shell.set_custom_exc((NameError, NotImplementedError), _show)


def _shell() -> Any:
    """IPython's shell; None in plain Python, where IPython is not imported for this."""
    ipython = sys.modules.get("IPython")
    return ipython and ipython.get_ipython()


def _show(shell: Any, kind: type, error: Any, trace: TracebackType, tb_offset: int | None = None) -> None:
    """IPython's handler of these errors: shows the line for a person, or the traceback where there is none."""
    message = _message(error, trace, shell.user_global_ns)
    if message:
        error._render_traceback_ = lambda: [message]  # what IPython then shows in place of the traceback
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _message(error: BaseException, trace: TracebackType, names: dict[str, Any]) -> str:
    """What a person should read; empty where the error was not raised by a cell's own code."""
    frame, number = list(traceback.walk_tb(trace))[-1]
    if frame.f_globals is not names:  # a library's own error
        return ""
    lines = linecache.getlines(frame.f_code.co_filename)
    if isinstance(error, NotImplementedError):
        return _still_open("".join(lines))
    if type(error) is not NameError or not error.name:  # an UnboundLocalError is another mistake
        return ""
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return _not_made(error.name, f" (line {number}: `{line}`)" if line else "", list(names))


def _still_open(cell: str) -> str:
    heading = re.match(r"\s*# *(EXERCISE \w+)", cell)
    if heading is None:
        return ""
    title = heading[1]
    return f"{title.capitalize()} is still open: write your answer in the cell that begins with # {title}."


def _not_made(name: str, where: str, names: list[str]) -> str:
    menu = "Runtime > Run before" if _hosted.on_colab() else "Run > Run All Above Selected Cell"
    text = (
        f"`{name}` is not there yet{where}: it is made in an earlier cell that has not run, or has failed. "
        f"{menu}, then run this one again."
    )
    close = difflib.get_close_matches(name, [other for other in names if not other.startswith("_")], 1, 0.8)
    return f"{text} Or did you mean `{close[0]}`?" if close else text
