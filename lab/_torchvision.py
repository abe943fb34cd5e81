"""Makes `import torchvision` work beside a CPU-only torch, where the two wheels come from different places.

torchvision's wheel from PyPI is linked against a CUDA torch. Beside a CPU-only torch its compiled operators do not
load, and `import torchvision` stops because it describes two of them (`nms`, `qnms`) that are not there. Declaring
the two is enough: the lab calls neither. Wheels of one place say so in their versions (2.13.0+cpu and 0.28.0+cpu, or
both without a +): beside those nothing is done at all, and where the real operators load, nothing is declared.
"""

import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_MISSING = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[object] = []  # torch.library removes its declarations when the Library object is collected


class _BeforeTorchvision(MetaPathFinder):
    """Looks on while `torchvision` is searched for, and steps aside: it never finds a module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.machinery.PathFinder.find_spec(fullname, path)
            if spec is not None and spec.origin is not None:
                declare_missing_operators(Path(spec.origin).parent)
        return None


def install() -> None:
    """Where wheels are mixed: arrange for the declaration to happen just before torchvision is first imported."""
    watched = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not watched and are_mixed():
        sys.meta_path.insert(0, _BeforeTorchvision())


def are_mixed() -> bool:
    """Do the wheels of torch and of torchvision come from different places, as their versions tell it?"""
    try:
        kinds = {importlib.metadata.version(name).partition("+")[2] for name in ("torch", "torchvision")}
    except importlib.metadata.PackageNotFoundError:
        return False
    return len(kinds) > 1


def datasets() -> Any:
    """Torchvision's data sets. Raises ImportError, or RuntimeError where its operators do not fit this torch."""
    install()
    import torchvision.datasets

    return torchvision.datasets


def declare_missing_operators(package: Path) -> tuple[str, ...]:
    """Declare those of `nms` and `qnms` that torchvision's own library in `package` does not bring.

    Returns the names declared: none where the real operators load.
    """
    import torch

    for compiled in [*package.glob("_C*.so"), *package.glob("_C*.pyd"), *package.glob("_C*.dylib")]:
        try:
            torch.ops.load_library(str(compiled))  # loading twice is harmless: torchvision loads it again
            return ()
        except OSError:
            continue
    missing = [name for name in _MISSING if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(_MISSING[name])
        _libraries.append(library)
    return tuple(missing)
