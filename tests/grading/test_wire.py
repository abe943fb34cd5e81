"""What crosses the trust line."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lab.design import Version
from lab.errors import LabError
from lab.grading import wire
from lab.grading.wire import Far, Other, Reader, WireError, Writer
from lab.train import Recipe


def across(value: Any, keep: Any = None, far: Any = None) -> Any:
    """The value as it arrives on the other side."""
    writer = Writer(keep)
    header, tensors = wire.unpacked(*wire.split(wire.packed({"value": writer.written(value)}, writer.tensors)))
    return Reader(tensors, far).read(header["value"])


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**1000), 2**1000)
    | st.floats(allow_nan=False)
    | st.fractions()
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_a_plain_value_arrives_as_it_was(value: Any) -> None:
    arrived = across(value)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3),
        torch.zeros(0, 4),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.arange(6.0).view(2, 3).t(),
        torch.randn(3, requires_grad=True),
        torch.randn(2, dtype=torch.bfloat16),
        torch.zeros(1, 3).expand(4, 3),
    ],
)
def test_a_tensor_arrives_as_it_was(tensor: Tensor) -> None:
    arrived = across([tensor, tensor])[1]
    assert type(arrived) is Tensor
    assert arrived.dtype == tensor.dtype
    assert torch.equal(arrived, tensor)


def test_arrays_and_numbers_of_numpy_stay_what_they_are() -> None:
    array = across(np.arange(4.0).reshape(2, 2)[:, ::-1])
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[1, 0], [3, 2]]
    number = across(np.float32(0.1))
    assert type(number) is np.float32
    assert number == np.float32(0.1)


def test_numbers_that_are_none_arrive() -> None:
    assert math.isnan(across(math.nan))
    assert across([math.inf, -math.inf]) == [math.inf, -math.inf]


def test_recipes_arrive() -> None:
    recipe = Recipe(epochs=3, augment=None, dropout=0.1)
    assert across(recipe) == recipe


class Equal(int):
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Answering(Tensor):
    """Answers as it likes."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.ones(3)


@pytest.mark.parametrize(
    "value",
    [
        Equal(3),
        object(),
        {1, 2},
        {"a": 1},
        b"bytes",
        2**2000,
        torch.randn(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
)
def test_what_has_no_form_arrives_as_its_text(value: Any) -> None:
    arrived = across(value)
    assert type(arrived) is Other
    assert arrived != value


def test_a_tensor_of_a_class_of_ones_own_arrives_as_a_plain_one_or_as_text() -> None:
    assert type(across(torch.zeros(2).as_subclass(Answering))) in (Tensor, Other)


def test_a_ring_and_a_deep_list_end() -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    for value in (ring, deep):
        assert isinstance(across(value), list)


def test_networks_and_functions_stay_where_they_are() -> None:
    kept: list[Any] = []

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    layer, version = nn.Linear(1, 1), Version(nn.ReLU, "target", 1, 1, 0.5)
    arrived = across([layer, len, version], keep, lambda far: far if far.kind != "builder" else (lambda: far))
    assert [type(one) for one in arrived[:2]] == [Far, Far]
    assert [arrived[0].kind, arrived[1].kind, arrived[2].build().kind] == ["network", "function", "builder"]
    assert kept == [layer, len, nn.ReLU]
    assert arrived[2].predicted == version.predicted


@pytest.mark.parametrize(
    "given_value",
    [
        {"far": [0, "x", "network", "x"]},  # nothing stays behind where nobody asked
        {"tensor": "7"},
        {"list": 3},
        {"nothing": 1},
        {"list": [], "tuple": []},
        {},
        [1],
        {"float": "NaN"},
        {"fraction": [1, 0]},
        {"numpy": ["object", 1]},
        {"numpy": ["float32", "x"]},
        {"numpy": ["int8", 1000]},
        {"recipe": {"epochs": "many"}},
        {"recipe": {"epochs": 0}},
        {"version": {"build": 3}},
        {"version": {"nothing": 3}},
    ],
)
def test_what_no_writer_writes_is_refused(given_value: Any) -> None:
    with pytest.raises(LabError):
        Reader({}).read(given_value)


MESSAGE = wire.packed({"value": [1, 2.5, "text", {"tensor": "0"}]}, {"0": torch.arange(5.0)})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.integers(0, len(MESSAGE) - 1).map(lambda end: MESSAGE[:end]))
def test_a_message_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        wire.unpacked(*wire.split(content))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(MESSAGE) * 8 - 1))
def test_a_flipped_bit_is_refused_or_read_as_data(bit: int) -> None:
    flipped = bytearray(MESSAGE)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        header, tensors = wire.unpacked(*wire.split(bytes(flipped)))
        Reader(tensors).read(header.get("value"))
    except LabError:
        pass


@pytest.mark.parametrize(
    "header", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b"3", b"\xff", b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_a_header_that_is_no_json_of_ours_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        wire.unpacked(header, b"")


def test_a_message_may_not_be_longer_than_it_may() -> None:
    head = wire._HEAD.pack(b"LAB1", wire.MAX_HEADER + 1, 0)
    with pytest.raises(WireError, match="longer than"):
        wire.sizes(head)
    with pytest.raises(WireError, match="longer than"):
        wire.packed({"a": "x" * wire.MAX_HEADER}, {})


def test_a_header_is_json_alone() -> None:
    header, _ = wire.split(wire.packed({"verb": "call"}, {}))
    assert json.loads(header) == {"verb": "call"}
