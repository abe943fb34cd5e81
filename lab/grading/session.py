"""The program inside the sandbox: it defines what a student wrote, and answers calls, each with one message.

It runs beside the student's code and is no judge: whatever it says may be the student's doing, and is read as such
(`lab/grading/answers.py`). It knows no right answer. Requests are read from file descriptor 3, answers written to 4.

    ready    are you there?
    define   a cell's text, its statements one after the other up to the first that fails
    what     is there something called so, and what kind of thing is it?
    call     what a function gives for these arguments
    graph    what a network executes on images of this shape
    find     the graph of the network that a file of the hand-in defines, by its definitions alone
    steps    steps of training, as `lab.attempts.take_steps`
    shelter  from here on as in a check (`lab.shelter`), or no longer
"""

import os
import select
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from lab import definitions, targets
from lab.attempts import graph_or_fault, is_open, take_steps
from lab.errors import LabError
from lab.grading import wire
from lab.graph import Graph, document_of, prepare_capture
from lab.shelter import sheltered

REQUESTS, ANSWERS = 3, 4
HAND_IN = "/hand-in"
"""Where a sandbox shows what was handed in."""
MAX_MESSAGE = 4000
"""Characters of an error's message."""

_Reply = tuple[dict[str, Any], dict[str, Tensor]]


class Session:
    """What the student defined, and what of it the other side may ask for by number."""

    def __init__(self) -> None:
        self.module = ModuleType("__main__")
        self.names = self.module.__dict__
        self.names |= {"get_ipython": lambda: _NoShell(), "display": lambda *shown, **options: None}
        self._kept: list[Any] = []
        self._shelter = ExitStack()
        self._verbs: dict[str, Callable[..., _Reply]] = {
            "ready": lambda tensors: ({"done": True}, {}),
            "define": self.define,
            "what": self.what,
            "call": self.call,
            "graph": self.graph,
            "steps": self.steps,
            "find": self.find,
            "shelter": self.shelter,
        }

    def answer(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> _Reply:
        """The answer to one request; what the student's code raises is an answer, too."""
        try:
            asked = dict(header)
            return self._verbs[asked.pop("verb")](tensors=tensors, **asked)
        except BaseException as error:  # SystemExit and KeyboardInterrupt, too: the session goes on
            return {"error": described(error)}, {}

    # -- verbs --------------------------------------------------------------------------------------------------------

    def define(self, source: str, title: str, tensors: dict[str, Tensor]) -> _Reply:
        """Execute a cell; `title` is what its lines are quoted by."""
        exec(definitions.compiled(definitions.Cell(title, source)), self.names)  # the student's: this is the inside
        return {"done": True}, {}

    def what(self, name: str, tensors: dict[str, Tensor]) -> _Reply:
        """The value of a name; nothing where it is none."""
        return self._value(self.names[name]) if name in self.names else ({"missing": True}, {})

    def call(self, what: str | int, arguments: list[Any], tensors: dict[str, Tensor]) -> _Reply:
        """Call a function by its name or its number."""
        reader = wire.Reader(tensors)
        return self._value(self._of(what)(*(reader.read(argument) for argument in arguments)))

    def graph(
        self, what: str | int, called: str, input_shape: tuple[int, int, int], tensors: dict[str, Tensor]
    ) -> _Reply:
        """The graph of a network, or what is wrong with it."""
        c, h, w = input_shape
        network = self._of(what)
        if not isinstance(network, nn.Module):
            return {"fault": f"{called} is no network, but {type(network).__name__}."}, {}
        found = graph_or_fault(called, network, (c, h, w))
        return ({"fault": found}, {}) if isinstance(found, str) else graph_message(found)

    def find(self, file: str, wanted: str, input_shape: tuple[int, int, int], tensors: dict[str, Tensor]) -> _Reply:
        """The graph of a file's network: the one with the wanted name, or its only one (`lab.targets` finds it)."""
        c, h, w = input_shape
        path = os.path.join(HAND_IN, file)
        statements = definitions.parse(definitions.cells(Path(path))).statements
        is_there = any(wanted in statement.binds for statement in statements)
        return graph_message(targets.resolve(f"{path}:{wanted}" if is_there else path, (c, h, w)))

    def steps(self, what: str | int, seed: int, number: int, tensors: dict[str, Tensor]) -> _Reply:
        """Steps of training by a function of the student's."""
        writer = wire.Writer()
        taken = take_steps(self._of(what), seed, number)
        done = [[writer.written(one.loss), writer.written(one.after), list(one.calls)] for one in taken]
        return {"steps": done}, writer.tensors

    def shelter(self, on: bool, tensors: dict[str, Tensor]) -> _Reply:
        """Enter the shelter of a check, or leave it."""
        self._shelter.close()
        if on:
            self._shelter.enter_context(sheltered())
        return {"done": True}, {}

    # -----------------------------------------------------------------------------------------------------------------

    def _of(self, what: str | int) -> Any:
        return self.names[what] if isinstance(what, str) else self._kept[what]

    def _value(self, value: Any) -> _Reply:
        writer = wire.Writer(self._keep)
        return {"value": writer.written(value)}, writer.tensors

    def _keep(self, value: Any) -> int:
        """The number of a value: the same for the same object."""
        known = next((number for number, kept in enumerate(self._kept) if kept is value), None)
        if known is None:
            self._kept.append(value)
        return len(self._kept) - 1 if known is None else known


def graph_message(graph: Graph) -> _Reply:
    """A graph as a message."""
    return {"graph": document_of(graph).model_dump(mode="json")}, dict(graph.weights)


def described(error: BaseException) -> dict[str, Any]:
    """What was raised, as data."""
    try:
        message = str(error)[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    except Exception:  # its own __str__
        message = ""
    kind = type(error).__name__[:100]
    return {"kind": kind, "message": message, "open": is_open(error), "told": isinstance(error, LabError)}


class _NoShell:
    """In IPython's place: magic and shell commands do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def main() -> None:
    """Answer requests until there are no more."""
    torch.set_num_threads(1)
    sys.path.append(HAND_IN)  # last: what lies beside a notebook can be imported, and takes no other module's place
    session = Session()
    serve(session.answer, session.module)


def serve(answer: Callable[[dict[str, Any], dict[str, Tensor]], _Reply], main: ModuleType | None = None) -> None:
    """Give each request to `answer` until there are no more. main: in the place of `__main__` meanwhile."""
    requests, answers = os.fdopen(REQUESTS, "rb"), os.fdopen(ANSWERS, "wb", buffering=0)
    if not select.select([requests], [], [], 0)[0]:  # nobody waits yet
        prepare_capture()
    if main is not None:
        sys.modules["__main__"] = main
    while head := requests.read(wire.HEAD_BYTES):
        header, body = wire.sizes(head)
        request = wire.unpacked(requests.read(header), requests.read(body))
        _send(answers, *answer(*request))
    os._exit(0)  # neither threads that go on nor what is registered for the end of Python


def _send(answers: BinaryIO, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    try:
        content = wire.packed(header, tensors)
    except wire.WireError as error:
        content = wire.packed({"error": described(error)}, {})
    view = memoryview(content)
    while view:
        view = view[answers.write(view) or 0 :]


if __name__ == "__main__":
    main()
