"""The bench: what it runs, what it keeps, what it says; and the sprint, against its record."""

import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, Subset
from torchvision import datasets

from benchmarks import baselines, bench, classes, crowd, grading, machine, report, search
from lab.course.copies import grade_id_of, is_check
from lab.data import Data, load
from lab.grading.collect import collect
from lab.grading.judge import Sample
from lab.graph import capture
from lab.models import SprintNet
from lab.presets import PRESETS
from lab.rules import judge, load_rubric
from lab.runs import fresh, train_once
from lab.stats import alarm_level
from lab.targets import network
from lab.train import History, Recipe


@pytest.fixture(scope="module")
def few() -> Data:
    return load("mnist").limit(600)


# -- the record ------------------------------------------------------------------------------------------------------

FALSE_ALARMS = 0.001
"""How often the next test fails though nothing has changed."""


@pytest.mark.parametrize(
    ("name", "part", "seeds"),
    [
        ("sprint", "race", [100]),  # none that the record has
        pytest.param("sprint", "race", range(101, 104), marks=pytest.mark.slow),
        pytest.param("peak", "peak", [100], marks=pytest.mark.slow),
        pytest.param("small", "small", [100], marks=pytest.mark.slow),
        pytest.param("tiny", "tiny", [100], marks=pytest.mark.slow),
    ],
)
def test_presets_are_as_accurate_as_their_record(name: str, part: str, seeds: Iterable[int]) -> None:
    recorded = [run["accuracy"] for run in report.read(bench.HOME / "results")[part]["records"][name]]
    preset = PRESETS[name]
    data, recipe = load("mnist"), preset.recipe
    found = [train_once(lambda: network(preset.target), data, replace(recipe, seed=seed)).accuracy for seed in seeds]
    assert statistics.mean(found) >= alarm_level(recorded, len(found), FALSE_ALARMS), found


def test_the_record_is_of_the_presets_as_they_are() -> None:
    parts = report.read(bench.HOME / "results")
    for name, part, seeds in (
        ("sprint", "race", 10),
        ("peak", "peak", 10),
        ("small", "small", 3),
        ("tiny", "tiny", 10),
    ):
        records = parts[part]["records"][name]
        assert len({record["seed"] for record in records}) == seeds
        for record in records:
            assert record["target"] == PRESETS[name].target
            wanted = json.loads(json.dumps(bench.asdict(PRESETS[name].recipe)))
            # A setting that a record does not name is younger than it; such a setting's default changes nothing.
            assert bench.asdict(Recipe()) | record["recipe"] | {"seed": 0} == wanted


def test_the_pages_say_what_the_records_say() -> None:
    assert report.render(bench.HOME) == (bench.HOME / "RESULTS.md").read_text()
    assert report.readme(report.README.read_text()) == report.README.read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_the_assignments_rules(name: str) -> None:
    graph = capture(network(PRESETS[name].target))
    verdicts = judge(load_rubric(), graph, PRESETS[name].recipe.epochs, accuracy=0.994)
    assert all(verdict.passed for verdict in verdicts), [v.line() for v in verdicts if not v.passed]


# -- baselines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "parameters"), [(baselines.ExampleNet, 1_199_882), (baselines.SpeedNet, 215_194)])
def test_the_networks_of_others_have_their_size(build: type[nn.Module], parameters: int) -> None:
    assert sum(p.numel() for p in build().parameters()) == parameters
    assert build()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.fixture
def few_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's MNIST with its first 500 test images: the baselines read them one by one, after every lap."""
    whole = datasets.MNIST

    def shortened(root: Path, train: bool, transform: Any) -> Dataset[Any]:
        images = whole(root, train=train, transform=transform)
        return images if train else Subset(images, range(500))

    monkeypatch.setattr(datasets, "MNIST", shortened)


