"""What a person can type. Each command parses, calls, prints.

Here is what a student types; `lab/_class_commands.py` has what a teacher does, `lab/_commands.py` what all share.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import lab
from lab._child import Child, is_saved
from lab._class_commands import COMMANDS
from lab._commands import FOLDER, GIVEN_FILE, INTERRUPTED, SEED, Commands, json_option, options, say, seed_option
from lab._terminal import harmless

if TYPE_CHECKING:
    from lab.graph import Graph
    from lab.layers import Layer
    from lab.runs import Run
    from lab.train import Recipe


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


_input_shape = click.option("--input", "input_shape", metavar="CxHxW", callback=_shape, help="Shape of one image.")
_recipe_options = options(
    click.option("--preset", help="A record's recipe: sprint, peak, small or tiny."),
    click.option(
        "--recipe",
        "recipe_file",
        type=GIVEN_FILE,
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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lab.__version__, prog_name="lab")
@click.option("--debug", is_flag=True, help="Show the traceback of whatever fails (LAB_DEBUG=1 does too).")
def main(debug: bool) -> None:
    """The 99.4 Lab: build a small MNIST network step by step, see what it sees, check it.

    TARGET names a network: file.py, file.py:Class, notebook.ipynb, a saved graph's folder, or package.module:callable.

    Exit status: 0; 1, the work falls short; 2, the call is wrong or something fails; 130, interrupted.
    """
    if debug:
        os.environ["LAB_DEBUG"] = "1"


for _command in COMMANDS:
    main.add_command(_command)


@main.command()
@click.argument("target")
@_input_shape
@click.option("--time", "timed", is_flag=True, help="Measure the milliseconds of each layer here, for a batch.")
@json_option
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
        say(json.dumps(_inspection(target, graph, layers, images, spent), indent=1))
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
    title = f"{harmless(target)} on {_sides(graph.input_shape)}"
    beside = (0, 1, 0, 0)  # narrow: SeedNet's fits in 80 columns
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
        say(f"no effect: {idle.text}")


def _sides(sizes: Any) -> str:
    return "x".join(str(size) for size in sizes)


@main.command()
@click.argument("target")
@_input_shape
@click.option("--rubric", help="mnist_994 (if you do not say), mnist_8k, mnist_5k, fashion, or a TOML file.")
@click.option("--train", is_flag=True, help="Train it first, and judge epochs and accuracy too.")
@click.option("--quick", is_flag=True, help="Of a copy: leave out the exercises that have to be trained.")
@click.option("--seed", type=SEED, help="Seed of the first weights and of training; 0 if you do not say.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="Train so often; the mean accuracy is judged.")
@_recipe_options
@json_option
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
        say(json.dumps(report | {"verdicts": [verdict.to_dict() for verdict in verdicts]}, indent=1))
    else:
        say("\n".join(verdict.line() for verdict in verdicts))
        if recipe is not None:
            say(_recipe_line(recipe))
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
        say(json.dumps(shown | {"exercises": exercises, "warnings": report.warnings}, indent=1))
    else:
        points = f"{report.points:g} of {report.max_points:g} points"
        say("\n".join([*(one.line() for one in report.exercises), points]))
    for warning in report.warnings:
        click.echo(f"warning: {harmless(warning)}", err=True)
    sys.exit(0 if passed else 1)


@main.command("hand-in")
@click.argument("target")
@click.option("--rubric", help="The assignment: mnist_994 (if you do not say), mnist_8k, mnist_5k or fashion.")
@_recipe_options
@click.option("--out", type=click.Path(path_type=Path), help="The file; TARGET.lab in this folder if you do not say.")
@json_option
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
            say(f"{target}, {graph.parameters:,} parameters, {recipe.epochs} epochs\n{_recipe_line(recipe)}")
        made = submission.of_training(graph, recipe, rubric, cells)
    submission.write(made, path)
    verdicts = submission.judged(made)
    if as_json:
        report = {"path": str(path), "bytes": path.stat().st_size, "digest": made.digest, "rubric": rubric}
        report |= {"declared": made.declared, "recipe": asdict(made.recipe) if made.recipe is not None else None}
        say(json.dumps(report | {"verdicts": [verdict.to_dict() for verdict in verdicts]}, indent=1))
    else:
        say("\n".join([*(verdict.line() for verdict in verdicts), submission.told(made, path)]))


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
@click.argument("target", required=False)
@_recipe_options
@click.option("--data", "dataset", default="mnist", help="mnist, fashion_mnist, kmnist or qmnist.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images: --set epochs=N.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="How many runs, with seeds 0, 1, 2, …")
@click.option("--validate", is_flag=True, help="Measure on 5,000 held-out training images; the test set is not read.")
@click.option("--save", "folder", type=FOLDER, help="Save the last run's network as a graph here.")
@json_option
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
        say(f"{target}, {graph.parameters:,} parameters, {recipe.epochs} epochs")
        say(_recipe_line(recipe))
        say(f"accuracy on {measured_on} images:")
    done = []
    for run in runs.train_each(graph, data, recipe, range(recipe.seed, recipe.seed + seeds)):
        done.append(run)
        if not as_json:
            say(f"seed {run.history.recipe.seed}: {run.accuracy:.2%} in {run.history.seconds:.1f} s")
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
        say(json.dumps(report | _summary(done), indent=1))
    else:
        _print_summary(done, seeds, images, measured_on)
        if settings and not validate:
            say("To choose between recipes, add --validate: whoever chooses by the test set has trained on it.")
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
    say(f"mean {mean:.2%} ± {deviation:.2%}, {len(done)} of {seeds} seeds, {stats.spread(seconds)[0]:.1f} s each")
    if len(done) > 1:
        of_seeds, of_images = stats.mean_margin(accuracies), stats.share_margin(mean, images)
        choice = f"± {of_images:.2%} for the choice of {measured_on} images"
        say(f"95 % interval: ± {of_seeds:.2%} for the mean over seeds; {choice}")


@main.command()
@click.argument("name", default="mnist_994")
@seed_option
@click.option("--epochs", type=click.IntRange(1), help="Epochs of the final run.")
@click.option("--train-limit", type=click.IntRange(100), help="Use only so many training images.")
@click.option("--quick", is_flag=True, help="A short run with a lower bar, to see that everything works.")
@click.option("--out", type=FOLDER, default=Path("build"), help="Folder for what the run writes.")
@json_option
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
