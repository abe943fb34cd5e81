"""What a teacher types, or a platform: grading, a class, its grades, the sandbox, a student's repository."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from lab._commands import FILE, FOLDER, GIVEN_FILE, INTERRUPTED, WRONG, fail, json_option, options, say, seed_option
from lab._terminal import harmless

if TYPE_CHECKING:
    from lab.grading.grade import Mode, Options

_class_options = options(
    click.option("--workers", type=click.IntRange(1), help="Of a class: processes that grade; one a core if not said."),
    click.option("--cluster", metavar="tcp://…", help="Of a class: a Dask scheduler, whose workers grade."),
    click.option(
        "--gradebook", "url", metavar="URL", help="Of a class: a database in place of the file in its folder."
    ),
    click.option("--wait", is_flag=True, help="Of a class: wait for another process that grades into the folder."),
)
_accepted = click.option(
    "--accept", "accepted", multiple=True, metavar="CLAIM", help="Do without a claim of the sandbox."
)
_own_rubric = click.option(
    "--rubric", help="The hand-in's own if you do not say; mnist_994, mnist_8k, mnist_5k, fashion or a file."
)
_rubric = click.option("--rubric", default="mnist_994", help="mnist_994, mnist_8k, mnist_5k, fashion or a TOML file.")
_lab_commit = click.option(
    "--lab-commit", metavar="SHA", help="The lab's commit that grades; this lab's own if you do not say."
)
_lab_repository = click.option(
    "--lab-repository", metavar="OWNER/NAME", help="A fork of the lab that grades, on GitHub."
)
_MODES = ["retrain", "rerun", "weights", "audit"]
_mode = click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="weights",
    help="How networks are judged; by their weights if not said.",
)


@click.command()
@click.argument("target")
@click.option(
    "--mode",
    type=click.Choice([*_MODES, "push"]),
    help="How the network is judged; chosen by what was handed in if you do not say. push: in minutes, as on a push.",
)
@_own_rubric
@seed_option
@click.option("--seeds", type=click.IntRange(1), help="Train so often; once, and again where it is close, if not said.")
@click.option("--quick", is_flag=True, help="The exercises alone, and only those that need no training.")
@_accepted
@click.option("--share", type=click.FloatRange(0, 1), default=0.1, help="Of an audit: trained again at random, 0 to 1.")
@click.option("--secret", default="", help="Of an audit: a word that nobody else knows, from which it is drawn.")
@click.option("--fresh", help="Measure on images that nobody has seen, too: qmnist.")
@click.option("--report", type=FOLDER, help="Of one hand-in: write feedback.html and grade.json into this folder.")
@click.option("--out", type=FOLDER, help="Of a class: the folder for the grades. Started again, it goes on there.")
@click.option(
    "--roster",
    type=GIVEN_FILE,
    help="Of a class: a CSV of its students; roster.csv beside the hand-ins if you do not say.",
)
@click.option("--platform", help="Of a class: moodle, canvas, gradescope, nbgrader, repositories or folders.")
@click.option("--assignment", help="Of a class in nbgrader's folders: which assignment.")
@click.option("--anonymous", is_flag=True, help="Of a class: leave all names out of the class's page.")
@_class_options
@json_option
def grade(
    target: str,
    mode: Mode | Literal["push"] | None,
    rubric: str | None,
    seed: int,
    seeds: int | None,
    quick: bool,
    accepted: tuple[str, ...],
    share: float,
    secret: str,
    fresh: str | None,
    report: Path | None,
    out: Path | None,
    roster: Path | None,
    platform: str | None,
    assignment: str | None,
    anonymous: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Grade what was handed in at TARGET, by one student or by a class.

    One student's is a .lab file, a notebook, a script, or a folder with one of them. Status 0 if all points are earned,
    1 if some are missing, 2 if it can't be graded. With --mode push a .lab file is judged by its weights and of a
    notebook the exercises that train nothing, and status 0 says that all is earned that was checked.

    A class's is a folder as it comes from Moodle, Canvas, Gradescope or nbgrader, a folder of repositories, or one with
    a folder a student; --out names the folder for the grades. What has a result keeps it: ended, however that came, the
    same command goes on. Status 0 if all have a grade, 1 if some have none, for the grader's own reasons.

    For teachers: what a student wrote runs in a sandbox alone, and what decides comes out of it as data.
    """
    if report is not None or mode == "push":
        if out is not None:
            raise click.UsageError("--out is for a class, --report and --mode push are for one hand-in.")
        _grade_one(Path(target), mode, rubric, (seed, seeds, quick, accepted, share, secret, fresh), report, as_json)
    if out is not None or _is_class(target):
        from lab.grading.grade import Options

        options = Options(mode, None, seed, seeds, quick, accepted, share, secret, fresh)
        reading = {"roster": roster, "platform": platform, "assignment": assignment, "anonymous": anonymous}
        _grade_class(Path(target), out, rubric, options, reading, place, as_json)
    from lab.grading.sandbox import started_early

    early = started_early(target, accepted)  # imports torch while this process does
    try:
        from lab.grading.grade import Options
        from lab.grading.grade import grade as graded
    except BaseException:
        if early is not None:
            early.close()
        raise
    options = Options(mode, rubric, seed, seeds, quick, accepted, share, secret, fresh)
    done = graded(target, options, early)
    say(json.dumps(done.to_dict(), indent=1) if as_json else "\n".join(done.lines()))
    if not as_json:
        for flag in done.flags:
            click.echo(f"flag: {harmless(flag)}", err=True)
    sys.exit(WRONG if done.state != "graded" else 0 if done.complete else 1)


