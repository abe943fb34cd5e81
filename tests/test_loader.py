"""Saved graphs from anybody: what `load` accepts can be inspected, judged, trained, saved and loaded again.

`make test` tries some 2,000 mutations. A longer hunt, with other mutations every time:

    LAB_FUZZ_SECONDS=600 python -m pytest tests/test_loader.py -k hunt -s

It is guided by coverage: a mutant that executes a line of `lab/` (or refuses with words) not seen before is kept and
mutated further. What it found: dropout of whole channels warned of a vector (after 575 seconds), and a linear layer
with a bias for its weight passed (after 505).
"""

import copy
import dataclasses
import itertools
import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_operations import EXAMPLES
from torch import Tensor, nn

from lab import graph as graphs
from lab.data import Data, Labelled
from lab.errors import GraphError
from lab.graph import TO_DESCRIBE, Document, Graph, capture, load, redrawn, save
from lab.layers import layer_table
from lab.models import LabNet
from lab.operations import (
    KINDS,
    Activation,
    Add,
    Conv2d,
    Dropout,
    Interpolate,
    MaxPool,
    Operation,
    Pad,
    Reshape,
    Softmax,
)
from lab.receptive import footprint, receptive_fields
from lab.rules import judge, load_rubric
from lab.train import Recipe, fit

ROOT = Path(graphs.__file__).parent


def write(folder: Path, operations: list[Any], tensors: dict[str, Tensor], shape: Any = (1, 28, 28)) -> Path:
    """A saved graph as anybody could write it."""
    folder.mkdir(exist_ok=True, parents=True)
    stored = {name: {"shape": list(tensor.shape), "learnable": True} for name, tensor in tensors.items()}
    dumped = [op.model_dump() if isinstance(op, Operation) else op for op in operations]
    document = {"format": "lab994/graph", "version": 1, "input_shape": shape, "operations": dumped, "tensors": stored}
    (folder / "graph.json").write_text(json.dumps(document))
    save_file(tensors, folder / "weights.safetensors")
    return folder


def use(graph: Graph, folder: Path) -> None:
    """Everything that the lab does with a graph that it accepted."""
    layers = [layer.to_dict() for layer in layer_table(graph)]
    json.dumps(layers, allow_nan=False)
    (last,) = receptive_fields(graph)[-1:]
    for seen, said in zip(footprint(graph, last.name), last.box(), strict=True):
        assert not seen.size or said.low <= seen.low <= seen.high <= said.high, (seen, said)  # never too little
    for verdict in judge(load_rubric(), graph, epochs=1, accuracy=0.5):
        assert verdict.line().isascii() or verdict.line()
    network = graph.build()
    parameters = list(network.parameters())
    out = network(torch.rand(4, *graph.input_shape))
    assert out.shape == (4, *graph.output_shape)
    if out.requires_grad and parameters:
        optimizer = torch.optim.SGD(parameters, 1e-6)
        out.tanh().mean().backward()
        optimizer.step()
    with torch.no_grad():
        network.eval()(torch.rand(1, *graph.input_shape))
    after = network.snapshot()
    if all(bool(torch.isfinite(weight).all()) for weight in after.weights.values()):
        again = load(save(after, folder))
        assert again.operations == graph.operations
        assert set(again.weights) == set(graph.weights)


# -- what went wrong once ---------------------------------------------------------------------------------------------


def pool(name: str, source: str, shape: tuple[int, ...], kernel: int = 1, stride: int = 1) -> MaxPool:
    return MaxPool(
        name=name, inputs=(source,), shape=shape, kernel=(kernel, kernel), stride=(stride, stride), padding=(0, 0),
        dilation=(1, 1), ceil_mode=False,
    )  # fmt: skip


def conv(name: str, source: str, shape: tuple[int, ...], **more: Any) -> Conv2d:
    fields = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1} | more
    return Conv2d(name=name, inputs=(source,), shape=shape, weight="w", bias=fields.pop("bias", None), **fields)


def resize(side: int) -> Interpolate:
    shape = (1, side, side)
    return Interpolate(
        name="up", inputs=("input",), shape=shape, mode="nearest", size=(side, side), scale=None, align_corners=False
    )


def chain(length: int) -> list[MaxPool]:
    names = ["input", *(f"p{i}" for i in range(length))]
    return [pool(name, before, (1, 1, 1), 1, 4096) for before, name in itertools.pairwise(names)]


