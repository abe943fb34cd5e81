"""How a measurement is kept: as JSON, whole or not at all."""

import json
from pathlib import Path
from typing import Any

from lab._files import write_whole

Record = dict[str, Any]
HOME = Path(__file__).parent


def read(path: Path) -> Record:
    """What `write` wrote."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def write(path: Path, record: Record) -> None:
    """Write whole or not at all: nobody finds half a record, and processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record, indent=1) + "\n")
