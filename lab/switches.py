"""The switches of the lab in the environment: LAB_QUICK, LAB_PROGRESS."""

import os

OFF = frozenset({"", "0", "false", "no", "off"})


def is_on(name: str, default: bool = False) -> bool:
    """Is the environment's switch `name` on? Empty, 0, false, no, off in any case are off; not set: `default`."""
    value = os.environ.get(name)
    return default if value is None else value.strip().lower() not in OFF
