"""How a command sets its own process up, before torch is imported. Nothing of it is done in a person's notebook."""

import atexit
import gc
import os
import sys


def set_up() -> None:
    """Let threads that wait give the processor away soon, and let Python look for garbage rarely.

    Two threads on two cores wait for each other by spinning; with any neighbour on the machine each keeps the other
    from working. A shorter spin costs nothing alone and halved the time of a training step beside a busy process.

    To import torch and its exporter makes a million objects that all stay. To look through them again and again, and
    once more at the end, took a third of the time of `lab check`.

    jsonschema, which nbformat brings along, takes 0.7 s more to import a grammar of addresses where that is installed.
    No schema of a notebook has an address, and jsonschema does without it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # what is None there can't be imported
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
