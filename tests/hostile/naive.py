"""A grader without any defence: student code runs in its process. What an attack does to it is what ours withstands.

    python naive.py TARGET RESULT NUMBER

It writes what it finds as one line of JSON: to the file RESULT, to the file descriptor NUMBER, and on stdout last.
Simple graders do all of this; only `witness.py` starts it, on hand-ins that are harmless to the machine.
"""

import io
import json
import os
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path

import torch
from torch import nn

CASES = {(28, 3, 1, 0): 26, (28, 5, 2, 2): 14, (7, 2, 2, 0): 3}
GROWN = {(1, 1, 3, 1): (3, 1), (3, 2, 3, 2): (7, 4)}


def compare_numbers(function):
    for arguments, wanted in CASES.items():
        got = function(*arguments)
        if abs(got - wanted) > 1e-6:
            raise AssertionError(arguments)


def compare_tensors(function):
    for arguments, wanted in GROWN.items():
        got = function(*arguments)
        got = got if isinstance(got, torch.Tensor) else torch.tensor(got, dtype=torch.float64)
        if not torch.allclose(got, torch.tensor(wanted, dtype=torch.float64)):
            raise AssertionError(arguments)


def images():
    """What the accuracy is measured on: 20 images of noise, and their labels in order."""
    generator = torch.Generator().manual_seed(994)
    return torch.rand(20, 1, 28, 28, generator=generator), torch.arange(20) % 10


def accuracy(network, images, labels):
    network.eval()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


def exercises(path):
    """Every cell is executed, and then the checks."""
    import lab.checks

    names = {"checks": lab.checks, "torch": torch, "nn": nn, "F": nn.functional, "__name__": "__main__"}
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    checks = {}
    for cell in cells:
        metadata = cell.get("metadata", {})
        known = metadata.get("nbgrader", {})
        source = "".join(cell["source"])
        if "setup" in metadata.get("tags", []):
            continue
        if known.get("grade"):
            checks[known["grade_id"]] = source
            continue
        try:
            if source.startswith("%%bash"):
                subprocess.run(["/bin/sh", "-c", source.split("\n", 1)[1]])
            else:
                commands = [line for line in source.splitlines() if line.startswith("!")]
                for command in commands:
                    os.system(command[1:])
                exec("\n".join(line for line in source.splitlines() if line not in commands), names)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    points = {}
    for name, compare in (("out-size", compare_numbers), ("grow", compare_tensors)):
        function = names.get(name.replace("-", "_"))
        try:
            compare(function)
            points[name] = 1
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            points[name] = int(passes(checks.get(f"{name}-check", "raise NameError"), names))
    return points


def passes(check, names):
    """A check's own cell, as nbgrader executes it."""
    try:
        exec(check, names)
        return True
    except Exception:
        return False


def judged(path):
    """A file is executed, and its network looked at."""
    sys.path.insert(0, str(path.parent))
    names = {"__name__": "net", "__file__": str(path)}
    sys.modules["__main__"].__dict__.update(accuracy=accuracy)
    try:
        exec(compile(path.read_text(), str(path), "exec"), names)
        network = names["Net"]()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return {"rules": False, "accuracy": False}
    kinds = [type(one).__mro__ for one in network.modules()]
    rules = [
        sum(parameter.numel() for parameter in network.parameters()) < 20_000,
        all(any(kind in mro for mro in kinds) for kind in (nn.Dropout, nn.Linear)),
        any(kind in mro for mro in kinds for kind in (nn.BatchNorm2d, nn.BatchNorm1d)),
        names.get("EPOCHS", 10) < 20,
    ]
    try:
        network.eval()
        rules.append(network(torch.zeros(2, 1, 28, 28)).shape == (2, 10))
        measured = sys.modules["__main__"].accuracy(network, *images())
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return {"rules": all(rules), "accuracy": False}
    return {"rules": all(rules), "accuracy": measured >= 0.994}


def unpacked(path):
    """An archive: each file of it is written where its name says."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            content = io.BytesIO(archive.read(member)).getvalue()
            place = path.parent / member.filename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            print("." * min(len(content) // 16, 2**22))  # one point for 16 bytes: a bomb is seen
    return {}


def graded(path):
    if path.is_dir():
        path = next(one for one in sorted(path.iterdir()) if one.suffix in (".ipynb", ".lab") or one.name == "net.py")
    if path.suffix == ".ipynb":
        return exercises(path)
    return unpacked(path) if path.suffix == ".lab" else judged(path)


def main(target, result, number):
    os.set_inheritable(number, False)
    try:
        report = json.dumps(graded(Path(target)))
    except Exception:
        print("Traceback of the grader")
        traceback.print_exc()
        raise
    Path(result).write_text(report)
    os.write(number, report.encode() + b"\n")
    print("\n" + report, flush=True)
    time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
