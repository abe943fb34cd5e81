"""`import torchvision` beside a CPU-only torch, and nothing changed beside any other.

Operators can be declared once in a process, so each test runs a program of its own.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from lab._torchvision import are_mixed

# Stands in for torchvision's compiled library: "loading" it defines the operators of `brings`.
FAKE_LOADER = """
import sys
from pathlib import Path
import torch
from lab import _torchvision

def load(path):
    assert Path(path).name == "_C.so"
    for name in brings:
        library.define(_torchvision._MISSING[name])
        library.impl(name, lambda boxes, scores, threshold: torch.tensor([994]), "CPU")

library = torch.library.Library("torchvision", "FRAGMENT")
torch.ops.load_library = load
boxes, scores = torch.zeros(2, 4), torch.zeros(2)
package = Path(sys.argv[1])
"""


def run(program: str, *arguments: str | Path) -> str:
    """What `program` prints; it must succeed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path) -> Path:
    """A folder with what looks like torchvision's compiled library."""
    (tmp_path / "_C.so").touch()
    return tmp_path


def test_lab_alone_imports_neither_torch_nor_torchvision():
    assert run("import lab, sys; print([m for m in sys.modules if m.startswith('torch')])") == "[]"


def test_torchvision_works_after_lab():
    program = """
import sys
import lab
watchers = [finder for finder in sys.meta_path if type(finder).__module__ == "lab._torchvision"]
import torchvision, torch
from torchvision.transforms import v2
assert v2.functional.rotate(torch.eye(3)[None], 90).shape == (1, 3, 3)
print(len(watchers), any(finder in sys.meta_path for finder in watchers), torchvision.datasets.MNIST.__name__)
"""
    assert run(program) == f"{int(are_mixed())} False MNIST"  # where wheels are mixed, one looked on, and has left


def test_lab_after_torchvision_changes_nothing():
    program = """
import lab, torchvision, sys
before = list(sys.meta_path)
lab._torchvision.install()
print(sys.meta_path == before)
"""
    assert run(program) == "True"


def test_nothing_is_declared_where_the_real_operators_load(package):
    program = f"""
brings = ("nms", "qnms")
{FAKE_LOADER}
print(_torchvision.declare_missing_operators(package), torch.ops.torchvision.nms(boxes, scores, 0.5).item())
"""
    assert run(program, package) == "() 994"


def test_nothing_is_declared_where_an_older_library_loads_that_has_only_nms(package):
    program = f"""
brings = ("nms",)
{FAKE_LOADER}
print(_torchvision.declare_missing_operators(package), torch.ops.torchvision.nms(boxes, scores, 0.5).item())
print(hasattr(torch.ops.torchvision, "qnms"))
"""
    assert run(program, package) == "() 994\nFalse"


def test_exactly_two_operators_are_declared_where_none_loads(package):
    program = """
import gc, sys, torch
from pathlib import Path
from lab import _torchvision
print(_torchvision.declare_missing_operators(Path(sys.argv[1])))  # its _C.so is empty: loading it fails
gc.collect()
print(sorted(n for n in torch._C._dispatch_get_all_op_names() if n.startswith("torchvision::")))
"""
    assert run(program, package) == "('nms', 'qnms')\n['torchvision::nms', 'torchvision::qnms']"


def test_installed_torchvision_lacks_both_or_none():
    program = """
from importlib.util import find_spec
import sys
from pathlib import Path
import lab
watchers = sys.meta_path[:]
sys.meta_path[:] = [finder for finder in watchers if type(finder).__module__ != "lab._torchvision"]
package = Path(find_spec("torchvision").origin).parent
declared = lab._torchvision.declare_missing_operators(package)
import torch, torchvision.extension
print(declared, torchvision.extension._has_ops())
"""
    printed = run(program)
    if printed == "() True":
        pytest.skip("torchvision's own operators load beside this torch: there is nothing to declare")
    assert printed == "('nms', 'qnms') False"
