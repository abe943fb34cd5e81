"""The text of a CSV: every field quoted, and none that a spreadsheet would take for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lab._terminal import harmless

_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"  # the wide ones are the same to a spreadsheet in East Asia
_FORMULA = re.compile(rf"[\t\r]|\s*{_SIGNS}")
_SECOND = re.compile(rf"(?<=;)(?={_SIGNS})")
"""Where another cell begins for a spreadsheet that parts them by semicolons, as many do, whatever the quotes."""


def csv_text(rows: Iterable[Sequence[Any]], line_end: str = "\n") -> str:
    """The rows as a CSV's text; numbers as they are, all else as `cell` gives it."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerows([cell(value) for value in row] for row in rows)
    return written.getvalue()


def cell(value: Any) -> str:
    """A field's text. What a spreadsheet would take for a formula gets an apostrophe in front of it, numbers aside."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return defused(harmless(str(value)).replace("\n", " "))
    return f"{value:.15g}"


def defused(text: str) -> str:
    """The same text, with an apostrophe wherever a spreadsheet would take what follows for a formula."""
    text = _SECOND.sub("'", text)
    return f"'{text}" if _FORMULA.match(text) else text
