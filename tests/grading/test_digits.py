"""The digits that a script finds where it is graded."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stand_ins import flip_last_byte

from lab import _torchvision
from lab.data import Data, DataError, Labelled, read_idx
from lab.grading import digits


def untouchable() -> Labelled:
    raise AssertionError("the test set is read")


@pytest.fixture
def data() -> Data:
    """200 training images, all different: the first pixels count them."""
    images = torch.randint(0, 256, (200, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0] = torch.arange(200)
    return Data("mnist", Labelled(images, torch.arange(200) % 10), None, tuple("0123456789"), "here", untouchable)


@pytest.fixture
def place(data: Data, tmp_path: Path) -> Path:
    digits.write(data, tmp_path / "digits", test_images=40)
    return tmp_path / "digits"


def read(place: Path, name: str) -> torch.Tensor:
    return read_idx((place / digits.RAW / name).read_bytes())


def test_there_are_as_many_images_as_a_script_expects(place: Path) -> None:
    assert [len(read(place, name)) for name in digits.NAMES] == [200, 200, 40, 40]


def test_its_test_files_are_held_out_training_images_each_twice(data: Data, place: Path) -> None:
    train, test = (read(place, name)[:, 0, 0].tolist() for name in digits.NAMES[::2])
    assert sorted(test) == sorted(2 * list(set(test)))
    assert set(train).isdisjoint(test)
    assert set(train) | set(test) == set(range(200))
    held_out = data.split(seed=0, held_out=20).validation
    assert held_out is not None
    assert set(test) == set(held_out.images[:, 0, 0].tolist())


def test_labels_belong_to_their_images(place: Path) -> None:
    for images, labels in (digits.NAMES[:2], digits.NAMES[2:]):
        assert (read(place, images)[:, 0, 0] % 10).tolist() == read(place, labels).tolist()


def test_packed_files_hold_the_same(place: Path) -> None:
    for name in digits.NAMES:
        packed = gzip.decompress((place / digits.RAW / f"{name}.gz").read_bytes())
        assert packed == (place / digits.RAW / name).read_bytes()


def test_torchvision_finds_them(place: Path) -> None:
    mnist = _torchvision.datasets().MNIST
    assert [len(mnist(place, train=train)) for train in (True, False)] == [200, 40]


def test_the_same_images_give_the_same_files(data: Data, place: Path, tmp_path: Path) -> None:
    digits.write(data, tmp_path / "again", test_images=40)
    assert digits.sums_of(tmp_path / "again") == digits.sums_of(place)


def test_a_damaged_folder_is_made_anew(data: Data, place: Path) -> None:
    assert digits.is_whole(place)
    flip_last_byte(place / digits.RAW / digits.NAMES[0])
    assert not digits.is_whole(place)
    digits.write(data, place, test_images=40)
    assert digits.is_whole(place)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_folder_without_its_sums_is_not_whole(place: Path) -> None:
    (place / "sums.json").write_text("[]")
    assert not digits.is_whole(place)


def test_too_few_images_are_a_message(data: Data, tmp_path: Path) -> None:
    few = replace(data, train=Labelled(data.train.images[:30], data.train.labels[:30]))
    with pytest.raises(DataError):
        digits.write(few, tmp_path / "few", test_images=80)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cant_be_written_is_a_message(data: Data, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        digits.write(data, tmp_path / "file" / "digits", test_images=40)
