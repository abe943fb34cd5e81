"""What all tests share."""

import os

import torch

import lab  # noqa: F401 (before torchvision, which it mends beside a CPU-only torch)

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["LAB_PROGRESS"] = "0"
torch.set_num_threads(1)  # the tests' networks are tiny: more threads only wait for each other
