"""The four sets: their files, with size and SHA-256, and their classes.

The sums are those of the files themselves for MNIST and Fashion-MNIST. For KMNIST and QMNIST only the sums of the `.gz`
files are published.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One IDX file of a set."""

    name: str
    size: int  # bytes, unpacked
    sha256: str
    packed: bool  # the sum is that of NAME.gz: no other is published

    @property
    def stored(self) -> str:
        """Name of the file whose checksum is known."""
        return f"{self.name}.gz" if self.packed else self.name


@dataclass(frozen=True)
class Dataset:
    """A set of images, as torchvision has it too."""

    name: str
    torchvision: str  # torchvision's class, and its folder
    classes: tuple[str, ...]
    files: tuple[File, ...]  # train images, train labels, test images, test labels


DIGITS = tuple("0123456789")
GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_QMNIST_NAMES = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)
_MNIST_SUMS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
# Of the files, not of the .gz: Debian's package dataset-fashion-mnist holds the same files, packed anew.
_FASHION_SUMS = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_KMNIST_SUMS = (
    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
)
# QMNIST's authors publish none; TensorFlow Datasets and torchvision's prototype data sets list these.
_QMNIST_SUMS = (
    "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
    "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
    "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
    "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
)
_IMAGES, _LABELS, _QMNIST_LABELS = 16 + 28 * 28 * 10_000, 8 + 10_000, 12 + 4 * 8 * 60_000
_SIZES = (6 * (_IMAGES - 16) + 16, 6 * (_LABELS - 8) + 8, _IMAGES, _LABELS)
_QMNIST_SIZES = (_SIZES[0], _QMNIST_LABELS) * 2


def _files(names: Sequence[str], sizes: Sequence[int], sums: Sequence[str], packed: bool) -> tuple[File, ...]:
    return tuple(File(name, size, sha256, packed) for name, size, sha256 in zip(names, sizes, sums, strict=True))


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("mnist", "MNIST", DIGITS, _files(_NAMES, _SIZES, _MNIST_SUMS, packed=False)),
        Dataset("fashion_mnist", "FashionMNIST", GARMENTS, _files(_NAMES, _SIZES, _FASHION_SUMS, packed=False)),
        Dataset("kmnist", "KMNIST", HIRAGANA, _files(_NAMES, _SIZES, _KMNIST_SUMS, packed=True)),
        Dataset("qmnist", "QMNIST", DIGITS, _files(_QMNIST_NAMES, _QMNIST_SIZES, _QMNIST_SUMS, packed=True)),
    )
}
