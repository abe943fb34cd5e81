"""The first cell in a hosted notebook: fetches the lab from the repository it was opened from, and replaces nothing.

Colab is played by a Python of its own with links to those packages that Colab has, a `google.colab`, and a server for
Colab's list of sessions. pip is real; git is told to take a clone of this repository for the lab's on the web, and for
a fork's. What Colab may say, and what pip may do, are tried without a kernel.
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
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

import lab
from lab import _hosted, _release, ready
from lab.course import editions

COLAB = [
    *("torch", "torchvision", "numpy", "scipy", "matplotlib", "ipykernel", "ipython", "ipywidgets"),
    *("click", "rich", "tqdm", "platformdirs", "pydantic", "safetensors", "nbformat", "nbclient", "jupytext"),
    *("nbconvert", "requests"),
    *("packaging", "pip", "setuptools"),
]
"""What Colab has of what the lab, its notebooks and pip use, with all that these depend on."""
LAB = "https://github.com/the-994-lab/the-994-lab"
FORK = "https://github.com/a-student/my-lab"
TAG = _release.tag()
BEFORE, AHEAD, OF_THE_FORK = "0.1.7", "8.8.8", "9.9.9"
"""Versions: of an older release, of the main branch since the last one, of a fork's branch."""
REQUIREMENTS = [f"{place}requirements.txt" for place in ("", "tests/", "benchmarks/", "notebooks/book/")]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Colab is Linux; links need rights on Windows")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This working tree as two releases, each with its tag, as `main`, ahead of both, and as the branch `autumn/26`."""
    folder = tmp_path_factory.mktemp("web") / "clone"
    records = [f"benchmarks/results/{part}.json" for part in ("experiments", "peak", "race", "small", "tiny")]
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", *records, *REQUIREMENTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(editions.ROOT / name, folder / name)
    shutil.copytree(editions.ROOT / "lab", folder / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    init = folder / "lab" / "__init__.py"
    text = init.read_text()

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments], cwd=folder, check=True
        )

    def commit(version: str) -> None:
        init.write_text(text.replace(f'"{lab.__version__}"', f'"{version}"'))
        git("add", ".")
        git("commit", "-q", "-m", version)

    git("init", "-q", "-b", "main")
    for release in (BEFORE, lab.__version__):
        commit(release)
        git("tag", f"v{release}")
    commit(AHEAD)
    git("checkout", "-q", "-b", "autumn/26")
    commit(OF_THE_FORK)
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
    """web(repository, ...): the clone is what git finds there, and the wheels are all that pip finds."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_COMPILE", "0")  # pip reads it as --no-compile
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as --no-build-isolation: setuptools is there

    def at(*repositories: str) -> None:
        there = [(clone if address in repositories else "/nowhere", address) for address in (LAB, FORK)]
        monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
        for number, (place, address) in enumerate(there):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", f"url.file://{place}.insteadOf")
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", address)

    at()
    return at


@pytest.fixture
def opened_from(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """opened_from(file_id, ...): what Colab's list of sessions then says about the notebook, the last one for ever."""
    said: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/sessions" else 404)
            self.end_headers()
            file_id = said.pop(0) if len(said) > 1 else said[0]
            notebook = {"path": f"fileId={file_id}", "name": "mnist_994.ipynb", "type": "notebook"}
            self.wfile.write(json.dumps([notebook]).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
    yield lambda *file_ids: said.extend(file_ids)
    server.shutdown()
    server.server_close()


def execute(*sources: str) -> list[Any]:
    """The outputs of each cell, executed on Colab."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    made = nbformat.v4.new_notebook(cells=cells)
    content = {"metadata": {"path": os.environ["CONTENT"]}}  # not this repository, where `import lab` would find it
    NotebookClient(made, kernel_name="colab", timeout=300, allow_errors=True, resources=content).execute()
    return [cell.outputs for cell in cells]


def set_up(name: str = "mnist_994") -> list[str]:
    """The notebook's set-up cells, the one that fetches the lab first."""
    cells = editions.solved_edition(name).cells
    return [cell.source for cell in cells if "setup" in cell.metadata.get("tags", [])]


def exercises() -> list[str]:
    """The answers of the solved edition's first section, and their checks."""
    return [cell.source for cell in editions.solved_edition("mnist_994").cells if "nbgrader" in cell.metadata][:6]


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
    web(LAB, FORK)
    outputs = execute(*set_up(), *exercises(), *set_up(), "not_made_yet")
    assert errors(outputs) == ["NameError: name 'not_made_yet' is not defined"]
    printed = "".join(o.text for some in outputs for o in some if o.get("name") == "stdout")
    assert printed.count("PASS") == len(exercises()) // 2 == 3
    assert printed.count(f"the lab, {OF_THE_FORK} on torch") == 2
    assert not [o.text for some in outputs for o in some if o.get("name") == "stderr"]

    first, second, *others = pips()  # the second run of the first cell asks for nothing
    assert first == f"install -q --no-deps git+{LAB}@{TAG}"
    assert second == f"install --quiet --no-deps git+{FORK}@autumn/26 --force-reinstall"
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


@pytest.mark.parametrize("name", editions.names())
def test_every_notebook_begins_with_the_same_few_lines(name: str) -> None:
    assert set_up(name)[0] == set_up()[0]
    assert len([line for line in set_up()[0].splitlines() if line]) <= 6


@pytest.mark.parametrize("name", editions.names())
def test_every_notebook_fetches_the_release_it_belongs_to_and_so_does_its_copy(name: str) -> None:
    handed_out = nbformat.read(editions.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for source in (set_up(name)[0], "\n".join(cell.source for cell in handed_out.cells)):
        assert source.count("git+") == source.count(f"git+{LAB}@{TAG}") == 1


@pytest.mark.slow
@pytest.mark.parametrize("opened", [f"{LAB}/blob/main/notebooks/mnist_994.ipynb", "1aBcDeFgHiJkLmNoPqRsTuVwXyZ"])
def test_an_older_release_s_notebook_keeps_its_lab_on_main_and_in_drive(
    kernel: Path, web: Any, opened_from: Any, opened: str
) -> None:
    opened_from(quote(opened))
    web(LAB)
    older = set_up()[0].replace(TAG, f"v{BEFORE}")
    outputs = execute(older, older, "print(lab.__version__)")
    assert errors(outputs) == []
    assert outputs[-1][0].text == f"{BEFORE}\n"
    assert [call for call in pips() if "git+" in call] == [f"install -q --no-deps git+{LAB}@v{BEFORE}"]


@pytest.mark.slow
def test_a_copy_in_drive_keeps_what_its_cell_names_and_a_fork_out_of_reach_is_told_in_one_line(
    kernel: Path, web: Any, opened_from: Any
) -> None:
    opened_from("1aBcDeFgHiJkLmNoPqRsTuVwXyZ", quote(f"{FORK}/blob/main/notebooks/mnist_994.ipynb"))
    web(LAB)
    drive, version, fork = execute(set_up()[0], "print(lab.__version__)", set_up()[0])
    assert errors([drive]) == []
    assert version[0].text == f"{lab.__version__}\n"
    assert fork[0].ename == "NotReady"
    assert fork[0].traceback == [f"NotReady: {fork[0].evalue}"]
    assert fork[0].evalue.startswith(f"pip could not fetch the lab from {FORK} (at main)")
    first, *others, last = pips()
    assert first == f"install -q --no-deps git+{LAB}@{TAG}"
    assert [call for call in others if "git+" in call] == []
    assert last == f"install --quiet --no-deps git+{FORK}@main --force-reinstall"


def test_without_a_network_it_says_so(kernel: Path, web: Any) -> None:
    (outputs,) = execute(set_up()[0])
    (error,) = errors([outputs])
    assert error == "AssertionError: pip could not fetch the lab: is there a network? Run this cell again."
    assert not list(kernel.glob("lab*"))


# -- where is the notebook from? ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_id", "told"),
    [
        (quote(f"{FORK}/blob/autumn/26/notebooks/mnist_994.ipynb"), (FORK, "autumn/26")),
        (f"{LAB}/blob/main/notebooks/fashion.ipynb", (LAB, "main")),
        (f"{LAB}/blob/v0.2.0/notebooks/fashion.ipynb", (LAB, "v0.2.0")),
        ("1aBcDeFgHiJkLmNoPqRsTuVwXyZ", None),
        (quote(f"{FORK}/blob/main/elsewhere/mnist_994.ipynb"), None),
        (quote("https://github.com/a/b;touch x/blob/c/notebooks/d.ipynb"), None),
        (quote("https://github.com/a/b/blob/c d/notebooks/d.ipynb"), None),
        (quote("https://example.org/a/b/blob/c/notebooks/d.ipynb"), None),
    ],
)
def test_where_the_notebook_is_from(opened_from: Any, file_id: str, told: tuple[str, str] | None) -> None:
    opened_from(file_id)
    assert _hosted.opened_from() == told


def test_colab_may_say_nothing(opened_from: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1:1/nothing?")
    assert _hosted.opened_from() is None
    monkeypatch.delenv("COLAB_JUPYTER_IP")
    monkeypatch.delenv("KMP_TARGET_PORT")
    assert _hosted.opened_from() is None


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"url": FORK, "vcs_info": {"vcs": "git", "requested_revision": "autumn/26", "commit_id": "0"}}, "autumn/26"),
        ({"url": FORK, "vcs_info": {"vcs": "git", "commit_id": "0"}}, ""),
        ({"url": "file:///a/clone", "dir_info": {"editable": True}}, None),
        (None, None),
    ],
)
def test_where_the_lab_is_from(origin: Any, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    written = SimpleNamespace(read_text=lambda name: origin and json.dumps(origin))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: written)
    assert _hosted.installed_from() == (None if told is None else (FORK, told))


