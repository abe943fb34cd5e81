"""What a person can type. Each command parses, calls, prints.

Exit status: 0; 1, the work falls short; 2, the call is wrong, or the lab or the machine fails; 130, Ctrl-C.
With --json whatever ends with 2 or 130 prints {"error": …} too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import click

import lab
from lab import _process
from lab._child import Child, is_saved
from lab._terminal import harmless
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.grading.grade import Mode, Options
    from lab.graph import Graph
    from lab.layers import Layer
    from lab.runs import Run
    from lab.train import Recipe

WRONG, INTERRUPTED = 2, 130


class _Commands(click.Group):
    """Shows whatever goes wrong as a message alone, and ends with a status that says so; never with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        _process.set_up()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # for names that the terminal can't show
        as_json = "--json" in [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                _say(json.dumps({"error": error.format_message()}))
            raise
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted: nothing is judged.", as_json, INTERRUPTED)
        except LabError as error:
            _fail(str(error), as_json)
        except BrokenPipeError:  # who read the answer has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(WRONG)
        except OSError as error:
            _fail(_in_words(error), as_json)
        except ModuleNotFoundError as error:
            _fail(_missing(error), as_json)
        except Exception as error:  # whatever it is, it is not the person's work that falls short
            _fail(_own_fault(error), as_json)


def _fail(message: str, as_json: bool, status: int = WRONG) -> NoReturn:
    if os.environ.get("LAB_DEBUG"):
        import traceback

        traceback.print_exc()
    if as_json:
        _say(json.dumps({"error": message}))
    click.echo(harmless(f"error: {message}"), err=True)
    sys.exit(status)


def _own_fault(error: Exception) -> str:
    what = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    advice = "Please report this with what you typed and what LAB_DEBUG=1 in front of it prints (CONTRIBUTING.md)."
    return f"the lab itself fails: {what}. {advice}"


def _missing(error: ModuleNotFoundError) -> str:
    """What a package is part of that `pip install lab994` alone does not bring."""
    from lab.ready import extra_with

    package = (error.name or "").partition(".")[0]
    extra = extra_with(package)
    if extra is None:
        return _own_fault(error)
    return f"{package} is not installed, which this needs: pip install 'lab994[{extra}]' brings it."


def _in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}. Is the disk full, or may you not write there?"


def _say(text: str) -> None:
    """To stdout; names in it are a person's own, and draw nothing on the terminal."""
    click.echo(harmless(text))