def _grade_one(
    target: Path,
    mode: Mode | Literal["push"] | None,
    rubric: str | None,
    settings: Sequence[Any],
    report: Path | None,
    as_json: bool,
) -> NoReturn:
    """Grade one hand-in as where no class is, say what came out, and write it into the folder `report`."""
    from lab.grading.autograde import push
    from lab.grading.grade import Options
    from lab.grading.standing import Student

    on_push = mode == "push"
    options = Options(None if mode == "push" else mode, None, *settings)
    student = Student(target.resolve().name or "student")
    pushed = push.grade_push(target, "push" if on_push else None, student, rubric, options)
    if report is not None:
        push.write_report(pushed, report)
    say(json.dumps(pushed.one.grade, indent=1) if as_json else "\n".join(push.lines(pushed)))
    if pushed.one.state != "graded":
        sys.exit(WRONG)
    sys.exit(0 if (pushed.passed if on_push else pushed.one.points == pushed.one.max_points) else 1)


def _is_class(target: str) -> bool:
    if not Path(target).is_dir():
        return False
    from lab.grading.inbox import is_class

    return is_class(Path(target))


def _grade_class(
    folder: Path,
    out: Path | None,
    rubric: str | None,
    options: Options,
    reading: dict[str, Any],
    place: dict[str, Any],
    as_json: bool,
) -> NoReturn:
    """Grade a class, and say what came out."""
    if out is None:
        raise click.UsageError(f"{folder} holds the hand-ins of a class: --out GRADES names the folder for the grades.")
    from lab.grading.classwork import Place, grade_folder
    from lab.rules import load_rubric

    asked = load_rubric(rubric or "mnist_994")
    with _watching(as_json, f"{out} keeps what was graded: give the same command again to go on.") as tell:
        done = grade_folder(folder, Place(out, **place), asked, options, tell, **reading)
    say(json.dumps({"summary": done.to_dict()}) if as_json else "\n".join(done.lines()))
    sys.exit(1 if done.waits else 0)


@contextlib.contextmanager
def _watching(as_json: bool, kept: str) -> Iterator[Any]:
    """What is told of the progress; kept: what to say where Ctrl-C ends it."""
    from lab.grading.live import JsonLines, Live, Quiet

    watch = JsonLines() if as_json else Live() if sys.stderr.isatty() else Quiet()
    try:
        with watch as tell:
            yield tell
    except KeyboardInterrupt:
        fail(f"interrupted: {kept}", as_json, INTERRUPTED)


