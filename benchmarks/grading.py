"""How long does it take to grade one hand-in: the lab, nbgrader, Otter? And what does the sandbox cost?

The copies hold the exercises that need no training: nobody's clock is to measure PyTorch. Each grader is called as a
person calls it, as a program: its start and its imports are part of what it takes.

Otter lives in an environment of its own, whose Python `LAB_BENCH_OTTER` names. Where that is not set it is left out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from benchmarks.bare import Bare
from benchmarks.records import Record
from lab import submission
from lab.course import editions
from lab.course.copies import grade_id_of, is_answer, is_check, points_of, read_copy
from lab.course.plan import TRAINS, edition_of
from lab.grading.answers import Line, Session
from lab.grading.collect import collect
from lab.grading.exercises import try_copy
from lab.grading.otter import write_tests
from lab.grading.sandbox import Sandbox
from lab.grading.training import Training
from lab.graph import capture, prepare_capture
from lab.models import LabNet
from lab.train import Recipe

NAME = "mnist_994"
COPIES = ("solved", "with mistakes", "untouched")
OTTER = "LAB_BENCH_OTTER"
LONGEST = 600.0
"""Seconds for one program."""

Work = Callable[[], Record]


def works(folder: Path) -> dict[str, Work]:
    """All that is timed, by name, ready to be called again and again. folder: for copies and courses."""
    copies = {copy: folder / "copies" / copy.replace(" ", "-") / f"{NAME}.ipynb" for copy in COPIES}
    for copy, path in copies.items():
        path.parent.mkdir(parents=True)
        nbformat.write(made(copy), path)
    graders: dict[str, Callable[[str, Path], Record]] = {
        "lab grade": lambda copy, path: by_the_lab(path),
        "nbgrader": nbgrader(folder / "course", copies, made("source")),
    }
    whole = folder / "whole" / f"{NAME}.ipynb"
    whole.parent.mkdir()
    nbformat.write(editions.solved_edition(NAME), whole)
    whole_course = nbgrader(folder / "whole-course", {"whole": whole}, editions._source(NAME))
    if python := os.environ.get(OTTER):
        graders["Otter"] = otter(folder / "otter", python)

    def graded(grader: str, copy: str) -> Work:
        return lambda: graders[grader](copy, copies[copy])

    return (
        {f"{grader}, {copy}": graded(grader, copy) for copy in COPIES for grader in graders}
        | {"lab grade, whole": lambda: all_exercises(whole), "nbgrader, whole": lambda: whole_course("whole", whole)}
        | {"in the sandbox": lambda: answered(Sandbox("lab.grading.session"), copies["solved"])}
        | {"outside of it": lambda: answered(Bare(), copies["solved"])}
        | files_of_data(folder / "data")
        | trainings()
    )


def repeated(repeats: int) -> dict[str, Iterator[Record]]:
    """The contestants."""
    place = TemporaryDirectory(prefix="lab-bench-")
    prepare_capture()
    return {name: _again(work, repeats, place) for name, work in works(Path(place.name)).items()}


def _again(work: Work, repeats: int, place: TemporaryDirectory[str]) -> Iterator[Record]:
    """place: is not removed before the last of its works is done."""
    for _ in range(repeats):
        yield work()


# -- copies -----------------------------------------------------------------------------------------------------------


def made(copy: str) -> NotebookNode:
    """One of COPIES, or the teacher's: set-up, answers and checks of the exercises that need no training."""
    editions_of = {"untouched": editions.student_edition, "source": editions._source}
    whole = editions_of.get(copy, editions.solved_edition)(NAME)
    whole.cells = [cell for cell in whole.cells if _is_kept(cell)]
    if copy == "with mistakes":
        short = [cell for cell in whole.cells if is_answer(cell) and cell.source.count("\n    return ") == 1]
        for cell in short[1::2]:
            cell.source = cell.source.replace("    return ", "    return 0.5 or ")
    return whole


def _is_kept(cell: NotebookNode) -> bool:
    name = grade_id_of(cell)
    return name.removesuffix("-check") in exercises() if name else "setup" in cell.metadata.get("tags", [])


@cache
def exercises() -> dict[str, float]:
    """The points of each exercise that needs no training."""
    checks = [cell for cell in editions.solved_edition(NAME).cells if is_check(cell)]
    return {
        grade_id_of(cell).removesuffix("-check"): points_of(cell)
        for cell in checks
        if TRAINS not in cell.metadata.get("tags", [])
    }


# -- graders ----------------------------------------------------------------------------------------------------------


def by_the_lab(path: Path) -> Record:
    """`lab grade COPY --quick`: the exercises, nothing trained."""
    seconds, said = called([sys.executable, "-m", "lab", "grade", str(path), "--quick", "--json"], path.parent, (0, 1))
    return {"seconds": seconds, "points": json.loads(said)["points"]["exercises"][0]}


def all_exercises(path: Path) -> Record:
    """The exercises of a whole copy, with the short trainings of a quick run; the assignment is not judged."""
    seconds, said = called([sys.executable, "-m", "benchmarks.exercises", str(path)], path.parent)
    return {"seconds": seconds, "points": float(said)}