@pytest.mark.usefixtures("few_test_images")
@pytest.mark.parametrize(
    "start", [baselines.seed_baseline, pytest.param(baselines.pytorch_example, marks=pytest.mark.slow)]
)
def test_baselines_learn_lap_by_lap(start: Any) -> None:
    laps = list(start(0, load("mnist").limit(2500), 2))
    assert [lap.epoch for lap in laps] == [1, 2]
    assert all(lap.seconds > 0 for lap in laps)
    assert laps[-1].accuracy > 0.3  # few images, twice: far from good, better than chance


@pytest.mark.parametrize("as_we_do", [False, True])
def test_the_speed_record_is_one_lap(few: Data, as_we_do: bool) -> None:
    (lap,) = baselines.speed_record(0, few, as_we_do)
    assert lap.accuracy > 0.2


# -- bench -----------------------------------------------------------------------------------------------------------


def test_contestants_run_in_turn_and_every_record_is_kept_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, order = tmp_path / "results" / "fake.json", []
    path.parent.mkdir()
    path.write_text("the record of before")

    def contestant(name: str, n: int) -> Iterator[dict[str, Any]]:
        for i in range(n):
            if order:
                assert path.read_text() == "the record of before"
                kept = json.loads(path.with_suffix(".partial").read_text())["records"]
                assert sum(len(several) for several in kept.values()) == len(order)
            order.append(name)
            yield {"seed": i, "seconds": 1.5}

    monkeypatch.setitem(bench.PARTS, "fake", lambda size: {"a": contestant("a", 3), "b": contestant("b", 1)})
    bench.measure("fake", bench.QUICK, path.parent)
    assert order == ["a", "b", "a", "a"]
    kept = json.loads(path.read_text())
    assert [record["seed"] for record in kept["records"]["a"]] == [0, 1, 2]
    assert kept["machine"]["threads"] == torch.get_num_threads()
    assert "fake: a: seed 2, seconds 1.5" in capsys.readouterr().out


def test_a_baseline_stops_when_it_gets_there() -> None:
    laps = (baselines.Lap(n, 1.0, accuracy, 7) for n, accuracy in enumerate([0.99, 0.9941, 0.995], 1))
    assert [record["epoch"] for record in bench._until(0.994, laps)] == [1, 2]


def test_runs_of_a_preset_are_recorded_whole(few: Data) -> None:
    preset = PRESETS["sprint"]
    records = list(bench._seeds(preset.target, replace(preset.recipe, epochs=2), few, 2))
    assert [record["seed"] for record in records] == [0, 1]
    assert json.loads(json.dumps(records))[1]["recipe"]["seed"] == 1
    part = preset.recipe.hardest + preset.recipe.sampled
    assert records[0]["images"] == 600 + round(600 * part)


