"""What stands in for a student's functions and networks where they are graded, and where no code of theirs ever runs.

    session = Session(sandbox)
    session.define(cell.source, "exercise 1")
    checks.out_size(session.named("out_size"))      # the arguments go into the sandbox, numbers come back

A stand-in sends its arguments to the program inside (`lab/grading/session.py`) and gives the data that comes back. What
the student's code raises there is raised here, under its name. Nothing that comes back is believed: a graph is checked
like any file (`lab.graph.assemble`), and a message that breaks the format ends the session.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from lab._terminal import harmless
from lab.attempts import FarAnswer, FarNetwork, Taken
from lab.errors import LabError
from lab.grading import wire
from lab.graph import Graph, assemble, parse, redrawn

START_SECONDS = 60.0
MAX_MESSAGE = 4000
MAX_HELD = 2**29
"""Bytes that all answers together may take here, for one cell or one check: a check holds them all."""
_JSON_TAKES = 16
"""So many times the bytes of its text a message's header may take as Python's objects."""
IMAGES = (1, 28, 28)
"""Shape of the images that a version's network is for."""


class Line(Protocol):
    """A line to the program inside: `lab.grading.sandbox.Sandbox` is one."""

    def send(self, content: bytes, deadline: float) -> None:
        """All of it, until `deadline` (time.monotonic())."""

    def receive(self, size: int, deadline: float) -> bytes:
        """Exactly so many bytes."""

    def close(self) -> None:
        """End what runs there."""


class BrokenSession(LabError):
    """The program inside does not answer as it does by itself: the student's code has changed or ended it."""