def test_a_lab_that_was_not_installed_is_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert _hosted.installed_from() is None


# -- and is the lab from there? ----------------------------------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> Any:
    """colab(beside, installed): where the notebook and the lab are from; gives what pip is then called with."""

    def at(beside: Any, *installed: Any, returncode: int = 0) -> list[list[str]]:
        calls: list[list[str]] = []
        done = SimpleNamespace(returncode=returncode, stderr="fatal: no route to host\n")
        answers = iter(installed)
        monkeypatch.setattr(_hosted, "opened_from", lambda: beside)
        monkeypatch.setattr(_hosted, "installed_from", lambda: next(answers))
        monkeypatch.setattr(_hosted, "_import_anew", lambda: None)
        monkeypatch.setattr(ready.subprocess, "run", lambda command, **_: calls.append(command) or done)
        return calls

    return at


@pytest.mark.parametrize(
    ("beside", "installed"),
    [
        (None, (LAB, "main")),  # a copy in Drive
        (None, (LAB, "v0.1.7")),
        ((LAB, "main"), (LAB, "main")),
        ((LAB, "main"), (LAB, "v0.1.7")),  # main is ahead of the notebook's release
        ((LAB, "main"), (LAB, "v0.3.0rc1")),
        ((LAB, "v0.1.7"), (LAB, "v0.1.7")),
        ((FORK, "v0.1.7"), (FORK, "v0.1.7")),
        ((FORK, "main"), None),  # a clone
    ],
)
def test_a_lab_that_stays(colab: Any, beside: Any, installed: Any) -> None:
    calls = colab(beside, installed)
    assert _hosted.renew() is False
    assert calls == []