@click.command()
@click.argument("grades", type=FOLDER)
@click.option("--student", "students", multiple=True, metavar="ID", help="A student, by the id; may be repeated.")
@click.option("--rule", help="Everybody who lacks points of this exercise or rule.")
@click.option("--rubric", help="A new rubric for the class.")
@_class_options
@json_option
def regrade(
    grades: Path, students: tuple[str, ...], rule: str | None, rubric: str | None, as_json: bool, **place: Any
) -> None:
    """Grade students of the class in GRADES anew, and print what changed.

    By the settings of the last `lab grade`. Earlier results are kept; points given by hand count as before.
    """
    if not (students or rule or rubric):
        raise click.UsageError("say what is graded anew: --student ID, --rule NAME or --rubric NEW.")
    from lab.grading import classwork

    with _watching(as_json, f"{grades} keeps what was graded.") as tell:
        changes, graded = classwork.regrade(classwork.Place(grades, **place), tell, students, rule, rubric)
    if as_json:
        say(json.dumps({"graded": graded, "changes": [asdict(change) for change in changes]}))
    else:
        say("\n".join([*(change.line() for change in changes), f"{graded} graded anew, {len(changes)} changed."]))


@click.command()
@click.argument("grades", type=FOLDER)
@click.argument("student")
@click.argument("item")
@click.argument("points", type=float, required=False)
@click.option("--comment", default="", help="The reason, which the student reads.")
@click.option("--by", help="Who gives them; your user name if you do not say.")
@click.option("--take-back", is_flag=True, help="Let what was worked out count again.")
@_class_options
@json_option
def mark(
    grades: Path,
    student: str,
    item: str,
    points: float | None,
    comment: str,
    by: str | None,
    take_back: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Give STUDENT of the class in GRADES POINTS by hand for ITEM, an exercise or a rule. They survive a regrading."""
    if (points is None) != take_back:
        raise click.UsageError("give POINTS, or --take-back.")
    if points is not None and not (0 <= points < 1e6 and comment.strip()):
        raise click.UsageError("points are 0 or more, and --comment says why.")
    from lab.grading import classwork

    change = classwork.give(classwork.Place(grades, **place), student, item, points, comment, by)
    say(json.dumps(asdict(change)) if as_json else change.line())


@click.command()
@click.argument("grades", type=FOLDER)
@click.argument("student")
@_class_options
@json_option
def forget(grades: Path, student: str, as_json: bool, **place: Any) -> None:
    """Remove STUDENT, by the id, and everything that is stored of them in GRADES. There is no way back.

    What was handed in stays where you keep it: while it lies there, or the roster names them, the next `lab grade`
    takes them in again. Exports in GRADES that still name them are listed.
    """
    from lab.grading import classwork

    done = classwork.forget(classwork.Place(grades, **place), student)
    say(json.dumps(asdict(done), default=str) if as_json else "\n".join(done.lines()))


@click.command()
@click.argument("grades", type=FOLDER)
@click.option("--to", required=True, help="gradescope, classroom50, github, nbgrader, canvas or moodle.")
@click.option("--worksheet", type=GIVEN_FILE, help="Of Canvas or Moodle: its CSV, as you downloaded it.")
@click.option("--out", type=click.Path(path_type=Path), help="The file or folder to write; one in GRADES if not said.")
@click.option("--course", type=click.Path(exists=True, path_type=Path), help="Of nbgrader: write into this course.")
@click.option("--assignment", help="What the assignment is called there, where it has several.")
@click.option("--classroom", metavar="ORG/NAME", help="Of Classroom 50: the organisation and the classroom.")
@click.option("--scale", is_flag=True, help="Convert the points where the platform gives another number of them.")
@click.option("--gradebook", "url", metavar="URL", help="A database in place of the file in GRADES.")
@json_option
def export(grades: Path, to: str, url: str | None, as_json: bool, **asked: Any) -> None:
    """Write the grades of the class in GRADES as a platform takes them.

    Canvas and Moodle: fills in the file that you downloaded there, and writes another one. nbgrader: a CSV, or with
    --course the course's own gradebook. Gradescope, Classroom 50, GitHub: a folder with a file for each student.

    Who has no grade gets none, and never a 0. Status 0 if all of the class are in it, 1 if somebody is not found there
    or has no grade.
    """
    from lab.grading.classwork import Place
    from lab.grading.export import FORMS, Wanted
    from lab.grading.export import export as exported

    form = next((one for one in FORMS if one == to), None)
    if form is None:
        raise click.UsageError(f"--to is one of {', '.join(FORMS)}, and not {harmless(to)!r}.")
    done = exported(Place(grades, url), Wanted(form, **asked))
    say(json.dumps(done.to_dict(), indent=1) if as_json else "\n".join(done.lines()))
    sys.exit(0 if done.complete else 1)


@click.group()
def autograde() -> None:
    """Grade one hand-in where a platform runs it, and answer in that platform's own form."""


@autograde.command("github")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, default=Path("report"), help="Folder for what is written; report if not said.")
@click.option(
    "--mode",
    type=click.Choice(["push", "quick", "weights", "retrain", "rerun"]),
    default="push",
    help="push: a .lab file by its weights, else quick: the exercises that train nothing. The others: see lab grade.",
)
@_own_rubric
def autograde_github(target: Path, out: Path, mode: Any, rubric: str | None) -> None:
    """Grade TARGET, a student's repository or file, in GitHub Actions.

    Prints annotations at the cells of what is missing; writes the job's summary, the outputs `passed`, `points`,
    `max-points` and `result` (GitHub Classroom's), and into --out feedback.html, result.json (Classroom 50's) and
    summary.md. Who it is of: Classroom 50's variables (CLASSROOM, ASSIGNMENT, SUBMISSION_TAG, …), else GitHub's own.

    Status 0 also where points are missing: the output `passed` tells. 2 if there is no grade.
    """
    from datetime import datetime, timezone

    from lab.grading.autograde import github, push
    from lab.grading.grade import Options

    with github.commands_stopped():
        pushed = push.grade_push(target, mode, github.student_of(os.environ, target), rubric, Options())
        github.publish(pushed, out, os.environ, datetime.now(timezone.utc))
        click.echo(github.report(pushed))
    for command in github.annotations(pushed):
        click.echo(command)
    sys.exit(WRONG if pushed.ours else 0)


