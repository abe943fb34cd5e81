"""How a measurement is kept: as JSON, whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

Record = dict[str, Any]
HOME = Path(__file__).parent


def read(path: Path) -> Record:
    """What `write` wrote."""
    record: Record = json.loads(path.read_text())
    return record


def write(path: Path, record: Record) -> None:
    """Write beside `path`, then put it in its place: nobody finds half a record, and processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(record, indent=1) + "\n")
    beside.replace(path)
