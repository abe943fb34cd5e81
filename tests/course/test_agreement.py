"""One answer, four judges, one verdict: its check, `lab check`, nbgrader on the executed copy, and `lab grade`.

The answers do what students' code does beside giving a number: it warns, prints, logs, seeds, changes PyTorch's
defaults, uses other cells, gives NumPy's numbers. All of them are judged in one kernel each.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.preprocessors import Execute
from nbgrader.utils import determine_grade

from benchmarks.bare import Bare
from lab import checks
from lab.course import plan
from lab.course.copies import read_copy
from lab.course.exercises import Exercise, check_copy
from lab.course.kernel import environment, this_python
from lab.course.plan import Edition
from lab.grading.answers import Session
from lab.grading.exercises import try_copy

SET_UP = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\nfrom lab import checks, models"
OTHER_CELL = (
    "from math import floor as down\nSCALE = 1\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
    "def places(n, kernel, stride, pad):\n    return (n + 2 * pad - kernel) // stride + 1"
)

NUMBER = "def answer(n, kernel, stride=1, pad=0):\n    {do}\n    return {give}"
RIGHT = "(n + 2 * pad - kernel) // stride + 1"
DOES = {
    "nothing": "pass",
    "warns": "import warnings; warnings.warn('old')",
    "warns once more": "import warnings; warnings.simplefilter('always'); warnings.warn('old', DeprecationWarning)",
    "PyTorch warns": "torch.tensor(torch.ones(1)); F.log_softmax(torch.ones(2, 2))",
    "NumPy warns": "import numpy; numpy.log(numpy.zeros(1))",
    "prints": "print('looking at', n)",
    "prints to stderr": "import sys; print('looking at', n, file=sys.stderr)",
    "holds on to stderr": "KEPT.write('looking')",
    "logs": "import logging; logging.getLogger('mine').error('looking')",
    "logs by a handler": "LOGGER.error('looking')",
    "writes to the file descriptor": "import os; os.write(2, b'looking')",
    "starts a program": "if n == 28:\n        import os; os.system('echo looking >&2')",
    "draws a bar": "from tqdm import tqdm; [None for _ in tqdm(range(2))]",
    "shows": "if n == 28:\n        from IPython.display import display; display(n)",
    "a thread writes": (
        "import sys, threading as t; it = t.Thread(target=lambda: print(n, file=sys.stderr)); it.start(); it.join()"
    ),
    "leaves a file open": "open(__import__('os').devnull)",
    "seeds": "import random, numpy; torch.manual_seed(0); numpy.random.seed(0); random.seed(0)",
    "changes the default dtype": "torch.set_default_dtype(torch.float64)",
    "switches gradients off": "torch.set_grad_enabled(False)",
    "changes the threads": "torch.set_num_threads(1)",
    "asks for errors": "import warnings; warnings.simplefilter('error')",
    "changes a global": "global COUNTED; COUNTED = n",
    "uses other cells": "SCALE + down(1.5) + len(device)",
}
WRONG = "(n + pad - kernel) // stride + 1"
GIVES_RIGHT = {
    "a tensor": f"torch.tensor({RIGHT})",
    "a tensor that needs gradients": f"torch.tensor(float({RIGHT}), requires_grad=True)",
    "an array": f"__import__('numpy').array([{RIGHT}])",
    "a number of NumPy's": f"__import__('numpy').int32({RIGHT})",
    "a float": f"float({RIGHT})",
    "a fraction": f"__import__('fractions').Fraction({RIGHT})",
    "another cell's": "places(n, kernel, stride, pad)",
}
GIVES_WRONG = {
    "a text": f"str({RIGHT})",
    "True": "True",
    "nothing": "None",
    "a generator": f"((yield {RIGHT}))",
    "what is nowhere": "nowhere(n)",
    "an end": "__import__('sys').exit(0)",
    "no end": "answer(n, kernel, stride, pad)",
    "an error": "1 / 0",
    "a wrong number, rarely": f"({RIGHT}) if kernel < 7 else 0",
}
PLAIN = NUMBER.format(do="pass", give=RIGHT)
IS_RIGHT = {
    "a lambda": f"answer = lambda n, kernel, stride=1, pad=0: {RIGHT}",
    "a partial": (
        f"from functools import partial\ndef more(extra, n, kernel, stride=1, pad=0):\n    return {RIGHT}\n"
        "answer = partial(more, 0)"
    ),
    "a callable": (
        f"class Kind:\n    def __call__(self, n, kernel, stride=1, pad=0):\n        return {RIGHT}\nanswer = Kind()"
    ),
    "cached": f"from functools import cache\n@cache\n{PLAIN}",
    "in a cell that fails behind it": f"{PLAIN}\nnowhere",
    "in a cell that writes to stderr": f"import sys; print('here', file=sys.stderr)\n{PLAIN}",
    "in a cell that warns": NUMBER.format(do="'\\d'", give=RIGHT),
    "in a cell that shows a value": f"{PLAIN}\nanswer(28, 3)",
}
IS_WRONG = {
    "a class": "class answer:\n    pass",
    "a number": "answer = 26",
    "in a cell that fails before it": f"nowhere\n{PLAIN}",
    "in a cell that is not Python": "def answer(:",
}
BATCH_NORM = "def answer(x, mean, variance, training, eps=1e-5):\n    {}\n"
STATISTICS = "if training: mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)"
SCALED = "(x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + eps).sqrt()"
LAST = "class answer(models.SeedNet):\n    def forward(self, x):\n        return {}"
BLOCK = "def answer(a, b):\n    return nn.Sequential(*models.conv_block(a, b))"
IN_FLOAT64 = "return F.batch_norm(x.double(), mean.double(), variance.double(), training=training, eps=eps)"
DROPPED = "x * (torch.rand_like(x) >= p) / (1 - p)"
OTHERS_RIGHT = {
    ("batch_norm", "plain"): BATCH_NORM.format(STATISTICS) + f"    return {SCALED}",
    ("batch_norm", "changes what it is given"): BATCH_NORM.format(STATISTICS)
    + "    x.sub_(mean.view(1, -1, 1, 1))\n    variance += eps\n    return x.div_(variance.view(1, -1, 1, 1).sqrt())",
    ("batch_norm", "needs gradients"): BATCH_NORM.format(STATISTICS) + f"    return ({SCALED}).requires_grad_()",
    ("batch_norm", "in float64"): BATCH_NORM.format(IN_FLOAT64),
    ("batch_norm", "on a device"): BATCH_NORM.format(STATISTICS) + f"    return ({SCALED}).to(device)",
    ("accuracy", "takes the batches away"): "def answer(batches):\n    right = n = 0\n    while batches:\n"
    "        logits, labels = batches.pop()\n        right += (logits.argmax(1) == labels).sum()\n"
    "        n += len(labels)\n    return right / n",
    ("drop", "plain"): f"def answer(x, p):\n    return {DROPPED}",
    ("drop", "with NumPy"): "import numpy\ndef answer(x, p):\n"
    "    return x * torch.tensor(numpy.random.rand(*x.shape) >= p) / (1 - p)",
    ("train_step", "with a bar"): "from tqdm import tqdm\ndef answer(model, optimizer, images, labels):\n"
    "    for _ in tqdm([1]):\n        optimizer.zero_grad()\n        loss = F.cross_entropy(model(images), labels)\n"
    "        loss.backward()\n        optimizer.step()\n    return loss.item()",
    ("without_flaw", "without dim"): LAST.format("F.log_softmax(self.fc(self.features(x)))"),
    ("conv_block", "plain"): BLOCK,
    ("conv_block", "on a device"): f"{BLOCK}.to(device)",
    ("mirror", "by an index"): "answer = lambda images: images[:, :, torch.arange(images.shape[2] - 1, -1, -1)]",
}
OTHERS_WRONG = {
    ("batch_norm", "unbiased"): BATCH_NORM.format(STATISTICS.replace(", correction=0", "")) + f"    return {SCALED}",
    ("batch_norm", "an array"): BATCH_NORM.format(STATISTICS) + f"    return ({SCALED}).numpy()",
    ("drop", "seeds"): f"def answer(x, p):\n    torch.manual_seed(0)\n    return {DROPPED}",
    (
        "train_step",
        "of a network that is nowhere",
    ): "def answer(model, optimizer, images, labels):\n    return net(images)",
    ("without_flaw", "with the flaw"): LAST.format("F.log_softmax(F.relu(self.fc(self.features(x))))"),
    ("share_right", "of whole numbers"): "def answer(matrix):\n    return matrix.softmax(1)",
    ("conv_block", "a list"): "def answer(a, b):\n    return models.conv_block(a, b)",
}


def rows() -> Iterator[tuple[str, str, str, bool]]:
    """(check, what the answer does, its source, is it right?)"""
    for does, do in DOES.items():
        yield "out_size", f"{does}, and is right", NUMBER.format(do=do, give=RIGHT), True
        yield "out_size", f"{does}, and is wrong", NUMBER.format(do=do, give=WRONG), False
    for right, gives, kinds, others in (
        (True, GIVES_RIGHT, IS_RIGHT, OTHERS_RIGHT),
        (False, GIVES_WRONG, IS_WRONG, OTHERS_WRONG),
    ):
        for name, give in gives.items():
            yield "out_size", f"gives {name}", NUMBER.format(do="pass", give=give), right
        for name, source in kinds.items():
            yield "out_size", name, source, right
        for (check, name), source in others.items():
            yield check, name, source, right


ANSWERS = list(rows())
HANDLER = (
    "import logging, sys\nKEPT = sys.stderr\nLOGGER = logging.Logger('here')\n"
    "LOGGER.addHandler(logging.StreamHandler(KEPT))"
)


def copy_of(answers: list[tuple[str, str, str, bool]]) -> NotebookNode:
    """A copy of a notebook with all of them, each an exercise of its own: `answer0`, `answer1` and so on."""
    cells = [new_code_cell(SET_UP, metadata={"tags": ["setup"]}), new_code_cell(OTHER_CELL), new_code_cell(HANDLER)]
    for number, (check, _, source, _) in enumerate(answers):
        known: dict[str, Any] = {"grade_id": f"e{number}", "schema_version": 3}
        answer = known | {"grade": False, "locked": False, "solution": True}
        checked = known | {
            "grade": True,
            "locked": True,
            "solution": False,
            "points": 1,
            "grade_id": f"e{number}-check",
        }
        cells.append(new_code_cell(named(source, number), metadata={"nbgrader": answer}))
        cells.append(new_code_cell(f"checks.{check}(answer{number})", metadata={"nbgrader": checked}))
    return new_notebook(cells=cells)


def named(source: str, number: int) -> str:
    """The source of an answer called `answer{number}`."""
    return source.replace("answer", f"answer{number}")


def by_its_check(check: str, source: str) -> bool:
    """In this process, as in a notebook: the cells before it, its own, its check."""
    cells: dict[str, Any] = {}
    for cell in (SET_UP, OTHER_CELL, HANDLER, source):
        with contextlib.suppress(Exception):
            exec(cell, cells)
    try:
        getattr(checks, check)(cells["answer"])
    except Exception:
        return False
    return True


def by_nbgrader(copy: NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """By its own way to execute a copy, and its own rule."""
    for name, value in environment(LAB_QUICK="1").items():
        monkeypatch.setenv(name, value)
    executed, _ = Execute(timeout=120, **this_python()).preprocess(copy, {"metadata": {"path": str(folder)}})
    graded = [cell for cell in executed.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return [determine_grade(cell)[0] == 1 for cell in graded]


def by_stand_ins(path: Path) -> list[Exercise]:
    """As `lab grade`: the code in another process, the checks here."""
    copy = read_copy(path)
    return try_copy(copy, Edition("here", tuple(copy.cells)), lambda: Session(Bare())).report.exercises


@pytest.mark.filterwarnings("ignore")  # of answers that warn in their own cells
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_four_judges_agree_on_every_answer(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "edition_sources", list)
    answers = ANSWERS[::every]
    assert {right for *_, right in answers} == {True, False}
    nbformat.write(copy_of(answers), tmp_path / "copy.ipynb")
    here = [by_its_check(check, source) for check, _, source, _ in answers]
    told = check_copy(tmp_path / "copy.ipynb").exercises
    graded = by_nbgrader(nbformat.read(tmp_path / "copy.ipynb", as_version=4), tmp_path, monkeypatch)
    graded_here = by_stand_ins(tmp_path / "copy.ipynb")
    verdicts = [
        (
            check,
            name,
            f"right: {right}",
            f"its check: {one}",
            f"lab check: {two.passed} {two.message}",
            f"nbgrader: {three}",
            f"lab grade: {four.passed} {four.message}",
        )
        for (check, name, _, right), one, two, three, four in zip(answers, here, told, graded, graded_here, strict=True)
        if not right == one == bool(two.passed) == three == bool(four.passed)
    ]
    assert not verdicts
