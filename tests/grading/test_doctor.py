"""`lab doctor`: every claim holds here, and a sandbox that breaks one is found out by that claim."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab import _place, cli
from lab.errors import LabError, SandboxError
from lab.grading import _cgroup, _seccomp, doctor, sandbox
from lab.grading.sandbox import LAB, Ended, Limits, Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is a sandbox on Linux alone")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered, and the images, lie in a folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAB_CACHE", str(folder))
    return folder


def test_as_a_container_s_first_process_it_signals_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._outside(7) == [7, os.getpid(), os.getppid()]
    monkeypatch.setattr(doctor.os, "getppid", lambda: 0)
    assert doctor._outside(7) == [7, os.getpid()]


def test_every_claim_holds_here_and_the_command_says_so() -> None:
    done = CliRunner().invoke(cli.main, ["doctor", "--json"])
    report = json.loads(done.stdout)
    assert [claim["claim"] for claim in report["claims"]] == list(doctor.CLAIMS)
    assert [claim for claim in report["claims"] if not claim["passed"]] == []
    assert done.exit_code == 0
    assert doctor.failed_claims() == []


# -- sandboxes that break a claim -------------------------------------------------------------------------------------


def bound(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """Something more is visible inside."""
    files = sandbox._files
    monkeypatch.setattr(sandbox, "_files", lambda *given: [*files(*given), *options])


def shared(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The code inside has no namespace of its own of this kind."""
    kinds = [f"--unshare-{each}" for each in ("user", "pid", "ipc", "net", "uts") if each != kind]
    namespaces = [option for option in sandbox._namespaces() if not option.startswith("--unshare")]
    monkeypatch.setattr(sandbox, "_namespaces", lambda: [*kinds, *namespaces])


def no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seccomp, "filter_file", lambda accepted: None)


def online(monkeypatch: pytest.MonkeyPatch) -> None:
    shared(monkeypatch, "net")
    no_filter(monkeypatch)


def home(monkeypatch: pytest.MonkeyPatch) -> None:
    bound(monkeypatch, "--ro-bind", str(Path.home()), str(Path.home()))


def beside_the_hand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sandbox._files

    def more(hand_in: Path, *given: Any) -> list[str]:
        return [*files(hand_in, *given), "--ro-bind", str(hand_in.parent), str(hand_in.parent)]

    monkeypatch.setattr(sandbox, "_files", more)


def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sandbox._variables
    monkeypatch.setattr(
        sandbox,
        "_variables",
        lambda threads: (
            own(threads)
            + [w for name, value in os.environ.items() if name.startswith("LAB_") for w in ("--setenv", name, value)]
        ),
    )


def right_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    bound(monkeypatch, "--ro-bind", str(_place.PACKAGE / "checks"), f"{LAB}/lab/checks")


def writable_hand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sandbox._files

    def writable(hand_in: Path | None, *given: Any) -> list[str]:
        return [*files(hand_in, *given), "--bind", str(hand_in), "/hand-in"]

    monkeypatch.setattr(sandbox, "_files", writable)


def every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    shared(monkeypatch, "pid")
    monkeypatch.setattr(Sandbox, "_passed", lambda self: "")


