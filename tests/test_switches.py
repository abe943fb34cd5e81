"""Every switch of the environment is read alike."""

import pytest

from lab.switches import is_on
from lab.train import is_watched


@pytest.mark.parametrize("value", ["", "0", "false", "False", "NO", "off", " Off "])
def test_off(monkeypatch, value):
    monkeypatch.setenv("LAB_QUICK", value)
    monkeypatch.setenv("LAB_PROGRESS", value)
    assert not is_on("LAB_QUICK", default=True)
    assert not is_watched()


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "2"])
def test_on(monkeypatch, value):
    monkeypatch.setenv("LAB_QUICK", value)
    monkeypatch.setenv("LAB_PROGRESS", value)
    assert is_on("LAB_QUICK")
    assert is_watched()


def test_not_set_is_the_default(monkeypatch):
    monkeypatch.delenv("LAB_QUICK", raising=False)
    monkeypatch.delenv("LAB_PROGRESS")
    assert not is_on("LAB_QUICK")
    assert is_watched()
