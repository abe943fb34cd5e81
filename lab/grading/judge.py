"""Stub."""

from dataclasses import dataclass
from typing import Any

from lab import runs
from lab.design import Log
from lab.errors import LabError
from lab.graph import Graph
from lab.rules import Rubric, Verdict
from lab.train import Recipe


class JudgeError(LabError): ...


class GraderError(LabError): ...


@dataclass(frozen=True)
class Judgement:
    mode: str
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"mode": self.mode, "verdicts": [v.to_dict() for v in self.verdicts]}

    def lines(self) -> list[str]:
        return [v.line() for v in self.verdicts]


class HandedInLog(Log): ...


def retrain(graph: Graph, recipe: Recipe, rubric: Rubric, seed: int, seeds: int | None) -> Judgement:
    from dataclasses import replace

    return Judgement("retrain", tuple(runs.check(graph, rubric, replace(recipe, seed=seed), seeds or 1)))


def test_weights(graph: Graph, rubric: Rubric) -> Judgement:
    return Judgement("weights", tuple(runs.check(graph, rubric, None, is_saved=True)))
