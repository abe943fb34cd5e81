"""Measures everything that RESULTS.md says, and writes it down: `make bench`, or `make bench QUICK=1` in 5 minutes.

A part is a list of contestants. Each contestant is a generator of records; the bench lets each make one in turn, in
one process, so that all meet the same machine. Every record is on disk (results/PART.partial) before the next begins;
the record of before (results/PART.json) is replaced when the part is complete.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import click
import torch
from torch import nn

from benchmarks import baselines, crowd, grading, records, report
from benchmarks.machine import copy_bandwidth, machine, matmul_peak
from benchmarks.records import HOME, Record
from benchmarks.report import TARGET
from benchmarks.search import HELD_OUT, evaluate, whole
from lab.data import Data, load
from lab.experiments import EXPERIMENTS, Variant, record_name, trained
from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet, SeedNet, SprintNet, StagesNet
from lab.presets import PRESETS, Preset
from lab.runs import train_once
from lab.targets import network
from lab.train import Recipe, fit

Contestants = dict[str, Iterator[Record]]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seeds: int = 10
    ablation_seeds: int = 5
    experiment_seeds: int = 8
    images: int = 60_000  # to train on
    laps: int = 19  # of the baselines, at most
    repeats: int = 10  # of a short timing
    classes: crowd.Size = crowd.FULL


QUICK = Size(seeds=2, ablation_seeds=1, experiment_seeds=1, images=6_000, laps=1, repeats=2, classes=crowd.QUICK)


ABLATIONS: dict[str, Record] = {
    "the sprint": {},
    "AdamW for the filters, too": {"muon": 0.0},
    "nothing skipped": {"hardest": 1.0, "sampled": 0.0},
    "as many skipped, by chance": {"hardest": 0.0, "sampled": 0.2},
    "no label smoothing": {"label_smoothing": 0.0},
    "weight averaging 0.99": {"averaging": 0.99},
    "constant learning rate": {"schedule": "constant"},
    "cosine instead of triangle": {"schedule": "cosine"},
    "no warm-up": {"warmup": 0.001},
    "no augmentation": {"augment": None},
    "dropout 0.2": {"dropout": 0.2},
    "momentum 0.9": {"momentum": 0.9},
    "batches of 96": {"batch_size": 96},
    "batches of 512": {"batch_size": 512},
    "float32": {"precision": "float32"},
    "SGD for everything, rate 0.4": {
        "optimizer": "sgd",
        "muon": 0.0,
        "learning_rate": 0.4,  # the best of 0.05, 0.1, 0.2 and 0.4
        "momentum": 0.9,
        "weight_decay": 0.0005,
    },
}
"""What is changed in the sprint's recipe, one thing at a time; an optimizer brings the settings that suit it."""


def _drawn_anew(draw: Callable[[torch.Tensor], object]) -> nn.Module:
    """The sprint's network, its filters drawn by another rule."""
    model = SprintNet()
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            draw(layer.weight)
    return model


OTHER_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "SiLU instead of ReLU": lambda: SprintNet(nn.SiLU),
    "filters drawn by He's rule": lambda: _drawn_anew(partial(nn.init.kaiming_normal_, nonlinearity="relu")),
    "orthogonal filters at first": lambda: _drawn_anew(partial(nn.init.orthogonal_, gain=math.sqrt(2))),
}
"""What is changed in the sprint's network."""


# --- the parts ----------------------------------------------------------------------------------------------


def race(size: Size) -> Contestants:
    """The sprint: everybody on all training images, the same two cores, in turn."""
    data = load("mnist").limit(size.images)
    sprint = PRESETS["sprint"]
    dash = replace(sprint, recipe=replace(sprint.recipe, epochs=2, hardest=0.05, sampled=0.05))
    return {
        "sprint": _seeds(sprint.target, sprint.recipe, data, size.seeds),
        "dash": _seeds(dash.target, dash.recipe, data, size.seeds),
        "seed baseline": _until(TARGET, baselines.seed_baseline(0, data, size.laps)),
        "PyTorch's example": _laps(baselines.pytorch_example(0, data, min(14, size.laps))),
        "speed record": _runs(lambda seed: baselines.speed_record(seed, data), size.seeds),
        "speed record, as we do": _runs(lambda seed: baselines.speed_record(seed, data, as_we_do=True), size.seeds),
    }


def peak(size: Size) -> Contestants:
    """The most accurate with fewer than 20,000 parameters."""
    return _track("peak", PRESETS["peak"], size)


def small(size: Size) -> Contestants:
    """99.4 % with fewer than 8,000 parameters."""
    return _track("small", PRESETS["small"], size)


def tiny(size: Size) -> Contestants:
    """The most accurate with fewer than 4,000 parameters."""
    return _track("tiny", PRESETS["tiny"], size)


