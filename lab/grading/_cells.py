"""The text of a CSV: every field quoted, and none that a spreadsheet would take for a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from lab._terminal import harmless

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would take for a formula."""


def csv_text(rows: Iterable[Sequence[Any]], line_end: str = "\n") -> str:
    """The rows as a CSV's text; numbers as they are, all else as `cell` gives it."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerows([cell(value) for value in row] for row in rows)
    return written.getvalue()


def cell(value: Any) -> str:
    """A field's text. What a spreadsheet would take for a formula gets an apostrophe in front of it, numbers aside."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = harmless(str(value)).replace("\n", " ")
        return f"'{text}" if text.startswith(FORMULA) else text
    return f"{value:.15g}"
