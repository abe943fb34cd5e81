"""Of a hand-in, the code alone."""

import base64
import json
import os
import random
from pathlib import Path

import pytest

from lab import definitions
from lab.definitions import Cell, cells
from lab.grading.code_alone import MOST_CODE, MOST_FILES, CodeError, left_out_in_words, oddities, staged

NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# weights: 0.1 0.2"]},
        {
            "cell_type": "code",
            "source": ["x = 1\n", "y = 2"],
            "outputs": [{"text": "secret"}],
            "metadata": {"a": "secret"},
        },
        {"cell_type": "code", "source": "z = 3"},
    ],
    "metadata": {"secret": 1},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "hand-in"
    (place / "parts" / "deep").mkdir(parents=True)
    (place / "main.ipynb").write_text(json.dumps(NOTEBOOK))
    (place / "other.ipynb").write_text(json.dumps(NOTEBOOK))
    (place / "parts" / "net.py").write_text("class Net: pass")
    (place / "settings.json").write_text("{}")
    (place / "large.json").write_text("[" + "0.1," * 5000 + "0]")
    (place / "weights.pt").write_bytes(b"\x00" * 10)
    (place / ".hidden.py").write_text("")
    (place / "parts" / "link.py").symlink_to(tmp_path / "elsewhere.py")
    (tmp_path / "elsewhere.py").write_text("another hand-in")
    return place


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_code_and_small_texts_are_shown_and_weights_are_not(folder: Path) -> None:
    with staged(folder, "main.ipynb") as (place, left_out):
        assert files(place) == {"main.ipynb", "parts/net.py", "settings.json"}
        assert set(left_out) == {"large.json", "other.ipynb", "weights.pt", "parts/link.py"}
    assert not place.exists()


def test_a_notebook_is_its_code_cells_under_their_numbers(folder: Path) -> None:
    with staged(folder, "main.ipynb") as (place, _):
        assert "secret" not in (place / "main.ipynb").read_text()
        assert cells(place / "main.ipynb") == cells(folder / "main.ipynb")


def test_a_file_comes_alone(folder: Path) -> None:
    with staged(folder / "parts" / "net.py") as (place, left_out):
        assert files(place) == {"net.py"}
        assert left_out == ()


def test_what_is_no_file_is_a_message(folder: Path) -> None:
    with pytest.raises(CodeError, match=r"gone.py can't be read"), staged(folder / "gone.py"):
        pass
    os.mkfifo(folder / "pipe.py")
    with pytest.raises(CodeError, match="pipe"), staged(folder / "pipe.py"):
        pass
    with staged(folder, "main.ipynb") as (_, left_out):
        assert "pipe.py" in left_out


def test_too_much_is_a_message(folder: Path) -> None:
    (folder / "long.py").write_text("#" * MOST_CODE)
    with pytest.raises(CodeError, match="more than 1 MB of code"), staged(folder, "main.ipynb"):
        pass
    (folder / "long.py").unlink()
    for number in range(MOST_FILES):
        (folder / f"{number}.py").touch()
    with pytest.raises(CodeError, match="files"), staged(folder, "main.ipynb"):
        pass


def test_what_was_left_out_is_said_harmlessly() -> None:
    assert left_out_in_words([]) == []
    (said,) = left_out_in_words(["\x1b[2J.pt", *(f"{n}.pt" for n in range(20))])
    assert "\x1b" not in said
    assert said.endswith("8.pt and 11 more.")


RANDOM = random.Random(0)
PACKED = "\n".join(base64.b64encode(RANDOM.randbytes(45)).decode() for _ in range(60))


@pytest.mark.parametrize(
    "source",
    [
        "weights = [" + ", ".join(f"{RANDOM.gauss(0, 1):.2f}" for _ in range(1000)) + "]",
        "weights = [" + ", ".join(str(RANDOM.randint(-8, 7)) for _ in range(2000)) + "]",
        f"import torch\nx = '''{PACKED}'''",
        "def net():\n    pass\n" + "".join(f"# {line}\n" for line in PACKED.splitlines()),
        "# " + RANDOM.randbytes(1500).hex(),
    ],
)
def test_data_in_the_code_is_seen(source: str) -> None:
    (found,) = oddities([Cell("/hand-in/net.py", source), Cell("/hand-in/other.py", "x = 1")])
    assert found.startswith("net.py, from about line 1: ")


def test_code_and_prose_are_no_data() -> None:
    files = [*Path(definitions.__file__).parent.rglob("*.py"), *Path(__file__).parents[1].rglob("*.py")]
    texts = [Cell(str(path), path.read_text(encoding="utf-8")) for path in files if path.name != "catalogue.py"]
    assert len(texts) > 100
    assert oddities(texts) == []
