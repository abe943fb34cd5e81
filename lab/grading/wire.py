"""What crosses the trust line: messages of bounded length, each a JSON header and a safetensors body.

    content = packed({"verb": "call", "name": "out_size"}, {})
    header, tensors = unpacked(*split(content))

Values are written down as data and read back as data: numbers, text, lists, tensors, versions of a design, recipes.
What has no such form becomes its text (`Other`). A network or a function stays where it is, and crosses as a number
that the other side can ask about (`Far`). Both sides use this module; the side that grades believes nothing of what it
reads, and turns whatever breaks the format into a WireError.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lab._json import read_json
from lab._terminal import harmless
from lab.design import Version
from lab.errors import LabError
from lab.recipes import changed
from lab.train import Recipe

MAX_HEADER = 8 * 2**20
MAX_BODY = 2**28
"""Bytes of a message's two parts: a graph's JSON has at most half of the first, its weights half of the second."""
MAX_TEXT = 20_000
"""Characters of one text."""
MAX_ITEMS = 100_000
"""Values in one message."""
MAX_DEPTH = 50
MAX_BITS = 1024
"""Of a whole number."""
_HEAD = struct.Struct(">4sII")
_MAGIC = b"LAB1"
HEAD_BYTES = _HEAD.size


class WireError(LabError):
    """A message that does not follow the format: whoever sent it does not follow the rules."""


# -- messages ---------------------------------------------------------------------------------------------------------


def packed(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A whole message. Raises WireError where it is too long, or holds what has no form."""
    try:
        text = json.dumps(header, allow_nan=False).encode()
        body = save_tensors({name: _stored(tensor) for name, tensor in tensors.items()}) if tensors else b""
    except (TypeError, ValueError, RecursionError, RuntimeError, SafetensorError) as error:
        raise WireError(f"a message can't be written: {error}") from error
    _check_sizes(len(text), len(body))
    return _HEAD.pack(_MAGIC, len(text), len(body)) + text + body


def sizes(head: bytes) -> tuple[int, int]:
    """How many bytes of header and body follow the first `HEAD_BYTES`. Raises WireError."""
    magic, header, body = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise WireError("what was sent is no message")
    _check_sizes(header, body)
    return header, body


def split(content: bytes) -> tuple[bytes, bytes]:
    """The header and the body of a whole message. Raises WireError."""
    if len(content) < HEAD_BYTES:
        raise WireError("what was sent is no message")
    header, body = sizes(content[:HEAD_BYTES])
    if len(content) != HEAD_BYTES + header + body:
        raise WireError("a message is shorter or longer than it says")
    return content[HEAD_BYTES : HEAD_BYTES + header], content[HEAD_BYTES + header :]


