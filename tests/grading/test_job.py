"""A hand-in goes to a worker as data, and what comes back says by whom and from what it was worked out."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import stand_ins
import torch

from lab import submission
from lab.errors import DataError, SandboxError
from lab.grading import job as jobs
from lab.grading import judge
from lab.grading.grade import Options
from lab.grading.job import Job, digest_of, judge_version, key_of, not_graded, run
from lab.graph import capture
from lab.models import SmallNet
from lab.rules import load_rubric
from lab.submission import Cell, HandIn
from lab.train import Recipe

RUBRIC = load_rubric()
WEIGHTS = Options(mode="weights", rubric=RUBRIC)


@pytest.fixture(scope="module")
def network() -> bytes:
    """A .lab file."""
    torch.manual_seed(0)
    made = HandIn(capture(SmallNet()), Recipe(epochs=12), "mnist_994", {}, (), submission.versions())
    return submission.packed(made)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = stand_ins.few_digits()
    monkeypatch.setattr(judge, "load", lambda name: digits)
    monkeypatch.setattr(judge, "checksums", lambda name: {})


def job_of(files: dict[str, bytes], options: Options = WEIGHTS, judge: str = "") -> Job:
    return Job("key", digest_of(files), files, options, judge or judge_version())


def test_a_result_has_the_grade_what_it_rests_on_and_who_worked_it_out(network: bytes) -> None:
    job = job_of({"net.lab": network})
    done = run(job)
    assert (done["grade"]["state"], done["grade"]["digest"]) == ("graded", job.digest)
    found, digits = done["evidence"], stand_ins.few_digits()
    assert found["parameters"] == 7_846
    assert sum(layer["parameters"] for layer in found["layers"]) == 7_846
    (accuracy,) = done["grade"]["assignment"]["accuracies"]
    assert found["mistaken"] == round((1 - accuracy) * len(digits.test.labels)) > 0
    assert len(found["mistakes"]) == min(24, found["mistaken"])
    assert all(digits.test.labels[one["image"]] == one["label"] != one["predicted"] for one in found["mistakes"])
    assert set(found["digests"]) == {"network and recipe", "weights"}
    assert found["sameness"]["weights"]
    assert {"lab", "judge", "torch", "machine", "seed", "date", "seconds"} <= set(done["provenance"])


def test_the_same_job_gives_the_same_but_for_date_and_duration(network: bytes) -> None:
    first, second = (run(job_of({"net.lab": network})) for _ in range(2))
    assert (first["grade"], first["evidence"]) == (second["grade"], second["evidence"])


def test_nothing_is_left_behind(network: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(job_of({"net.lab": network}))
    run(job_of({"net.lab": network[:1000]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "nothing was handed in: there is no file."),
        ({"a/notes.txt": b"", "b.txt": b""}, "what was handed in holds nothing that can be graded (notes.txt, b.txt)"),
        ({"net.lab": b"PK\3\4"}, "net.lab is cut short"),
        ({"../net.lab": b"x"}, "that is no name for one"),
        ({"/net.lab": b"x"}, "that is no name for one"),
        ({"a\\..\\net.lab": b"x"}, "that is no name for one"),
    ],
)
def test_the_student_s_error_is_told_without_the_worker_s_folders(files: dict[str, bytes], told: str) -> None:
    grade = run(job_of(files))["grade"]
    assert grade["state"] == "student error"
    assert told in grade["message"]
    assert tempfile.gettempdir() not in grade["message"]


@pytest.mark.parametrize("error", [DataError("no images"), SandboxError("no sandbox"), ValueError("a bug")])
def test_what_is_not_the_student_s_error_costs_nothing(
    network: bytes, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "graded", fail)
    grade = run(job_of({"net.lab": network}))["grade"]
    assert grade["state"] == "grader error"
    assert str(error) in grade["message"]


def test_exercises_that_this_machine_cannot_grade_are_no_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(accepted: object) -> None:
        raise SandboxError("no sandbox on this system.")

    monkeypatch.setattr("lab.grading.doctor.require", refuse)
    cells = (Cell(kind="code", source="def out_size(n, kernel, stride=1, pad=0):\n    return 1", grade_id="out-size"),)
    made = HandIn(capture(SmallNet()), Recipe(epochs=12), "mnist_994", {}, cells, submission.versions())
    grade = run(job_of({"net.lab": submission.packed(made)}))["grade"]
    assert (grade["state"], grade["message"]) == (
        "grader error", "the exercises are not graded: no sandbox on this system."
    )  # fmt: skip
    assert [verdict["rule"] for verdict in grade["assignment"]["verdicts"]] == [rule.name for rule in RUBRIC.rules]


def test_a_worker_with_another_judge_grades_nothing(network: bytes) -> None:
    grade = run(job_of({"net.lab": network}, judge="0.0.1+abc"))["grade"]
    assert grade["state"] == "grader error"
    assert "has another judge" in grade["message"]
    assert "0.0.1+abc" in grade["message"]


def test_a_key_is_what_a_grade_depends_on() -> None:
    def key(digest: str = "d", learnt: float = 0.98, options: Options = WEIGHTS, judge: str = "j") -> str:
        return key_of(digest, RUBRIC.model_copy(update={"learnt": learnt}), options, judge)

    others = [key("e"), key(learnt=0.9), key(judge="k"), key(options=Options()),
              key(options=replace(WEIGHTS, seed=1)), key(options=replace(WEIGHTS, quick=True))]  # fmt: skip
    assert len({key(), *others}) == 7
    alike = [replace(WEIGHTS, accepted=("memory",)), replace(WEIGHTS, secret="s"), replace(WEIGHTS, rubric=None)]
    assert {key(options=options) for options in alike} == {key()}
    audit = replace(WEIGHTS, mode="audit")
    assert len({key(options=one) for one in (audit, replace(audit, secret="s"), replace(audit, known={"a": "b"}))}) == 3


def test_the_judge_s_version_is_that_of_what_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".py").write_text(text)
        judge_version.cache_clear()
        return judge_version()

    monkeypatch.setattr("lab._place.PACKAGE", tmp_path)
    try:
        first = version(rules="1", grading__pages="1")
        assert version(grading__pages="2") == first
        assert version(rules="2") != first
    finally:
        monkeypatch.undo()
        judge_version.cache_clear()


def test_a_digest_is_of_names_and_contents() -> None:
    kinds = [{"a": b"b"}, {"b": b"a"}, {"a": b"", "b": b""}, {"a": b"bb"}, {"ab": b"b"}, {}]
    assert len({digest_of(files) for files in kinds}) == len(kinds)
    assert digest_of({"a": b"1", "b": b"2"}) == digest_of({"b": b"2", "a": b"1"})


def test_what_was_not_run_has_a_result_of_the_same_form(network: bytes) -> None:
    done, none = run(job_of({"net.lab": network})), not_graded("a", "d", WEIGHTS, "student error", "no.")
    assert set(done) == set(none)
    assert set(done["grade"]) == set(none["grade"])
    assert set(done["provenance"]) == set(none["provenance"])
