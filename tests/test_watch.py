"""The curves that follow a run."""

from typing import Any

import IPython.display
import pytest
from torch import nn

from lab.train import Epoch, History, Recipe
from lab.watch import live_curves


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was displayed, in order."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(IPython.display, "display", lambda content, **how: calls.append({"content": content, **how}))
    return calls


def follow(target: float = 0.994) -> None:
    history = History(Recipe(epochs=3), "cpu", "float32", 2)
    watch = live_curves(target)
    for number in (1, 2, 3):
        history.epochs.append(Epoch(number, 0.5, 0.9, 0.95, 0.01, 2.0, 100))
        watch(history, nn.Identity())


def test_one_picture_is_drawn_anew_and_makes_room_at_the_end(
    displayed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PROGRESS", "1")
    follow()
    assert [call["update"] for call in displayed] == [False, True, True]
    assert len({call["display_id"] for call in displayed}) == 1
    assert all("image/png" in call["content"] for call in displayed[:2])
    assert displayed[2]["content"] == {"text/plain": "3 epochs in 6 s"}


def test_two_runs_have_a_picture_each(displayed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PROGRESS", "1")
    follow()
    follow()
    assert len({call["display_id"] for call in displayed}) == 2


def test_the_time_left_is_counted_in_epochs_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.watch import _in_words

    history = History(Recipe(epochs=10), "cpu", "float32", 2)
    history.epochs += [Epoch(n, 0.5, 0.9, 0.95, 0.01, seconds, 100) for n, seconds in ((1, 9.0), (2, 3.0), (3, 3.0))]
    assert _in_words(history) == "epoch 3 of 10, about 21 s left"  # the first epoch is slow; the median does not mind


def test_quiet_where_nobody_watches(displayed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PROGRESS", "0")
    follow()
    assert displayed == []


def test_the_line_above_the_curves_lies_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from lab import plots, watch

    figures: list[Figure] = []
    monkeypatch.setattr(plots, "bundle", lambda axes: figures.append(axes.figure) or {})
    history = History(Recipe(epochs=10), "cpu", "float32", 2)
    history.epochs += [Epoch(n, 0.5 / n, 0.9, 0.95, 0.01, 3.0, 100) for n in (1, 2, 3)]
    watch._picture(history, 0.994)
    (figure,) = figures
    figure.draw_without_rendering()
    above, below = figure.axes
    assert above.get_title() == "epoch 3 of 10, about 21 s left"
    assert below.get_title() == ""
    line = above.title.get_window_extent()
    others = [*above.get_xticklabels(), *above.get_yticklabels(), *below.get_yticklabels()]
    assert not any(line.overlaps(text.get_window_extent()) for text in others if text.get_visible() and text.get_text())
    assert line.y1 <= figure.bbox.y1
