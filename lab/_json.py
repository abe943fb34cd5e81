"""JSON that every reader takes alike: no key is given twice, and every number is one."""

import json
import math
from typing import Any


def read_json(content: bytes | str, most_digits: int | None = None) -> Any:
    """The value that stands there. most_digits: of a whole number; None: as many as Python reads.

    Raises ValueError for what is no JSON, for a key that is given twice, and for a number that is none (NaN, 1e999);
    RecursionError for what is nested too deeply.
    """

    def whole(text: str) -> int:
        if most_digits is not None and len(text) > most_digits:
            raise ValueError(f"a whole number has {len(text)} digits")
        return int(text)

    return json.loads(content, object_pairs_hook=_table, parse_int=whole, parse_float=_finite, parse_constant=_finite)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key is given twice among {sorted(keys)[:8]}")
    return dict(pairs)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is no number")
    return number