def nbgrader(course: Path, copies: dict[str, Path], source: NotebookNode) -> Callable[[str, Path], Record]:
    """`nbgrader autograde` for one student, in a course that has handed out a notebook and collected the copies."""
    autograde = nbgrader_course(course, copies, source)

    def graded(copy: str, path: Path) -> Record:
        seconds, _ = called([*autograde, "--student", _student(copy)], course)
        return {"seconds": seconds, "points": nbgrader_points(course, copy), "version": version("nbgrader")}

    return graded


def nbgrader_course(course: Path, copies: dict[str, Path], source: NotebookNode) -> list[str]:
    """Make the course; gives the command that grades everybody in it, to be called there."""
    place = course / "source" / NAME / f"{NAME}.ipynb"
    place.parent.mkdir(parents=True)
    nbformat.write(source, place)
    (course / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'bench'\nc.ExecutePreprocessor.timeout = 600\n"
    )
    program = [sys.executable, "-m", "nbgrader"]
    called([*program, "generate_assignment", NAME], course)
    for copy, path in copies.items():
        handed_in = course / "submitted" / _student(copy) / NAME / path.name
        handed_in.parent.mkdir(parents=True)
        handed_in.write_bytes(path.read_bytes())
    return [*program, "autograde", NAME, "--force"]


def nbgrader_points(course: Path, copy: str) -> float:
    """What a copy has earned there."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return float(gradebook.find_submission(NAME, _student(copy)).score)


def _student(copy: str) -> str:
    return copy.replace(" ", "-")


def otter(folder: Path, python: str) -> Callable[[str, Path], Record]:
    """`otter run` by the Python of an environment with Otter-grader."""
    write_tests(NAME, folder)
    for path in (folder / "tests").iterdir():
        if path.stem not in exercises():
            path.unlink()
    program = [python, "-m", "otter"]
    called([*program, "generate"], folder)
    shown = "from importlib.metadata import version; print(version('otter-grader'))"
    number = called([python, "-c", shown], folder)[1].strip()

    def graded(copy: str, path: Path) -> Record:
        seconds, _ = called([*program, "run", str(path), "-a", "autograder.zip", "-o", "."], folder)
        tests = json.loads((folder / "results.json").read_text())["tests"]
        return {"seconds": seconds, "points": sum(test.get("score", 0) for test in tests), "version": number}

    return graded


def environment(folder: Path, python: str = sys.executable) -> dict[str, str]:
    """What a program that grades finds in its environment."""
    return os.environ | {
        "LAB_QUICK": "1",
        "LAB_PROGRESS": "0",
        "PYTHONPATH": str(editions.ROOT),
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]),  # nbgrader calls alembic
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),  # nobody's own settings
    }


def called(
    command: list[str], folder: Path, fine: tuple[int, ...] = (0,), longest: float = LONGEST
) -> tuple[float, str]:
    """Seconds that a program takes, and what it prints. Raises RuntimeError where it ends with another status."""
    around = environment(folder, command[0])
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, timeout=longest)
    seconds = time.perf_counter() - started
    if done.returncode not in fine:
        raise RuntimeError(f"{' '.join(command)} ends with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, done.stdout


# -- the sandbox ------------------------------------------------------------------------------------------------------


def answered(line: Line, path: Path) -> Record:
    """Seconds until a session's program answers for the first time, and until all exercises of a copy are checked."""
    started = time.perf_counter()
    copy, session = read_copy(path), Session(line)
    try:
        with session.within(LONGEST):
            ready = time.perf_counter() - started
        tried = try_copy(copy, edition_of(copy), lambda: session, quick=True)
    finally:
        line.close()
    return {"seconds": time.perf_counter() - started, "ready": ready, "points": tried.report.points}


# -- data, and training -----------------------------------------------------------------------------------------------


def files_of_data(folder: Path) -> dict[str, Work]:
    """A .lab file: collected here, with a notebook's cells in it; tested in `weights` mode by the program."""
    folder.mkdir()
    nbformat.write(editions.solved_edition(NAME), folder / f"{NAME}.ipynb")
    graph = capture(LabNet())
    cells = submission.cells_of(str(folder / f"{NAME}.ipynb"))
    whole = submission.write(submission.of_graph(graph, None, NAME, cells), folder / "whole.lab")
    network = submission.write(submission.of_graph(graph, None, NAME, ()), folder / "network.lab")
    collect(whole)  # what is imported for it is there from now on

    def collected() -> Record:
        started = time.perf_counter()
        collect(whole)
        return {"seconds": time.perf_counter() - started, "bytes": whole.stat().st_size}

    def tested() -> Record:
        command = [sys.executable, "-m", "lab", "grade", str(network), "--mode", "weights", "--json"]
        return {"seconds": called(command, folder, (0, 1))[0]}

    return {"a file collected": collected, "a file's weights tested": tested}


def trainings() -> dict[str, Work]:
    """An epoch of the lab's network, in the judge's process and as `lab train` does it."""
    graph, recipe, threads = capture(LabNet()), Recipe(epochs=1), torch.get_num_threads()

    def by_the_judge() -> Record:
        with Training(graph, recipe, "mnist", threads, LONGEST) as training:
            return {"seconds": training.run(0).seconds}

    def by_lab_train() -> Record:
        said = called([sys.executable, "-m", "lab", "train", "--epochs", "1", "--json"], editions.ROOT)[1]
        return {"seconds": json.loads(said)["runs"][0]["seconds"]}

    return {"trained by the judge": by_the_judge, "trained by lab train": by_lab_train}
