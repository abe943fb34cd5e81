"""The fuzz run: it reaches what it is for, notices what breaks, and finds nothing in a few seconds."""

import json
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fuzz
import pytest
from corpus import ATTACKS, README, table

from lab.errors import LabError


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> list[fuzz.Reader]:
    return fuzz.readers(tmp_path_factory.mktemp("fuzz"))


def test_what_was_not_changed_is_taken(readers: list[fuzz.Reader]) -> None:
    for reader in readers:
        assert fuzz.attempt(reader, reader.content) == "taken", reader.name
        assert fuzz.attempt(reader, reader.made(reader.parts)) == "taken", reader.name


def test_changed_cases_are_taken_or_refused(readers: list[fuzz.Reader], tmp_path: Path) -> None:
    counts = fuzz.fuzz(2, 994, readers, tmp_path / "broken")
    assert {outcome for _, outcome in counts} <= {"taken", "refused"}, counts
    assert {name for name, _ in counts} == {"hand-ins", "notebooks", "messages"}
    assert not (tmp_path / "broken").exists()


def test_the_same_seed_gives_the_same_cases(readers: list[fuzz.Reader]) -> None:
    first, again = ([fuzz.case(readers[0], random.Random(seed)) for seed in range(5)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 1


def _without_words(content: bytes) -> None:
    raise LabError(" ")


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda content: json.loads("{"), "broken by JSONDecodeError"),
        (_without_words, "a message without words"),
    ],
)
def test_what_breaks_a_reader_is_counted_and_kept(
    read: fuzz.Read, outcome: str, readers: list[fuzz.Reader], tmp_path: Path
) -> None:
    broken = replace(readers[1], read=read)
    counts: Counter[tuple[str, str]] = fuzz.fuzz(0.05, 1, [broken], tmp_path)
    ((_, found),) = counts
    assert found.startswith(outcome)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_that_hangs_is_ended(readers: list[fuzz.Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HANGS", 1)
    began = time.monotonic()
    assert fuzz.attempt(replace(readers[0], read=lambda content: time.sleep(30)), b"x") == "hung for 1 s"
    assert time.monotonic() - began < 10


def test_every_line_of_the_list_has_an_attack() -> None:
    assert {attack.line for attack in ATTACKS} == set(range(1, 63))
    assert len({(attack.line, attack.name) for attack in ATTACKS}) == len(ATTACKS)


def test_the_readme_shows_every_attack() -> None:
    assert README.read_text(encoding="utf-8").endswith(f"\n\n{table()}\n")