@pytest.mark.parametrize("installed", [(LAB, "main"), (LAB, TAG)])
@pytest.mark.parametrize("beside", [(FORK, "main"), (FORK, TAG), (FORK, "autumn/26"), (LAB, "next"), (LAB, "v0.1.7")])
def test_another_repository_branch_or_tag_is_fetched_and_no_other_package(
    colab: Any, beside: tuple[str, str], installed: tuple[str, str]
) -> None:
    calls = colab(beside, installed, beside)
    assert _hosted.renew() is True
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    assert calls == [[*pip, f"git+{'@'.join(beside)}", "--force-reinstall"]]


@pytest.mark.parametrize("installed", [(LAB, "next"), (LAB, "voyage"), (LAB, ""), (FORK, "main"), (FORK, TAG)])
def test_on_main_only_a_release_of_the_lab_stays(colab: Any, installed: tuple[str, str]) -> None:
    beside = (LAB, "main")
    calls = colab(beside, installed, beside)
    assert _hosted.renew() is True
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    assert calls == [[*pip, f"git+{'@'.join(beside)}", "--force-reinstall"]]


def test_a_fork_that_pip_can_not_fetch(colab: Any) -> None:
    colab((FORK, "main"), (LAB, "main"), returncode=1)
    with pytest.raises(ready.NotReady) as error:
        _hosted.renew()
    assert str(error.value) == (
        f"pip could not fetch the lab from {FORK} (at main), where this notebook was opened: is there a network? "
        "Run this cell again.\nfatal: no route to host"
    )


def test_a_lab_that_pip_can_not_replace_is_not_fetched_for_ever(colab: Any) -> None:
    colab((FORK, "main"), (LAB, "main"), (LAB, "main"))
    with pytest.raises(ready.NotReady, match="Python still finds another one: restart the session"):
        _hosted.renew()


def test_every_module_is_imported_anew_and_the_name_lab_stays() -> None:
    program = """
import sys
import lab.ready
import lab._hosted
from lab import stats
lab._hosted._import_anew()
assert sys.modules["lab"] is lab
assert "lab.stats" not in sys.modules and not hasattr(lab, "ready")
from lab import stats as new
assert new is not stats and new is lab.stats
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=editions.ROOT)
    assert (done.returncode, done.stderr) == (0, "")