def gpu(size: Size) -> Contestants:
    """The sprint on a GPU, data resident; nobody where there is none."""
    if not torch.cuda.is_available():
        return {}
    data, sprint = load("mnist").limit(size.images), PRESETS["sprint"]
    next(_seeds(sprint.target, sprint.recipe, data.limit(3_000), 1, "cuda"))  # the first kernels are loaded meanwhile
    return {"sprint": _seeds(sprint.target, sprint.recipe, data, size.seeds, "cuda")}


def loop(size: Size) -> Contestants:
    """Images a second through `SeedNet`: the seed baseline's loop, and ours."""
    data = load("mnist").limit(min(12_000, size.images))
    ours = Recipe(epochs=1)

    def seed_loop() -> Iterator[Record]:
        for _ in range(size.repeats):
            lap = next(baselines.seed_baseline(0, data, 1))
            yield {"images_per_second": len(data.train) / lap.seconds}

    def our_loop(recipe: Recipe) -> Iterator[Record]:
        for _ in range(size.repeats):
            history = whole(fit(SeedNet(), data, recipe, progress=False))
            yield {"images_per_second": len(data.train) / history.seconds, "precision": history.precision}

    def compiled_loop(recipe: Recipe) -> Iterator[Record]:
        model = SeedNet()
        model.compile()
        first = whole(fit(model, data, recipe, progress=False)).seconds  # most of it compiling
        for _ in range(size.repeats):
            history = whole(fit(model, data, recipe, progress=False))
            yield {"images_per_second": len(data.train) / history.seconds, "compile_seconds": first - history.seconds}

    facts = {
        "images": len(data.train),
        "multiply_adds": _costs(SeedNet())["multiply_adds"],
        "matmul_peak": matmul_peak(),
        "copy_bandwidth": copy_bandwidth(),
    }
    return {
        "limits": iter([facts]),
        "seed baseline's loop": seed_loop(),
        "the lab's loop": our_loop(ours),
        "the lab's loop, batch 128": our_loop(replace(ours, batch_size=128)),
        "the lab's loop, float32": our_loop(replace(ours, precision="float32")),
        "the lab's loop, compiled": compiled_loop(replace(ours, batch_size=250, averaging=0)),  # batches of one size
    }


