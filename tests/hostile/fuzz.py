"""Hand-ins and messages that were changed at random: every reader takes them, or says in one message why not.

    python -m tests.hostile.fuzz                        # ten minutes
    python -m tests.hostile.fuzz --seconds 60 --seed 7

Three readers, in turn: of `.lab` files (and the graphs in them), of notebooks, and of messages across the trust line.
Half of the changes are made in bytes (flipped, cut out, doubled, cut off), half in the content: a value of the JSON
becomes another one, and the file is packed anew, so that checksums hold. What a reader raises must be a LabError; 20 s
are a hang. Printed is how often each reader took a case and refused it; what breaks one is kept, with exit status 1.
"""

import argparse
import copy
import faulthandler
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import torch

from lab import models
from lab.course import editions
from lab.course.plan import Plan
from lab.errors import LabError
from lab.grading import judge, wire
from lab.grading.answers import IMAGES, graph_in
from lab.grading.collect import collect
from lab.graph import capture, document_of
from lab.rules import load_rubric
from lab.submission import Cell, HandIn, packed, unpacked, versions
from lab.train import Recipe

HANGS = 20
"""Seconds that no reader may take for one case."""
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        2**70,
        10**400,
        1e308,
        -1e-320,
        0.5,
        "",
        "x",
        "\x1b[2J",
        "\ud800",
        "a" * 5000,
    ),
    *([], {}, [None], [[]], {"": None}, [0] * 1000, {"a": {"a": {"a": {}}}}, "../../x", "nan", "input", "=1+1"),
]

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Reader:
    """What is read, how a case of it is made anew from changed JSON, and what reads it."""

    name: str
    content: bytes
    parts: dict[str, Any]  # its JSON
    made: Callable[[dict[str, Any]], bytes]  # the bytes of changed parts
    read: Read


class Hung(BaseException):
    """A reader did not come to an end: no `except Exception` catches it."""


# -- changes ----------------------------------------------------------------------------------------------------------