class Session:
    """A line to one student's code, and the stand-ins for what it defines."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._left = START_SECONDS
        self._room = MAX_HELD
        self._begun = False
        self._builders: dict[int, Builder] = {}  # by their number: each captures its network once
        self.broken = False  # nothing can be asked any more

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is asked inside is answered in so many seconds, all together; our own time between does not count.

        What is answered takes no more than `MAX_HELD`, all together.
        """
        if not self._begun:
            self.ask({"verb": "ready"})
            self._begun = True
        before, self._left, self._room = self._left, seconds, MAX_HELD
        try:
            yield
        finally:
            self._left = before

    @contextmanager
    def sheltered(self) -> Iterator[None]:
        """As `lab.shelter.sheltered`, on the other side."""
        self.ask({"verb": "shelter", "on": True})
        try:
            yield
        finally:
            if not self.broken:
                self.ask({"verb": "shelter", "on": False})

    def define(self, source: str, title: str) -> None:
        """Execute a cell. Raises what it raises."""
        self.ask({"verb": "define", "source": source, "title": title})

    def named(self, name: str) -> Any:
        """The stand-in, or the value, of what is called so. Raises NameError where nothing is."""
        header, tensors = self.ask({"verb": "what", "name": name})
        if header.get("missing"):
            raise NameError(f"name {name!r} is not defined")
        return self._value(header, tensors)

    def call(self, what: str | int, arguments: Sequence[Any]) -> Any:
        """What a function gives."""
        writer = wire.Writer()
        written = [writer.written(argument) for argument in arguments]
        return self._value(*self.ask({"verb": "call", "what": what, "arguments": written}, writer.tensors))

    def graph(self, what: str | int, called: str, input_shape: tuple[int, int, int]) -> Graph | str:
        """The graph of a network, or what is wrong with it. Raises GraphError for one that can't be believed."""
        asked = {"verb": "graph", "what": what, "called": called, "input_shape": input_shape}
        header, tensors = self.ask(asked)
        if isinstance(fault := header.get("fault"), str):
            return harmless(fault)[:MAX_MESSAGE]
        return graph_in(header, tensors, input_shape)

    def found(self, file: str, wanted: str, input_shape: tuple[int, int, int]) -> Graph:
        """The graph of the network that a file of the hand-in defines: of this name, where there is one of it.

        Raises what looking for it raises.
        """
        header, tensors = self.ask({"verb": "find", "file": file, "wanted": wanted, "input_shape": input_shape})
        return graph_in(header, tensors, input_shape)

    def steps(self, what: str | int, seed: int, number: int) -> list[Taken]:
        """Steps of training by a function of the student's."""
        header, tensors = self.ask({"verb": "steps", "what": what, "seed": seed, "number": number})
        reader, steps = wire.Reader(tensors), header.get("steps")
        if not isinstance(steps, list) or len(steps) != number:
            raise self._broken("other steps than were asked for")
        try:
            return [_taken(reader, *step) for step in steps]
        except TypeError as error:
            raise self._broken("steps that are none") from error

    def ask(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> Any:
        """One request, and its answer: (header, tensors). Raises what the code inside raised, or what ended it."""
        if self.broken:
            raise BrokenSession("the student's code has ended the session before.")
        answer, found = self._exchange(wire.packed(header, tensors or {}))
        if "error" in answer:
            raise raised(answer["error"])
        return answer, found

    def close(self) -> None:
        """End it."""
        self.broken = True
        self._line.close()

    # -----------------------------------------------------------------------------------------------------------------

    def _exchange(self, content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Send a message, and read one. Whatever goes wrong breaks the session."""
        started = time.monotonic()
        deadline = started + max(0.0, self._left)
        try:
            self._line.send(content, deadline)
            header, body = wire.sizes(self._line.receive(wire.HEAD_BYTES, deadline))
            self._room -= body + _JSON_TAKES * header
            if self._room < 0:
                raise self._broken(f"answers of more than {MAX_HELD >> 20} MB to one check")
            parts = [self._line.receive(size, deadline) if size else b"" for size in (header, body)]
            return wire.unpacked(*parts)
        except wire.WireError as error:
            raise self._broken(str(error)) from error
        except BaseException:
            self.close()
            raise
        finally:
            self._left -= time.monotonic() - started

    def _broken(self, what: str) -> BrokenSession:
        self.close()
        return BrokenSession(f"the code writes among the session's own answers ({what}). Take that out.")

    def _value(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
        try:
            return wire.Reader(tensors, self._stand_in).read(header.get("value"))
        except wire.WireError as error:
            raise self._broken(str(error)) from error

    def _stand_in(self, far: wire.Far) -> Any:
        kinds = {"network": Network, "function": Answer}
        if far.kind != "builder":
            return kinds[far.kind](self, far)
        return self._builders.setdefault(far.number, Builder(self, far))  # a check asks for a version again and again


def graph_in(header: Mapping[str, Any], tensors: dict[str, Tensor], input_shape: tuple[int, int, int]) -> Graph:
    """The graph that a message brings, checked like a file. Raises GraphError."""
    graph = assemble(parse(json.dumps(header.get("graph")).encode()), tensors)
    if graph.input_shape != tuple(input_shape):
        raise LabError(f"the network takes images of {graph.input_shape}; expected {tuple(input_shape)}.")
    return graph


def _taken(reader: wire.Reader, loss: Any, after: Any, calls: Any) -> Taken:
    parameters = reader.read(after)
    if not isinstance(parameters, Tensor) or not isinstance(calls, list) or len(calls) > 1000:
        raise TypeError
    return Taken(reader.read(loss), parameters, tuple(map(str, calls)))


# -- what was raised --------------------------------------------------------------------------------------------------


class RaisedError(Exception):
    """An error that the student's code raised on the other side; its class has the name that it had there."""


class ToldError(LabError):
    """A message of the lab's own to the student, from the other side."""


class StillOpen(NotImplementedError):
    """An exercise that is not done yet."""


def raised(given: Any) -> BaseException:
    """An error from its description."""
    given = given if isinstance(given, dict) else {}
    kind, message = (harmless(str(given.get(key, "")))[:MAX_MESSAGE] for key in ("kind", "message"))
    base = StillOpen if given.get("open") is True else ToldError if given.get("told") is True else RaisedError
    name = kind if kind.isidentifier() else base.__name__
    error: BaseException = type(name, (base,), {})(message)
    return error


# -- stand-ins --------------------------------------------------------------------------------------------------------


class Answer(FarAnswer):
    """A function of the student's, called on the other side."""

    def __init__(self, session: Session, far: wire.Far) -> None:
        self._session, self._far, self.__name__ = session, far, far.name

    def __call__(self, *arguments: Any) -> Any:
        """What it gives, as data. Raises what it raises."""
        return self._session.call(self._far.number, arguments)

    def steps(self, seed: int, number: int) -> list[Taken]:
        """As `lab.attempts.take_steps`."""
        return self._session.steps(self._far.number, seed, number)

    def __repr__(self) -> str:
        return repr(self._far)


class Network(FarNetwork):
    """A network of the student's, on the other side."""

    def __init__(self, session: Session, far: wire.Far) -> None:
        self._session, self._far = session, far

    def graph_on(self, name: str, input_shape: tuple[int, int, int]) -> Graph | str:
        """What it executes on images of this shape, or what is wrong with it."""
        return self._session.graph(self._far.number, name, input_shape)

    def __repr__(self) -> str:
        return repr(self._far)


class Builder(Answer):
    """What makes the network of a version: gives one that is rebuilt from its graph, with fresh first weights.

    They are drawn from PyTorch's seed, as they would be if the network were made here. What can't be captured stays on
    the other side, and says why when it is asked for its graph.
    """

    def __call__(self, *arguments: Any) -> Any:
        """The network, as an nn.Module where it has a graph. Raises what making it raises."""
        return redrawn(self._graph, torch.initial_seed()).build() if isinstance(self._graph, Graph) else self._made

    @cached_property
    def _made(self) -> Any:
        return super().__call__()

    @cached_property
    def _graph(self) -> Graph | str:
        made = self._made
        return made.graph_on(self.__name__, IMAGES) if isinstance(made, Network) else "it is no network"
