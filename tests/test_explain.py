"""What the page says of a unit's value and of the evidence for a class adds up, and is what PyTorch computes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nodejs import answers
from test_executor import Fields, case, every_value
from test_operations import EXAMPLES, Step, captured
from torch import nn

from lab.graph import Graph, capture
from lab.models import LabNet, SeedNet, SprintNet

EXPLAINED = ["conv2d", "conv2d on its side", "conv2d along rows", "linear", "linear on a map", "linear on channels"]
POOLED = [name for name in EXAMPLES if "pool" in name]
PASSED = ["batch_norm", "activation", "prelu", "scale", "reshape"]


def accounts(graph: Graph, folder: Path, places: int = 40) -> list[tuple[str, list[Fields], torch.Tensor]]:
    """For each operation: its kind, the accounts of some of its numbers, and those numbers."""
    torch.manual_seed(1)
    image = torch.randn(1, *graph.input_shape)
    values, tasks, chosen = every_value(graph, image), [], {}
    for op in graph.operations:
        chosen[op.name] = torch.randperm(values[op.name].numel())[:places]
        tasks.append(case(graph, image, "explain") | {"name": op.name, "places": chosen[op.name].tolist()})
    found = []
    for op, answer in zip(graph.operations, answers(tasks, folder), strict=True):
        assert "error" not in answer, (op.name, answer)
        found.append((op.kind, answer["answer"], values[op.name].flatten()[chosen[op.name]]))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("example", [*EXPLAINED, *POOLED, *PASSED, "dropout", "softmax", "glu"])
def test_the_account_of_a_value_ends_in_the_value(example: str, tmp_path: Path) -> None:
    model, _ = captured(example)
    if example == "dropout":
        model = Step(lambda x, drop: drop(x), nn.Dropout(0.5))
    for kind, given, numbers in accounts(capture(model, (1, 11, 9)), tmp_path):
        for account, number in zip(given, numbers.tolist(), strict=True):
            if kind in ("softmax", "glu", "mean", "transpose", "select"):
                assert account is None
                continue
            assert account["value"] == pytest.approx(number, abs=1e-4)
            if "parts" in account:
                for part in account["parts"]:
                    pairs = zip(part["inputs"], part["weights"], strict=True)
                    assert part["products"] == pytest.approx([(x or 0) * w for x, w in pairs])
                    assert part["height"] * part["width"] == len(part["inputs"])
                    assert part["sum"] == pytest.approx(sum(part["products"]))
                total = sum(part["sum"] for part in account["parts"]) + (account["bias"] or 0)
                assert total == pytest.approx(number, abs=1e-4)
            elif account.get("pool") == "maximum":
                assert account["inputs"][account["best"]] == max(account["inputs"]) == pytest.approx(number, abs=1e-5)
            elif account.get("pool") == "mean" and example != "avg_pool":  # whose padding counts
                assert sum(account["inputs"]) / len(account["inputs"]) == pytest.approx(number, abs=1e-5)
            elif "pool" not in account:
                assert account["text"]


def test_a_kernel_at_the_edge_reaches_into_the_padding(tmp_path: Path) -> None:
    graph = capture(LabNet())
    task = case(graph, torch.randn(784), "explain") | {"name": "0", "places": [0]}
    ((account,),) = (each["answer"] for each in answers([task], tmp_path))
    (part,) = account["parts"]
    assert [number is None for number in part["inputs"]] == [True] * 4 + [False, False, True, False, False]
    assert account["bias"] is None


def test_the_last_layer_s_patch_is_the_map_that_it_reads(tmp_path: Path) -> None:
    graph = capture(LabNet())
    task = case(graph, torch.randn(784), "explain") | {"name": "20", "places": [7]}
    ((account,),) = (each["answer"] for each in answers([task], tmp_path))
    assert [(part["height"], part["width"]) for part in account["parts"]] == [(3, 3)] * 24
    weights = [weight for part in account["parts"] for weight in part["weights"]]
    assert weights == pytest.approx(graph.weights["20.weight"][7].tolist())


class Averaged(nn.Module):
    """A head that averages each channel over its places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 12, 5, stride=4), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3))).log_softmax(1)


class Adaptive(Averaged):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.conv(x).relu(), 1).flatten(1))


HEADS = {LabNet: ("17", 3), SprintNet: ("relu", 4), SeedNet: ("relu", 3), Averaged: ("relu", 6), Adaptive: ("relu", 6)}


@pytest.mark.parametrize("build", HEADS)
def test_evidence_and_bias_add_up_to_the_score(build: type[nn.Module], tmp_path: Path) -> None:
    graph = capture(build())
    image = torch.randn(1, 1, 28, 28)
    (answer,) = answers([case(graph, image, "evidence")], tmp_path)
    found, side = answer["answer"], HEADS[build][1]
    assert (found["height"], found["width"]) == (side, side)
    (head,) = [op.name for op in graph.operations if op.kind == "linear"]  # type: ignore[attr-defined]
    scores = every_value(graph, image)[head].flatten().tolist()
    for each, score in zip(found["classes"], scores, strict=True):
        assert each["score"] == pytest.approx(score, abs=1e-4)
        assert sum(each["map"]) + each["bias"] == pytest.approx(score, abs=1e-4)


def test_evidence_of_a_place_is_what_is_lost_without_it(tmp_path: Path) -> None:
    graph = capture(LabNet())
    image = torch.randn(1, 1, 28, 28)
    (answer,) = answers([case(graph, image, "evidence")], tmp_path)
    values, weight = every_value(graph, image), graph.weights["20.weight"]
    last = values[graph["20"].inputs[0]].reshape(24, 3, 3)
    without = last.clone()
    without[:, 1, 2] = 0
    lost = (weight @ last.flatten() - weight @ without.flatten()).tolist()
    assert [each["map"][5] for each in answer["answer"]["classes"]] == pytest.approx(lost, abs=1e-4)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten()),
        nn.Sequential(nn.Conv2d(1, 4, 9, 9), nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 10)),
    ],
    ids=["no linear layer", "two linear layers"],
)
def test_where_no_place_speaks_for_a_class(network: nn.Module, tmp_path: Path) -> None:
    (answer,) = answers([case(capture(network), torch.randn(784), "evidence")], tmp_path)
    assert answer == {"answer": None}
