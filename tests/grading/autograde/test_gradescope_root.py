"""The archive in Gradescope's folder layout: setup.sh for real, then run_autograder on all kinds of submissions."""

import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import torch
from gradescope_root import METADATA, Root

from lab import submission
from lab.grading.autograde.gradescope_zip import Wanted, write_archive
from lab.graph import capture
from lab.models import SmallNet
from lab.submission import Cell, HandIn
from lab.train import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the root is made of namespaces")]
SCHEMA = json.loads((Path(__file__).parents[1] / "exports" / "gradescope_results.schema.json").read_text("utf-8"))
CELLS = (Cell(kind="code", grade_id="out-size", source="def out_size(n, kernel, stride=1, pad=0):\n    return 26\n"),)
NO_NAMESPACES = ("--unshare-user", "--disable-userns")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """Built as Gradescope builds an image."""
    folder = tmp_path_factory.mktemp("gradescope")
    for name in ("autograder/source", "lab994"):
        (folder / name).mkdir(parents=True)
    write_archive(folder / "autograder.zip", Wanted(seconds=120))
    with zipfile.ZipFile(folder / "autograder.zip") as archive:
        archive.extractall(folder / "autograder" / "source")
    shutil.copy(folder / "autograder" / "source" / "run_autograder", folder / "autograder" / "run_autograder")
    made = Root(folder)
    done = made.run("bash", "/autograder/source/setup.sh")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith("folder /autograder/source/data\n")
    yield made
    shutil.rmtree(folder / "lab994")


def network(change: float | None = None, cells: tuple[Cell, ...] = ()) -> bytes:
    """A .lab file. change: what all its weights are set to."""
    torch.manual_seed(0)
    net = SmallNet()
    if change is not None:
        for parameter in net.parameters():
            parameter.data.fill_(change)
    return submission.packed(HandIn(capture(net), Recipe(epochs=12), "mnist_994", {}, cells, submission.versions()))


def graded(root: Root, *options: str) -> dict:
    done = root.run("bash", "/autograder/run_autograder", options=options)
    assert done.returncode == 0, done.stderr
    found = root.results()
    jsonschema.validate(found, SCHEMA)
    assert "Traceback" not in done.stdout + done.stderr
    return found


def test_a_good_hand_in(root: Root) -> None:
    root.submit({"net.lab": network()})
    found = graded(root)
    assert found["extra_data"]["state"] == "graded"
    assert [test["visibility"] for test in found["tests"]] == ["visible"] * 6 + ["after_due_date"]
    assert found["leaderboard"][0] == {"name": "parameters", "value": 7846, "order": "asc"}


@pytest.mark.parametrize("options", [(), NO_NAMESPACES])
def test_exercises_are_left_out_where_there_is_no_sandbox(root: Root, options: tuple[str, ...]) -> None:
    """With namespaces, a root made by namespaces hides a part of /proc all the same, as containers do."""
    root.submit({"net.lab": network(cells=CELLS)})
    found = graded(root, *options)
    assert "GRADED IN PART" in found["output"]
    assert found["tests"][0]["name"] == "exercises"
    assert len(found["tests"]) == 8


def bomb() -> bytes:
    """A gigabyte of zeros under the name of weights."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(network())) as good,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in good.namelist():
            archive.writestr(name, bytes(2**30) if name == "weights.safetensors" else good.read(name))
    return written.getvalue()


HOSTILE = {
    "empty": ({}, "nothing was handed in"),
    "code": ({"net.py": b"while True: pass"}, "there is no .lab file in it"),
    "cut": ({"net.lab": network()[:9000]}, "Not graded, for a reason that lies in what was handed in"),
    "bomb": ({"net.lab": bomb()}, "Not graded, for a reason that lies in what was handed in"),
    "no numbers": ({"net.lab": network(float("nan"))}, ""),
    "infinite": ({"net.lab": network(float("inf"))}, ""),
    "several": ({"a.lab": network(), "b.lab": network()}, "holds several hand-ins"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_and_hostile_hand_ins(root: Root, name: str) -> None:
    files, told = HOSTILE[name]
    root.submit(files)
    found = graded(root, *NO_NAMESPACES)
    assert found["score"] == 0
    assert told in found["output"]
    assert "NOT GRADED: this is the grader's" not in found["output"]


def test_files_that_want_to_be_run(root: Root) -> None:
    runs = b"open('/autograder/was-run', 'w')\n"
    names = ("lab/__init__.py", "torch.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "json.py", "site.py")
    folder = root.submit({"net.lab": network(), "results.json": b'{"score": 100}'} | dict.fromkeys(names, runs))
    (folder / "run_autograder").write_text("#!/bin/sh\n(sleep 5; echo 100 > /autograder/results/results.json) &\n")
    (folder / "run_autograder").chmod(0o755)
    os.mkfifo(folder / "pipe")
    (folder / "out").symlink_to("/")
    (folder / "results").symlink_to("/autograder/results")
    found = graded(root)
    assert found["extra_data"]["state"] == "graded"
    assert not (root.autograder / "was-run").exists()


def test_a_link_in_the_place_of_the_hand_in(root: Root) -> None:
    folder = root.submit({})
    (folder / "net.lab").symlink_to("/autograder/source/rubric.toml")
    assert "nothing was handed in" in graded(root)["output"]


def test_the_time_ends_it(root: Root) -> None:
    root.submit({"net.lab": network()})
    run = root.autograder / "run_autograder"
    whole = run.read_text()
    run.write_text(whole.replace("--seconds 120", "--seconds 0.5"))
    try:
        found = graded(root)
    finally:
        run.write_text(whole)
    assert "it was not graded after 0.5 s" in found["output"]
    assert "score" not in found


def test_a_disk_without_room(root: Root) -> None:
    """The results' folder holds the first results.json, and not one byte more."""
    root.submit({"net.lab": network()})
    program = "bash /autograder/run_autograder; status=$?; cp /full/results/* /autograder/results; exit $status"
    done = root.run(
        *("bash", "-c", program),
        options=("--size", str(2**17), "--tmpfs", "/full", "--setenv", "LAB_AUTOGRADER", "/full",
                 "--ro-bind", str(root.autograder / "source"), "/full/source",
                 "--ro-bind", str(root.autograder / "submission"), "/full/submission"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = root.results()
    jsonschema.validate(found, SCHEMA)
    assert found["extra_data"]["state"] == "graded"
    assert (root.autograder / "results" / "results.json").stat().st_size == 2**17  # written into the first


def test_late_and_before_the_date(root: Root) -> None:
    past = METADATA["assignment"] | {"due_date": "2026-11-20T23:00:00.000000-07:00"}
    root.submit({"net.lab": network()}, METADATA | {"assignment": past})
    found = graded(root)
    assert {test["visibility"] for test in found["tests"]} == {"visible"}
    assert "accuracy on the test images, %" in [quantity["name"] for quantity in found["leaderboard"]]
