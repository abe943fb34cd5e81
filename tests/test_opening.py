"""The test set is opened by an act that is counted, dated and explained."""

import json
import re
from pathlib import Path

import pytest
import torch
from stand_ins import few_digits
from torch import nn

from lab import opening
from lab.opening import LOG, OpeningError, open_test
from lab.train import accuracy


@pytest.fixture
def data():
    return few_digits()


@pytest.fixture(autouse=True)
def a_session_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "_THIS_SESSION", [])


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setenv("LAB_PROGRESS", "1")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def test_what_is_measured_is_the_accuracy_on_the_test_images(data):
    net = network(0)
    opened = open_test(net, "the only one there is", data)
    assert opened.accuracy == accuracy(net, data.test)
    assert len(opened.mistakes) == round((1 - opened.accuracy) * len(data.test))
    assert (opened.logits.argmax(1) != data.test.labels)[opened.mistakes].all()
    sure = opened.logits.softmax(1).max(1).values[opened.mistakes]
    assert (sure.diff() <= 0).all(), "those that it is surest of come first"


def test_another_network_is_another_opening_and_the_same_one_is_not(data, watched):
    first, second = network(0), network(1)
    assert len(open_test(first, "the first", data).openings) == 1
    assert len(open_test(first, "the first, once more", data).openings) == 1
    opened = open_test(second, "the second", data)
    assert [each.reason for each in opened.openings] == ["the first", "the second"]
    lines = Path(LOG).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["the first", "the second"]
    assert re.search(
        r"^opening 2 of the test set, \d{4}-\d\d-\d\d \d\d:\d\d: \d+\.\d\d%, the second$", str(opened), re.M
    )


def test_the_count_goes_on_in_the_next_session(data, watched, monkeypatch):
    open_test(network(0), "yesterday's", data)
    monkeypatch.setattr(opening, "_THIS_SESSION", [])
    opened = open_test(network(1), "today's", data)
    assert [each.reason for each in opened.openings] == ["yesterday's", "today's"]


def test_each_data_set_has_its_own_count(data, watched):
    from dataclasses import replace

    open_test(network(0), "on digits", data)
    assert len(open_test(network(0), "on clothes", replace(data, name="fashion_mnist")).openings) == 1


def test_where_nobody_watches_nothing_is_written(data, monkeypatch):
    monkeypatch.setenv("LAB_PROGRESS", "0")
    open_test(network(0), "in a test", data)
    assert len(open_test(network(1), "in a test", data).openings) == 2
    assert not Path(LOG).exists()


@pytest.mark.parametrize("reason", ["", "   ", "ok", None, 3])
def test_it_is_not_opened_without_a_reason(data, reason, watched):
    with pytest.raises(OpeningError, match="say why"):
        open_test(network(0), reason, data)
    assert not Path(LOG).exists()


@pytest.mark.parametrize("line", ["not json", '{"dataset": "mnist"}', "[]", "3"])
def test_a_log_that_can_not_be_read_is_named(data, watched, line):
    Path(LOG).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(OpeningError, match=r"test_openings\.jsonl, line 1"):
        open_test(network(0), "the first", data)


def test_a_log_that_can_not_be_written_is_told(data, watched, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(opening, "_read", lambda path: [])
    opened = open_test(network(0), "the first", data)
    assert "can't be written, Permission denied" in str(opened)
    assert len(open_test(network(1), "the second", data).openings) == 2