def test_half_a_run_is_not_recorded(few: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = PRESETS["sprint"]
    stopped = History(preset.recipe, "cpu", "float32", 1, interrupted=True)
    monkeypatch.setattr("lab.runs.fit", lambda *rest: stopped)
    with pytest.raises(KeyboardInterrupt):
        next(bench._seeds(preset.target, preset.recipe, few, 1))
    with pytest.raises(KeyboardInterrupt):
        search.whole(stopped)


def test_every_ablation_changes_something_of_the_sprint() -> None:
    recipes = [replace(PRESETS["sprint"].recipe, **choices) for choices in bench.ABLATIONS.values()]
    assert len(set(map(str, recipes))) == len(recipes)
    digits = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    builds = [SprintNet, *bench.OTHER_NETWORKS.values()]
    with torch.no_grad():
        answers = {str(fresh(build, seed=0).eval()(digits).tolist()) for build in builds}
    assert len(answers) == len(builds)


def test_what_the_machine_can_do_is_measured() -> None:
    assert machine.matmul_peak(side=128, repeats=3) > 1e8
    assert machine.copy_bandwidth(megabytes=8, repeats=3) > 1e8
    assert {"processor", "cores", "threads", "torch", "python"} <= set(machine.machine())


def test_the_copies_that_are_graded_hold_what_needs_no_training() -> None:
    solved, wrong, untouched = (grading.made(copy) for copy in grading.COPIES)
    checks = [grade_id_of(cell).removesuffix("-check") for cell in solved.cells if is_check(cell)]
    assert checks == list(grading.exercises())
    assert "out-size" in checks
    assert not any(name.startswith("version") for name in checks)
    assert [cell.metadata.get("nbgrader") for cell in untouched.cells] == [
        c.metadata.get("nbgrader") for c in solved.cells
    ]
    changed = [a.source != b.source for a, b in zip(wrong.cells, solved.cells, strict=True)]
    assert 3 <= sum(changed) < len(checks)


def test_a_grader_that_ends_otherwise_than_it_should_is_no_measurement(tmp_path: Path) -> None:
    seconds, said = grading.called([sys.executable, "-c", "print(7); exit(1)"], tmp_path, (0, 1))
    assert said == "7\n"
    assert seconds > 0
    with pytest.raises(RuntimeError, match="ends with 3: no disk"):
        grading.called([sys.executable, "-c", "import sys; sys.stderr.write('no disk'); exit(3)"], tmp_path)


# -- report ----------------------------------------------------------------------------------------------------------


def test_the_race_is_judged_by_the_first_lap_that_gets_there() -> None:
    def lap(epoch: int, accuracy: float) -> dict[str, Any]:
        return {"epoch": epoch, "seconds": 50.0, "accuracy": accuracy, "parameters": 9}

    def seed(number: int, accuracy: float) -> dict[str, Any]:
        return {"seed": number, "seconds": 4.0 + number, "accuracy": accuracy, "parameters": 7, "target": "x"}

    several = [seed(0, 0.993), seed(1, 0.995)]
    race = report._race(
        {
            "seed baseline": [lap(1, 0.99), lap(2, 0.9945)],
            "PyTorch's example": [lap(1, 0.98), lap(2, 0.991), lap(3, 0.99)],
            **dict.fromkeys(("sprint", "dash", "speed record", "speed record, as we do"), several),
        }
    )
    assert race["ratio"] == pytest.approx(100 / 4.5)
    assert race["baseline"]["passed"] == 2
    assert race["sprint"]["mean"] == pytest.approx(0.994)
    assert race["sprint"]["worst"] == 0.993
    assert (race["example"]["accuracy"], race["example"]["best"]) == (0.99, 0.991)


def test_loops_are_compared_pair_by_pair() -> None:
    def speeds(*values: float) -> list[dict[str, Any]]:
        return [{"images_per_second": value} for value in values]

    records = {
        "limits": [{"multiply_adds": 1_000_000, "matmul_peak": 1e12}],
        "seed baseline's loop": speeds(100, 50, 100),
        "the lab's loop": speeds(400, 200, 500),
    }
    ours = report._loop(records)["loops"]["the lab's loop"]
    assert (ours["ratio"], ours["low"], ours["high"]) == (4, 4, 5)
    assert ours["share"] == pytest.approx(400 * 3e6 / 1e12)


def test_graders_are_compared_copy_by_copy_and_round_by_round() -> None:
    def timed(*seconds: float, **more: Any) -> list[dict[str, Any]]:
        return [{"seconds": value, **more} for value in seconds]

    records = {
        "lab grade, solved": timed(2, 4, 3, points=11),
        "nbgrader, solved": timed(20, 20, 21, points=11, version="0.9.6"),
        "lab grade, untouched": timed(1, 1, 1, points=0),
        "nbgrader, untouched": timed(9, 9, 8, points=0, version="0.9.6"),
        "in the sandbox": timed(3, 4, 5, ready=2.0),
        "outside of it": timed(2, 3.5, 4.75, ready=1.5),
        "a file collected": timed(0.2, 0.2, 0.3, bytes=9),
        "a file's weights tested": timed(2, 2, 2),
        "trained by the judge": timed(10.2, 10.1, 10.3),
        "trained by lab train": timed(10, 10, 10),
    }
    found = report._grading(records)
    assert found["copies"]["solved"]["nbgrader"]["ratio"] == 7
    assert found["copies"]["untouched"]["nbgrader"]["ratio"] == 9
    assert found["copies"]["solved"]["lab grade"]["seconds"] == 3
    assert found["versions"] == {"nbgrader": "0.9.6"}  # Otter was left out
    assert (found["cost"], found["start"]) == (0.5, 0.5)
    assert found["slower"] == pytest.approx(0.02)


def test_a_class_is_judged_pair_by_pair_and_a_sample_stands_for_a_class() -> None:
    def run(seconds: float, hand_ins: int = 6, **more: Any) -> dict[str, Any]:
        return {"hand_ins": hand_ins, "seconds": seconds, "first": 4.0, "last": seconds - 1, **more}

    def size(hand_ins: int, peak: int, **more: Any) -> dict[str, Any]:
        steps = {"received": 1.0, "graded": hand_ins / 100, "written": 1.0}
        return steps | {"hand_ins": hand_ins, "peak": peak, "worker_peak": 7, "recorded": 5.0, "records": 1000, **more}

    records = {
        "pairs": [run(30, one=run(57)), run(60, one=run(105)), run(40, one=run(76))],
        "audit": [run(60, trained=1, share=0.1)],
        "retrain": [run(120)],
        "rerun": [run(30)],
        "copies": [run(60, nbgrader={"seconds": 300.0, "points": [33.0], "version": "0.9.6"})],
        "synthetic": [size(10, 1_000), size(300, 3_000, pages=9.0), size(1_010, 6_000)],
    }
    found = report._crowd(records)
    assert found["efficiency"] == {"share": 0.95, "low": 0.875, "high": 0.95}
    assert found["steady"]["high"] == pytest.approx((57 - 5) / 2 / (30 - 5))
    assert found["modes"]["weights"]["rate"] == 9  # of the pair in the middle
    assert found["modes"]["retrain"]["each"] == 20
    assert found["sizes"][-1]["cost"] == pytest.approx(12.1 / 1_010)
    assert (found["growth"], found["worker_growth"], found["recorded"]) == (5, 0, 0.005)
    assert found["pages"]["pages"] == 9
    assert (found["ours"], found["again"], found["theirs"]) == (3_000, 600, 15_000)
    assert found["ratio"] == pytest.approx(15_000 / 3_600)


def test_a_secret_draws_as_many_as_are_to_be_expected(tmp_path: Path) -> None:
    handed_in = classes.make(tmp_path / "class", 5, layout="folders", trained=False, only="network").folder
    secret = crowd.secret_for(handed_in, 2)
    digests = [collect(path).digest for path in handed_in.rglob("*.lab")]
    assert [Sample(crowd.SHARE, secret).draws(digest) for digest in digests].count(True) == 2


def test_limits_by_hand() -> None:
    limits = {"matmul_peak": 1e12, "copy_bandwidth": 1e10}
    assert report.arithmetic_limit({"multiply_adds": 1_000_000}, limits) == pytest.approx(0.18)
    assert report.memory_limit({"values": 1000}, limits) == pytest.approx(0.072)


# -- search ----------------------------------------------------------------------------------------------------------


def test_the_log_loss_is_that_of_the_best_temperature() -> None:
    torch.manual_seed(0)
    labels = torch.randint(10, (500,))
    with torch.inference_mode():
        logits = F.one_hot(labels, 10) * 3 + torch.randn(500, 10) * 2
    by_hand = min(F.cross_entropy(logits * scale / 100, labels).item() for scale in range(10, 300))
    for factor in (0.1, 1, 5):
        assert search.log_loss(logits * factor, labels) == pytest.approx(by_hand, rel=1e-3)


def test_a_trial_is_measured_on_images_held_out_for_it(few: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, fit = [], search.fit
    monkeypatch.setattr(search, "fit", lambda model, data, *rest, **named: seen.append(data) or fit(model, data, *rest))
    monkeypatch.setattr(Data, "test", property(lambda self: pytest.fail("the test set was read")))
    preset = PRESETS["sprint"]
    result = search.evaluate(lambda: network(preset.target), preset.recipe, few, 3, held_out=100)
    assert len(seen[0].train) == 500
    assert 0 <= result["accuracy"] <= 1
    assert result["seed"] == 3
