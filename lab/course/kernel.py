"""The kernel that executes a notebook: always this very Python.

What is registered as `python3` can be any Python of the machine, one without torch too. For nbclient:

    NotebookClient(notebook, **this_python())
"""

import os
import sys
from importlib.util import find_spec
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from lab import _place
from lab.errors import LabError

KERNEL_NAME = "python3"
"""What notebooks call their kernel."""


class NoKernel(LabError):
    """There is nothing that can execute a notebook."""


class _ThisPython(KernelSpecManager):
    """Knows one kernel, whatever it is called: ipykernel in the Python that asks."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        command += ["--log-level=ERROR"]  # a warning of its connection would stand among the run's own lines
        return KernelSpec(argv=command, display_name="Python 3", language="python")


class ThisPythonsKernel(AsyncKernelManager):
    """Starts, watches and ends a kernel of `sys.executable`."""

    @default("kernel_spec_manager")
    def _this_python(self) -> KernelSpecManager:
        return _ThisPython(parent=self)


def this_python() -> dict[str, Any]:
    """nbclient's options for a kernel of this Python. Raises NoKernel where ipykernel is not installed."""
    if find_spec("ipykernel") is None:
        raise NoKernel(
            f"a notebook needs a kernel, and {sys.executable} has none: ipykernel is not installed. "
            "Is jupyter installed in this Python? Run `python -m pip install jupyter`."
        )
    at_once = {"shutdown_kernel": "immediate"}  # asked to go, it takes its modules apart first: half a second of torch
    return {"kernel_manager_class": ThisPythonsKernel, "kernel_name": KERNEL_NAME, **at_once}


def environment(**switches: str) -> dict[str, str]:
    """A kernel's environment: it finds this lab, draws no bars of its own, and has these variables besides."""
    path = os.pathsep.join(filter(None, [str(_place.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if name != "IPYKERNEL_CELL_NAME"}  # all cells' one name
    return kept | {"LAB_PROGRESS": "0", "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | switches
