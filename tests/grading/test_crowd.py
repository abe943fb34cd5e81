"""A class is graded: each hand-in once, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import quick_judge

from benchmarks.grading import called
from lab.grading import crowd
from lab.grading.crowd import Progress, Settings, asked, class_of, grade_class
from lab.grading.grade import Options
from lab.grading.gradebook import Gradebook
from lab.grading.inbox import Inbox
from lab.grading.job import Job
from lab.grading.standing import Class, Delivery, Student
from lab.grading.workers import Died, LocalWorkers, Result
from lab.rules import Late, load_rubric

RUBRIC = load_rubric()
SETTINGS = Settings(RUBRIC, Options())


class AtOnce:
    """Workers in this process, which keep what they were asked for."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def places(self) -> int:
        return 2

    def submit(self, job: Job) -> "Future[Result]":
        self.jobs.append(job)
        future: Future[Result] = Future()
        said = next(iter(job.files.values()))
        if said.startswith(b"dies"):
            future.set_exception(Died("its process was ended (SIGKILL)."))
        else:
            future.set_result(quick_judge.grade(job))
        return future

    def result(self, future: "Future[Result]") -> Result:
        return future.result()


def handed_in(folder: Path, contents: dict[str, str]) -> Inbox:
    """A class: of each student one file with this text."""
    deliveries = []
    for student, content in sorted(contents.items()):
        path = folder / student / "net.lab"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        deliveries.append(Delivery(Student(student), {"net.lab": path}))
    return Inbox("folders", tuple(deliveries), (), (Student("zoe"),), ("lost.txt belongs to nobody",), ("a note",))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Gradebook]:
    with Gradebook(tmp_path / "grades") as one:
        yield one


def graded(
    book: Gradebook, settings: Settings = SETTINGS, again: tuple[str, ...] = ()
) -> tuple[AtOnce, list[Progress]]:
    workers, told = AtOnce(), list[Progress]()
    grade_class(book, settings, workers, told.append, again)
    return workers, told


def states(found: Class) -> dict[str, str]:
    return {one.student.id: one.state for one in found.standings}


def test_everybody_is_graded_once_and_stands_somewhere(tmp_path: Path, book: Gradebook) -> None:
    crowd.receive(book, handed_in(tmp_path, {"anna": "a", "ben": "b", "cleo": "ours"}))
    workers, told = graded(book)
    assert len(workers.jobs) == 3
    assert [(one.done, one.total, one.failures > 0) for one in told] == [
        (0, 3, False), (1, 3, False), (2, 3, False), (3, 3, True)
    ] or told[-1].failures == 1  # fmt: skip
    found = class_of(book, SETTINGS)
    assert states(found) == {"anna": "graded", "ben": "graded", "cleo": "grader error", "zoe": "missing"}
    assert found.unmatched == ("lost.txt belongs to nobody",)
    assert found.notes == ("a note",)
    assert found.limits["parameter_count"] == 20_000


