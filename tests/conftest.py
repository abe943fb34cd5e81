"""What all tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels and programs that tests start, too: two threads each would wait

import torch
from chromium import browser  # noqa: F401 (a fixture)
from stand_ins import bare, stand_in  # noqa: F401 (fixtures; lab comes before torchvision, which it mends)

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["LAB_PROGRESS"] = "0"
torch.set_num_threads(1)  # the tests' networks are tiny: more threads only wait for each other
