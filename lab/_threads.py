"""How long the threads of a command wait for each other by spinning."""

import os


def spin_briefly() -> None:
    """Let threads that wait give the processor away soon; for commands, and what they start. Call it before torch.

    Two threads on two cores wait for each other by spinning; with any neighbour on the machine each keeps the other
    from working. A shorter spin costs nothing alone and halved the time of a training step beside a busy process.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
