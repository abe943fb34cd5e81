"""What a notebook's last cell calls."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from lab.notebook import RESULT_TYPE, HandOverError, hand_over


def handed_over(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    hand_over(result)
    (bundle,) = shown
    json.dumps(bundle[RESULT_TYPE], allow_nan=False)  # as the kernel sends it
    return dict(bundle[RESULT_TYPE])


def test_figures_are_handed_over_as_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"accuracy": torch.tensor(0.5), "parameters": np.int64(7), "epochs": 2, "note": "fine", "seeds": [0, 1]}
    assert handed_over(result, monkeypatch) == {
        "accuracy": 0.5,
        "parameters": 7,
        "epochs": 2,
        "note": "fine",
        "seeds": [0, 1],
    }


def test_not_a_number_is_handed_over_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert handed_over({"accuracy": float("nan")}, monkeypatch) == {"accuracy": "nan"}


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(HandOverError, match=r"'accuracy' can't be handed over: .*float\(accuracy\)"):
        hand_over({"accuracy": torch.zeros(3)})


def test_the_face_does_not_import_the_machinery() -> None:
    program = "import sys, lab.notebook; sys.exit(any(n.startswith(('lab.course', 'nbclient')) for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