def ablation(size: Size) -> Contestants:
    """The sprint with one thing changed, on held-out images: what did each idea give?"""
    data = load("mnist").limit(size.images)
    preset = PRESETS["sprint"]
    held_out = min(HELD_OUT, size.images // 6)

    def measured(build: Callable[[], nn.Module], recipe: Recipe) -> Iterator[Record]:
        for seed in range(size.ablation_seeds):
            yield evaluate(build, recipe, data, seed, held_out) | {"recipe": asdict(recipe)}

    own, recipe = partial(network, preset.target), preset.recipe
    recipes = {name: measured(own, replace(recipe, **choices)) for name, choices in ABLATIONS.items()}
    return recipes | {name: measured(build, recipe) for name, build in OTHER_NETWORKS.items()}


def growth(size: Size) -> Contestants:
    """Time of an epoch against width, batch size and threads, beside the machine's two limits."""
    threads = torch.get_num_threads()
    widths = (4, 8, 16, 24, 32, 48)
    stages = {f"width {w}": _stages(w) for w in widths}
    data = load("mnist").limit(6_000)

    def timed(build: Callable[[], nn.Module], batch: int, cores: int) -> Iterator[Record]:
        recipe, costs = Recipe(epochs=1, batch_size=batch, averaging=0), _costs(build())
        for _ in range(max(2, size.repeats // 2)):
            with _threads(cores):
                history = whole(fit(build(), data, recipe, progress=False))
            seconds = history.seconds * 60_000 / len(data.train)
            yield {"seconds": seconds, "batch": batch, "threads": cores} | costs

    def limits() -> Iterator[Record]:
        for cores in sorted({1, threads}):
            with _threads(cores):
                limits = {"matmul_peak": matmul_peak(), "copy_bandwidth": copy_bandwidth()}
            yield {"threads": cores} | limits

    return (
        {"limits": limits()}
        | {name: timed(build, 256, threads) for name, build in stages.items()}
        | {f"batch {batch}": timed(LabNet, batch, threads) for batch in (32, 64, 128, 256, 512, 1024)}
        | {f"threads {cores}": timed(LabNet, 256, cores) for cores in range(1, threads + 1)}
    )


def experiments(size: Size) -> Contestants:
    """The notebook's experiments, on held-out images: many seeds of each row."""
    data = load("mnist").split(seed=0).limit(size.images)
    train_once_a_seed = cache(lambda build, recipe, seed: trained(build, recipe, data, seed))

    def measured(row: Variant) -> Iterator[Record]:
        for seed in range(size.experiment_seeds):
            model, history = train_once_a_seed(row.build, row.recipe, seed)  # some rows share their runs
            yield {
                "seed": seed,
                "accuracy": row.reading(model, history, data),
                "seconds": history.seconds,
                "parameters": baselines.parameter_count(model),
                "precision": history.precision,
                "recipe": asdict(history.recipe),
            }

    return {
        record_name(name, label): measured(row)
        for name, one in EXPERIMENTS.items()
        for label, row in one.variants.items()
    }


def graders(size: Size) -> Contestants:
    """One hand-in graded by the lab, by nbgrader and by Otter; the sandbox's own cost; a .lab file; a training."""
    return grading.repeated(max(1, size.repeats // 2))


def a_class(size: Size) -> Contestants:
    """Hand-ins a minute in each mode; the queue, the gradebook and the pages around the judge; nbgrader, beside it."""
    return crowd.measured(size.classes)


PARTS = {
    "race": race,
    "peak": peak,
    "small": small,
    "tiny": tiny,
    "gpu": gpu,
    "loop": loop,
    "ablation": ablation,
    "experiments": experiments,
    "growth": growth,
    "grading": graders,
    "class": a_class,
}


# --- contestants --------------------------------------------------------------------------------------------


def _track(name: str, preset: Preset, size: Size) -> Contestants:
    return {name: _seeds(preset.target, preset.recipe, load("mnist").limit(size.images), size.seeds)}


def _seeds(target: str, recipe: Recipe, data: Data, seeds: int, device: str = "cpu") -> Iterator[Record]:
    """One whole run a seed; the test set is read once, after each."""
    for seed in range(seeds):
        done = train_once(lambda: network(target), data, replace(recipe, seed=seed), progress=False, device=device)
        whole(done.history)
        yield {
            "target": target,
            "seed": seed,
            "accuracy": done.accuracy,
            "seconds": done.history.seconds,
            "parameters": baselines.parameter_count(done.model),
            "images": sum(epoch.images for epoch in done.history.epochs),
            "precision": done.history.precision,
            "recipe": asdict(done.history.recipe),
        }


def _laps(laps: Iterator[baselines.Lap]) -> Iterator[Record]:
    return (asdict(lap) for lap in laps)


def _until(target: float, laps: Iterator[baselines.Lap]) -> Iterator[Record]:
    """Laps up to the first that reaches `target`."""
    for lap in laps:
        yield asdict(lap)
        if lap.accuracy >= target:
            return


def _runs(start: Callable[[int], Iterator[baselines.Lap]], seeds: int) -> Iterator[Record]:
    """The last lap of a run, one run a seed."""
    for seed in range(seeds):
        *_, last = start(seed)
        yield {"seed": seed, **asdict(last)}


def _stages(width: int) -> Callable[[], nn.Module]:
    c = tuple(round(width * share) for share in (1, 1, 1.5, 1.5, 1.5))
    return lambda: StagesNet(c)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _costs(model: nn.Module) -> Record:
    """Of one image: what is learnt, computed, and moved through memory (each layer's output, written and read)."""
    table = layer_table(capture(model))
    values = sum(torch.Size(layer.shape).numel() for layer in table)
    return {
        "parameters": sum(layer.parameters for layer in table),
        "multiply_adds": sum(layer.multiply_adds for layer in table),
        "values": values,
    }


# --- the bench ----------------------------------------------------------------------------------------------


def measure(part: str, size: Size, folder: Path) -> None:
    """Run a part, each contestant in turn; folder/PART.json is there when all are done."""
    contestants = PARTS[part](size)
    results: Record = {
        "part": part,
        "machine": machine(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "size": asdict(size),
        "records": {name: [] for name in contestants},
    }
    partial = folder / f"{part}.partial"
    waiting = dict(contestants)
    while waiting:
        for name in list(waiting):
            record = next(waiting[name], None)
            if record is None:
                del waiting[name]
                continue
            results["records"][name].append(record)
            records.write(partial, results)
            click.echo(f"{part}: {name}: {_line(record)}")
    records.write(partial, results)
    partial.replace(folder / f"{part}.json")


def _line(record: Record) -> str:
    shown = ("seed", "epoch", "accuracy", "seconds", "images_per_second", "matmul_peak", "copy_bandwidth")
    return ", ".join(f"{name} {record[name]:.6g}" for name in shown if name in record)


@click.command()
@click.option("--quick", is_flag=True, help="A little of everything, in build/benchmarks: does it work?")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only this; all if left out.")
@click.option("--threads", type=click.IntRange(1), default=2)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where results, pages and plots go.")
def main(quick: bool, parts: tuple[str, ...], threads: int, out: Path | None) -> None:
    """Measure, then write RESULTS.md and its plots from what was measured."""
    torch.set_num_threads(threads)
    out = out or (Path("build/benchmarks") if quick else HOME)
    for part in parts or PARTS:
        measure(part, QUICK if quick else Size(), out / "results")
    report.write(out)


if __name__ == "__main__":
    main()
