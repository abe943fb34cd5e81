"""What a reader gets: the images, their split, and test images that are read when they are asked for.

The real MNIST is loaded, and the real Fashion-MNIST where it is; the rest is tried with tiny stand-ins.
"""

from pathlib import Path

import pytest
import torch
from stand_ins import check, flip_last_byte

from lab import LabError, _torchvision, data
from lab._sources import cache
from lab._sources.catalogue import DATASETS
from lab.data import DataError

datasets = _torchvision.datasets()


# --- the real MNIST ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist() -> data.Data:
    """The real one, in the default cache; a session that has it there fetches nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAB_DATA", raising=False)
        return data.load("mnist")


def test_mnist_is_the_mnist_that_everyone_knows(mnist):
    assert mnist.train.images.shape == (60_000, 28, 28)
    assert mnist.test.images.shape == (10_000, 28, 28)
    assert mnist.train.images.dtype == mnist.test.images.dtype == torch.uint8
    assert mnist.train.labels.dtype == mnist.test.labels.dtype == torch.int64
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train.labels.bincount().tolist() == counts
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (len(mnist.train), len(mnist.test), mnist.validation) == (60_000, 10_000, None)
    assert mnist.classes == tuple("0123456789")


def test_mean_and_std_are_those_of_the_pixels(mnist):
    few = mnist.limit(500)
    pixels = few.train.images.double() / 255
    assert few.mean == pytest.approx(float(pixels.mean()), abs=1e-9)
    assert few.std == pytest.approx(float(pixels.std(correction=0)), abs=1e-9)
    assert (round(mnist.mean, 4), round(mnist.std, 4)) == (0.1307, 0.3081)


def test_torchvision_finds_the_same_files(mnist):
    for train, ours in ((True, mnist.train), (False, mnist.test)):
        theirs = datasets.MNIST(data.cache_root(), train=train, download=False)
        assert torch.equal(theirs.data, ours.images)
        assert torch.equal(theirs.targets, ours.labels)


# --- the split --------------------------------------------------------------------------------------------


def codes(part: data.Labelled) -> set[bytes]:
    return {image.tobytes() for image in part.images.numpy()}


def test_split_is_a_partition_that_keeps_each_class_in_its_share(mnist):
    split = mnist.split(994)
    assert (len(split.train), len(split.validation)) == (55_000, 5_000)
    shares = mnist.train.labels.bincount() * 5000 / 60_000
    held_out = split.validation.labels.bincount()
    assert (held_out - shares).abs().max() < 1
    assert torch.equal(split.train.labels.bincount() + held_out, mnist.train.labels.bincount())
    assert codes(split.train) | codes(split.validation) == codes(mnist.train)
    assert len(codes(mnist.train)) == 60_000  # no image occurs twice, so the next line says that none is shared
    assert not codes(split.train) & codes(split.validation)


def test_split_pairs_each_image_with_its_own_label(mnist):
    label_of = {
        image.tobytes(): int(label) for image, label in zip(mnist.train.images.numpy(), mnist.train.labels, strict=True)
    }
    validation = mnist.split(3).validation
    for image, label in zip(validation.images.numpy(), validation.labels, strict=True):
        assert label_of[image.tobytes()] == label


def test_split_depends_on_the_seed_alone(mnist):
    first, again, other = mnist.split(1), mnist.split(1), mnist.split(2)
    assert torch.equal(first.validation.images, again.validation.images)
    assert torch.equal(first.train.labels, again.train.labels)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_split_is_at_random_within_a_class(mnist):
    zeros = (mnist.train.labels == 0).nonzero().flatten()
    chosen = data._stratified(mnist.train.labels, 5000, seed=0)[zeros].double()
    early, late = chosen.chunk(2)
    assert early.sum() > 150  # of about 247 in each half
    assert late.sum() > 150


def test_limit_keeps_each_class_in_its_share(mnist):
    quick = mnist.split(0).limit(1000)
    assert (len(quick.train), len(quick.validation)) == (1000, 5000)
    shares = mnist.train.labels.bincount() * 1000 / 60_000
    assert (quick.train.labels.bincount() - shares).abs().max() < 1.1
    assert mnist.limit(60_000) is mnist
    assert not torch.equal(mnist.limit(10, seed=1).train.images, mnist.limit(10, seed=2).train.images)


@pytest.mark.parametrize(
    ("counts", "n", "quotas"),
    [([50, 50], 10, [5, 5]), ([1, 1, 1], 2, [1, 1, 0]), ([9, 1], 5, [5, 0]), ([0, 7, 3], 5, [0, 4, 1])],
)
def test_quotas_add_up(counts, n, quotas):
    assert data._quotas(torch.tensor(counts), n) == quotas


def test_what_cannot_be_held_out_is_refused(mnist):
    with pytest.raises(DataError, match="already split: 5,000"):
        mnist.split(0).split(1)
    with pytest.raises(DataError, match=r"Cannot choose 5,000 of 100 images"):
        mnist.limit(100).split(0)
    with pytest.raises(DataError, match="Cannot choose 0 of"):
        mnist.limit(0)


def test_unknown_name():
    with pytest.raises(LabError, match=r"'cifar'.*mnist, fashion_mnist, kmnist, qmnist"):
        data.load("cifar")


def test_fashion_mnist_is_the_one_that_everyone_knows(monkeypatch):
    monkeypatch.delenv("LAB_DATA", raising=False)
    if cache.lacking(DATASETS["fashion_mnist"]):
        pytest.skip("`make data` could not fetch Fashion-MNIST")
    fashion = data.load("fashion_mnist")
    assert fashion.train.images.shape == (60_000, 28, 28)
    assert fashion.test.images.shape == (10_000, 28, 28)
    assert fashion.train.labels.bincount().tolist() == [6000] * 10
    assert fashion.test.labels.bincount().tolist() == [1000] * 10
    assert fashion.classes[int(fashion.train.labels[0])] == "Ankle boot"
    assert round(fashion.mean, 4) == 0.2860


@pytest.mark.parametrize("harm", [Path.unlink, flip_last_byte])
def test_test_files_become_tensors_nowhere_but_in_test(stand_in, tmp_path, harm):
    tiny = stand_in()
    own = tiny.put(tmp_path / "own")
    loaded = data.load("mnist", own)
    for path in own.glob("t10k-*"):
        harm(path)
    parts = loaded.split(0, held_out=10).limit(5)
    assert (len(parts.train), len(parts.validation)) == (5, 10)
    assert 0 < parts.mean < 1
    for reader in (loaded, parts):
        with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
            _ = reader.test
    tiny.put(own)
    check(loaded, tiny)  # the failure is not remembered


def test_all_parts_share_one_reading_of_the_test_files(stand_in):
    tiny = stand_in()
    tiny.put(tiny.raw)
    loaded = data.load("mnist")
    parts = loaded.split(0, held_out=10)
    assert parts.limit(5).test is loaded.test
    assert parts.test is loaded.test
