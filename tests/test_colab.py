"""The first cell in a hosted notebook: fetches the lab from the repository it was opened from, and replaces nothing.

Colab is played by a Python of its own with links to those packages that Colab has, a `google.colab`, and a server for
Colab's list of sessions. pip is real; git is told to take a clone of this repository for the one on the web.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

from lab import ready
from lab.course import editions

COLAB = [
    *("torch", "torchvision", "numpy", "scipy", "matplotlib", "ipykernel", "ipython", "ipywidgets", "pillow"),
    *("click", "rich", "tqdm", "platformdirs", "pydantic", "safetensors", "nbformat", "nbclient", "jupytext"),
    *("nbconvert", "requests"),
    *("packaging", "pip", "setuptools"),
]
"""What Colab has of what the lab, its notebooks and pip use, with all that these depend on."""
FORK = "https://github.com/a-student/my-lab"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Colab is Linux; links need rights on Windows")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This working tree, committed on the branch `autumn/26`."""
    folder = tmp_path_factory.mktemp("web") / "clone"
    folder.mkdir()
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(editions.ROOT / name, folder)
    for name in ("lab", "tests", "benchmarks"):
        shutil.copytree(editions.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "autumn/26"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to Colab's packages: outside the environment, so that pip can't remove any of them."""
    folder = tmp_path_factory.mktemp("colab") / "packages"
    (folder / "google" / "colab").mkdir(parents=True)
    (folder / "google" / "colab" / "__init__.py").touch()
    spy = "import os, sys\nif 'pip' in sys.orig_argv: print(*sys.orig_argv, file=open(os.environ['PIPS'], 'a'))\n"
    (folder / "colab_spy.py").write_text(spy)
    for name in _closure(COLAB):
        files = importlib.metadata.files(name) or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__", "bin"}:
            found = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if found.exists() and not (folder / top).exists():
                (folder / top).symlink_to(found)
    return folder


def _closure(names: list[str]) -> set[str]:
    """These packages, those of them that are installed here, and what they depend on."""
    done, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        done.add(name)
        wanted = [Requirement(line) for line in lines]
        waiting += [it.name.lower() for it in wanted if not it.marker or it.marker.evaluate({"extra": ""})]
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Path:
    """What pip finds: the packages that are needed and that Colab does not have, as wheels made from those here."""
    folder = tmp_path_factory.mktemp("wheels")
    for needed in ready.needs():
        if needed.name not in ready.EXECUTORS and needed.name not in _closure(COLAB):
            version = importlib.metadata.version(needed.name)
            with zipfile.ZipFile(folder / f"{needed.name}-{version}-py3-none-any.whl", "w") as wheel:
                for file in importlib.metadata.files(needed.name) or []:
                    if ".." not in file.parts and "__pycache__" not in file.parts:
                        wheel.write(str(file.locate()), str(file))
    return folder


@pytest.fixture
def kernel(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh Colab: the folder where pip puts what it fetches."""
    home = tmp_path / "colab"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "colab.pth").write_text(f"{packages}\nimport google.colab, colab_spy\n")
    spec = {"display_name": "Colab", "language": "python", "argv": [str(home / "bin" / "python")]}
    spec["argv"] += ["-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
    (tmp_path / "share" / "kernels" / "colab").mkdir(parents=True)
    (tmp_path / "share" / "kernels" / "colab" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("PIPS", str(tmp_path / "pips"))
    monkeypatch.setenv("CONTENT", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("PIP_TARGET", raising=False)
    return site


@pytest.fixture
def web(clone: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """web(repository): the clone is what git finds there, and the wheels are all that pip finds."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as --no-build-isolation: setuptools is there

    def at(repository: str) -> None:
        for name, value in {"COUNT": "1", "KEY_0": f"url.file://{clone}.insteadOf", "VALUE_0": repository}.items():
            monkeypatch.setenv(f"GIT_CONFIG_{name}", value)

    at("https://example.invalid/nothing")
    return at


@pytest.fixture
def opened_from(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """opened_from(file_id): what Colab's list of sessions then says about the notebook."""
    said: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/sessions" else 404)
            self.end_headers()
            self.wfile.write(json.dumps([said]).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
    yield lambda file_id: said.update(path=f"fileId={file_id}", name="mnist_994.ipynb", type="notebook")
    server.shutdown()
    server.server_close()


def execute(*sources: str) -> list[Any]:
    """The outputs of each cell, executed on Colab."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    made = nbformat.v4.new_notebook(cells=cells)
    content = {"metadata": {"path": os.environ["CONTENT"]}}  # not this repository, where `import lab` would find it
    NotebookClient(made, kernel_name="colab", timeout=300, allow_errors=True, resources=content).execute()
    return [cell.outputs for cell in cells]


def set_up() -> list[str]:
    """The notebook's set-up cells, the one that fetches the lab first."""
    cells = editions.solved_edition("mnist_994").cells
    return [cell.source for cell in cells if "setup" in cell.metadata.get("tags", [])]


def exercises() -> list[str]:
    """The answers of the solved edition, and their checks."""
    return [cell.source for cell in editions.solved_edition("mnist_994").cells if "nbgrader" in cell.metadata]


def pips() -> list[str]:
    """What pip was called with, once for each call from the notebook."""
    lines = Path(os.environ["PIPS"]).read_text().splitlines()
    return [line.split(" -m pip ")[1] for line in lines if " -m pip " in line]


def errors(outputs: list[Any]) -> list[str]:
    return [f"{o.ename}: {o.evalue}" for some in outputs for o in some if o.output_type == "error"]


def test_the_lab_comes_from_the_fork_and_its_exercises_run(
    kernel: Path, packages: Path, web: Any, opened_from: Any
) -> None:
    before = {path.name: path.lstat().st_mtime for path in packages.iterdir()}
    opened_from(quote(f"{FORK}/blob/autumn/26/notebooks/mnist_994.ipynb"))
    web(FORK)
    outputs = execute(*set_up(), *exercises(), *set_up(), "not_made_yet")
    assert errors(outputs) == ["NameError: name 'not_made_yet' is not defined"]
    passed = [o.text for some in outputs for o in some if o.get("name") == "stdout" and o.text.startswith("PASS")]
    assert len(passed) == len(exercises()) // 2 > 3
    assert not [o.text for some in outputs for o in some if o.get("name") == "stderr"]

    lab, *others = pips()  # the second run of the first cell asks for nothing
    assert lab == f"install -q --no-deps git+{FORK}@autumn/26"
    asked = [word for call in others for word in call.split() if word[0] != "-" and word != "install"]
    there = _closure(COLAB)
    assert all("--no-deps" in call for call in others)
    assert {Requirement(word).name for word in asked} == {
        needed.name
        for needed in ready.needs()
        if not {needed.name, needed.name.replace("_", "-")} & (there | ready.EXECUTORS)
    }
    assert not {Requirement(word).name for word in asked} & there
    assert {path.name: path.lstat().st_mtime for path in packages.iterdir() if path.name != "__pycache__"} == before
    fetched = {path.name.split("-")[0] for path in kernel.glob("*.dist-info")}
    assert fetched == {"lab994", *(Requirement(word).name for word in asked)}


@pytest.mark.parametrize(
    "file_id",
    [
        pytest.param("1aBcDeFgHiJkLmNoPqRsTuVwXyZ", marks=pytest.mark.slow),
        quote("https://github.com/a/b;touch x/blob/c/d.ipynb"),
    ],
)
def test_a_copy_in_drive_takes_the_repository_that_the_cell_names(
    kernel: Path, web: Any, opened_from: Any, file_id: str
) -> None:
    opened_from(file_id)
    (repository,) = [line.split('"')[1] for line in set_up()[0].splitlines() if line.startswith("REPOSITORY")]
    web(repository)
    assert errors(execute(set_up()[0])) == []
    assert pips()[0] == f"install -q --no-deps git+{repository}"


def test_without_a_network_it_says_so(kernel: Path, web: Any) -> None:
    (repository,) = [line.split('"')[1] for line in set_up()[0].splitlines() if line.startswith("REPOSITORY")]
    os.environ["GIT_CONFIG_KEY_0"] = "url.file:///nowhere.insteadOf"
    os.environ["GIT_CONFIG_VALUE_0"] = repository
    (outputs,) = execute(set_up()[0])
    (error,) = errors([outputs])
    assert error == (
        f"ImportError: pip could not fetch the lab from {repository}: is there a network? Run this cell again."
    )
    assert not list(kernel.glob("lab*"))
