"""Where a figure was measured: processor, cores, memory, versions, threads."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> dict[str, Any]:
    """What a reader needs to know to measure the same."""
    info = _cpuinfo()
    flags = info.get("flags", "").split()
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "threads": torch.get_num_threads(),
    }


def matmul_peak(side: int = 1024, repeats: int = 20) -> float:
    """Multiply-adds a second of square bfloat16 (float32 where that is quicker) matrices, the best of some."""
    return max(side**3 / _best(_product(side, dtype), repeats) for dtype in (torch.bfloat16, torch.float32))


def copy_bandwidth(megabytes: int = 256, repeats: int = 10) -> float:
    """Bytes a second read and written by a copy far larger than the caches, the best of some."""
    source = torch.zeros(megabytes << 20, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best(lambda: target.copy_(source), repeats)


def _product(side: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    a, b = torch.randn(2, side, side).to(dtype).unbind()
    return lambda: a @ b


def _best(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of `repeats`, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is no such file (macOS, Windows)."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = (line.partition(":") for line in path.read_text().split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
