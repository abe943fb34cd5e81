"""The file that is handed in: the same content gives the same bytes, and no other bytes are read."""

import json
import os
import struct
import zipfile
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import few_digits
from torch import nn

from lab import hand_in, runs, submission
from lab.augment import Affine
from lab.graph import capture
from lab.submission import Cell, HandIn, HandInError, packed, read, unpacked, write
from lab.train import Recipe, TrainingError, fit

FEW = Recipe(epochs=1, batch_size=64, augment=None)


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def made(**changes: object) -> HandIn:
    """A hand-in of an untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        graph = capture(Small())
    cells = (Cell(kind="code", source="x = 1", grade_id="one"), Cell(kind="markdown", source="ä 🎲\n"))
    known = HandIn(graph, Recipe(epochs=3), "mnist_994", {"accuracy": 0.5}, cells, {"lab": "0.1.0"})
    return replace(known, **changes)  # type: ignore[arg-type]


ONE = made()
CONTENT = packed(ONE)


def same(one: HandIn, other: HandIn) -> bool:
    """Equal in every part, the weights to the last bit."""
    weights, others = one.graph.weights, other.graph.weights
    if weights.keys() != others.keys() or not all(torch.equal(weights[name], others[name]) for name in weights):
        return False
    return replace(one, graph=replace(one.graph, weights={})) == replace(other, graph=replace(other.graph, weights={}))


def parts_of(content: bytes = CONTENT) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def with_parts(**changes: bytes) -> bytes:
    """A file as the lab writes it, checksums and all, with other content: graph=… stands for graph.json."""
    parts = parts_of()
    for name, content in changes.items():
        parts[next(known for known in parts if known.startswith(name))] = content
    if "manifest" not in changes:
        manifest = json.loads(parts["manifest.json"])
        manifest["files"] = {
            name: submission._part(content).model_dump() for name, content in parts.items() if name != "manifest.json"
        }
        parts["manifest.json"] = json.dumps(manifest).encode()
    return submission._zipped(parts)


def manifest_with(**changes: object) -> bytes:
    return with_parts(manifest=json.dumps(json.loads(parts_of()["manifest.json"]) | changes).encode())


# -- the format -------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_any_zip_program_opens_it(tmp_path: Path) -> None:
    path = write(ONE, tmp_path / "net.lab")
    assert same(read(path), ONE)
    assert list(parts_of(path.read_bytes())) == list(submission._PARTS)
    assert os.listdir(tmp_path) == ["net.lab"]


def test_the_same_content_gives_the_same_bytes_and_digest() -> None:
    again = made(declared=dict(reversed({"accuracy": 0.5}.items())))
    weights = dict(reversed(ONE.graph.weights.items()))
    again = replace(again, graph=replace(again.graph, weights=weights))
    assert packed(again) == CONTENT
    assert again.digest == ONE.digest == unpacked(CONTENT, "net.lab").digest
    assert made(rubric="mnist_8k").digest != ONE.digest


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
affines = st.none() | st.builds(Affine, degrees=st.floats(0, 45))
recipes = st.none() | st.builds(Recipe, epochs=st.integers(1, 10**6), learning_rate=st.floats(1e-6, 1), augment=affines)
cells = st.lists(st.builds(Cell, kind=st.sampled_from(["code", "markdown"]), source=texts, grade_id=texts), max_size=4)
results = st.dictionaries(st.from_regex("[a-z_]{1,40}", fullmatch=True), st.floats(-1e9, 1e300), max_size=5)


@settings(max_examples=15, deadline=None)
@given(recipes, cells, results, st.sampled_from(["mnist_994", "fashion", "mnist_8k", "mnist_5k"]))
def test_whatever_is_in_it_comes_back(
    recipe: Recipe | None, written: list[Cell], declared: dict[str, float], rubric: str
) -> None:
    one = made(recipe=recipe, cells=tuple(written), declared=declared, rubric=rubric)
    assert same(unpacked(packed(one), "net.lab"), one)


def test_the_schema_in_the_package_is_the_models_and_describes_a_hand_in() -> None:
    from jsonschema import Draft202012Validator

    path = Path(submission.__file__).parent / "schemas" / "hand_in.schema.json"
    shipped, own = json.loads(path.read_text("utf-8")), submission.schema()
    assert shipped["properties"].keys() == own["properties"].keys()
    fields = [
        {name: sorted(kind.get("properties", {})) for name, kind in one["$defs"].items()} for one in (shipped, own)
    ]
    assert fields[0] == fields[1], "write json.dumps(lab.submission.schema(), indent=1) to it"
    checker = Draft202012Validator(shipped)
    Draft202012Validator.check_schema(shipped)
    files = {name: json.loads(content) for name, content in parts_of().items() if name.endswith(".json")}
    assert checker.is_valid(files)
    assert not checker.is_valid(files | {"cells.json": [{"kind": "raw", "source": ""}]})
    assert not checker.is_valid(files | {"manifest.json": files["manifest.json"] | {"version": 2}})


# -- reading what comes from anybody ----------------------------------------------------------------------------------


def zipped(*names: str, method: int = zipfile.ZIP_STORED) -> bytes:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        for name in names:
            file.writestr(name, parts_of().get(name, CONTENT if name.endswith(".lab") else b"{}"))
    return archive.getvalue()


DEEP = b"[" * 7000
BROKEN = {
    "empty": (b"", "is empty"),
    "a text": (b"accuracy: 100 %", "not a zip archive"),
    "an archive of something else": (zipped("../../etc/passwd"), "../../etc/passwd stands in it where manifest.json"),
    "an archive with the hand-in in it": (zipped("my_net.lab"), "Unpack it"),
    "names with terminal escapes": (zipped("\x1b[2J"), "\\x1b"),
    "an empty archive": (b"PK\x05\x06" + bytes(18), "not a zip archive"),
    "compressed": (zipped(*submission._PARTS, method=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "by another zip program": (zipped(*submission._PARTS), "not as the lab writes it"),
    "in another order": (zipped("graph.json", "manifest.json"), "graph.json stands in it where manifest.json"),
    "one twice": (CONTENT[: CONTENT.index(b"PK", 4)] + CONTENT, "manifest.json stands in it where graph.json"),
    "one left out": (zipped("manifest.json", "weights.safetensors"), "where graph.json"),
    "something before it": (b"#!/bin/sh\n" + CONTENT, "not a zip archive"),
    "something behind it": (CONTENT + b"PK", "something was added"),
    "a comment": (CONTENT[:-2] + b"\x05\0hello", "something was added"),
    "cut short": (CONTENT[:-1], "cut short"),
    "half of it": (CONTENT[: len(CONTENT) // 2], "cut short"),
    "a flag for encryption": (CONTENT[:6] + b"\1" + CONTENT[7:], "encrypted"),
    "a size beyond the limit": (CONTENT[:18] + struct.pack("<II", 2**31, 2**31) + CONTENT[26:], "limit 16,384"),
    "zip64's mark for a size": (CONTENT[:18] + b"\xff" * 8 + CONTENT[26:], "limit 16,384"),
    "another lab's": (manifest_with(format="otter/zip"), "another lab"),
    "no table": (with_parts(manifest=b"[1]"), "another lab"),
    "a newer format": (manifest_with(version=2, extra="new"), "newer lab"),
    "an older format": (manifest_with(version=0), "version"),
    "another assignment's": (manifest_with(rubric="cifar"), "'cifar', which this lab has not"),
    "a path for an assignment": (manifest_with(rubric="../../x"), "rubric"),
    "a key that nobody knows": (manifest_with(points=100), "points"),
    "other files in the manifest": (manifest_with(files={}), "other files"),
    "another sum": (manifest_with(files={"graph.json": {"bytes": 1, "sha256": "0"}}), "sha256"),
    "a result twice": (with_parts(results=b'{"accuracy": 1, "accuracy": 0}'), "given twice"),
    "a result that is no number": (with_parts(results=b'{"accuracy": NaN}'), "NaN is no number"),
    "a result beyond a machine's": (with_parts(results=b'{"accuracy": 1e999}'), "1e999 is no number"),
    "a result of 5,000 digits": (with_parts(results=b'{"accuracy": ' + b"9" * 5000 + b"}"), "5000 digits"),
    "a result as text": (with_parts(results=b'{"accuracy": "0.99"}'), "valid number"),
    "a result's name in escapes": (with_parts(results=b'{"\\u001b[2J": 1}'), "\\x1b"),
    "very deep": (with_parts(results=DEEP + b"]" * 7000), "results.json"),
    "very deep and open": (with_parts(recipe=DEEP), "recipe.json"),
    "cells with a lone surrogate": (with_parts(cells=b'[{"kind": "code", "source": "\\ud800"}]'), "cells.json"),
    "a cell of a third kind": (with_parts(cells=b'[{"kind": "raw", "source": ""}]'), "cells.json"),
    "too many cells": (with_parts(cells=json.dumps([{"kind": "code", "source": ""}] * 5001).encode()), "5000"),
    "too long cells": (with_parts(cells=json.dumps(["x" * 2**20]).encode()), "limit 1,048,576"),
    "a recipe that is a list": (with_parts(recipe=b"[]"), "no table"),
    "a recipe with a setting of its own": (with_parts(recipe=b'{"epoch": 3}'), "did you mean 'epochs'"),
    "a recipe without end": (with_parts(recipe=b'{"epochs": 99999999999999999999}'), "20 digits"),
    "a recipe that can't be": (with_parts(recipe=b'{"learning_rate": -1}'), "learning rate above 0"),
    "not UTF-8": (with_parts(recipe=b'{"\xff": 1}'), "recipe.json"),
    "a graph that is none": (with_parts(graph=b"{}"), "network that can't be judged"),
    "weights that are none": (with_parts(weights=b"\x80\x04pickle"), "weights that are none"),
    "weights of another network": (with_parts(weights=submission.save_tensors({"a": torch.zeros(1)})), "weights"),
    "other images": (packed(replace(ONE, graph=capture(nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), (3, 2, 2)))),
                     "images of 3x2x2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_the_lab_would_not_write_is_one_message(kind: str, tmp_path: Path) -> None:
    content, words = BROKEN[kind]
    (tmp_path / "net.lab").write_bytes(content)
    with pytest.raises(HandInError) as caught:
        read(tmp_path / "net.lab")
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(tmp_path / "net.lab"))
    assert message.isprintable()
    assert len(message) < 1000 + len(str(tmp_path))


def test_a_weight_that_is_no_number_is_told() -> None:
    weights = {name: torch.full_like(value, torch.nan) for name, value in ONE.graph.weights.items()}
    with pytest.raises(HandInError, match="NaN or infinity"):
        unpacked(packed(replace(ONE, graph=replace(ONE.graph, weights=weights))), "net.lab")


def test_no_file_a_folder_a_pipe_and_one_that_is_too_large_are_told(tmp_path: Path) -> None:
    with pytest.raises(HandInError, match="cannot read"):
        read(tmp_path / "none.lab")
    with pytest.raises(HandInError, match="folder"):
        read(tmp_path)
    large = tmp_path / "large.lab"
    with large.open("wb") as file:
        file.truncate(submission.MAX_BYTES + 1)  # takes no room
    with pytest.raises(HandInError, match="larger than"):
        read(large)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.lab")
        with pytest.raises(HandInError, match="pipe"):
            read(tmp_path / "pipe.lab")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_a_bit_that_flips_anywhere_is_noticed(place: int, bit: int) -> None:
    flipped = bytearray(CONTENT)
    flipped[place] ^= 1 << bit
    with pytest.raises(HandInError):
        unpacked(bytes(flipped), "net.lab")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_that_is_cut_anywhere_says_so(length: int) -> None:
    with pytest.raises(HandInError, match=r"cut short|is empty"):
        unpacked(CONTENT[:length], "net.lab")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_a_message(content: bytes, marked: bool) -> None:
    with pytest.raises(HandInError):
        unpacked((b"PK\x03\x04" if marked else b"") + content, "net.lab")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["epochs", "augment", "seed", "optimizer", "accuracy", "kind", "source", "format", "version"])
tables = st.dictionaries(names, values, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["manifest", "graph", "recipe", "results", "cells"]), values | tables | st.lists(tables, max_size=2)
)
def test_any_json_in_a_part_is_read_or_a_message(part: str, value: object) -> None:
    try:
        found = unpacked(with_parts(**{part: json.dumps(value).encode("utf-8", "replace")}), "net.lab")
    except HandInError:
        return
    assert same(unpacked(packed(found), "net.lab"), found)


# -- in the notebook --------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(model: nn.Module, recipe: Recipe = FEW) -> nn.Module:
    fit(model, replace(few_digits(), validation=None), recipe)
    return model


def test_the_network_of_a_class_that_was_trained_last_is_handed_in(here: Path, capsys: pytest.CaptureFixture) -> None:
    first, last = trained(Small()), trained(Small(), replace(FEW, seed=1))
    hand_in(Small, FEW)
    found = read(here / "small.lab")
    assert torch.equal(found.graph.weights["0.weight"], last.state_dict()["0.weight"].cpu())
    assert not torch.equal(found.graph.weights["0.weight"], first.state_dict()["0.weight"].cpu())
    assert (found.recipe, found.rubric, found.declared["epochs"]) == (FEW, "mnist_994", 1)
    assert found.declared["parameters"] == found.graph.parameters
    assert found.cells == ()  # no notebook
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(("PASS", "FAIL"))
    assert any(line.startswith("PASS epochs: 1,") for line in said)
    assert any(line.startswith("FAIL") for line in said)  # no dropout: told, and handed in all the same
    assert said[-1].startswith("small.lab: ")
    assert said[-1].endswith("your network with its weights, its recipe. Hand in this file.")


def test_a_class_that_was_defined_once_more_after_the_training_is_known_by_what_it_executes(here: Path) -> None:
    old = trained(Small())

    def defined_anew(slope: float | None) -> type:
        class Small(nn.Sequential):
            def __init__(self) -> None:
                act = nn.ReLU() if slope is None else nn.LeakyReLU(slope)
                super().__init__(nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), act, nn.Flatten(), nn.Linear(144, 10))

        return Small

    hand_in(defined_anew(None))
    assert torch.equal(read(here / "small.lab").graph.weights["0.weight"], old.state_dict()["0.weight"].cpu())
    with pytest.raises(HandInError, match="Small has not been trained here, as it is now: run the cell"):
        hand_in(defined_anew(0.1))


def narrow() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(16, 10))


def wide() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 10))


def test_of_functions_that_make_networks_of_one_class_each_finds_its_own(here: Path) -> None:
    one, two = trained(narrow()), trained(wide())
    hand_in(narrow, name="narrow")
    hand_in(wide, name="wide")
    found = [read(here / f"{name}.lab").graph.weights["2.weight"] for name in ("narrow", "wide")]
    assert [list(weight.shape) for weight in found] == [[10, 16], [10, 49]]
    assert torch.equal(found[0], one.state_dict()["2.weight"].cpu())
    assert read(here / "wide.lab").recipe == FEW  # as it was trained, where nobody says
    assert two is not one


def test_a_network_that_nobody_keeps_is_not_handed_in(here: Path) -> None:
    class Gone(Small):
        pass

    trained(Gone())
    import gc

    gc.collect()
    with pytest.raises(HandInError, match="Gone has not been trained here"):
        hand_in(Gone, FEW)
    assert os.listdir(here) == []


def test_what_is_no_network_is_a_message_and_writes_nothing(here: Path) -> None:
    def broken() -> nn.Module:
        raise ValueError("no\n")

    class Run:
        model = Small()

    for given_one, words in ((3, "this is a int"), (Run(), r"hand in its `\.model`"), (broken, r"broken\(\) fails"),
                             (lambda: 3, "gives int")):  # fmt: skip
        with pytest.raises(HandInError, match=words):
            hand_in(given_one)  # type: ignore[arg-type]
    with pytest.raises(TrainingError):
        hand_in(Small(), replace(FEW, epochs=0))
    with pytest.raises(HandInError, match="which this lab has not"):
        hand_in(Small(), FEW, rubric="cifar")
    with pytest.raises(HandInError, match="Free some space, or choose another folder"):
        hand_in(Small(), FEW, folder=here / "none")
    assert os.listdir(here) == []


def test_what_a_person_should_know_first_is_said(here: Path, capsys: pytest.CaptureFixture) -> None:
    hand_in(Small(), FEW)
    assert "(the lab has not trained this network here" in capsys.readouterr().out
    net = trained(Small())
    hand_in(net, replace(FEW, seed=5))
    assert "another recipe" not in capsys.readouterr().out
    hand_in(net, replace(FEW, epochs=15))
    assert "(it was trained with another recipe than this one" in capsys.readouterr().out


def test_the_test_accuracy_is_declared_where_the_test_set_was_opened(here: Path) -> None:
    from lab import open_test

    net = trained(Small())
    hand_in(net, FEW)
    assert "accuracy" not in read(here / "small.lab").declared
    opened = open_test(net, "to see what is declared", few_digits())
    hand_in(net, FEW)
    assert read(here / "small.lab").declared["accuracy"] == opened.accuracy


@pytest.mark.parametrize(
    ("name", "file"),
    [("MyNet", "my_net"), ("../../x", "x"), ("Netz Ä 2", "netz_2"), ("网络", "network"), ("HTTPNet", "httpnet")],
)
def test_a_file_has_a_name_that_any_system_takes(name: str, file: str) -> None:
    assert submission._file_name(name) == file


# -- the cells as text ------------------------------------------------------------------------------------------------


def notebook(*cells: tuple[str, str], **metadata: object) -> str:
    written = [{"cell_type": "code", "source": source, "metadata": {"nbgrader": known(name)} if name else {}}
               for name, source in cells]  # fmt: skip
    return json.dumps({"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def known(name: str) -> dict[str, object]:
    check = name.endswith("-check")
    return {"grade_id": name, "grade": check, "solution": not check, "locked": check, "schema_version": 3}


def test_a_notebooks_answers_keep_their_names_and_its_checks_stay_away(here: Path) -> None:
    path = here / "copy.ipynb"
    path.write_text(notebook(("", "import lab"), ("size", "def f(): pass"), ("size-check", "checks.f(f)"), ("", " ")))
    assert [(cell.source, cell.grade_id) for cell in submission.cells_of(f"{path}:MyNet")] == [
        ("import lab", ""),
        ("def f(): pass", "size"),
    ]
    (here / "net.py").write_text("x = 'ä'\n", encoding="utf-8")
    assert [cell.source for cell in submission.cells_of("net.py:Net")] == ["x = 'ä'\n"]
    assert submission.cells_of("lab.models:LabNet") == ()


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{}]}', "[" * 5000])
def test_a_broken_notebook_is_a_message(text: str) -> None:
    with pytest.raises(HandInError, match="no notebook with cells"):
        submission._cells_in(text)


def test_cells_with_odd_metadata_sources_and_surrogates_are_read() -> None:
    odd = [
        {"cell_type": "code", "source": ["a\n", 3, "b"], "metadata": None},
        {"cell_type": "code", "source": None},
        {"cell_type": "code", "source": "\ud800", "metadata": {"nbgrader": {"grade_id": 3, "solution": True}}},
        {"cell_type": "raw", "source": "left out"},
    ]
    found = submission._cells_in(json.dumps({"cells": odd}))
    assert [(cell.source, cell.grade_id) for cell in found] == [("a\nb", ""), ("?", "")]
    assert same(unpacked(packed(made(cells=tuple(found))), "net.lab"), made(cells=tuple(found)))


def test_of_cells_that_are_too_long_the_longest_are_left_out() -> None:
    short = [Cell(kind="code", source=f"x = {n}") for n in range(3)]
    picture = Cell(kind="markdown", source='"\n\x01' * 2**19)  # longer in JSON than as text
    kept = submission.bounded([short[0], picture, *short[1:]])
    assert list(kept) == short
    full = submission.bounded([Cell(kind="code", source="x" * 99_990 + str(n)) for n in range(30)])
    assert 5 < len(full) < 11
    assert packed(made(cells=full))  # fits
    assert len(submission.bounded(short * 4000)) == submission.MAX_CELLS


def test_a_saved_cell_is_handed_in_as_it_was_last_executed() -> None:
    saved = [
        Cell(kind="code", source="import lab"),
        Cell(kind="code", source="def f(n):\n    raise NotImplementedError", grade_id="size"),
        Cell(kind="code", source="def g(n):\n    return 2", grade_id="other"),
        Cell(kind="code", source="def f(n):\n    return 'mine'"),
        Cell(kind="code", source="lab.hand_in(MyNet)"),
    ]
    executed = [
        "import lab",
        "def f(n):\n    raise NotImplementedError",  # all cells are run
        "def g(n):\n    return 1",  # an attempt, before what is saved
        "def g(n):\n    return 2",
        "def f(n):\n    return n",  # not saved since
        "def f(n):\n    return 'mine'",  # a cell of its own, saved
        "%matplotlib inline",
        "lab.hand_in(MyNet)",
    ]
    found = submission._as_executed(saved, executed)
    assert [cell.source for cell in found[1:3]] == ["def f(n):\n    return n", "def g(n):\n    return 2"]
    assert found[1].grade_id == "size"
    assert [found[place] for place in (0, 3, 4)] == [saved[place] for place in (0, 3, 4)]


class Shell:
    """What IPython's shell tells of a session."""

    def __init__(self, *executed: str) -> None:
        self.history_manager = self
        self.input_hist_raw = ["", *executed]
        self.user_ns: dict[str, object] = {}


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    import IPython

    one = Shell("def f(): return 1", "%pip list", "\ud800 = 3", "lab.hand_in(Net)")
    monkeypatch.setattr(IPython, "get_ipython", lambda: one)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return one