def in_bytes(content: bytes, chance: random.Random) -> bytes:
    """The content after one to four changes: a bit, a byte, a piece cut out, doubled, moved, or its end cut off."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) or 1)
        size = min(chance.choice((1, 2, 8, 100, 5000)), len(made) - at)
        piece = made[at : at + size]
        match chance.randrange(6):
            case 0 if made:
                made[at] ^= 1 << chance.randrange(8)
            case 1 if made:
                made[at] = chance.choice((0, 255, 34, 123, 91, 128))
            case 2:
                del made[at : at + size]
            case 3:
                made[at:at] = piece
            case 4:
                made[at : at + size] = chance.randbytes(size)
            case _ if chance.random() < 0.3:
                del made[at:]
    return bytes(made)


def in_json(parts: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The parts after one to three changes: a value becomes an odd one or another of them, or goes, or comes twice."""
    made = copy.deepcopy(parts)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(made))
        holder, key = chance.choice(places)
        if isinstance(holder, list) and key >= len(holder):
            continue
        if isinstance(holder, dict) and key not in holder:
            continue
        match chance.randrange(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(chance.choice(ODD))
            case 2:
                other, at = chance.choice(places)
                holder[key] = copy.deepcopy(other[at]) if _is_at(other, at) else None
            case 3 if holder is not made:
                del holder[key]
            case _:
                value = copy.deepcopy(holder[key])
                if isinstance(holder, list):
                    holder.insert(key, value)
                elif holder is not made:
                    holder[f"{key}2"] = value
    return made


def _places(value: Any) -> Any:
    """(holder, key) of every value inside."""
    found = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in found:
        yield value, key
        yield from _places(one)


def _is_at(holder: Any, key: Any) -> bool:
    return key < len(holder) if isinstance(holder, list) else key in holder


# -- readers ----------------------------------------------------------------------------------------------------------


def readers(folder: Path) -> list[Reader]:
    """All of them. folder: to write hand-ins to."""
    torch.manual_seed(0)
    graph = capture(models.SeedNet())
    cells = (Cell(kind="code", source="x = 1", grade_id="out-size"), Cell(kind="markdown", source="# Text"))
    handed_in = HandIn(graph, Recipe(), "mnist_994", {"accuracy": 0.99}, cells, versions())
    notebook = editions.student_edition("mnist_994")
    notebook.cells = [cell for cell in notebook.cells if cell.metadata][:12]
    as_json = json.loads(nbformat.writes(notebook))
    message = {"graph": document_of(graph).model_dump(mode="json"), "value": _values()}
    return [
        Reader("hand-ins", packed(handed_in), {"parts": _hand_in_parts(handed_in)}, _hand_in_of, _read_hand_in),
        Reader("notebooks", json.dumps(as_json).encode(), {"notebook": as_json}, _notebook_of, _reads_notebook(folder)),
        Reader("messages", wire.packed(message, graph.weights), message, _message_of(graph.weights), _read_message),
    ]


def _hand_in_parts(handed_in: HandIn) -> dict[str, Any]:
    from lab import submission

    names = ("graph.json", "recipe.json", "results.json", "cells.json", "manifest.json")
    parts = submission._parts(packed(handed_in))
    return {name: json.loads(parts[name]) for name in names} | {"weights": parts["weights.safetensors"].hex()}


def _hand_in_of(given: dict[str, Any]) -> bytes:
    """A `.lab` file with these parts, whatever they are, and the checksums that fit them."""
    import hashlib

    from lab import submission

    given = given["parts"] if isinstance(given["parts"], dict) else {}
    order = ("manifest.json", "graph.json", "weights.safetensors", "recipe.json", "results.json", "cells.json")
    parts = {name: _bytes(given.get(name)) for name in order}
    weights = given.get("weights")
    is_hex = isinstance(weights, str) and all(c in "0123456789abcdef" for c in weights) and len(weights) % 2 == 0
    parts["weights.safetensors"] = bytes.fromhex(weights) if is_hex else b""
    manifest = given.get("manifest.json")
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        sums = {n: {"bytes": len(p), "sha256": hashlib.sha256(p).hexdigest()} for n, p in parts.items()}
        sums.pop("manifest.json")
        parts["manifest.json"] = _bytes(manifest | {"files": sums})
    return submission._zipped({name: parts[name] for name in submission._PARTS})


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def _notebook_of(given: dict[str, Any]) -> bytes:
    return _bytes(given["notebook"])


def _message_of(weights: Any) -> Callable[[dict[str, Any]], bytes]:
    body = wire.packed({}, weights)[wire.HEAD_BYTES + 2 :]

    def made(header: dict[str, Any]) -> bytes:
        text = _bytes(header)
        return wire._HEAD.pack(b"LAB1", len(text), len(body)) + text + body

    return made


_VERSION = {"target": "90 %", "analysis": "x", "parameters": 5, "field": 3, "accuracy": 0.9}


def _values() -> list[Any]:
    """One of every form that a value has on the wire."""
    return [
        *(None, True, 7, 0.5, "text", {"list": [1, {"float": "nan"}]}, {"tuple": [1, 2]}, {"fraction": [1, 3]}),
        *({"numpy": ["int64", 5]}, {"other": "<a thing>"}, {"far": [0, "Net()", "network", "net"]}),
        *({"recipe": {"epochs": 3}}, {"version": _VERSION | {"build": {"far": [1, "Net", "builder", "Net"]}}}),
    ]


def _read_hand_in(content: bytes) -> None:
    found = unpacked(content, "case.lab")
    judge.check_bounds(found.graph, found.recipe or Recipe(), load_rubric())
    found.graph.build()


def _reads_notebook(folder: Path) -> Read:
    def read(content: bytes) -> None:
        path = folder / "case.ipynb"
        path.write_bytes(content)
        found = collect(path)
        if found.copy is not None:
            Plan(found.copy, found.edition, quick=True).parts()

    return read


def _read_message(content: bytes) -> None:
    header, tensors = wire.unpacked(*wire.split(content))
    values = header.get("value")
    for value in values if isinstance(values, list) else [values]:
        repr(wire.Reader(tensors, lambda far: lambda: far).read(value))
    graph_in(header, tensors, IMAGES)


# -- the run ----------------------------------------------------------------------------------------------------------


def attempt(reader: Reader, content: bytes) -> str:
    """What becomes of one case: "taken", "refused", or what went wrong."""

    def hung(number: int, frame: Any) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(HANGS)
    try:
        reader.read(content)
        return "taken"
    except LabError as error:
        str(error).encode("utf-8")  # a message for a person can be printed
        return "refused" if str(error).strip() else "a message without words"
    except Hung:
        return f"hung for {HANGS} s"
    except Exception as error:
        return f"broken by {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def case(reader: Reader, chance: random.Random) -> bytes:
    """A changed hand-in or message."""
    if chance.random() < 0.5:
        return in_bytes(reader.content, chance)
    return reader.made(in_json(reader.parts, chance))


def fuzz(seconds: float, seed: int, all_readers: list[Reader], broken: Path) -> Counter[tuple[str, str]]:
    """Try cases for so long; what broke a reader is written to the folder `broken`. Counts by reader and outcome."""
    chance, counts = random.Random(seed), Counter[tuple[str, str]]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for reader in all_readers:
            content = case(reader, chance)
            outcome = attempt(reader, content)
            counts[reader.name, outcome] += 1
            if outcome not in ("taken", "refused") and counts[reader.name, outcome] == 1:
                broken.mkdir(parents=True, exist_ok=True)
                (broken / f"{reader.name}-{len(list(broken.iterdir()))}").write_bytes(content)
                print(f"{reader.name}: {outcome}", flush=True)
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--broken", type=Path, default=Path("build/fuzz"), help="a folder for what breaks a reader")
    options = parser.parse_args()
    faulthandler.enable()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(options.seconds, options.seed, readers(Path(folder)), options.broken)
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name:10} {outcome:10} {count:8,}")
    sys.exit(any(outcome not in ("taken", "refused") for _, outcome in counts))


if __name__ == "__main__":
    main()
