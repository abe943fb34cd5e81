"""Finds a track's network and recipe on held-out training images; the test set is never read.

    python -m benchmarks.search sprint --trials 40     # again, or twice side by side: goes on with the same study

A trial trains with a few seeds, each with 10,000 other training images held out, and is judged by the log-loss on
those at the best temperature. At this accuracy a count of mistakes hardly tells two recipes apart (10,000 images
leave ±0.12 points); the log-loss ranks them alike and is a quarter as noisy. A sprint is judged by the seconds that
its processor worked, too: no recipe is best, some are better than all that are as quick.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import optuna
import torch
import torch.nn.functional as F
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import Tensor, nn

from benchmarks import records
from benchmarks.baselines import parameter_count
from benchmarks.machine import machine
from lab.augment import Affine
from lab.data import Data, load
from lab.models import StagesNet, StridedNet
from lab.runs import fresh
from lab.train import History, Recipe, fit, predict

HELD_OUT = 10_000
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


def sprint(trial: optuna.Trial) -> tuple[Callable[[], nn.Module], Recipe]:
    """Few pixels early, few images late."""
    channels = (
        trial.suggest_categorical("first", [8, 16]),
        trial.suggest_categorical("second", [16, 24]),
        trial.suggest_categorical("third", [24, 32]),
        trial.suggest_categorical("fourth", [16, 24]),
    )
    activation = ACTIVATIONS[trial.suggest_categorical("activation", ["relu", "silu"])]
    moved = trial.suggest_float("moved", 0.0, 1.5, step=0.25)
    recipe = Recipe(
        epochs=trial.suggest_int("epochs", 2, 6),
        batch_size=trial.suggest_categorical("batch_size", [128, 192, 256, 384]),
        hardest=trial.suggest_float("hardest", 0.05, 0.4, step=0.05),
        sampled=trial.suggest_float("sampled", 0.05, 0.3, step=0.05),
        learning_rate=trial.suggest_float("learning_rate", 0.002, 0.04, log=True),
        muon=trial.suggest_float("muon", 0.01, 0.2, log=True),
        warmup=trial.suggest_float("warmup", 0.05, 0.4, step=0.05),
        momentum=trial.suggest_float("momentum", 0.8, 0.95, step=0.05),
        weight_decay=trial.suggest_float("weight_decay", 0.001, 0.1, log=True),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.1, step=0.01),
        averaging=trial.suggest_categorical("averaging", [0.0, 0.98, 0.99, 0.995, 0.998]),
        augment=Affine(
            shift=trial.suggest_float("shift", 0.5, 2.5, step=0.5),
            degrees=10 * moved,
            scale=0.1 * moved,
            shear=0.1 * moved,
        ),
    )
    return lambda: StridedNet(channels, activation), recipe


def peak(trial: optuna.Trial) -> tuple[Callable[[], nn.Module], Recipe]:
    """Fewer than 20,000 parameters, 19 epochs."""
    channels = trial.suggest_categorical("channels", ["16 16 24 24 24", "12 16 24 24 24", "12 20 24 24 22"])
    return _stages(trial, channels)


def tiny(trial: optuna.Trial) -> tuple[Callable[[], nn.Module], Recipe]:
    """Fewer than 4,000 parameters, 19 epochs."""
    channels = trial.suggest_categorical("channels", ["8 8 9 9 10", "6 8 8 10 10", "6 7 8 8 8"])
    return _stages(trial, channels)


TRACKS = {"sprint": sprint, "peak": peak, "tiny": tiny}


def _stages(trial: optuna.Trial, channels: str) -> tuple[Callable[[], nn.Module], Recipe]:
    """Few levels each: with so few trials, each tells something about every choice."""
    c = [int(part) for part in channels.split()]
    pooled = {"early": (0, 2, 4), "late": (1, 3, 4)}[trial.suggest_categorical("pooled", ["early", "late"])]
    activation = ACTIVATIONS[trial.suggest_categorical("activation", ["silu", "gelu"])]
    dropout = trial.suggest_categorical("dropout", [0.01, 0.05])
    moved = trial.suggest_categorical("moved", [0.5, 0.75, 1.0, 1.25])
    recipe = Recipe(
        epochs=19,
        batch_size=trial.suggest_categorical("batch_size", [64, 128, 256]),
        learning_rate=trial.suggest_categorical("learning_rate", [0.005, 0.01, 0.02]),
        muon=trial.suggest_categorical("muon", [0.0, 0.02, 0.05, 0.1]),
        label_smoothing=trial.suggest_categorical("label_smoothing", [0.0, 0.03, 0.06]),
        averaging=trial.suggest_categorical("averaging", [0.995, 0.998]),
        augment=Affine(shift=2 * moved, degrees=10 * moved, scale=0.1 * moved, shear=0.1 * moved),
    )
    return lambda: StagesNet(c, pooled, activation, dropout), recipe


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of `labels` (N,) under logits (N, C), at the temperature that suits them best.

    Label smoothing and short training make a network too modest or too bold; one number mends that (Guo et al. 2017).
    """
    logits = logits.clone()  # they come out of inference mode
    scale = torch.ones((), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits * scale, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


def evaluate(
    build: Callable[[], nn.Module], recipe: Recipe, data: Data, seed: int, held_out: int = HELD_OUT
) -> dict[str, Any]:
    """Train once with `seed` and some images held out, and measure on those."""
    parts = data.split(seed, held_out)
    assert parts.validation is not None
    model = fresh(build, seed)
    started = time.process_time()
    whole(fit(model, replace(parts, validation=None), replace(recipe, seed=seed), progress=False))
    seconds = time.process_time() - started
    logits = predict(model, parts.validation.images)
    right = int((logits.argmax(1) == parts.validation.labels).sum())
    return {
        "seed": seed,
        "accuracy": right / held_out,
        "log_loss": log_loss(logits, parts.validation.labels),
        "seconds": seconds,  # of the processor, which a neighbour slows less than the clock
        "parameters": parameter_count(model),
    }


def whole(history: History) -> History:
    """The same history; an interrupted run ends the program, because half a run is no measurement."""
    if history.interrupted:
        raise KeyboardInterrupt
    return history


@click.command()
@click.argument("track", type=click.Choice(list(TRACKS)))
@click.option("--trials", type=click.IntRange(1), default=20)
@click.option("--seeds", type=click.IntRange(1), default=2, help="Runs a trial.")
@click.option("--threads", type=click.IntRange(1), default=1, help="One, so that two searches can share two cores.")
@click.option("--first", multiple=True, help='Trials to begin with, as JSON: {"muon": 0.05, ...}; the rest is drawn.')
def main(track: str, trials: int, seeds: int, threads: int, first: tuple[str, ...]) -> None:
    """Search TRACK's space with Optuna's TPE sampler; write every trial to benchmarks/search/TRACK.json."""
    torch.set_num_threads(threads)
    data = load("mnist")
    journal = Path("build/search") / f"{track}.journal"
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=track,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.TPESampler(n_startup_trials=12, multivariate=True, constant_liar=True),
        directions=["minimize"] * len(_measures(track)),
        load_if_exists=True,
    )
    for guess in first:
        study.enqueue_trial(json.loads(guess))

    def objective(trial: optuna.Trial) -> list[float]:
        build, recipe = TRACKS[track](trial)
        results = [evaluate(build, recipe, data, seed) for seed in range(seeds)]
        trial.set_user_attr("results", results)
        trial.set_user_attr("recipe", asdict(recipe))
        return [statistics.mean(result[name] for result in results) for name in _measures(track)]

    study.optimize(objective, n_trials=trials, callbacks=[lambda study, _: write(track, study)])


def _measures(track: str) -> list[str]:
    """What is to be small."""
    return ["log_loss", "seconds"] if track == "sprint" else ["log_loss"]


def write(track: str, study: optuna.Study) -> None:
    """Every finished trial, best first, as JSON."""
    done = sorted(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]), key=lambda trial: trial.values[0])
    trials = [
        {
            "number": trial.number,
            **dict(zip(_measures(track), trial.values, strict=True)),
            "choices": trial.params,
            **trial.user_attrs,
        }
        for trial in done
    ]
    log = {"track": track, "held_out": HELD_OUT, "machine": machine(), "trials": trials}
    records.write(records.HOME / "search" / f"{track}.json", log)


if __name__ == "__main__":
    main()