def unpacked(header: bytes, body: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A message's header and tensors. Raises WireError."""
    try:
        read = read_json(header)
        tensors = load_tensors(body) if body else {}
    except (ValueError, TypeError, RecursionError, OverflowError, RuntimeError, SafetensorError) as error:
        raise WireError(f"a message can't be read: {error}") from error
    if not isinstance(read, dict):
        raise WireError("a message's header is no table")
    return read, tensors


def _check_sizes(header: int, body: int) -> None:
    if header > MAX_HEADER or body > MAX_BODY:
        raise WireError(
            f"a message of {header:,} and {body:,} bytes is longer than the {MAX_HEADER:,} and {MAX_BODY:,} that may be"
        )


def _stored(tensor: Tensor) -> Tensor:
    """One that can be written: whole, on the CPU, its numbers in a row, and nobody else's."""
    return torch.Tensor.detach(tensor).as_subclass(Tensor).resolve_conj().resolve_neg().cpu().contiguous().clone()


# -- values as data ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Other:
    """What has no form of its own on the wire: its text alone came across."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Far:
    """A network or a function that stays on the other side: the number to ask for it by, and its text."""

    number: int
    text: str
    kind: str  # "network"; "function"; or "builder", which makes a version's network
    name: str  # what it is called

    def __repr__(self) -> str:
        return self.text


class Writer:
    """Writes values down for one message; `tensors` is its body."""

    def __init__(self, keep: Callable[[Any], int] | None = None) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._keep = keep
        self._items = 0

    def written(self, value: Any, depth: int = 0) -> Any:
        """The value as JSON. keep: where a network or a function is kept, and under which number."""
        self._items += 1
        if self._items > MAX_ITEMS or depth > MAX_DEPTH:
            return {"other": "..."}
        if value is None or type(value) is bool:
            return value
        if type(value) in (int, float):
            return _number(value)
        if isinstance(value, str):
            return str.__str__(value)[:MAX_TEXT].encode("utf-8", "replace").decode()
        if type(value) in (list, tuple):
            return {type(value).__name__: [self.written(item, depth + 1) for item in value]}
        if isinstance(value, Tensor | np.ndarray):
            return self._numbers(value)
        if isinstance(value, np.generic) and type(value).__module__ == "numpy" and value.dtype.kind in "iufb":
            return {"numpy": [value.dtype.name, _number(value.item())]}
        if type(value) is Fraction:
            return {"fraction": [_number(value.numerator), _number(value.denominator)]}
        if type(value) is Recipe:
            return {"recipe": asdict(value)}
        if self._keep is not None and type(value) is Version:
            fields = {"target": value.target, "analysis": value.analysis, **value.predicted}
            written = {name: self.written(one, depth + 1) for name, one in fields.items()}
            return {"version": written | {"build": self._far(value.build, "builder")}}
        if isinstance(value, nn.Module) or callable(value):
            return self._far(value, "network" if isinstance(value, nn.Module) else "function")
        return {"other": _text(value)}

    def _far(self, value: Any, kind: str) -> Any:
        """What stays here, and can be asked for by a number."""
        if self._keep is None:
            return {"other": _text(value)}
        name = str(getattr(value, "__name__", type(value).__name__))[:100].encode("utf-8", "replace").decode()
        return {"far": [self._keep(value), _text(value), kind, name]}

    def _numbers(self, value: Any) -> Any:
        """A tensor or an array; its text where safetensors has no form for it."""
        try:
            name, is_tensor = str(len(self.tensors)), isinstance(value, Tensor)
            tensor = _stored(value if is_tensor else torch.from_numpy(np.array(value)))
            save_tensors({"": tensor[:0] if tensor.dim() else tensor})  # is its kind of number known?
            self.tensors[name] = tensor
            return {"tensor" if is_tensor else "array": name}
        except (RuntimeError, TypeError, ValueError, KeyError, NotImplementedError, SafetensorError):
            return {"other": _text(value)}


def _number(value: int | float) -> Any:
    """As JSON has it: NaN and infinity, which it has not, as text; a whole number without end as none."""
    if isinstance(value, int):
        return value if value.bit_length() <= MAX_BITS else {"other": "a number of more than 300 digits"}
    return value if math.isfinite(value) else {"float": str(value)}


def _text(value: Any) -> str:
    """What it calls itself, in one line of at most 200 characters."""
    try:
        text = str(repr(value)).encode("utf-8", "replace").decode().splitlines()
        return text[0][:200] if text else ""
    except Exception:  # a class's own __repr__
        return f"a {type(value).__name__}"


class Reader:
    """Reads the values of one message. far: what stands in for a network or a function that stayed behind."""

    def __init__(self, tensors: Mapping[str, Tensor], far: Callable[[Far], Any] | None = None) -> None:
        self._tensors, self._far = tensors, far
        self._kinds: dict[str, Callable[[Any], Any]] = {
            "list": lambda given: [self.read(item) for item in _listed(given)],
            "tuple": lambda given: tuple(self.read(item) for item in _listed(given)),
            "tensor": self._tensor,
            "array": lambda given: self._tensor(given).numpy(),
            "numpy": _of_numpy,
            "float": lambda given: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[given],
            "fraction": lambda given: Fraction(*_numbers(given)),
            "recipe": lambda given: changed(Recipe(), _table(given)),
            "version": self._version,
            "far": self._stand_in,
            "other": lambda given: Other(harmless(_string(given))[:200]),
        }

    def read(self, given: Any) -> Any:
        """The value that stands there. Raises WireError for what no Writer writes."""
        if given is None or isinstance(given, str | bool | int | float):
            return given
        try:
            ((kind, content),) = _table(given).items()
            return self._kinds[kind](content)
        except LabError:
            raise
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, RecursionError) as error:
            raise WireError(f"a value can't be read: {error!r:.200}") from error

    def _tensor(self, name: Any) -> Tensor:
        return self._tensors[_string(name)]

    def _version(self, given: Any) -> Version:
        return Version(**{name: self.read(value) for name, value in _table(given).items()})

    def _stand_in(self, given: Any) -> Any:
        number, text, kind, name = _listed(given)
        if self._far is None or type(number) is not int or kind not in ("network", "function", "builder"):
            raise ValueError("nothing stays behind here")
        return self._far(Far(number, harmless(_string(text))[:200], kind, harmless(_string(name))[:100]))


def _of_numpy(given: Any) -> Any:
    kind, value = _listed(given)
    if np.dtype(_string(kind)).kind not in "iufb":
        raise ValueError("no kind of number")
    value = Reader({}).read(value)
    if not isinstance(value, bool | int | float):
        raise ValueError("no number")
    return np.dtype(kind).type(value)


def _numbers(given: Any) -> list[int]:
    numbers = [Reader({}).read(one) for one in _listed(given)]
    if any(type(one) is not int for one in numbers):
        raise ValueError("no whole numbers")
    return numbers


def _listed(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError("no list")
    return given


def _table(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError("no table")
    return given


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("no text")
    return given
