"""PyTorch's defaults, which the lab takes as they are when Python starts: new tensors are float32, on the CPU."""

import torch

from lab.errors import LabError


class DefaultsError(LabError):
    """A default of PyTorch was changed, under which the lab's numbers would be others or fail halfway."""


def require_defaults() -> None:
    """Raise DefaultsError where new tensors are not float32 on the CPU, and say how to have the same without it."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    if dtype != torch.float32:
        raise DefaultsError(
            f"torch.set_default_dtype({dtype}) was called; the lab computes with float32. Call "
            "torch.set_default_dtype(torch.float32), and make the networks anew."
        )
    if device.type != "cpu":
        raise DefaultsError(
            f"torch.set_default_device({str(device)!r}) was called; the lab makes its images and random numbers on the "
            f"CPU. Call torch.set_default_device('cpu'); to train on {device.type}, move the network: "
            f"net.to({str(device)!r})."
        )