@pytest.mark.parametrize(
    ("claim", "broken"),
    [
        ("no network", online),
        ("no home", home),
        ("no data set", beside_the_hand_in),
        ("no other hand-in", beside_the_hand_in),
        ("no environment", variables),
        ("no right answers", right_answers),
        ("system read-only", writable_hand_in),
        ("own process tree", every_process),
        ("system calls refused", no_filter),
    ],
)
def test_what_can_be_seen_or_touched_against_a_claim_is_found(
    claim: str, broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    failed = doctor.failed_claims()
    assert claim in failed
    with pytest.raises(SandboxError, match=f'accept that: .*--accept "{claim}"'):
        doctor.require([])
    doctor.require(failed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write the kernel's settings")
def test_a_long_way_to_the_temporary_files_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("a-folder-with-a-long-name" * 4)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert all(finding.passed for finding in doctor._sight(thorough=False))


def test_settings_of_the_kernel_that_root_could_write_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sandbox._files

    def writable(*given: Any) -> list[str]:
        options = files(*given)
        place = next(n for n, pair in enumerate(pairwise(options)) if pair == ("--remount-ro", "/proc"))
        return options[:place] + options[place + 2 :]

    monkeypatch.setattr(sandbox, "_files", writable)
    (found,) = [finding for finding in doctor._sight(thorough=False) if not finding.passed]
    assert found.claim == "system read-only"
    assert "/proc/sys/kernel/core_pattern" in found.managed


def laxer(monkeypatch: pytest.MonkeyPatch, **others: float) -> None:
    """Sandboxes that allow more than they were told to."""

    def made(module: str, *, limits: Limits, **options: Any) -> Sandbox:
        return Sandbox(module, limits=replace(limits, **others), **options)

    monkeypatch.setattr(doctor, "Sandbox", made)
    monkeypatch.setattr(_cgroup, "_places", lambda memory, processes: [])


@pytest.mark.parametrize(
    ("claim", "others", "says"),
    [
        pytest.param("CPU time", {"cpu_seconds": 100, "seconds": 0.8}, "burn ended by seconds", marks=pytest.mark.slow),
        pytest.param("memory", {"memory_mb": 600}, "fill_data got 5", marks=pytest.mark.slow),
        ("disk", {"tmp_mb": 200}, "fill_disk got"),
        ("disk", {"file_mb": 40}, "large_file got 40, and 16 is the most"),
        pytest.param(
            "files", {"tmp_files": 10**6, "seconds": 0.4}, "many_files ended by seconds", marks=pytest.mark.slow
        ),
        ("files", {"open_files": 200}, "open_files got"),
        pytest.param(
            "output", {"printed_mb": 10**6, "seconds": 0.4}, "print_on ended by seconds", marks=pytest.mark.slow
        ),
        ("processes", {"processes": 10**5, "seconds": 0.4}, "fork_bomb ended by "),
        pytest.param("wall time", {"seconds": 1.2}, "endless went on for 1.", marks=pytest.mark.slow),
    ],
)
def test_a_limit_that_does_not_hold_is_found(
    claim: str, others: dict[str, float], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    laxer(monkeypatch, **others)
    monkeypatch.setattr(doctor, "_LATE_SECONDS", 0.5)
    assert any(fault.startswith(says) for fault in doctor._limit(claim).managed)


class _Leaky:
    """What looks like a sandbox, and leaves a process."""

    left: list[subprocess.Popen[bytes]] = []  # noqa: RUF012

    def __init__(self, module: str, *, arguments: list[str], limits: Limits) -> None:
        program = "import sys; sys.stdin.read()"
        self.left.append(subprocess.Popen([sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE))
        while not doctor._alive(arguments[-1], 0):
            time.sleep(0.01)

    def __enter__(self) -> "_Leaky":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def receive(self, size: int, deadline: float) -> bytes:
        raise Ended("it has ended")


@pytest.fixture
def leaky() -> Iterator[type[_Leaky]]:
    yield _Leaky
    for process in _Leaky.left:
        process.communicate()


def test_what_is_left_running_is_found(leaky: type[_Leaky], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Sandbox", leaky)
    assert doctor._limit("nothing left running").managed == ("daemons: 1 processes go on",)


def test_what_outlives_a_killed_grader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import subprocess, sys, time\n"
        "for n in range(2):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1.5)', sys.argv[1]], stdout=2)\n"
        "print('up', flush=True); time.sleep(600)"
    )
    monkeypatch.setattr(doctor, "_GRADER", program)
    monkeypatch.setattr(doctor, "_GONE_SECONDS", 0.1)
    assert doctor._orphan().managed == ("2 processes go on",)


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_what_was_found_is_remembered_for_a_day_and_for_this_machine_as_it_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def sight(thorough: bool) -> list[doctor.Finding]:
        tried.append(thorough)
        return [doctor.Finding("no home", "", ("a file",))]

    monkeypatch.setattr(doctor, "_sight", sight)
    assert doctor.failed_claims() == doctor.failed_claims() == ["no home"]
    assert len(tried) == 1
    monkeypatch.setattr(doctor, "_fingerprint", lambda: "another kernel")
    doctor.failed_claims()
    assert len(tried) == 2
    content = json.loads((cache / "doctor.json").read_text(encoding="utf-8"))
    (cache / "doctor.json").write_text(json.dumps(content | {"at": content["at"] - 2 * 86400}), encoding="utf-8")
    doctor.failed_claims()
    assert len(tried) == 3
    (cache / "doctor.json").write_text("[" * 10000, encoding="utf-8")
    doctor.failed_claims()
    assert len(tried) == 4


def test_a_claim_is_accepted_by_its_name_alone() -> None:
    with pytest.raises(LabError, match=r"'everything' is no claim that can be accepted\. They are: no network, "):
        doctor.require(["everything"])


def test_where_there_is_no_sandbox_every_claim_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "find_spec", lambda name: None)
    done = CliRunner().invoke(cli.main, ["doctor"])
    assert done.exit_code == 1
    assert done.stdout.count("FAIL") == len(doctor.CLAIMS)
    assert "bubblewrap is not installed" in done.stdout


# -- a container's memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/job/one\n", {"cgroup.controllers": "memory", "job/memory.max": "805306368", "job/one/memory.max": "max"},
         805306368),
        ("0::/a/b\n", {"cgroup.controllers": "memory", "a/memory.max": "800", "a/b/memory.max": "900"}, 800),
        ("0::/\n", {"cgroup.controllers": "memory", "memory.max": "1610612736"}, 1610612736),
        ("4:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "805306368"}, 805306368),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/\n", {"cgroup.controllers": "memory", "memory.max": "max"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_what_a_container_may_take_of_memory(
    own: str, files: dict[str, str], limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_cgroup, "_ROOT", tmp_path)
    monkeypatch.setattr(_cgroup, "_own", lambda: own)
    assert _cgroup.memory_limit() == limit


def test_a_container_too_small_for_a_sandbox_beside_the_judge_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the kernel ended the session in the midst of an exercise, and the student lost its points."""
    monkeypatch.setattr(doctor, "failed_claims", list)
    monkeypatch.setattr(_cgroup, "memory_limit", lambda: 768 * 2**20)
    with pytest.raises(SandboxError, match="may take 768 MB of memory, and a sandbox beside the judge needs 1,200 MB"):
        doctor.require(())
    for enough in (1200 * 2**20, None):
        monkeypatch.setattr(_cgroup, "memory_limit", lambda enough=enough: enough)
        doctor.require(())
