"""What an answer says on stderr, or changes in Python and PyTorch, does not outlive its check.

A grader may take anything on stderr for a failure (nbgrader does), and a warning makes no answer wrong.
"""

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import torch


@contextmanager
def sheltered() -> Iterator[None]:
    """Inside: nothing reaches stderr, new tensors are float32 on the CPU, gradients are on, and random numbers start
    anew.

    Afterwards all of these, and the number of threads, are as they were before.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(record=True))  # an answer may ask for them to be shown
        warnings.simplefilter("ignore")
        stack.enter_context(_closed_descriptor(2))
        stack.enter_context(_muted(sys.stderr))
        stack.enter_context(_same_random_numbers())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def _muted(stream: Any) -> Iterator[None]:
    """What is written to the stream is lost, also by those who hold on to it, as a logging handler does."""
    if stream is None:  # a program without a terminal
        yield
        return
    own = vars(stream).get("write")
    stream.write = _lost
    try:
        yield
    finally:
        if own is None:
            with suppress(AttributeError):
                del stream.write
        else:
            stream.write = own


def _lost(text: str) -> int:
    return len(text)


@contextmanager
def _closed_descriptor(number: int) -> Iterator[None]:
    """What C code and other processes write to a file descriptor is lost."""
    try:
        kept = os.dup(number)
    except OSError:  # it is not open
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    try:
        yield
    finally:
        if sys.__stderr__ is not None:
            with suppress(OSError, ValueError):
                sys.__stderr__.flush()
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Python's, NumPy's and PyTorch's random numbers start from 0 inside, and go on afterwards as before."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