def test_who_handed_in_twice_in_no_order_waits(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a"})
    crowd.receive(book, replace(inbox, unordered=(Student("yves"),)))
    graded(book)
    found = {one.student.id: one for one in class_of(book, SETTINGS).standings}
    assert (found["yves"].state, found["zoe"].state) == ("waiting", "missing")
    assert "the teacher decides" in found["yves"].message


def test_only_the_grader_s_own_trouble_is_tried_again(tmp_path: Path, book: Gradebook) -> None:
    crowd.receive(book, handed_in(tmp_path, {"anna": "a", "cleo": "ours"}))
    graded(book)
    workers, _ = graded(book)
    assert [job.files["net.lab"] for job in workers.jobs] == [b"ours"]


def test_the_same_files_are_graded_once_for_both(tmp_path: Path, book: Gradebook) -> None:
    crowd.receive(book, handed_in(tmp_path, {"anna": "same", "ben": "same"}))
    workers, told = graded(book)
    assert len(workers.jobs) == 1
    assert [student.id for student in told[-1].students] == ["anna", "ben"]
    assert states(class_of(book, SETTINGS)) == {"anna": "graded", "ben": "graded", "zoe": "missing"}


def test_a_new_file_a_new_rubric_and_another_seed_are_graded_and_nothing_else(tmp_path: Path, book: Gradebook) -> None:
    crowd.receive(book, handed_in(tmp_path, {"anna": "a", "ben": "b"}))
    graded(book)
    crowd.receive(book, handed_in(tmp_path, {"anna": "better", "ben": "b"}))
    assert [job.files["net.lab"] for job in graded(book)[0].jobs] == [b"better"]
    stricter = RUBRIC.model_copy(update={"learnt": 0.99})
    due = RUBRIC.model_copy(update={"late": Late(due=datetime(2026, 1, 1, tzinfo=timezone.utc))})
    changed = [
        Settings(stricter, Options()),
        Settings(due, Options()),
        Settings(RUBRIC, Options(seed=1)),
        Settings(RUBRIC, Options(accepted=("memory",))),
        Settings(RUBRIC, Options(), "another judge"),
    ]
    assert [len(graded(book, settings)[0].jobs) for settings in changed] == [2, 0, 2, 0, 2]


def test_one_that_kills_its_worker_is_tried_twice_and_is_no_zero(tmp_path: Path, book: Gradebook) -> None:
    crowd.receive(book, handed_in(tmp_path, {"anna": "dies", "ben": "b"}))
    workers, _ = graded(book)
    assert Counter(job.files["net.lab"] for job in workers.jobs) == {b"dies": 2, b"b": 1}
    anna, ben, _ = class_of(book, SETTINGS).standings
    assert (anna.state, ben.state) == ("grader error", "graded")
    assert anna.message == "its process was ended (SIGKILL). It was tried more than once."


def test_what_cannot_be_read_is_told_without_the_teacher_s_folders(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a"})
    path = inbox.deliveries[0].files["net.lab"]
    path.unlink()
    os.mkfifo(path)
    crowd.receive(book, inbox)
    workers, _ = graded(book)
    (anna, _) = class_of(book, SETTINGS).standings
    assert not workers.jobs
    assert anna.state == "student error"
    assert anna.message == "net.lab can't be read: it is no ordinary file, but a pipe."


def test_what_this_machine_does_not_let_us_read_is_our_trouble(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a"})
    crowd.receive(book, inbox)
    inbox.deliveries[0].files["net.lab"].unlink()
    graded(book)
    (anna, _) = class_of(book, SETTINGS).standings
    assert (anna.state, anna.message) == ("grader error", "net.lab can't be read: No such file or directory.")


def test_a_file_that_changes_meanwhile_costs_nothing(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a"})
    crowd.receive(book, inbox)
    inbox.deliveries[0].files["net.lab"].write_text("b")
    graded(book)
    (anna, _) = class_of(book, SETTINGS).standings
    assert (anna.state, "were changed" in anna.message) == ("grader error", True)


def test_who_shares_weights_in_an_audit_is_graded_with_that_knowledge(tmp_path: Path, book: Gradebook) -> None:
    audit = Settings(RUBRIC, Options(mode="audit"))
    crowd.receive(book, handed_in(tmp_path, {"anna": "same", "ben": "same", "cleo": "c"}))
    workers, _ = graded(book, audit)
    known = [(job.files["net.lab"], list(job.options.known.values())) for job in workers.jobs]
    assert known == [(b"same", []), (b"c", []), (b"same", ["another hand-in of this class"])]
    assert not graded(book, audit)[0].jobs
    assert states(class_of(book, audit))["anna"] == "graded"


def test_who_handed_in_together_shares_its_weights_with_nobody(tmp_path: Path, book: Gradebook) -> None:
    anna, ben = Student("anna"), Student("ben")
    inbox = handed_in(tmp_path, {"anna": "same", "ben": "same"})
    partners = {"anna": (ben,), "ben": (anna,)}
    together = tuple(replace(one, partners=partners[one.student.id]) for one in inbox.deliveries)
    crowd.receive(book, replace(inbox, deliveries=together))
    workers, _ = graded(book, Settings(RUBRIC, Options(mode="audit")))
    assert [job.options.known for job in workers.jobs] == [{}]


def test_weights_are_asked_of_who_has_some(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a", "ben": "b"})
    script = replaced(inbox, "ben", "net.py")
    crowd.receive(book, script)
    modes = {one.digest: one.options.mode for one in asked(book, Settings(RUBRIC, Options(mode="weights"))).values()}
    assert sorted(map(str, modes.values())) == ["None", "weights"]
    assert {one.options.mode for one in asked(book, Settings(RUBRIC, Options(mode="rerun"))).values()} == {"rerun"}


def replaced(inbox: Inbox, student: str, name: str) -> Inbox:
    """The same class, where this student's file has another name."""
    deliveries = []
    for one in inbox.deliveries:
        (path,) = one.files.values()
        deliveries.append(Delivery(one.student, {name if one.student.id == student else path.name: path}))
    return replace(inbox, deliveries=tuple(deliveries))


def test_points_by_hand_and_lateness_count_and_survive(tmp_path: Path, book: Gradebook) -> None:
    inbox = handed_in(tmp_path, {"anna": "a"})
    (one,) = inbox.deliveries
    late = Delivery(one.student, one.files, datetime(2026, 1, 2, 12, tzinfo=timezone.utc))
    crowd.receive(book, Inbox("folders", (late,), (), (), (), ()))
    rule = Late(due=datetime(2026, 1, 1, tzinfo=timezone.utc), off_per_day=0.1)
    settings = Settings(RUBRIC.model_copy(update={"late": rule}), Options())
    graded(book, settings)
    book.mark("anna", "rule:accuracy", 19, "well argued", "me")
    for _ in range(2):
        (anna,) = class_of(book, settings).standings
        assert {item.id: item.points for item in anna.items if item.points} == {
            "exercise:accuracy": 1,
            "rule:accuracy": 19,
        }
        assert (anna.points, anna.off) == (16, 4)
        assert anna.late_by == "1 day 12 hours late, 20 % off"
        graded(book, settings, again=("anna",))
    assert anna.earlier == 1


def test_settings_come_back(book: Gradebook) -> None:
    late = Late(due=datetime(2026, 1, 1, tzinfo=timezone.utc), off_per_day=0.1)
    given = Settings(RUBRIC.model_copy(update={"late": late}), Options(mode="audit", seed=3, accepted=("memory",)))
    book.note("settings", given.to_dict())
    assert Settings.from_dict(book.noted("settings")) == given


# -- processes --------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced(tmp_path: Path, book: Gradebook) -> None:
    once = tmp_path / "died"
    crowd.receive(book, handed_in(tmp_path, {"anna": "dies", "ben": f"dies-once {once}", "cleo": "c", "dan": "d"}))
    with LocalWorkers(2, tmp_path, quick_judge.grade) as workers:
        grade_class(book, SETTINGS, workers, lambda progress: None)
    found = states(class_of(book, SETTINGS))
    assert found == {"anna": "grader error", "ben": "graded", "cleo": "graded", "dan": "graded", "zoe": "missing"}


def begun(folder: Path, out: Path, journal: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"LAB_TEST_JOURNAL": str(journal)}
    program = [sys.executable, str(Path(quick_judge.__file__)), str(folder), str(out)]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(out: Path) -> dict[str, Any]:
    with Gradebook(out) as book:
        return {key: (state, book.result(key)) for key, state in sorted(book.states().items())}


def plain_class(folder: Path, number: int, seconds: float) -> None:
    for student in range(number):
        place = folder / f"s{student:02}"
        place.mkdir(parents=True)
        (place / "net.lab").write_text(f"wait {seconds} {student}")


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "most"), [(8, 1), pytest.param(24, 4, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_and_nothing_is_lost_or_graded_twice(
    number: int, most: int, tmp_path: Path
) -> None:
    random = Random(0)
    plain_class(tmp_path / "in", number, 0.05)
    journal, out = tmp_path / "journal", tmp_path / "out"
    kills = 0
    while True:
        process = begun(tmp_path / "in", out, journal)
        before = journal.read_text().count("\n") if journal.exists() else 0
        while process.poll() is None and (not journal.exists() or journal.read_text().count("\n") < before + 3):
            time.sleep(0.01)
        if process.poll() is None and kills < most:
            time.sleep(random.random() * 0.1)
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            kills += 1
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive  # they end with it
            process.communicate()
            continue
        printed, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        break
    assert kills == most
    assert f"'graded': {number}" in printed
    runs = Counter(line.split()[1] for line in journal.read_text().splitlines())
    assert len(runs) == number
    assert sum(runs.values()) <= number + kills * (2 + crowd.AHEAD)  # but for what was being graded
    assert {first for (first, _), _ in results(out).values()} == {1}  # of each the first result is the only one
    undisturbed = begun(tmp_path / "in", tmp_path / "other", tmp_path / "other-journal")
    undisturbed.communicate(timeout=180)
    assert results(out) == results(tmp_path / "other")
    assert (out / "grades.csv").read_text() == (tmp_path / "other" / "grades.csv").read_text()
    assert not list(out.glob("*.part"))


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_it_and_keeps_what_there_is(tmp_path: Path) -> None:
    plain_class(tmp_path / "in", 2, 0.0)
    (tmp_path / "in" / "s01" / "net.lab").write_text("wait 60")
    journal, out = tmp_path / "journal", tmp_path / "out"
    process = begun(tmp_path / "in", out, journal)
    while process.poll() is None and (not journal.exists() or journal.read_text().count("\n") < 2):
        time.sleep(0.01)
    time.sleep(0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert len(results(out)) == 1
    assert '"waiting"' in (out / "grades.csv").read_text()
    assert not list(out.glob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is told there alone")
def test_the_bench_grades_a_class_at_once_through_the_same_workers_and_book(tmp_path: Path) -> None:
    result = quick_judge.result("f" * 64)
    (tmp_path / "result.json").write_text(json.dumps(result))
    program = [sys.executable, "-m", "benchmarks.instant", "3", str(tmp_path / "result.json"), str(tmp_path / "class")]
    found = json.loads(called(program, tmp_path)[1])
    assert (found["hand_ins"], found["records"]) == (3, 3)
    assert min(found[step] for step in ("received", "graded", "written", "pages", "recorded")) > 0
    assert found["peak_written"] >= found["peak"] > 2**20
    assert found["worker_peak"] > 2**20
    assert len((tmp_path / "class" / "grades" / "grades.csv").read_text().splitlines()) == 4
