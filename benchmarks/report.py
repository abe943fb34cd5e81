"""What was measured, to read: RESULTS.md and its plots, from results/*.json alone.

python -m benchmarks.report
"""

import statistics
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from benchmarks import records
from benchmarks.records import HOME, Record
from lab import stats
from lab._files import write_whole
from lab.experiments import EXPERIMENTS, record_name
from lab.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY

TARGET = 0.994
TEST_IMAGES = 10_000
TRACKS = ("peak", "small", "tiny")
PUBLISHED_EPOCH = 11
"""At which the seed baseline first passes 99.4 % in its own published log."""
README = HOME.parent / "README.md"
_BEGIN, _END = "<!-- made by make bench -->", "<!-- end of what make bench made -->"


def read(folder: Path) -> dict[str, Record]:
    """The parts that were measured, by name."""
    return {path.stem: records.read(path) for path in sorted(folder.glob("*.json"))}


def render(home: Path, template: str = "RESULTS.md.j2") -> str:
    """RESULTS.md, or its table of the tracks alone, from home/results and home/search."""
    loader = jinja2.FileSystemLoader(HOME)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": lambda share, places=2: f"{share * 100:.{places}f}", "comma": "{:,}".format}
    return environment.get_template(template).render(facts(home))


def readme(text: str) -> str:
    """README.md's text with the table of the tracks as it is now."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{render(HOME, 'tracks.md.j2').strip()}\n{_END}{after}"


def facts(home: Path) -> Record:
    """Every figure that the page shows."""
    parts = read(home / "results")
    context: Record = {
        "parts": parts,
        "full": all(part["size"]["images"] == 60_000 for part in parts.values()),
        "searches": _searches(),
        "tried": _tried(),
        "test_margin": stats.share_margin(0.995, TEST_IMAGES),
    }
    if "race" in parts:
        context["race"] = _race(parts["race"]["records"])
    context["tracks"] = {name: _runs(parts[name]["records"][name]) for name in TRACKS if name in parts}
    if "gpu" in parts and parts["gpu"]["records"]:
        context["gpu"] = _runs(parts["gpu"]["records"]["sprint"])
    if "loop" in parts:
        context["loop"] = _loop(parts["loop"]["records"])
    if "ablation" in parts:
        context["ablation"] = _ablation(parts["ablation"]["records"])
    if "growth" in parts:
        context["growth"] = parts["growth"]["records"]
    if "experiments" in parts:
        context["experiments"] = _experiments(parts["experiments"]["records"])
    if "grading" in parts:
        context["grading"] = _grading(parts["grading"]["records"])
    if "class" in parts:
        context["crowd"] = _crowd(parts["class"]["records"])
    return context


def _runs(records: list[Record]) -> Record:
    """Accuracy and time over the seeds of one contestant."""
    seconds = [record["seconds"] for record in records]
    shown = ("parameters", "target", "precision", "images", "recipe")
    return _accuracies(records) | {
        "seconds": statistics.mean(seconds),
        "quickest": min(seconds),
        "slowest": max(seconds),
        **{name: records[0][name] for name in shown if name in records[0]},
    }


def _accuracies(records: list[Record]) -> Record:
    """Accuracy over seeds."""
    accuracies = [record["accuracy"] for record in records]
    mean, deviation = stats.spread(accuracies)
    return {
        "seeds": len(records),
        "accuracies": accuracies,
        "mean": mean,
        "deviation": deviation,
        "margin": _margin(accuracies),
        "worst": min(accuracies),
        "best": max(accuracies),
        "parameters": records[0]["parameters"],
    }


def _margin(values: list[float]) -> float | None:
    """Half the 95 % interval of the mean; a single value has none."""
    return stats.mean_margin(values) if len(values) > 1 else None


def _race(records: dict[str, list[Record]]) -> Record:
    """The runs of each contestant, and what the seed baseline took to its first epoch of 99.4 %."""
    laps = records["seed baseline"]
    first = next((lap for lap in laps if lap["accuracy"] >= TARGET), None)
    seconds = sum(lap["seconds"] for lap in laps)
    example = records["PyTorch's example"]
    sprint = _runs(records["sprint"])
    return {
        "sprint": sprint,
        "dash": _runs(records["dash"]),
        "speed_record": _runs(records["speed record"]),
        "speed_record_as_we_do": _runs(records["speed record, as we do"]),
        "baseline": {
            "parameters": laps[0]["parameters"],
            "passed": first and first["epoch"],
            "epochs": len(laps),
            "seconds": seconds,
            "best": max(lap["accuracy"] for lap in laps),
            "epoch_seconds": statistics.median(lap["seconds"] for lap in laps),
        },
        "example": {
            "parameters": example[0]["parameters"],
            "epochs": len(example),
            "seconds": sum(lap["seconds"] for lap in example),
            "accuracy": example[-1]["accuracy"],
            "best": max(lap["accuracy"] for lap in example),
        },
        "ratio": seconds / sprint["seconds"],
        "published_epoch": PUBLISHED_EPOCH,
        "published_ratio": sum(lap["seconds"] for lap in laps[:PUBLISHED_EPOCH]) / sprint["seconds"],
    }


def _loop(records: dict[str, list[Record]]) -> Record:
    """Median speeds, and ratios pair by pair, because a neighbour slows both of a pair."""
    limits, *_ = records["limits"]
    loops = {name: [r["images_per_second"] for r in several] for name, several in records.items() if name != "limits"}
    base = loops["seed baseline's loop"]
    compiled = records.get("the lab's loop, compiled", [{"compile_seconds": 0.0}])
    work = 3 * limits["multiply_adds"]  # an image: forward once, backward twice that
    return {
        "limits": limits,
        "compile_seconds": compiled[0]["compile_seconds"],
        "loops": {
            name: {
                "speed": statistics.median(speeds),
                "ratio": statistics.median(ratios),
                "low": min(ratios),
                "high": max(ratios),
                "share": statistics.median(speeds) * work / limits["matmul_peak"],
            }
            for name, speeds in loops.items()
            for ratios in [[a / b for a, b in zip(speeds, base, strict=True)]]
        },
    }


def _ablation(records: dict[str, list[Record]]) -> Record:
    """Each change against the sprint, seed by seed: the same held-out images and first weights."""
    base = records["the sprint"]
    rows: Record = {}
    for name, several in records.items():
        pairs = list(zip(several, base, strict=True))
        accuracy = [a["accuracy"] - b["accuracy"] for a, b in pairs]
        loss = [a["log_loss"] - b["log_loss"] for a, b in pairs]
        rows[name] = {
            "accuracy": statistics.mean(a["accuracy"] for a in several),
            "difference": statistics.mean(accuracy),
            "margin": _margin(accuracy),
            "log_loss": statistics.mean(a["log_loss"] for a in several),
            "loss_difference": statistics.mean(loss),
            "loss_margin": _margin(loss),
            "time": statistics.median(a["seconds"] / b["seconds"] for a, b in pairs),
            "seeds": len(several),
        }
    return rows


def _experiments(records: dict[str, list[Record]]) -> list[Record]:
    """The notebook's experiments in its order: a question, and its rows."""
    return [
        {
            "question": one.question,
            "rows": {label: _accuracies(records[record_name(name, label)]) for label in one.variants},
        }
        for name, one in EXPERIMENTS.items()
    ]


