"""The notebook's experiments: their networks, one more run of them, and the record of many."""

import json
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

import pytest
import torch
from torch import nn

from benchmarks import bench
from benchmarks.machine import machine
from lab import _place, experiments
from lab.data import Data, Labelled, load
from lab.experiments import BASE, EXPERIMENTS, ExperimentError, Variant
from lab.graph import capture
from lab.models import LabNet, SeedNet
from lab.train import TrainingError, accuracy

ROWS = [(name, label) for name, one in EXPERIMENTS.items() for label in one.variants]


@pytest.fixture(scope="module")
def few() -> Data:
    """Split, and with a test set that nobody may read."""

    def closed() -> Labelled:
        raise AssertionError("the test set was read")

    return replace(load("mnist").limit(700).split(seed=0, held_out=100), _read_test=closed)


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_every_row_maps_a_digit_to_ten_numbers(name: str, label: str) -> None:
    assert experiments.variant(name, label).build()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_variants_of_labnet_differ_in_what_they_say() -> None:
    plain = [type(layer) for layer in LabNet()]
    without = experiments.without_batch_norm()
    assert [type(layer) for layer in without] == [kind for kind in plain if kind is not nn.BatchNorm2d]
    assert all(layer.bias is not None for layer in without if isinstance(layer, nn.Conv2d))
    assert [type(layer) for layer in experiments.large_head()] == plain[:15] + plain[16:]
    means = [type(layer) for layer in experiments.one_number_a_channel()]
    assert means == [*plain[:15], nn.AdaptiveAvgPool2d, *plain[16:]]


def test_squeezing_is_a_bargain() -> None:
    """Less than half of the parameters; and twice the width for fewer than were there before."""
    plain, squeezed, wide = (
        capture(experiments.stages(*choice)).parameters for choice in ((False,), (True,), (True, 2))
    )
    assert squeezed < plain / 2
    assert squeezed < wide < plain


def test_the_seed_without_its_flaw_has_one_layer_less() -> None:
    with_flaw, without = (capture(build()) for build in (SeedNet, experiments.Unsilenced))
    assert [op.label() for op in without.operations] == [op.label() for op in with_flaw.operations][:-2]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_rows_of_an_experiment_differ(name: str) -> None:
    rows = list(EXPERIMENTS[name].variants.values())
    assert all(rows.count(row) == 1 for row in rows)


# -- one more run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three small rows in place of the experiments."""
    recipe = replace(BASE, epochs=2, batch_size=100, precision="float32", averaging=0)
    rows = {
        "held out": Variant(LabNet, recipe),
        "after": Variant(LabNet, recipe, experiments.on_training_images),
        "meanwhile": Variant(LabNet, recipe, experiments.while_learning),
    }
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"short": experiments.Experiment("?", rows)})


def test_a_trial_reads_what_its_row_says(few: Data, short: None) -> None:
    row = experiments.variant("short", "held out")
    model, history = experiments.trained(row.build, row.recipe, few, seed=3)
    assert few.validation is not None
    assert history.recipe == replace(row.recipe, seed=3)
    assert all(epoch.validation_accuracy is None for epoch in history.epochs)
    found = [experiments.trial("short", label, few, seed=3) for label in ("held out", "after", "meanwhile")]
    wanted = [accuracy(model, few.validation), accuracy(model, few.train), history.epochs[-1].train_accuracy]
    assert found == wanted
    assert len(set(found)) == 3


def test_a_trial_wants_images_to_measure_on(few: Data, short: None) -> None:
    with pytest.raises(TrainingError, match=r"take data\.split\(seed=0\) first"):
        experiments.trial("short", "held out", replace(few.limit(100), validation=None), seed=0)


def test_an_interrupted_trial_is_no_row(few: Data, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = experiments.fit
    monkeypatch.setattr(experiments, "fit", lambda *rest: replace(fit(*rest), interrupted=True))
    with pytest.raises(TrainingError, match="half a run"):
        experiments.trial("short", "held out", few, seed=0)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(ExperimentError, match=r"no experiment 'drop': take flaw, batch_norm, dropout"):
        experiments.recorded("drop")
    with pytest.raises(ExperimentError, match=r"'dropout' has no row 'p = 1': take 'p = 0', 'p = 0\.05'"):
        experiments.variant("dropout", "p = 1")


# -- the record -------------------------------------------------------------------------------------------------------


def written(folder: Path, seeds: int = 2, missing: str = "") -> Path:
    """A record as the bench writes it, of rows that were not measured."""
    records = {
        experiments.record_name(name, label): [{"accuracy": 0.99 + seed / 1000} for seed in range(seeds)]
        for name, label in ROWS
        if label != missing
    }
    path = folder / experiments.RESULTS
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"machine": machine(), "started": "2026-11-26 04:41:54", "records": records}))
    return path


def test_the_record_is_read_where_the_lab_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(PurePosixPath):
        def locate(self) -> Path:
            return tmp_path / "share" / "lab994" / Path(*self.parts[5:])

    written(tmp_path / "share" / "lab994")
    monkeypatch.setattr(_place, "root", lambda: None)
    listed = [Installed("../../../share") / "lab994" / experiments.RESULTS, Installed("lab/cli.py")]
    monkeypatch.setattr(_place.metadata, "files", lambda name: listed)
    found = experiments.recorded("dropout")
    assert found.rows == {label: [0.99, 0.991] for label in EXPERIMENTS["dropout"].variants}
    assert found.source.startswith(f"{experiments.RESULTS}: 2 seeds, ")
    assert found.source.endswith(f", torch {torch.__version__}, 2026-11-26")


def test_a_record_that_is_missing_or_lacks_a_row_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_place, "root", lambda: tmp_path)
    with pytest.raises(ExperimentError, match=r"experiments\.json is missing: install the lab again"):
        experiments.recorded("dropout")
    written(tmp_path, missing="p = 0")
    with pytest.raises(ExperimentError, match=r"has no row 'p = 0' of 'dropout': `make bench` measures it"):
        experiments.recorded("dropout")


def test_the_bench_trains_shared_rows_once(few: Data, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "EXPERIMENTS", experiments.EXPERIMENTS)
    monkeypatch.setattr(bench, "load", lambda name: few)
    monkeypatch.setattr(Data, "split", lambda data, seed: data)
    runs, trained = [], experiments.trained
    monkeypatch.setattr(bench, "trained", lambda *rest: runs.append(rest[-1]) or trained(*rest))
    contestants = bench.experiments(replace(bench.QUICK, experiment_seeds=2))
    records = {name: list(several) for name, several in contestants.items()}
    assert sorted(runs) == [0, 1]
    assert list(records) == ["short: held out", "short: after", "short: meanwhile"]
    assert records["short: held out"][1]["accuracy"] == experiments.trial("short", "held out", few, seed=1)
    assert [one["recipe"]["seed"] for one in records["short: meanwhile"]] == [0, 1]


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_the_record_is_of_the_experiments_as_they_are(name: str, label: str) -> None:
    row = experiments.variant(name, label)
    records = json.loads((bench.HOME.parent / experiments.RESULTS).read_text())["records"]
    parameters = sum(p.numel() for p in row.build().parameters())
    for seed, record in enumerate(records[experiments.record_name(name, label)]):
        assert record["seed"] == seed
        assert record["parameters"] == parameters
        assert record["recipe"] == json.loads(json.dumps(asdict(replace(row.recipe, seed=seed))))