def test_without_its_file_a_notebook_is_what_was_executed(shell: Shell) -> None:
    texts = ["def f(): return 1", "%pip list", "? = 3", "lab.hand_in(Net)"]
    assert [cell.source for cell in submission._cells_here()] == texts


@pytest.mark.parametrize("how", ["jupyter", "vscode"])
def test_where_its_file_is_known_a_notebook_is_all_of_its_cells(
    how: str, shell: Shell, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here / "copy.ipynb"
    if how == "jupyter":
        monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    else:
        shell.user_ns["__vsc_ipynb_file__"] = str(path)
    path.write_text(notebook(("size", "def f(): pass"), ("late", "never_run = 1"), ("", "lab.hand_in(Net)")))
    cells = submission._cells_here()
    assert [(cell.grade_id, cell.source) for cell in cells] == [
        ("size", "def f(): return 1"),
        ("late", "never_run = 1"),
        ("", "lab.hand_in(Net)"),
    ]
    for other in (notebook(("size", "of another notebook")), "broken"):
        path.write_text(other)
        assert len(submission._cells_here()) == 4


# -- from the command line --------------------------------------------------------------------------------------------


def test_a_graph_is_trained_and_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "load_data", lambda name: few_digits())
    one = submission.of_training(ONE.graph, FEW, "mnist_994", ())
    assert not torch.equal(one.graph.weights["0.weight"], ONE.graph.weights["0.weight"])
    assert (one.declared["epochs"], one.recipe) == (1, FEW)
    assert one.declared["accuracy"] == pytest.approx(runs.accuracy(one.graph.build(), few_digits().test), abs=0.01)


def test_a_place_that_can_not_be_written_is_told_before_the_training(here: Path) -> None:
    for path in (here, here / "none" / "net.lab"):
        with pytest.raises(HandInError, match="can't be written"):
            submission.require_place(path, "mnist_994")
    submission.require_place(here / "net.lab", "fashion")


def test_recipes_come_back_as_they_were() -> None:
    for recipe in (Recipe(), Recipe(augment=None, dropout=0.1), Recipe(muon=0.05, optimizer="sgd")):
        found = unpacked(packed(made(recipe=recipe)), "net.lab").recipe
        assert found is not None
        assert asdict(found) == asdict(recipe)