def _grading(records: dict[str, list[Record]]) -> Record:
    """Median seconds, and how much longer the others take than `lab grade`, copy by copy and round by round."""
    copies: Record = {}
    for name, several in records.items():
        grader, _, copy = name.partition(", ")
        if copy:
            ours = records[f"lab grade, {copy}"]
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(several, ours, strict=True)]
            row = _spread(several) | {"points": several[0]["points"], "ratio": statistics.median(ratios)}
            copies.setdefault(copy, {})[grader] = row
    inside, outside = records["in the sandbox"], records["outside of it"]
    pairs = list(zip(inside, outside, strict=True))
    judge, train = records["trained by the judge"], records["trained by lab train"]
    return {
        "copies": copies,
        "versions": {
            grader: records[f"{grader}, solved"][0]["version"]
            for grader in ("nbgrader", "Otter")
            if f"{grader}, solved" in records
        },
        "rounds": len(inside),
        "inside": _spread(inside),
        "ready": statistics.median(record["ready"] for record in inside),
        "cost": statistics.median(a["seconds"] - b["seconds"] for a, b in pairs),
        "start": statistics.median(a["ready"] - b["ready"] for a, b in pairs),
        "collected": _spread(records["a file collected"]),
        "bytes": records["a file collected"][0]["bytes"],
        "tested": _spread(records["a file's weights tested"]),
        "judge": _spread(judge),
        "train": _spread(train),
        "slower": statistics.median(a["seconds"] / b["seconds"] for a, b in zip(judge, train, strict=True)) - 1,
    }


CLASS = 300
"""Students, for which the seconds of a sample are extrapolated."""
_STEPS = ("received", "graded", "written")
"""Of a class whose judge answers at once."""


