"""On which line of a notebook's file does the text of each cell begin? For a message that points into the file.

A notebook is JSON, which Python reads without telling where. So the two levels that matter here, the notebook's list of
cells and the members of a cell, are walked by hand, and everything in them is left to Python's own decoder.
"""

import json
import re
from collections.abc import Iterator

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def cell_lines(text: str) -> list[int]:
    """The line, from 1, of the first line of each cell's source; of the cell's own beginning where it has none.

    Empty for what is no notebook of today's format (nbformat 4).
    """
    try:
        where = [place for name, place in _members(text, _skip(text, 0)) if name == "cells"]
        cells = list(_elements(text, where[-1])) if where else []  # as JSON readers do: the last of several
        return _line_numbers(text, [_source(text, place) for place in cells])
    except (ValueError, IndexError, RecursionError):
        return []


def _source(text: str, cell: int) -> int:
    """Where a cell's source stands: its string, or the first string of its list; else the cell itself."""
    if text[cell] != "{":
        return cell
    found = [place for name, place in _members(text, cell) if name == "source"]
    if not found:
        return cell
    return next(_elements(text, found[-1]), found[-1]) if text[found[-1]] == "[" else found[-1]


def _members(text: str, place: int) -> Iterator[tuple[str, int]]:
    """The name of each member of the object that begins here, and where its value begins."""
    place = _skip(text, _after(text, place, "{"))
    while text[place] != "}":
        _after(text, place, '"')
        name, end = _DECODER.raw_decode(text, place)
        place = _skip(text, _after(text, _skip(text, end), ":"))
        yield name, place
        place = _next(text, place, "}")


def _elements(text: str, place: int) -> Iterator[int]:
    """Where each element of the list that begins here begins."""
    place = _skip(text, _after(text, place, "["))
    while text[place] != "]":
        yield place
        place = _next(text, place, "]")


def _next(text: str, value: int, end: str) -> int:
    """Where the next value or name stands behind this value, or the `end`."""
    place = _skip(text, _DECODER.raw_decode(text, value)[1])
    return place if text[place] == end else _skip(text, _after(text, place, ","))


def _after(text: str, place: int, expected: str) -> int:
    if text[place] != expected:
        raise ValueError(f"no {expected} at {place}")
    return place + 1


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found is not None else place


def _line_numbers(text: str, places: list[int]) -> list[int]:
    """The lines of places that come in order."""
    lines, line, before = [], 1, 0
    for place in places:
        line += text.count("\n", before, place)
        before = place
        lines.append(line)
    return lines
