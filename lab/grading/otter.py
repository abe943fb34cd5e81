"""What Otter-grader 7 needs to give the points of one of the lab's notebooks: `lab otter mnist_994`.

    mnist_994-otter/tests/out-size.py   an exercise: its points, and a call of the lab's own check
    mnist_994-otter/otter_config.json   Otter's settings
    mnist_994-otter/requirements.txt    the lab, from the repository that the notebook fetches it from
    mnist_994-otter/environment.yml     PyTorch without CUDA
    mnist_994-otter/README.md           what to type, and what Otter cannot give

Otter executes the whole copy in a kernel, and then the tests in the same kernel, with the copy's names. Student code
therefore stands beside the verdict and can change it. `lab grade` keeps the two apart; Otter can't.
"""

import json
import re
from pathlib import Path

import nbformat

from lab._files import FileError, write_whole
from lab.course.copies import is_check, points_of
from lab.course.plan import TRAINS, Edition, editions, names_read
from lab.errors import LabError


class OtterError(LabError):
    """Nothing can be written for Otter: no such notebook, or a folder that holds something."""


def write_tests(name: str, folder: Path) -> Path:
    """Write what `otter generate` needs for the lab's notebook `name` into `folder`, a new or an empty one.

    Gives the folder. Raises OtterError, and FileError where it can't be written.
    """
    edition = _edition(name)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OtterError(f"{folder} is not empty: name another folder with --out, or remove it. Nothing is written.")
    try:
        (folder / "tests").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be written: {error.strerror or error}") from error
    for path, text in files_for(edition).items():
        write_whole(folder / path, text)
    return folder


def files_for(edition: Edition) -> dict[str, str]:
    """The files' texts, by their paths below the folder."""
    checks = {name.removesuffix("-check"): cell for name, cell in edition.named.items() if is_check(cell)}
    tests = {f"tests/{name}.py": test_file(name, cell) for name, cell in checks.items()}
    return tests | {
        "otter_config.json": json.dumps({"lang": "python", "logo": False, "print_summary": True}, indent=2) + "\n",
        "requirements.txt": f"lab994 @ {_repository(edition)}\n",
        "environment.yml": _ENVIRONMENT,
        "README.md": _readme(edition.name, checks),
    }


def test_file(name: str, check: nbformat.NotebookNode) -> str:
    """The test of one exercise: in Otter's format of Python functions, which are given the copy's names."""
    names = sorted(names_read(check.source) - {"checks"})
    taken = "\n".join(f'    {one} = env["{one}"]' for one in names)
    body = "\n".join(f"    {line}".rstrip() for line in check.source.strip().splitlines())
    test = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return _TEST.format(
        name=name, points=f"{points_of(check):g}", test=test, names=json.dumps(names), taken=taken, body=body
    )


# `checks` is imported in the test: an object that a copy calls so does not come in its place.
_TEST = '''"""Made by `lab otter`. It runs beside the student's code, which can change what comes out: see README.md."""

from otter.test_files import test_case

OK_FORMAT = False
name = "{name}"
points = {points}


@test_case(points={points})
def test_{test}(env):
    from lab import checks

    missing = [name for name in {names} if name not in env]
    if missing:
        raise NameError(f"{{', '.join(missing)}} is not defined in this copy: did its cell run without an error?")
{taken}
{body}
'''

_ENVIRONMENT = """# PyTorch without CUDA. `otter generate` adds its own packages, and requirements.txt.
channels:
  - conda-forge
dependencies:
  - pytorch-cpu>=2.6
  - torchvision>=0.21
"""

_README = """# {name} for Otter-grader 7

Made by `lab otter {name}`: {count} tests, one an exercise, {points} points. In this folder:

```sh
otter generate                             # writes autograder.zip, for Gradescope too
otter run COPY.ipynb -a autograder.zip     # grades one copy here; the lab has to be installed beside Otter
otter grade -n {name} -a autograder.zip COPIES   # grades a folder of copies in containers
```

`LAB_QUICK=1` before `otter run` makes the trainings short, and lowers the bars for accuracy to those of a quick run.
The exercises that train are given the copy's own log and recipe, and what its cells have trained is not trained again:
{training}.

## What Otter cannot give

- **It executes student code beside the verdict**: the whole copy and then these tests, in one Python process. A cell
  that replaces `lab.checks.out_size`, something of Otter's own, or the file of results takes any points that it likes.
  A container protects your machine and other copies, not this copy's grade. `lab grade COPY.ipynb` runs student code in
  a sandbox, compares outside of it, and gives the same points for honest work.
- A name counts as it is at the *end* of the copy: whoever uses an exercise's name again loses the exercise.
- A copy that ends its kernel (`os._exit(0)`, or a full memory) has no result at all, in no exercise.
- Every cell of the copy is executed, with all its trainings and plots: minutes a copy.
- The assignment's own points (parameters, epochs, accuracy) are no part of these: `lab grade` gives them.
"""


def _readme(name: str, checks: dict[str, nbformat.NotebookNode]) -> str:
    training = [exercise for exercise, cell in checks.items() if TRAINS in cell.metadata.get("tags", [])]
    points = f"{sum(map(points_of, checks.values())):g}"
    return _README.format(name=name, count=len(checks), points=points, training=", ".join(training) or "none")


def _edition(name: str) -> Edition:
    known = {edition.name: edition for edition in editions()}
    if name not in known:
        raise OtterError(f"there is no notebook {name!r}: take {', '.join(sorted(known)) or 'a clone of the lab'}.")
    return known[name]


def _repository(edition: Edition) -> str:
    """Where the notebook itself fetches the lab from: a fork's, in a fork."""
    found = re.search(r"git\+https://[^\s\"']+", "\n".join(cell.source for cell in edition.cells))
    if found is None:
        raise OtterError(f"{edition.name} does not say where the lab is fetched from: its first cell has no git+https.")
    return found[0]