def _crowd(records: dict[str, list[Record]]) -> Record:
    """Rates of each mode; the efficiency of two workers, pair by pair; and what is around the judge, by class size."""
    pairs, (copies,) = records["pairs"], records["copies"]
    median_pair = sorted(pairs, key=lambda pair: pair["seconds"])[len(pairs) // 2]
    others = {mode: records[mode][0] for mode in ("audit", "retrain", "rerun") if mode in records}
    samples = {"weights": median_pair} | others
    modes = {
        mode: one | {"each": one["seconds"] / one["hand_ins"], "rate": 60 * one["hand_ins"] / one["seconds"]}
        for mode, one in samples.items()
    }
    sizes = [one | {"cost": sum(one[step] for step in _STEPS) / one["hand_ins"]} for one in records["synthetic"]]
    small, large = sizes[0], sizes[-1]
    grown = large["hand_ins"] - small["hand_ins"] or 1
    ours = CLASS * copies["seconds"] / copies["hand_ins"]
    again = modes["audit"]["share"] * CLASS * modes["retrain"]["each"] if len(others) == 3 else 0.0
    theirs = CLASS * copies["nbgrader"]["seconds"] / copies["hand_ins"]
    return {
        "modes": modes,
        "pairs": len(pairs),
        "efficiency": _parallel([(pair["one"]["seconds"], pair["seconds"]) for pair in pairs]),
        "steady": _parallel([(_between(pair["one"]), _between(pair)) for pair in pairs]),
        "sizes": sizes,
        "recorded": large["recorded"] / large["records"],
        "growth": (large["peak"] - small["peak"]) / grown,
        "worker_growth": (large["worker_peak"] - small["worker_peak"]) / grown,
        "pages": max((one for one in sizes if "pages" in one), key=lambda one: int(one["hand_ins"])),
        "copies": copies,
        "class": CLASS,
        "ours": ours,
        "again": again,
        "theirs": theirs,
        "ratio": theirs / (ours + again),
    }


def _parallel(pairs: list[tuple[float, float]]) -> Record:
    """Seconds of one worker ÷ twice those of two."""
    shares = [one / (2 * two) for one, two in pairs]
    return {"share": statistics.median(shares), "low": min(shares), "high": max(shares)}


def _between(one: Record) -> float:
    """Seconds between the first result and the last: without any program's start."""
    return float(one["last"] - one["first"])


def _spread(several: list[Record]) -> Record:
    """Of some timings."""
    seconds = [record["seconds"] for record in several]
    return {"seconds": statistics.median(seconds), "quickest": min(seconds), "slowest": max(seconds)}


def _searches() -> list[Record]:
    """The trials of each search, those with the smallest log-loss first."""
    return [log for log in read(HOME / "search").values() if "trials" in log]


def _tried() -> list[Record]:
    """What was tried by hand before that, in order."""
    rows: list[Record] = records.read(HOME / "search" / "tried.json")["tried"]
    for row in rows:
        row["accuracy"] = statistics.mean(result["accuracy"] for result in row["results"])
        row["log_loss"] = statistics.mean(result["log_loss"] for result in row["results"])
    return rows


# --- plots --------------------------------------------------------------------------------------------------


def write(home: Path) -> None:
    """RESULTS.md and plots/*.png in `home`; README.md's table, too, if they are the project's own."""
    parts = read(home / "results")
    (home / "plots").mkdir(parents=True, exist_ok=True)
    tracks = {name: parts[name]["records"][name] for name in TRACKS if name in parts}
    figures = {
        "race": _draw_race(parts["race"]["records"]) if "race" in parts else None,
        "tracks": _draw_tracks(tracks) if tracks else None,
        "growth": _draw_growth(parts["growth"]["records"]) if "growth" in parts else None,
    }
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(home / "plots" / f"{name}.png", dpi=110, metadata={"Software": None})
            plt.close(figure)
    write_whole(home / "RESULTS.md", render(home))
    if home == HOME:
        write_whole(README, readme(README.read_text(encoding="utf-8")))


def _draw_race(records: dict[str, list[Record]]) -> Figure:
    """Accuracy over the time that it took, everybody on one clock."""
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for name, colour, marker in (("seed baseline", RED, "o"), ("PyTorch's example", PURPLE, "s")):
        clock, seconds = [], 0.0
        for lap in records[name]:
            seconds += lap["seconds"]
            clock.append(seconds)
        axis.plot(clock, [lap["accuracy"] for lap in records[name]], marker + "-", color=colour, markersize=4)
        axis.annotate(f"{name},\nepoch by epoch", (clock[-1], records[name][-1]["accuracy"]), (8, 0), va="center",
                      textcoords="offset points", color=colour, fontsize=8)  # fmt: skip
    several = (
        ("sprint", BLUE, "D", "our sprint"),
        ("dash", SKY, "v", "the same in two epochs"),
        ("speed record", ORANGE, "^", "the speed record's recipe"),
        ("speed record, as we do", GREEN, "<", "that in our precision and layout"),
    )
    for name, colour, marker, label in several:
        runs = records[name]
        axis.scatter([r["seconds"] for r in runs], [r["accuracy"] for r in runs], s=22, color=colour, marker=marker,
                     label=f"{label} ({len(runs)} seeds)", zorder=3)  # fmt: skip
    axis.axhline(TARGET, color="0.4", linestyle="--", linewidth=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    last = [lap["accuracy"] for runs in records.values() for lap in runs[-1:]]  # the first epochs fall out below
    axis.set_ylim(min(last) - 0.003, max(TARGET, *last) + 0.002)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axis.set_xlabel("seconds of training, log scale")
    axis.set_ylabel("accuracy on the test images")
    axis.text(0.4, TARGET, "99.4 %", transform=axis.get_yaxis_transform(), va="bottom", color="0.4", fontsize=9)
    axis.set_xlim(right=5 * axis.get_xlim()[1])  # room for the names of the lines
    axis.legend(fontsize=8, loc="upper center")
    figure.tight_layout()
    return figure


def _draw_tracks(records: dict[str, list[Record]]) -> Figure:
    """Accuracy of every seed against parameters, with the 95 % interval of the mean."""
    figure, axis = plt.subplots(figsize=(8, 4.2))
    for (name, runs), colour in zip(records.items(), (BLUE, GREEN, ORANGE, PURPLE), strict=False):
        accuracies = [run["accuracy"] for run in runs]
        parameters = runs[0]["parameters"]
        axis.scatter([parameters] * len(runs), accuracies, s=18, color=colour, alpha=0.6)
        margin = stats.mean_margin(accuracies) if len(runs) > 1 else 0
        axis.errorbar([parameters * 1.03], [stats.spread(accuracies)[0]], [margin], color=colour, fmt="_", capsize=4)
        lowest = min(*accuracies, stats.spread(accuracies)[0] - margin)
        axis.annotate(f"{name}, {parameters:,}", (parameters, lowest), (0, -12), textcoords="offset points",
                      ha="center", va="top", color=colour, fontsize=9, backgroundcolor="white")  # fmt: skip
    axis.axhline(TARGET, color="0.4", linestyle="--", linewidth=1)
    axis.axvline(20_000, color="0.4", linestyle=":", linewidth=1)
    axis.set_xscale("log")
    axis.set_xlim(1_500, 30_000)
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.15 * (high - low), high)  # room for the names below the dots
    axis.set_xticks([2000, 4000, 8000, 16000], ["2,000", "4,000", "8,000", "16,000"])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
    axis.set_xlabel("parameters, log scale; the dotted line is the assignment's limit")
    axis.set_ylabel("accuracy on the test images")
    figure.tight_layout()
    return figure


def _draw_growth(records: dict[str, list[Record]]) -> Figure:
    """Seconds an epoch against four costs; the widths beside the machine's two limits."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), sharey=True)
    limits = {record["threads"]: record for record in records["limits"]}
    widths = [_median(records[name]) for name in records if name.startswith("width")]
    threads = max(limits)
    for axis, cost, label in (
        (axes[0], "parameters", "parameters"),
        (axes[1], "multiply_adds", "multiply-adds an image"),
    ):
        x = [record[cost] for record in widths]
        axis.plot(x, [record["seconds"] for record in widths], "o-", color=BLUE, label="measured")
        axis.plot(x, [arithmetic_limit(r, limits[threads]) for r in widths], "--", color=RED, label="arithmetic limit")
        axis.plot(x, [memory_limit(r, limits[threads]) for r in widths], ":", color=GREEN, label="memory limit")
        axis.set_xscale("log")
        axis.set_xlabel(label)
    batches = [_median(records[name]) for name in records if name.startswith("batch")]
    axes[2].plot([r["batch"] for r in batches], [r["seconds"] for r in batches], "o-", color=BLUE)
    axes[2].set_xscale("log", base=2)
    axes[2].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[2].set_xlabel("images a batch (LabNet)")
    several = [_median(records[name]) for name in records if name.startswith("threads")]
    axes[3].plot([str(r["threads"]) for r in several], [r["seconds"] for r in several], "o-", color=BLUE)
    axes[3].margins(x=0.5)
    axes[3].set_xlabel("threads (LabNet)")
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0].set_ylabel("seconds for 60,000 images, log scale")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _median(several: list[Record]) -> Record:
    return several[0] | {"seconds": statistics.median(record["seconds"] for record in several)}


def arithmetic_limit(costs: Record, limits: Record) -> float:
    """Seconds for 60,000 images if nothing but multiply-adds took time: forward, and twice that backward."""
    return float(60_000 * 3 * costs["multiply_adds"] / limits["matmul_peak"])


def memory_limit(costs: Record, limits: Record) -> float:
    """Seconds for 60,000 images if nothing but memory did: each layer's output, 2 bytes, written and read 3 times."""
    return float(60_000 * 3 * 2 * 2 * costs["values"] / limits["copy_bandwidth"])


if __name__ == "__main__":
    write(HOME)
