"""Who made which submission? Gradescope's submission_metadata.yml, read as data alone.

    submission_123:
      :submitters:
      - :name: Anna Müller
        :sid: '0042'
        :email: anna@uni.example
      :created_at: 2023-09-21 05:59:00.123456000 Z
      :history:
      - :id: 122
        :created_at: 2023-09-20 22:10:00.000000000 Z

Everything is read as the text that stands there: no tag makes an object, no `0042` becomes 34. What an alias names is
one object, however often it is named, and only what is asked for is looked at: so a bomb of aliases stays small.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lab._files import FileError, read_regular
from lab._terminal import printable
from lab.grading._moments import Clock
from lab.grading.roster import Claim, InboxError

METADATA = "submission_metadata.yml"
MAX_METADATA = 256 * 2**20
"""Bytes: the outputs of all tests of all students stand in it."""
MOST = 1_000
"""Submitters of one submission, and earlier ones of one student."""
DEEPEST = 50
"""Lists and dictionaries in each other."""


@dataclass(frozen=True)
class Submission:
    """One entry."""

    claims: tuple[Claim, ...]
    created: datetime | None
    history: tuple[str, ...]  # ids of the earlier ones, the first first
    times: tuple[datetime | None, ...]  # of those


def read_metadata(path: Path, clock: Clock) -> dict[str, Submission]:
    """The entries, by the name of the folder or file. Raises InboxError."""
    document = _document(path)
    if not isinstance(document, dict):
        raise InboxError(f"{path} names no submissions: download the export again.")
    return {
        name: _submission(name, entry, clock)
        for name, entry in document.items()
        if isinstance(name, str) and isinstance(entry, dict)
    }


def _document(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise InboxError("Gradescope's export is read with PyYAML: pip install 'lab994[grading]'.") from error
    if path.is_symlink():
        raise InboxError(f"{path} is a link: download the export again.")
    try:
        content = read_regular(path, MAX_METADATA)
        return _built(yaml.parse(content, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)))
    except (OSError, FileError) as error:
        raise InboxError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except (yaml.YAMLError, ValueError) as error:
        told = printable(" ".join(str(error).split()))[:200]
        raise InboxError(
            f"{path} is no YAML file that Gradescope writes: {told}. Download the export again."
        ) from error


def _built(events: Iterable[Any]) -> Any:
    """The document: texts, lists, and dictionaries by text. Raises ValueError for one that is none of Gradescope's.

    From the parser's events, one after the other: PyYAML's own loaders go down a document by recursion, and one that is
    deep enough ends the process.
    """
    document, known = list[Any](), dict[str, Any]()
    open_ = [_Open(document)]
    for event in events:
        kind = type(event).__name__.removesuffix("Event")
        if kind in ("MappingEnd", "SequenceEnd"):
            open_.pop()
        elif kind == "Alias":
            open_[-1].add(known.get(event.anchor))
        elif kind in ("Scalar", "MappingStart", "SequenceStart"):
            value = event.value if kind == "Scalar" else {} if kind == "MappingStart" else []
            if event.anchor:
                known[event.anchor] = value
            open_[-1].add(value)
            if kind != "Scalar":
                open_.append(_Open(value))
        if len(open_) > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} times")
    return document[0] if document else None


class _Open:
    """A list or a dictionary that is being filled."""

    def __init__(self, into: Any) -> None:
        self._into, self._key = into, ""
        self._is_key = isinstance(into, dict)

    def add(self, value: Any) -> None:
        if isinstance(self._into, list):
            self._into.append(value)
        elif self._is_key:
            if not isinstance(value, str):
                raise ValueError("a key of it is no text")
            self._key, self._is_key = value, False
        else:
            self._into[self._key], self._is_key = value, True


def _submission(name: str, entry: Mapping[str, Any], clock: Clock) -> Submission:
    earlier = sorted(_items(entry, "history"), key=lambda one: _text(one, "created_at"))
    return Submission(
        tuple(
            Claim(printable(name), id=_text(one, "sid"), email=_text(one, "email"), name=_text(one, "name"))
            for one in _items(entry, "submitters")
            if any(_text(one, field) for field in ("sid", "email", "name"))
        ),
        clock.read(_text(entry, "created_at")),
        tuple(_text(one, "id") for one in earlier),
        tuple(clock.read(_text(one, "created_at")) for one in earlier),
    )


def _items(entry: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    items = entry.get(f":{field}")
    return [one for one in items[:MOST] if isinstance(one, dict)] if isinstance(items, list) else []


def _text(entry: Mapping[str, Any], field: str) -> str:
    value = entry.get(f":{field}")
    return value.strip()[:500] if isinstance(value, str) and value not in ("~", "null") else ""