def _shape(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """'3x224x224' as numbers."""
    if value is None:
        return None
    try:
        c, h, w = (int(part) for part in value.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not three numbers like 1x28x28") from None
    if min(c, h, w) < 1 or max(c, h, w) > 4096:
        raise click.BadParameter(f"{value!r}: each of the three must be from 1 to 4096")
    return c, h, w


_Command = TypeVar("_Command", bound=Callable[..., Any])
_input_shape = click.option("--input", "input_shape", metavar="CxHxW", callback=_shape, help="Shape of one image.")
_FOLDER = click.Path(file_okay=False, path_type=Path)
_SEED = click.IntRange(0, 2**32 - 1)
_seed = click.option("--seed", type=_SEED, default=0, help="Seed of the first weights and of training.")
_RECIPE_OPTIONS = (
    click.option("--preset", help="A record's recipe: sprint, peak, small or tiny."),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A recipe in a TOML or JSON file: the settings that differ from the lab's own.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change one setting, such as averaging=0.999, augment.degrees=15 or augment=none. May be repeated.",
    ),
)


def _recipe_options(command: _Command) -> _Command:
    """--preset, --recipe and --set."""
    for option in reversed(_RECIPE_OPTIONS):
        command = option(command)
    return command


def _recipe(otherwise: Callable[[], Recipe], preset: str | None, file: Path | None, settings: Sequence[str]) -> Recipe:
    """The recipe that these options name: a preset's, a file's, or what there is otherwise; then what is set in it."""
    from lab.presets import preset_or_default
    from lab.recipes import load_recipe, with_settings

    if preset is not None and file is not None:
        raise click.UsageError("--preset and --recipe both name a recipe: take one, and change it with --set.")
    recipe = load_recipe(file) if file is not None else preset_or_default(preset).recipe if preset else otherwise()
    return with_settings(recipe, settings)


def _recipe_line(recipe: Recipe) -> str:
    """What it changes in the lab's own recipe, as --set takes it."""
    from lab.recipes import settings_of

    own = "the lab's own"
    return f"recipe: {', '.join(settings_of(recipe)) or own}"


_CLASS_OPTIONS = (
    click.option("--workers", type=click.IntRange(1), help="Of a class: processes that grade; one a core if not said."),
    click.option("--cluster", metavar="tcp://…", help="Of a class: a Dask scheduler, whose workers grade."),
    click.option(
        "--gradebook", "url", metavar="URL", help="Of a class: a database in place of the file in its folder."
    ),
    click.option("--wait", is_flag=True, help="Of a class: wait for another process that grades into the folder."),
)


def _class_options(command: _Command) -> _Command:
    """Where the grades of a class are kept, and who works them out."""
    for option in reversed(_CLASS_OPTIONS):
        command = option(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a machine to read.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lab.__version__, prog_name="lab")
@click.option("--debug", is_flag=True, help="Show the traceback of whatever fails (LAB_DEBUG=1 does too).")
def main(debug: bool) -> None:
    """The 99.4 Lab: build a small MNIST network step by step, see what it sees, check it.

    TARGET names a network: file.py, file.py:Class, notebook.ipynb, a saved graph's folder, or package.module:callable.

    Exit status: 0; 1, the work falls short; 2, the call is wrong or something fails; 130, interrupted.
    """
    if debug:
        os.environ["LAB_DEBUG"] = "1"


@main.command()
@click.argument("target")
@_input_shape
@click.option("--time", "timed", is_flag=True, help="Measure the milliseconds of each layer here, for a batch.")
@_as_json
def inspect(target: str, input_shape: tuple[int, int, int] | None, timed: bool, as_json: bool) -> None:
    """Print TARGET's layer table: shape, parameters, multiply-adds and receptive field of every executed layer.

    Images are 1x28x28 if --input does not say otherwise. With --time the forward pass of a batch of random images is
    measured, of 256 or as many as the memory allows.
    """
    with Child(target) as child:  # imports torch while this process does
        from lab.graph import TO_DESCRIBE
        from lab.layers import layer_table

        graph = child.graph(input_shape or (1, 28, 28), TO_DESCRIBE)
    layers, images, spent = layer_table(graph), 0, None
    if timed:
        from lab.timing import fitting_images, milliseconds

        images = fitting_images(graph)
        spent = milliseconds(graph, images)
    if as_json:
        _say(json.dumps(_inspection(target, graph, layers, images, spent), indent=1))
    else:
        _print_table(target, graph, layers, images, spent)


def _inspection(
    target: str, graph: Graph, layers: list[Layer], images: int, spent: list[float] | None
) -> dict[str, Any]:
    rows = [layer.to_dict() for layer in layers]
    if spent is not None:
        rows = [row | {"milliseconds": round(time, 4)} for row, time in zip(rows, spent, strict=True)]
    return {
        "target": target,
        "input_shape": graph.input_shape,
        "output_shape": graph.output_shape,
        "parameters": graph.parameters,
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "idle": [idle.model_dump() for idle in graph.idle],
        "layers": rows,
    } | ({} if spent is None else {"timed_images": images, "milliseconds": round(sum(spent), 4)})


def _print_table(target: str, graph: Graph, layers: list[Layer], images: int, spent: list[float] | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(width=1000, markup=False, emoji=False, highlight=False)  # numbers are never cut to fit
    arrow = "->" if console.options.ascii_only else "→"
    title, beside = (
        f"{harmless(target)} on {_sides(graph.input_shape)}",
        (0, 1, 0, 0),
    )  # narrow: SeedNet's fits in 80 columns
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=beside, pad_edge=False, show_edge=False)
    for heading in ("layer", "path", "output"):
        table.add_column(heading, no_wrap=True)
    time = [] if spent is None else [f"ms, {images}\nimages"]
    for heading in ("para-\nmeters", "multiply-\nadds", *time, "sees,\npixels", "jump"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, layer in enumerate(layers):
        field = layer.field
        whole = field.clipped == graph.input_shape[1:]
        sees = f"{_sides(field.size)}{' all' if whole else ''}"
        jump = _sides([f"{float(j):g}" for j in field.jump]) if field.units != (1, 1) else "-"
        costs = (
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            *([] if spent is None else [f"{spent[place]:.2f}"]),
        )
        names = (layer.title.replace("→", arrow), harmless(layer.name))
        table.add_row(*names, _sides(layer.shape), *costs, sees, jump)
    table.add_section()
    total = sum(layer.multiply_adds for layer in layers)
    sums = (f"{graph.parameters:,}", f"{total:,}", *([] if spent is None else [f"{sum(spent):.2f}"]))
    table.add_row("total", "", _sides(graph.output_shape), *sums, "", "")
    console.print(table)
    for idle in graph.idle:
        _say(f"no effect: {idle.text}")


def _sides(sizes: Any) -> str:
    return "x".join(str(size) for size in sizes)


@main.command()
@click.argument("target")
@_input_shape
@click.option("--rubric", help="mnist_994 (if you do not say), mnist_8k, mnist_5k, fashion, or a TOML file.")
@click.option("--train", is_flag=True, help="Train it first, and judge epochs and accuracy too.")
@click.option("--quick", is_flag=True, help="Of a copy: leave out the exercises that have to be trained.")
@click.option("--seed", type=_SEED, help="Seed of the first weights and of training; 0 if you do not say.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="Train so often; the mean accuracy is judged.")
@_recipe_options
@_as_json
def check(
    target: str,
    input_shape: tuple[int, int, int] | None,
    rubric: str | None,
    train: bool,
    quick: bool,
    seed: int | None,
    seeds: int,
    preset: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check TARGET against the assignment's rules, one verdict each. Status 1 if a rule fails.

    Your copy of one of the lab's notebooks is checked exercise by exercise, with the points it has got so far. Networks
    of your own are trained for that, which takes minutes, unless --quick leaves those exercises out.
    NOTEBOOK.ipynb:MyNet, --train or --rubric judge the network in it.

    The accuracy of a saved graph is measured with the weights that it brings. Other targets have no trained weights:
    --train makes some, by the recipe that the rubric names if you name none. With --input, for images of another shape
    than the rubric's, accuracy is not measured.
    """
    if target.endswith(".ipynb") and not (train or rubric or input_shape):
        from lab.course.exercises import has_exercises

        if has_exercises(target):
            _check_exercises(target, quick, as_json)
    if quick:
        raise click.UsageError("--quick is for a copy of one of the lab's notebooks, checked exercise by exercise.")
    if input_shape is not None and train:
        raise click.UsageError("--train trains on the rubric's own images: leave --input out.")
    if not train and (preset or recipe_file or settings or seeds > 1):
        raise click.UsageError("--preset, --recipe, --set and --seeds are for a training: add --train.")
    with Child(target) as child:  # imports torch while this process does
        from lab import runs
        from lab.recipes import recipe_of
        from lab.rules import load_rubric

        assignment = load_rubric(rubric or "mnist_994")
        if seed is not None:
            settings = (*settings, f"seed={seed}")
        recipe = _recipe(lambda: recipe_of(assignment), preset, recipe_file, settings) if train else None
        if input_shape is not None:
            assignment = assignment.model_copy(update={"input_shape": input_shape})
        graph = child.graph(assignment.input_shape)
    verdicts = runs.check(graph, assignment, recipe, seeds, is_saved(target))
    failed = any(verdict.passed is False for verdict in verdicts)
    if as_json:
        report = {"target": target, "rubric": assignment.title, "passed": not failed}
        report |= {"recipe": asdict(recipe) if recipe is not None else None}
        _say(json.dumps(report | {"verdicts": [verdict.to_dict() for verdict in verdicts]}, indent=1))
    else:
        _say("\n".join(verdict.line() for verdict in verdicts))
        if recipe is not None:
            _say(_recipe_line(recipe))
    sys.exit(1 if failed else 0)


def _check_exercises(notebook: str, quick: bool, as_json: bool) -> NoReturn:
    """The points of a student's copy so far. Status 1 if some are still to be had."""
    from lab.course.exercises import check_copy, trains

    if not quick and trains(notebook):
        click.echo("Your networks are trained, which takes some minutes; --quick leaves them out.", err=True)
    report = check_copy(notebook, quick=quick)
    passed = report.points == report.max_points
    if as_json:
        shown = {"target": notebook, "passed": passed, "points": report.points, "max_points": report.max_points}
        exercises = [one.to_dict() for one in report.exercises]
        _say(json.dumps(shown | {"exercises": exercises, "warnings": report.warnings}, indent=1))
    else:
        points = f"{report.points:g} of {report.max_points:g} points"
        _say("\n".join([*(one.line() for one in report.exercises), points]))
    for warning in report.warnings:
        click.echo(f"warning: {harmless(warning)}", err=True)
    sys.exit(0 if passed else 1)


@main.command("hand-in")
@click.argument("target")
@click.option("--rubric", help="The assignment: mnist_994 (if you do not say), mnist_8k, mnist_5k or fashion.")
@_recipe_options
@click.option("--out", type=click.Path(path_type=Path), help="The file; TARGET.lab in this folder if you do not say.")
@_as_json
def hand_in(
    target: str,
    rubric: str | None,
    preset: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Check TARGET against the rules and write it as a file to hand in, NAME.lab: data alone.

    A saved graph (`lab train --save`) brings its weights. Any other TARGET is trained first, by the recipe that the
    rubric names if you name none, and measured. Of a copy of one of the lab's notebooks it is the network that the
    assignment asks for; what its cells train does not count here: `lab.hand_in` in the notebook hands that in.

    A broken rule is told, and does not keep anybody from handing in.
    """
    path = out or Path(f"{_stem(target)}.lab")
    target, of_copy = _assigned(target)
    with Child(target) as child:  # imports torch while this process does
        from lab import submission
        from lab.recipes import recipe_of
        from lab.rules import load_rubric

        rubric = rubric or of_copy or "mnist_994"
        submission.require_place(path, rubric)
        assignment = load_rubric(rubric)
        recipe = _recipe(lambda: recipe_of(assignment), preset, recipe_file, settings)
        graph = child.graph(assignment.input_shape)
    cells = submission.cells_of(target)
    if is_saved(target):
        known = recipe if preset or recipe_file or settings else None
        made = submission.of_graph(graph, known, rubric, cells)
    else:
        if not as_json:
            _say(f"{target}, {graph.parameters:,} parameters, {recipe.epochs} epochs\n{_recipe_line(recipe)}")
        made = submission.of_training(graph, recipe, rubric, cells)
    submission.write(made, path)
    verdicts = submission.judged(made)
    if as_json:
        report = {"path": str(path), "bytes": path.stat().st_size, "digest": made.digest, "rubric": rubric}
        report |= {"declared": made.declared, "recipe": asdict(made.recipe) if made.recipe is not None else None}
        _say(json.dumps(report | {"verdicts": [verdict.to_dict() for verdict in verdicts]}, indent=1))
    else:
        _say("\n".join([*(verdict.line() for verdict in verdicts), submission.told(made, path)]))


def _stem(target: str) -> str:
    """A file's name for what TARGET names: net for net.py:Net, my_net for a folder my_net."""
    file, colon, name = target.rpartition(":")
    path = Path(file if colon and file.endswith((".py", ".ipynb")) else target)
    if path.name == "graph.json":
        path = path.resolve().parent
    return path.stem if path.suffix in (".py", ".ipynb") else path.name.rpartition(":")[2] or name or "network"


def _assigned(target: str) -> tuple[str, str | None]:
    """Of a copy of one of the lab's notebooks the network that is handed in, and its rubric; else TARGET itself."""
    if not target.endswith(".ipynb"):
        return target, None
    from lab.course.copies import read_copy
    from lab.course.plan import edition_of

    edition = edition_of(read_copy(Path(target)))
    name = edition.handed_in[0] if edition.handed_in is not None else None
    return (f"{target}:{name}" if name else target), edition.name or None


@main.command()
@click.argument("target")
@click.option(
    "--mode",
    type=click.Choice(["retrain", "rerun", "weights", "audit", "push"]),
    help="How the network is judged; chosen by what was handed in if you do not say. push: what takes minutes alone.",
)
@click.option("--rubric", help="The hand-in's own if you do not say; mnist_994, mnist_8k, mnist_5k, fashion or a file.")
@_seed
@click.option("--seeds", type=click.IntRange(1), help="Train so often; once, and again where it is close, if not said.")
@click.option("--quick", is_flag=True, help="The exercises alone, and only those that need no training.")
@click.option("--accept", "accepted", multiple=True, metavar="CLAIM", help="Do without a claim of the sandbox.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.1, help="Of an audit: trained again at random, 0 to 1.")
@click.option("--secret", default="", help="Of an audit: a word that nobody else knows, from which it is drawn.")
@click.option("--fresh", help="Measure on images that nobody has seen, too: qmnist.")
@click.option("--report", type=_FOLDER, help="Of one hand-in: write feedback.html and result.json into this folder.")
@click.option("--out", type=_FOLDER, help="Of a class: the folder for the grades. Started again, it goes on there.")
@click.option(
    "--roster",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a class: a CSV of its students; roster.csv beside the hand-ins if you do not say.",
)
@click.option("--platform", help="Of a class: moodle, canvas, gradescope, nbgrader, repositories or folders.")
@click.option("--assignment", help="Of a class in nbgrader's folders: which assignment.")
@click.option("--anonymous", is_flag=True, help="Of a class: leave all names out of the class's page.")
@_class_options
@_as_json
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
    notebook the exercises that train nothing, and status 0 says that all is earned which that checks.

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
    _say(json.dumps(done.to_dict(), indent=1) if as_json else "\n".join(done.lines()))
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
    _say(json.dumps(pushed.one.grade, indent=1) if as_json else "\n".join(push.lines(pushed)))
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
    _say(json.dumps({"summary": done.to_dict()}) if as_json else "\n".join(done.lines()))
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
        _fail(f"interrupted: {kept}", as_json, INTERRUPTED)


@main.command()
@click.argument("grades", type=_FOLDER)
@click.option("--student", "students", multiple=True, metavar="ID", help="A student, by the id; may be repeated.")
@click.option("--rule", help="Everybody who lacks points of this exercise or rule.")
@click.option("--rubric", help="A new rubric for the class.")
@_class_options
@_as_json
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
        _say(json.dumps({"graded": graded, "changes": [asdict(change) for change in changes]}))
    else:
        _say("\n".join([*(change.line() for change in changes), f"{graded} graded anew, {len(changes)} changed."]))


@main.command()
@click.argument("grades", type=_FOLDER)
@click.argument("student")
@click.argument("item")
@click.argument("points", type=float, required=False)
@click.option("--comment", default="", help="The reason, which the student reads.")
@click.option("--by", help="Who gives them; your user name if you do not say.")
@click.option("--take-back", is_flag=True, help="Let what was worked out count again.")
@_class_options
@_as_json
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
    _say(json.dumps(asdict(change)) if as_json else change.line())


@main.command()
@click.argument("grades", type=_FOLDER)
@click.argument("student")
@_class_options
@_as_json
def forget(grades: Path, student: str, as_json: bool, **place: Any) -> None:
    """Remove STUDENT, by the id, and everything that is stored of them in GRADES. There is no way back.

    What was handed in stays where you keep it: while it lies there, or the roster names them, the next `lab grade`
    takes them in again. Exports in GRADES that still name them are listed.
    """
    from lab.grading import classwork

    done = classwork.forget(classwork.Place(grades, **place), student)
    _say(json.dumps(asdict(done), default=str) if as_json else "\n".join(done.lines()))


_GIVEN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@main.command()
@click.argument("grades", type=_FOLDER)
@click.option("--to", required=True, help="gradescope, classroom50, github, nbgrader, canvas or moodle.")
@click.option("--worksheet", type=_GIVEN_FILE, help="Of Canvas or Moodle: its CSV, as you downloaded it.")
@click.option("--out", type=click.Path(path_type=Path), help="The file or folder to write; one in GRADES if not said.")
@click.option("--course", type=click.Path(exists=True, path_type=Path), help="Of nbgrader: write into this course.")
@click.option("--assignment", help="What the assignment is called there, where it has several.")
@click.option("--classroom", metavar="ORG/NAME", help="Of Classroom 50: the organisation and the classroom.")
@click.option("--scale", is_flag=True, help="Convert the points where the platform gives another number of them.")
@click.option("--gradebook", "url", metavar="URL", help="A database in place of the file in GRADES.")
@_as_json
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
    _say(json.dumps(done.to_dict(), indent=1) if as_json else "\n".join(done.lines()))
    sys.exit(0 if done.complete else 1)


@main.group()
def autograde() -> None:
    """Grade one hand-in where a platform runs it, and answer in that platform's own form."""


@autograde.command("github")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--out", type=_FOLDER, default=Path("report"), help="Folder for what is written; report if not said.")
@click.option(
    "--mode",
    type=click.Choice(["push", "quick", "weights", "retrain", "rerun"]),
    default="push",
    help="push: a .lab file by its weights, else quick: the exercises that train nothing. The others: see lab grade.",
)
@click.option("--rubric", help="The hand-in's own if you do not say; mnist_994, mnist_8k, mnist_5k, fashion or a file.")
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
@click.option("--lab-commit", metavar="SHA", help="The lab's commit that grades; this lab's own if you do not say.")
@click.option("--rubric", help="The assignment: mnist_994, mnist_8k, mnist_5k, fashion. Else each student says which.")
def autograde_classroom50(out: Path, lab_commit: str | None, rubric: str | None) -> None:
    """Write the autograder.py that Classroom 50 runs for each submission: it fetches this lab, and lets it grade.

    A teacher gives it to a classroom: gh teacher autograder set-default ORG CLASSROOM --from autograder.py
    """
    from lab.course.starting import write_autograder

    write_autograder(out, lab_commit, rubric=rubric)
    _say(f"{out} is written. Next: gh teacher autograder set-default ORG CLASSROOM --from {out}")


_FILE = click.Path(dir_okay=False, path_type=Path)
_MODES = click.Choice(["retrain", "rerun", "weights", "audit"])
_AUTOGRADER = Path("/autograder")


@autograde.command("gradescope")
@click.option("--submission", type=_FOLDER, default=_AUTOGRADER / "submission", help="What the student handed in.")
@click.option("--metadata", type=_FILE, default=_AUTOGRADER / "submission_metadata.json", help="Who, when, due when.")
@click.option("--results", type=_FILE, default=_AUTOGRADER / "results" / "results.json", help="What comes out.")
@click.option("--rubric", default="mnist_994", help="mnist_994, mnist_8k, mnist_5k, fashion or a TOML file.")
@click.option("--mode", type=_MODES, default="weights", help="How the network is judged; by its weights if not said.")
@click.option("--accept", "accepted", multiple=True, metavar="CLAIM", help="Do without a claim of the sandbox.")
@click.option("--seconds", type=click.FloatRange(min=0), default=540.0, help="That it may take; 540 if not said.")
@_as_json
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
    _say(json.dumps(done, indent=1) if as_json else line(done))


@main.command("gradescope-zip")
@click.option("--out", type=_FILE, default=Path("autograder.zip"), help="The archive; autograder.zip if not said.")
@click.option("--rubric", default="mnist_994", help="mnist_994, mnist_8k, mnist_5k, fashion or a TOML file.")
@click.option("--mode", type=_MODES, default="weights", help="How networks are judged; by their weights if not said.")
@click.option("--accept", "accepted", multiple=True, metavar="CLAIM", help="Do without a claim of the sandbox.")
@click.option("--seconds", type=click.FloatRange(min=1), default=540.0, help="For a submission; 540 if not said.")
@click.option("--torch-index", metavar="URL", help="Where pip finds PyTorch without CUDA.")
@_as_json
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
    _say(json.dumps(made.to_dict()) if as_json else "\n".join(made.lines()))


@main.command()
@_as_json
def doctor(as_json: bool) -> None:
    """Try to break each claim of the sandbox that code is graded in, and say which of them hold on this machine.

    Takes some seconds. Status 1 if a claim fails: code is then not graded here, unless you accept that claim by its
    name (lab grade --accept CLAIM).
    """
    from lab.grading.doctor import examine

    findings = examine()
    passed = all(finding.passed for finding in findings)
    if as_json:
        _say(json.dumps({"passed": passed, "claims": [finding.to_dict() for finding in findings]}, indent=1))
    else:
        _say("\n".join(finding.line() for finding in findings))
    sys.exit(0 if passed else 1)


@main.command()
@click.argument("name", default="mnist_994")
@click.option("--out", type=_FOLDER, help="A new folder; NAME-otter if you do not say.")
def otter(name: str, out: Path | None) -> None:
    """Write what Otter-grader 7 needs to give the points of the notebook NAME (mnist_994 or fashion).

    One test an exercise, which calls the lab's own check; Otter's settings; its environment. Otter runs what students
    wrote beside the verdict: `lab grade` keeps them apart.
    """
    from lab.grading.otter import write_tests

    folder = write_tests(name, out or Path(f"{name}-otter"))
    _say(f"{folder} is written. Next: cd {folder} && otter generate && otter run COPY.ipynb -a autograder.zip")


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--notebook", default="mnist_994", help="mnist_994 (if you do not say) or fashion.")
@click.option(
    "--ci",
    "kinds",
    multiple=True,
    type=click.Choice(["github", "gitlab", "compose", "none"]),
    help="What grades: github (if you do not say), gitlab, compose (docker or podman) or none. May be repeated.",
)
@click.option("--repository", metavar="OWNER/NAME", help="Where it will be, for the badge; git's remote if not said.")
@click.option("--lab-commit", metavar="SHA", help="The lab's commit that grades; this lab's own if you do not say.")
@click.option("--lab-repository", metavar="OWNER/NAME", help="A fork of the lab that grades, on GitHub.")
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
    _say("\n".join(start(folder, wanted).lines()))


@main.command()
@click.argument("target", required=False)
@_recipe_options
@click.option("--data", "dataset", default="mnist", help="mnist, fashion_mnist, kmnist or qmnist.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images: --set epochs=N.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="How many runs, with seeds 0, 1, 2, …")
@click.option("--validate", is_flag=True, help="Measure on 5,000 held-out training images; the test set is not read.")
@click.option("--save", "folder", type=_FOLDER, help="Save the last run's network as a graph here.")
@_as_json
def train(
    target: str | None,
    preset: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    dataset: str,
    epochs: int | None,
    seeds: int,
    validate: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Train TARGET, then read the test set once. Without TARGET: the preset's network, or the lab's own.

    To choose between recipes or networks, add --validate. "One thing changed, over five seeds" is:
    lab train net.py --set averaging=0.999 --seeds 5 --validate

    Prints accuracy per seed, mean, spread, the 95 % interval of the mean, and the time of training.
    """
    from lab.presets import preset_or_default
    from lab.train import Recipe

    if epochs is not None:
        settings = (*settings, f"epochs={epochs}")
    recipe = _recipe(Recipe, preset, recipe_file, settings)
    target = target or preset_or_default(preset).target
    with Child(target) as child:
        from lab import runs
        from lab.data import load

        graph = child.graph()
    data = load(dataset)
    if validate:
        data = data.split(seed=0)
    measured_on = "validation" if validate else "test"
    if folder is not None:
        _try_to_save(graph, folder)  # what can't be written fails now and not after the training
    if not as_json:
        _say(f"{target}, {graph.parameters:,} parameters, {recipe.epochs} epochs")
        _say(_recipe_line(recipe))
        _say(f"accuracy on {measured_on} images:")
    done = []
    for run in runs.train_each(graph, data, recipe, range(recipe.seed, recipe.seed + seeds)):
        done.append(run)
        if not as_json:
            _say(f"seed {run.history.recipe.seed}: {run.accuracy:.2%} in {run.history.seconds:.1f} s")
    if folder is not None:
        from lab.graph import capture, save

        save(capture(done[-1].model), folder)
    interrupted = done[-1].history.interrupted
    images = len(data.test if data.validation is None else data.validation)
    if as_json:
        report = {
            "target": target,
            "preset": preset,
            "data": dataset,
            "parameters": graph.parameters,
            "measured_on": measured_on,
            "images": images,
        }
        _say(json.dumps(report | _summary(done), indent=1))
    else:
        _print_summary(done, seeds, images, measured_on)
        if settings and not validate:
            _say("To choose between recipes, add --validate: whoever chooses by the test set has trained on it.")
    sys.exit(INTERRUPTED if interrupted else 0)


def _try_to_save(graph: Graph, folder: Path) -> None:
    """Write the graph into a folder of its own in `folder` and take it away. Raises GraphError."""
    import tempfile

    from lab.errors import GraphError
    from lab.graph import save

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            save(graph, inside)
    except OSError as error:
        raise GraphError(f"cannot save in {folder}: {error.strerror}. Choose another folder.") from error


def _summary(done: list[Run]) -> dict[str, Any]:
    from lab import stats

    mean, deviation = stats.spread([run.accuracy for run in done])
    return {"mean": mean, "standard_deviation": deviation, "runs": [run.to_dict() for run in done]}


def _print_summary(done: list[Run], seeds: int, images: int, measured_on: str) -> None:
    from lab import stats

    accuracies, seconds = [run.accuracy for run in done], [run.history.seconds for run in done]
    mean, deviation = stats.spread(accuracies)
    _say(f"mean {mean:.2%} ± {deviation:.2%}, {len(done)} of {seeds} seeds, {stats.spread(seconds)[0]:.1f} s each")
    if len(done) > 1:
        of_seeds, of_images = stats.mean_margin(accuracies), stats.share_margin(mean, images)
        choice = f"± {of_images:.2%} for the choice of {measured_on} images"
        _say(f"95 % interval: ± {of_seeds:.2%} for the mean over seeds; {choice}")


@main.command()
@click.argument("name", default="mnist_994")
@_seed
@click.option("--epochs", type=click.IntRange(1), help="Epochs of the final run.")
@click.option("--train-limit", type=click.IntRange(100), help="Use only so many training images.")
@click.option("--quick", is_flag=True, help="A short run with a lower bar, to see that everything works.")
@click.option("--out", type=_FOLDER, default=Path("build"), help="Folder for what the run writes.")
@_as_json
def run(
    name: str, seed: int, epochs: int | None, train_limit: int | None, quick: bool, out: Path, as_json: bool
) -> None:
    """Execute the solved notebook NAME (mnist_994 or fashion), with real training, and assert its assignment.

    Writes the executed notebook, an HTML page and results.json. Status 1 if the assignment is not met, 2 if that can't
    be said: no data, no kernel, no room. Ctrl-C keeps what was executed and gives 130.
    """
    from lab.course.editions import solved_edition
    from lab.course.execution import execute

    parameters = {"seed": seed, "epochs": epochs, "train_limit": train_limit, "quick": quick}
    given = {key: value for key, value in parameters.items() if value is not None}
    outcome = execute(solved_edition(name), name, given, out)
    click.echo(json.dumps(outcome.to_dict(), indent=1) if as_json else outcome.line())
    sys.exit(outcome.exit_status)