UNREAD = [pool(f"p{i}", "input", (1, 28, 28)) for i in range(1900)]
HOSTILE: dict[str, tuple[list[Any], dict[str, Tensor], Any, str]] = {
    "a huge image": ([pool("p", "input", (2**26,) * 3)], {}, (2**26,) * 3, "an image has .* numbers, limit 1,048,576"),
    "a long image": ([pool("p", "input", (1, 2**19, 1))], {}, (1, 2**19, 1), "rows and columns, limit 131,072"),
    "strides beyond all measure": (chain(100), {}, (1, 1, 1), "receptive field reaches more than"),
    "a map enlarged": ([resize(1400)], {}, (1, 28, 28), "numbers at once, limit 1,048,576"),
    "a map enlarged more": ([resize(4096)], {}, (1, 28, 28), "numbers at once, limit 1,048,576"),
    "outputs that nothing reads": (UNREAD, {}, (1, 28, 28), "nothing reads what 1899 operations compute"),
    "many maps": (
        [Softmax(name=f"s{i}", inputs=(f"s{i - 1}" if i else "input",), shape=(1, 64, 64), axis=1, log=False)
         for i in range(1100)], {}, (1, 64, 64), "rows and columns|all outputs",
    ),
    "a window over everything": (
        [pool("p", "input", (1, 341, 341), 342)], {}, (1, 682, 682), "steps, limit 536,870,912",
    ),
    "a bias of another size": (
        [conv("c", "input", (2, 28, 28), bias="b")], {"w": torch.ones(2, 1, 1, 1), "b": torch.ones(3)}, (1, 28, 28),
        "can't be computed",
    ),
    "a border as large as it gets": (
        [conv("c", "input", (1, 1, 1), padding=(4096, 4095, 4096, 4095), stride=(4096, 4096), kernel=(4096, 4096))],
        {"w": torch.ones(1, 1, 4096, 4096)}, (1, 28, 28), "at once|declared|computed",
    ),
    "celu's alpha": ([{"kind": "activation", "name": "a", "inputs": ["input"], "shape": [1, 28, 28],
                       "function": "celu", "arguments": [0.0]}], {}, (1, 28, 28), "alpha, which must not be 0"),
    "inplace in disguise": ([{"kind": "activation", "name": "a", "inputs": ["input"], "shape": [1, 28, 28],
                              "function": "relu", "arguments": [1.0]}], {}, (1, 28, 28), "relu takes 0 numbers"),
    "an axis that is not there": (
        [Softmax(name="s", inputs=("input",), shape=(1, 28, 28), axis=5, log=False)], {}, (1, 28, 28), "out of range",
    ),
    "images mixed": (
        [Reshape(name="r", inputs=("input",), shape=(2, 4)),
         Add(name="a", inputs=("r",), shape=(2, 4), tensor="w", alpha=1.0)], {"w": torch.ones(2, 2, 4)}, (1, 2, 4),
        "declared|computed",
    ),
    "padding across images": (
        [Reshape(name="r", inputs=("input",), shape=(8,)),
         Pad(name="p", inputs=("r",), shape=(8,), padding=(1, -1, 0, 0), value=0.0)], {}, (1, 2, 4), "no rows to pad",
    ),
    "a name that clears the screen": (
        [{**pool("p", "input", (1, 28, 28)).model_dump(), "name": "p\x1b[2J"}], {}, (1, 28, 28), "terminal escape",
    ),
    "a name of two lines": (
        [{**pool("p", "input", (1, 28, 28)).model_dump(), "name": "p\nPASS"}], {}, (1, 28, 28), "line break",
    ),
    "a slice of nothing": (
        [{"kind": "slice", "name": "s", "inputs": ["input"], "shape": [1, 28, 28], "axis": 1, "start": 3, "stop": 2,
          "step": 1}], {}, (1, 28, 28), "declared",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused_at_once_with_the_bound(tmp_path: Path, case: str) -> None:
    operations, tensors, shape, words = HOSTILE[case]
    started = time.perf_counter()
    with pytest.raises(GraphError, match=words) as error:
        load(write(tmp_path, operations, tensors, shape))
    assert time.perf_counter() - started < 5
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_elu_may_be_a_relu(tmp_path: Path, alpha: float) -> None:
    flat = Reshape(name="f", inputs=("input",), shape=(784,))
    elu = Activation(name="a", inputs=("f",), shape=(784,), function="elu", arguments=(alpha,))
    use(load(write(tmp_path, [flat, elu], {})), tmp_path / "again")


def test_what_is_read_late_is_kept_and_the_rest_is_freed(tmp_path: Path) -> None:
    layers = [conv(f"c{i}", f"c{i - 1}" if i else "input", (1, 28, 28)) for i in range(200)]
    last = Add(name="sum", inputs=("c199", "c0"), shape=(1, 28, 28), tensor=None, alpha=1.0)
    network = load(write(tmp_path, [*layers, last], {"w": torch.ones(1, 1, 1, 1)})).build().eval()
    alive: list[int] = []
    run = Conv2d.run

    def counted(self: Conv2d, inputs: list[Tensor], tensors: dict[str, Tensor], training: bool) -> Tensor:
        out = run(self, inputs, tensors, training)
        made.append(out.untyped_storage().data_ptr())
        alive.append(len(set(made)))
        return out

    made: list[int] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Conv2d, "run", counted)
        x = torch.rand(64, 1, 28, 28)
        torch.testing.assert_close(network(x), 2 * x)
    assert alive[-1] < 20  # memory that is given back is taken again


def test_words_are_made_harmless(tmp_path: Path) -> None:
    operation = pool("p", "input", (1, 28, 28)).model_dump() | {"line": "net.py, line 3: `\x1b]0;owned\x07\r\nPASS`"}
    assert load(write(tmp_path, [operation], {})).operations[0].line.isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("file", ["graph.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path: Path, file: str, kind: str) -> None:
    save(capture(LabNet()), tmp_path)
    (tmp_path / file).unlink()
    if kind == "fifo":
        os.mkfifo(tmp_path / file)
    elif kind == "folder":
        (tmp_path / file).mkdir()
    else:
        (tmp_path / file).symlink_to("/dev/zero")
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            load(tmp_path)
        except GraphError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert "no ordinary file" in str(caught[0]), caught


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    save(capture(LabNet()), tmp_path)
    with (tmp_path / "weights.safetensors").open("r+b") as file:
        file.truncate(2**30)  # a hole: it takes no room on the disk
    with pytest.raises(GraphError, match=r"larger than 134,217,728 bytes"):
        load(tmp_path)


def test_dropout_of_channels_takes_a_vector(tmp_path: Path) -> None:
    flat = Reshape(name="f", inputs=("input",), shape=(784,))
    drop = Dropout(name="d", inputs=("f",), shape=(784,), p=0.5, channels=True, training="follow")
    use(load(write(tmp_path, [flat, drop], {})), tmp_path / "again")


def test_what_cannot_be_written_down_gets_a_message(tmp_path: Path) -> None:
    graph = capture(LabNet())
    long = dataclasses.replace(graph, operations=graph.operations * 101)
    with pytest.raises(GraphError, match=r"can't be written down: at operations: .* at most 2000"):
        save(long, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_with_awkward_names_trains_like_any_other() -> None:
    digits = Labelled(torch.randint(0, 256, (64, 28, 28), dtype=torch.uint8), torch.arange(64) % 10)
    data = Data("digits", digits, None, tuple("0123456789"), "nowhere", lambda: digits)
    recipe = Recipe(epochs=1, batch_size=32, augment=None)
    results = []
    for new in ("20.bias", "training"):
        graph = capture(LabNet())
        last = graph.operations[-1].model_copy(update={"bias": new})
        stored = {new if name == "20.bias" else name: value for name, value in graph.tensors.items()}
        weights = {new if name == "20.bias" else name: value for name, value in graph.weights.items()}
        network = redrawn(Graph(graph.input_shape, (*graph.operations[:-1], last), stored, weights), 0).build()
        fit(network, data, recipe, progress=False)
        results.append(list(network.snapshot().weights.values()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# -- mutations --------------------------------------------------------------------------------------------------------

NUMBERS = [-1, 0, 1, 2, 3, 4, 5, 7, 9, 28, 63, 4096, 4097, 2**26, 2**63, -(2**63), 10**30]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, -1e308, 1e-5, 2.0]
TEXTS = ["", "input", "conv", "conv.weight", "a", "a.b", "graph", "\x1b[2J", "x\ny", "\ud800", "always", "never", "é"]


def examples() -> list[Graph]:
    """Small graphs, one of every kind: small ones are quick to try, and a change of theirs matters more often."""
    return [capture(EXAMPLES[kind.model_fields["kind"].default](), (1, 11, 9)) for kind in KINDS]


def as_json(graph: Graph) -> dict[str, Any]:
    document = Document(input_shape=graph.input_shape, operations=graph.operations, tensors=graph.tensors)
    return json.loads(document.model_dump_json())  # type: ignore[no-any-return]


def places(value: Any, holder: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: (holder, key)."""
    if holder is not None:
        yield holder, key
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(v, value, k)


def mutated(document: dict[str, Any], others: list[dict[str, Any]], dice: random.Random) -> dict[str, Any]:
    """Another document: some values changed, operations put in, taken out or swapped; most of them mended."""
    document = copy.deepcopy(document)
    for _ in range(dice.choice([1, 1, 2, 3])):
        try:
            change(document, others, dice)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError):
            break  # the change before took away what this one needs
    if dice.random() < 0.8:
        mend(document)
    return document


def change(document: dict[str, Any], others: list[dict[str, Any]], dice: random.Random) -> None:
    operations, how = document["operations"], dice.random()
    if how < 0.6:
        within = dice.choice(operations) if dice.random() < 0.8 else document
        holder, key = dice.choice(list(places(within)))
        holder[key] = another(holder[key], document, dice)
    elif how < 0.85:  # an operation of another graph
        new = copy.deepcopy(dice.choice(dice.choice(others)["operations"]))
        place = dice.randrange(len(operations))
        new["name"] = f"new{dice.randrange(99)}"
        names = [op["name"] for op in operations[:place]] or ["input"]
        new["inputs"] = [dice.choice(names[-3:]) for _ in new["inputs"]]
        for role in ("weight", "bias", "running_mean", "running_var", "tensor"):
            if new.get(role) is not None:
                new[role] = dice.choice([*document["tensors"], None])
        operations.insert(place, new)
        if place + 1 < len(operations):
            operations[place + 1]["inputs"][0] = new["name"]
    elif how < 0.95:
        i, j = dice.randrange(len(operations)), dice.randrange(len(operations))
        operations[i], operations[j] = operations[j], operations[i]
    else:
        operations.pop(dice.randrange(len(operations)))


def another(value: Any, document: dict[str, Any], dice: random.Random) -> Any:
    if isinstance(value, bool):
        return dice.choice([not value, None])
    if isinstance(value, int):
        return dice.choice([*NUMBERS, value + 1, value - 1, value * 2])
    if isinstance(value, float):
        return dice.choice(FLOATS)
    if isinstance(value, str):
        names = [op["name"] for op in document["operations"] if isinstance(op, dict) and "name" in op]
        return dice.choice([*TEXTS, *names, *document["tensors"], *(k.model_fields["kind"].default for k in KINDS)])
    if isinstance(value, list) and value:
        return dice.choice([value[::-1], value[1:], [*value, value[-1]], [another(v, document, dice) for v in value]])
    return dice.choice([None, 1, 0.5, "conv.weight", [], {}])


def mend(document: dict[str, Any]) -> None:
    """Make the declared shapes and tensors fit, as far as that goes, so that a mutant gets further than the schema."""
    try:
        values = {"input": torch.empty(2, *document["input_shape"], device="meta")}
        stored = document["tensors"]
        used = {}
        for raw in document["operations"]:
            kind = next(k for k in KINDS if k.model_fields["kind"].default == raw["kind"])
            op = kind.model_validate_json(json.dumps(raw))
            tensors = {n: torch.empty(stored[n]["shape"], device="meta") for n in op.stored()}
            used.update({n: stored[n] for n in op.stored()})
            out = op.run([values[n] for n in op.inputs], tensors, True)
            values[raw["name"]], raw["shape"] = out, list(out.shape[1:])
            if raw["kind"] == "reshape":
                raw["shape"] = [out[0].numel()]
        document["tensors"] = used
    except Exception:  # what can't be mended stays as it is: the loader has to say so
        return


def put(folder: Path, document: dict[str, Any], dice: random.Random) -> None:
    (folder / "graph.json").write_text(json.dumps(document))
    weights = {}
    for name, stored in document["tensors"].items():
        try:
            shape = [min(int(n), 64) for n in stored["shape"]]
            weights[name] = torch.randn(shape) if dice.random() < 0.995 else torch.full(shape, dice.choice(FLOATS))
        except (TypeError, RuntimeError, KeyError, ValueError):
            continue
    save_file({name: w for name, w in weights.items() if name.isprintable()}, folder / "weights.safetensors")


def tried(folder: Path, document: dict[str, Any], dice: random.Random) -> str:
    """ "" where the graph was accepted and everything worked; else the refusal, its names and numbers left out."""
    try:
        put(folder, document, dice)
    except (UnicodeEncodeError, AttributeError, TypeError):
        return "not written"
    try:
        graph = load(folder)
    except GraphError as error:
        return re.sub(r"'[^']*'|\d+", "", str(error))[:80]
    use(graph, folder / "again")
    return ""


def test_two_thousand_mutations_are_refused_with_a_message_or_work(tmp_path: Path) -> None:
    documents, dice = [as_json(graph) for graph in examples()], random.Random(994)
    refusals: dict[str, int] = {}
    for number in range(2000):
        document = mutated(documents[number % len(documents)], documents, dice)
        try:
            reason = tried(tmp_path, document, dice)
        except Exception as error:
            raise AssertionError(
                f"mutation {number}: {type(error).__name__}: {error}\n{json.dumps(document)}"
            ) from error
        refusals[reason] = refusals.get(reason, 0) + 1
    assert refusals.pop("") > 100  # accepted: what comes after the loader is tried as well
    assert len(refusals) > 30


def edges_of(edges: set[tuple[str, int, int]]) -> Callable[..., Any]:
    """A tracer that gathers the steps from line to line within the lab, as AFL counts coverage."""
    previous = 0

    def watch(frame: Any, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal previous
        if not frame.f_code.co_filename.startswith(str(ROOT)):
            return None
        if event == "line":
            edges.add((frame.f_code.co_filename, previous, frame.f_lineno))
            previous = frame.f_lineno
        return watch

    return watch


@pytest.mark.skipif("LAB_FUZZ_SECONDS" not in os.environ, reason="a hunt of minutes: set LAB_FUZZ_SECONDS")
def test_hunt(tmp_path: Path) -> None:
    corpus, others = [as_json(graph) for graph in examples()], [as_json(graph) for graph in examples()]
    seed = int(os.environ.get("LAB_FUZZ_SEED", time.time_ns()))
    dice, seen, reasons = random.Random(seed), set[tuple[str, int, int]](), set[str]()
    count, accepted, until = 0, 0, time.monotonic() + float(os.environ["LAB_FUZZ_SECONDS"])
    print("seed", seed)
    while time.monotonic() < until:
        document = mutated(dice.choice(corpus), others, dice)
        lines: set[tuple[str, int, int]] = set()
        sys.settrace(edges_of(lines))
        try:
            reason = tried(tmp_path, document, dice)
        except Exception as error:
            raise AssertionError(f"{error!r}\n{json.dumps(document)}") from error
        finally:
            sys.settrace(None)
        count, accepted = count + 1, accepted + (reason == "")
        if (lines - seen or reason not in reasons) and len(document["operations"]) < 60:
            corpus.append(document)
        seen |= lines
        reasons.add(reason)
    print(f"{count} mutants, {accepted} accepted, {len(corpus)} kept, {len(seen)} edges, {len(reasons)} refusals")


def test_what_is_only_described_may_be_as_large_as_imagenets_networks(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 112**2, 2)
    )
    folder = save(capture(net, (3, 224, 224)), tmp_path)
    assert layer_table(load(folder, TO_DESCRIBE))[-1].parameters == 2 * 64 * 112**2 + 2
    with pytest.raises(GraphError, match="numbers at once, limit 1,048,576"):
        load(folder)


def test_a_weight_with_another_number_of_axes_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Linear(10, 1))
    graph = capture(net)
    vector = graph.operations[2].model_copy(update={"weight": "1.bias", "bias": None, "shape": (1,)})
    tensors = {name: stored for name, stored in graph.tensors.items() if name.startswith("1.")}
    weights = {name: graph.weights[name] for name in tensors}
    mixed = dataclasses.replace(graph, operations=(*graph.operations[:2], vector), tensors=tensors, weights=weights)
    with pytest.raises(GraphError, match="its weight has 1 axes, expected 2"):
        load(save(mixed, tmp_path))
