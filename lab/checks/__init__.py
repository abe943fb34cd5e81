"""Is this exercise right, and what is the next hint?

Each check takes what the student wrote, tries it, and either says that it is right or raises `CheckFailed` with what it
gave, what is expected, and a hint: the one for the mistake that was made, where it is a known one (`trying.py`).
NotImplementedError passes through: an untouched exercise is not a wrong one.

A check has its exercise's name: `checks.out_size(out_size)` is the check of the cell with the grade_id `out-size`.
"""

from typing import Any

from lab.checks.examples import example, mirror, share_right
from lab.checks.formulas import accuracy, by_hand, by_hand_network, conv_cost, grow, out_size, triangle
from lab.checks.layers import batch_norm, drop, train_step
from lab.checks.networks import conv_block, design, without_flaw
from lab.checks.trying import CheckFailed, draw_cases_from, forget_hints
from lab.checks.versions import reaches, version
from lab.errors import LabError

__all__ = [
    "CheckFailed",
    "accuracy",
    "batch_norm",
    "by_hand",
    "by_hand_network",
    "conv_block",
    "conv_cost",
    "design",
    "draw_cases_from",
    "drop",
    "example",
    "forget_hints",
    "grow",
    "mirror",
    "out_size",
    "reaches",
    "share_right",
    "train_step",
    "triangle",
    "version",
    "without_flaw",
]


class OtherEdition(LabError, AttributeError):
    """A check of the first edition, called by an old copy of the notebook."""


def __getattr__(name: str) -> Any:
    if name in ("normalize", "conv_parameters", "conv_multiply_adds", "fields"):
        raise OtherEdition(
            f"checks.{name} is of the notebook's first edition, and your lab is newer. Take a fresh copy of the "
            "notebook, and put your answers into it."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