@autograde.command("classroom50")
@click.option("--out", type=click.Path(path_type=Path), default=Path("autograder.py"), help="The file: autograder.py.")
@_lab_commit
@_lab_repository
@click.option("--rubric", help="The assignment: mnist_994, mnist_8k, mnist_5k, fashion. Else each student says which.")
def autograde_classroom50(out: Path, lab_commit: str | None, lab_repository: str | None, rubric: str | None) -> None:
    """Write the autograder.py that Classroom 50 runs for each submission: it fetches this lab, and lets it grade.

    A teacher gives it to a classroom: gh teacher autograder set-default ORG CLASSROOM --from autograder.py
    """
    from lab.course.starting import write_autograder

    write_autograder(out, lab_commit, lab_repository, rubric)
    say(f"{out} is written. Next: gh teacher autograder set-default ORG CLASSROOM --from {out}")


_AUTOGRADER = Path("/autograder")


@autograde.command("gradescope")
@click.option("--submission", type=FOLDER, default=_AUTOGRADER / "submission", help="What the student handed in.")
@click.option("--metadata", type=FILE, default=_AUTOGRADER / "submission_metadata.json", help="Who, when, due when.")
@click.option("--results", type=FILE, default=_AUTOGRADER / "results" / "results.json", help="What comes out.")
@_rubric
@_mode
@_accepted
@click.option("--seconds", type=click.FloatRange(min=0), default=540.0, help="That it may take; 540 if not said.")
@json_option
def autograde_gradescope(
    submission: Path,
    metadata: Path,
    results: Path,
    rubric: str,
    mode: str,
    accepted: tuple[str, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Grade one submission in Gradescope's container, and leave its results.json.

    The archive of `lab gradescope-zip` calls this. There is one valid results.json whatever was handed in and whatever
    happens: where the time or the memory ends it says so, without a score. What was measured on the test images is not
    shown to the student before the rubric's due date, or Gradescope's. Status 0 if it is written, 2 if it can't be.
    """
    from lab.grading.autograde.gradescope_run import Asked, grade_submission, line

    rubric = str(Path(rubric).absolute()) if rubric.endswith(".toml") else rubric  # it is read in another folder
    asked = Asked(str(submission.absolute()), str(metadata.absolute()), rubric, mode, accepted)
    done = grade_submission(asked, results, seconds)
    say(json.dumps(done, indent=1) if as_json else line(done))


@click.command("gradescope-zip")
@click.option("--out", type=FILE, default=Path("autograder.zip"), help="The archive; autograder.zip if not said.")
@_rubric
@_mode
@_accepted
@click.option("--seconds", type=click.FloatRange(min=1), default=540.0, help="For a submission; 540 if not said.")
@click.option("--torch-index", metavar="URL", help="Where pip finds PyTorch without CUDA.")
@json_option
def gradescope_zip(
    out: Path,
    rubric: str,
    mode: str,
    accepted: tuple[str, ...],
    seconds: float,
    torch_index: str | None,
    as_json: bool,
) -> None:
    """Write the archive that Gradescope makes an autograder of: its scripts, this lab, the rubric and the images.

    Upload it where a programming assignment asks for its autograder. The points that it says are those to set there.
    """
    from lab.grading.autograde.gradescope_zip import Wanted, write_archive

    made = write_archive(out, Wanted(rubric, mode, accepted, seconds, torch_index))
    say(json.dumps(made.to_dict()) if as_json else "\n".join(made.lines()))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Try to break each claim of the sandbox that code is graded in, and say which of them hold on this machine.

    Takes some seconds. Status 1 if a claim fails: code is then not graded here, unless you accept that claim by its
    name (lab grade --accept CLAIM).
    """
    from lab.grading.doctor import examine

    findings = examine()
    passed = all(finding.passed for finding in findings)
    if as_json:
        say(json.dumps({"passed": passed, "claims": [finding.to_dict() for finding in findings]}, indent=1))
    else:
        say("\n".join(finding.line() for finding in findings))
    sys.exit(0 if passed else 1)


@click.command()
@click.argument("name", default="mnist_994")
@click.option("--out", type=FOLDER, help="A new folder; NAME-otter if you do not say.")
def otter(name: str, out: Path | None) -> None:
    """Write what Otter-grader 7 needs to give the points of the notebook NAME (mnist_994 or fashion).

    One test an exercise, which calls the lab's own check; Otter's settings; its environment. Otter runs what students
    wrote beside the verdict: `lab grade` keeps them apart.
    """
    from lab.grading.otter import write_tests

    folder = write_tests(name, out or Path(f"{name}-otter"))
    say(f"{folder} is written. Next: cd {folder} && otter generate && otter run COPY.ipynb -a autograder.zip")


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--notebook", default="mnist_994", help="mnist_994 (if you do not say) or fashion.")
@click.option(
    "--ci",
    "kinds",
    multiple=True,
    type=click.Choice(["github", "gitlab", "compose", "none"]),
    help="What grades: github (if you do not say), gitlab, compose (docker or podman) or none. May be repeated.",
)
@click.option("--repository", metavar="OWNER/NAME", help="Where it will be, for the badge; git's remote if not said.")
@_lab_commit
@_lab_repository
def init(
    folder: Path,
    notebook: str,
    kinds: tuple[str, ...],
    repository: str | None,
    lab_commit: str | None,
    lab_repository: str | None,
) -> None:
    """Make a student's repository in DIR: the notebook, a README, and what grades it on every push.

    What grades is this lab, at this commit, whatever the repository holds. Nothing that is there is overwritten: where
    a file is in the way nothing is written, and that is told. A folder that is in no git repository becomes one.
    """
    from lab.course.starting import Wanted, start

    wanted = Wanted(notebook, kinds or ("github",), repository, lab_commit, lab_repository)
    say("\n".join(start(folder, wanted).lines()))


COMMANDS = (grade, regrade, mark, forget, export, autograde, gradescope_zip, doctor, otter, init)
