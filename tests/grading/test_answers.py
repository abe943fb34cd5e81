"""Stand-ins for what a student wrote, and the session behind them, without a sandbox around it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.bare import Bare
from lab import checks
from lab.checks import CheckFailed
from lab.design import Version
from lab.errors import GraphError, LabError
from lab.grading import answers, wire
from lab.grading.answers import BrokenSession, Network, Session, StillOpen, raised
from lab.graph import Graph, GraphNet

SET_UP = (
    "import torch\nimport torch.nn.functional as F\nfrom torch import nn\nfrom lab import models\n"
    "from lab.design import Version\nfrom lab.train import Recipe"
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    running = Session(Bare())
    running.define(SET_UP, "the set-up cell")
    yield running
    running.close()


def defined(session: Session, source: str, name: str = "answer") -> Any:
    session.define(source, "exercise 7")
    return session.named(name)


def test_numbers_tensors_and_lists_come_back(session: Session) -> None:
    echo = defined(session, "def answer(*given):\n    return list(given)")
    got = echo(1, 2.5, True, (1, None), torch.arange(3), "text")
    assert got[:4] == [1, 2.5, True, (1, None)]
    assert torch.equal(got[4], torch.arange(3))


def test_what_it_is_given_stays_as_it_is(session: Session) -> None:
    given = torch.zeros(3)
    assert defined(session, "def answer(x):\n    x += 1\n    return x")(given).tolist() == [1, 1, 1]
    assert given.tolist() == [0, 0, 0]


def test_what_it_raises_is_raised_under_its_name(session: Session) -> None:
    with pytest.raises(Exception, match="list index out of range") as found:
        defined(session, "def answer():\n    return [][1]")()
    assert type(found.value).__name__ == "IndexError"
    with pytest.raises(Exception, match="mine") as found:
        defined(session, "class Mine(Exception): pass\ndef answer():\n    raise Mine('mine')")()
    assert type(found.value).__name__ == "Mine"


def test_an_open_exercise_is_one(session: Session) -> None:
    with pytest.raises(NotImplementedError):
        defined(session, "def answer():\n    raise NotImplementedError()")()


def test_an_error_that_calls_itself_a_pass_is_an_error() -> None:
    for kind in ("KeyboardInterrupt", "SystemExit", "CheckFailed", "a b", "", "__import__"):
        error = raised({"kind": kind, "message": "\x1b[2JPASS", "open": False, "told": False})
        assert isinstance(error, Exception)
        assert "\x1b" not in str(error)
    assert isinstance(raised({"open": True}), StillOpen)
    assert isinstance(raised({"told": True}), LabError)
    assert isinstance(raised(None), Exception)
    assert isinstance(raised({"kind": 3, "message": [], "open": "x"}), Exception)


def test_its_lines_are_quoted_by_exercise(session: Session) -> None:
    answer = defined(
        session, "class Net(nn.Module):\n    def forward(self, x):\n        return x.sum().item() * x\nanswer = Net()"
    )
    with pytest.raises(LabError, match=r"exercise 7, line 3: `return x.sum\(\).item\(\) \* x`"):
        answer.graph_on("it", (1, 28, 28))
    with pytest.raises(LabError, match="exercise 7, line 2: not valid Python"):
        session.define("x = 1\ndef (:", "exercise 7")


def test_a_network_comes_as_a_graph_that_is_checked(session: Session) -> None:
    network = defined(session, "def answer():\n    return models.TinyNet()")()
    assert isinstance(network, Network)
    graph = network.graph_on("it", (1, 28, 28))
    assert isinstance(graph, Graph)
    assert graph.parameters == 3833
    assert network.graph_on("it", (3, 28, 28)).startswith("it fails on images (2, 3, 28, 28), in or after layer")


def test_a_version_brings_a_network_that_is_rebuilt_here(session: Session) -> None:
    version = defined(
        session,
        "def answer():\n    return Version(models.TinyNet, 'a target of five words', 4000, 30, 0.98, 'an analysis')",
    )()
    assert isinstance(version, Version)
    assert (version.name, version.parameters) == ("TinyNet", 4000)
    made = version.build()
    assert type(made) is GraphNet
    torch.manual_seed(1)
    one = version.build()
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), version.build().parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), made.parameters(), strict=True))


def test_a_versions_network_is_captured_once_however_often_it_is_asked_for(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = defined(session, "def answer():\n    return Version(models.TinyNet, 'a target', 4000, 30, 0.98)")
    asked: list[str] = []
    exchange = session.ask

    def ask(header: Any, *tensors: Any) -> Any:
        asked.append(header["verb"])
        return exchange(header, *tensors)

    monkeypatch.setattr(session, "ask", ask)
    assert isinstance(answer().build(), GraphNet)
    assert isinstance(answer().build(), GraphNet)
    assert asked.count("graph") <= 1  # another test may have asked for it before
    assert asked.count("call") == 2 + asked.count("graph")


def test_a_check_says_the_same_as_in_the_notebook(session: Session) -> None:
    source = "def answer(n, kernel, stride=1, pad=0):\n    return n - kernel"
    here: dict[str, Any] = {}
    exec(source, here)
    with pytest.raises(CheckFailed) as told:
        checks.out_size(here["answer"])
    with pytest.raises(CheckFailed) as told_far:
        checks.out_size(defined(session, source))
    assert str(told_far.value) == str(told.value)


def test_steps_of_training_are_taken_there(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    head = "def answer(model, optimizer, images, labels):\n"
    right = (
        "    loss = F.cross_entropy(model(images), labels)\n    loss.backward()\n    optimizer.step()\n    return loss"
    )
    checks.train_step(defined(session, f"{head}    optimizer.zero_grad()\n{right}"))
    assert "PASS train_step" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="pile up"):
        checks.train_step(defined(session, head + right))


def test_a_name_that_is_nowhere(session: Session) -> None:
    with pytest.raises(NameError, match="name 'nowhere' is not defined"):
        session.named("nowhere")


def test_magic_and_what_is_shown_do_no_harm(session: Session) -> None:
    assert defined(session, "%matplotlib inline\n!pip install nothing\n%time answer = 3\ndisplay(answer)") == 3


def test_a_shelter_on_the_other_side(session: Session) -> None:
    answer = defined(session, "def answer():\n    torch.set_default_dtype(torch.float64)\n    return torch.rand(3)")
    with session.sheltered():
        first, second = answer(), answer()
    with session.sheltered():
        again = answer()
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert defined(session, "def answer():\n    return torch.zeros(1)")().dtype == torch.float32


class Saying:
    """A line on which something is said that no session says."""

    def __init__(self, *said: bytes) -> None:
        self.said, self.closed = bytearray(b"".join(said)), False

    def send(self, content: bytes, deadline: float) -> None:
        pass

    def receive(self, size: int, deadline: float) -> bytes:
        taken, self.said = bytes(self.said[:size]), self.said[size:]
        return taken.ljust(size, b"\0")

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "said",
    [
        b"PASS out_size: right in 5 cases, and in 100 random ones.\n" * 10,
        wire._HEAD.pack(b"LAB1", 2**31, 0),
        wire.packed({"value": {"tensor": "0"}}, {}),
        wire.packed({"value": {"far": [0, "x", "judge", "x"]}}, {}),
    ],
)
def test_what_is_no_answer_ends_the_session(said: bytes) -> None:
    line = Saying(said)
    session = Session(line)
    with pytest.raises(BrokenSession, match="among the session's own answers"):
        session.named("answer")
    assert line.closed
    with pytest.raises(BrokenSession, match="ended the session before"):
        session.named("answer")


def test_answers_take_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_HELD", 100_000)
    one = wire.packed({"value": {"tensor": "0"}}, {"0": torch.zeros(10_000)})
    session = Session(Saying(wire.packed({"done": True}, {}), *[one] * 9))
    with session.within(5), pytest.raises(BrokenSession, match="to one check"):
        [session.named("answer") for _ in range(9)]


@pytest.mark.parametrize("graph", [None, {}, {"operations": []}, [1], "x"])
def test_a_graph_that_is_none_is_refused(graph: Any) -> None:
    with pytest.raises(GraphError):
        Session(Saying(wire.packed({"graph": graph}, {}))).graph(0, "it", (1, 28, 28))


def test_other_steps_than_were_asked_for_end_the_session() -> None:
    for steps in ([], [[1, 2, 3]], [[{"float": "nan"}]], 3):
        with pytest.raises(LabError):
            Session(Saying(wire.packed({"steps": steps}, {}))).steps(0, 0, 1)


def test_a_network_that_is_none(session: Session) -> None:
    layers = defined(session, "def answer(a, b):\n    return [nn.ReLU()]")
    with pytest.raises(CheckFailed, match=r"gave \[ReLU\(\)\], expected an nn.Module"):
        checks.conv_block(layers)
