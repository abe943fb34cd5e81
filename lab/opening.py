"""When was the test set opened, and why? Reading it is an act of its own, counted and dated.

A figure measured on the test images is honest once. Every further network that is measured on them, and every choice
made because of what came out, turns them into validation images (see `lab.stats.optimism_by_size`).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from torch import Tensor, nn

from lab.data import Data, Labelled, load
from lab.errors import LabError
from lab.train import is_watched, predict

LOG = "test_openings.jsonl"
"""The file beside the notebook that keeps the openings, a line each."""


class OpeningError(LabError):
    """The test set can't be opened this way."""


@dataclass(frozen=True)
class Opening:
    """One network, measured on the test images."""

    dataset: str
    network: str  # what the weights are told apart by
    date: str  # ISO 8601, local time with its offset
    reason: str
    accuracy: float  # on all test images, 0..1


@dataclass(frozen=True)
class Opened:
    """What is seen when the test set is open."""

    test: Labelled
    logits: Tensor = field(repr=False)  # (N, classes)
    openings: tuple[Opening, ...]  # of this data set so far, this one among them
    this: Opening
    warning: str = ""  # where the opening could not be written down

    @property
    def accuracy(self) -> float:
        """On all test images, 0..1."""
        return self.this.accuracy

    @property
    def mistakes(self) -> Tensor:
        """The images (n,) that are classified wrongly, by number; those that the network is surest of come first."""
        sure, answers = self.logits.softmax(1).max(1)
        wrong = (answers != self.test.labels).nonzero().flatten()
        return wrong[sure[wrong].argsort(descending=True)]

    def __str__(self) -> str:
        right = len(self.test) - len(self.mistakes)
        lines = [f"{right:,} of {len(self.test):,} test images classified correctly: {self.accuracy:.2%}"]
        lines += [
            f"opening {number} of the test set, {each.date[:16].replace('T', ' ')}: {each.accuracy:.2%}, {each.reason}"
            for number, each in enumerate(self.openings, 1)
        ]
        return "\n".join([*lines, *filter(None, [self.warning])])

    __repr__ = __str__


_THIS_SESSION: list[Opening] = []


def open_test(model: nn.Module, reason: str, data: Data | None = None) -> Opened:
    """Measure a network on the test images, all of them, and write down when and why.

    The openings are kept in the file `test_openings.jsonl` in the folder that the notebook runs in, and counted from
    there; where nobody watches (LAB_PROGRESS=0), and where the file can't be written, for this session only. The same
    weights once more are the same opening: they tell nothing new.

    data: with the test images; MNIST if left out. reason: in words; it is printed with the verdict.

    Raises OpeningError without a reason and for a log that can't be read, TrainingError as `predict` does, DataError.
    """
    reason = " ".join(reason.split()) if isinstance(reason, str) else ""
    if len(reason) < 5:
        raise OpeningError("say why you open the test set: lab.open_test(net, 'the network that I chose on ...').")
    path = Path(LOG) if is_watched() else None
    known = _read(path) if path is not None else []
    data = data or load()
    logits = predict(model, data.test.images)
    found = int((logits.argmax(1) == data.test.labels).sum()) / len(data.test)
    this = Opening(data.name, _fingerprint(model), datetime.now().astimezone().isoformat("T"), reason, found)
    merged = [*known, *(each for each in _THIS_SESSION if each not in known)]
    same = next((each for each in merged if (each.dataset, each.network) == (this.dataset, this.network)), None)
    warning = ""
    if same is None:
        merged.append(this)
        _THIS_SESSION.append(this)
        warning = _append(path, this) if path is not None else ""
    openings = tuple(each for each in merged if each.dataset == this.dataset)
    return Opened(data.test, logits, openings, same or this, warning)


def accuracy_of(model: nn.Module) -> float | None:
    """On the test images, 0..1, where they were opened for this network in this session; None elsewhere."""
    network = _fingerprint(model) if _THIS_SESSION else ""
    return next((each.accuracy for each in reversed(_THIS_SESSION) if each.network == network), None)


def _fingerprint(model: nn.Module) -> str:
    """Told apart by its weights, to the last bit."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> list[Opening]:
    try:
        lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise OpeningError(
            f"{path.resolve()} can't be read: {error}. It keeps when the test set was opened."
        ) from error
    openings = []
    for number, line in enumerate(lines, 1):
        try:
            openings.append(Opening(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise OpeningError(
                f"{path.resolve()}, line {number}, is no opening of the test set. Move the file away to start anew."
            ) from error
    return openings


def _append(path: Path, opening: Opening) -> str:
    """Write one more line; gives what to say where that fails."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(opening)) + "\n")
    except OSError as error:
        return f"(not kept beyond this session: {path.resolve()} can't be written, {error.strerror or error})"
    return ""
