"""Builds the release, a wheel and a source archive, from a copy of what git has: nothing that lies about gets in.

    .venv/bin/python .ci/dist.py [FOLDER]       build/dist if you do not say

The wheel is built twice, from the copy and from the source archive; they must be the same, byte for byte. What it was
built from, a commit or a tree with changes, is said, and baked into both (lab._release.commit()) where it is a commit.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BAKED = "lab/_commit.txt"
"""Where lab/_release.py looks for the commit; git ignores it, and it is never in the tree."""


@dataclass(frozen=True)
class Origin:
    """What is built."""

    commit: str  # 40 hexadecimal digits
    time: str  # of the commit, in seconds since 1970
    changed: tuple[str, ...]  # the files that are not as in the commit


def origin(root: Path) -> Origin:
    """What the tree at `root` is. Raises CalledProcessError outside a repository."""
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    changed = tuple(line[3:] for line in status if line)
    return Origin(_git(root, "rev-parse", "HEAD").strip(), _git(root, "log", "-1", "--format=%ct").strip(), changed)


def export(root: Path, folder: Path, known: Origin) -> None:
    """Copy what git tracks, and what is new and not ignored, into `folder`; with the commit, if it is one."""
    for name in filter(None, _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (root / name).is_file():  # what is deleted is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    if not known.changed:
        (folder / BAKED).write_text(f"{known.commit}\n", encoding="ascii")


def build(root: Path, out: Path) -> list[Path]:
    """Build both into `out`, in place of what is there of earlier builds; the two files, the wheel first."""
    known = origin(root)
    with tempfile.TemporaryDirectory() as temporary:
        source, built, again = (Path(temporary, name) for name in ("source", "built", "again"))
        export(root, source, known)
        _uv_build(source, built, known, "--sdist", "--wheel")  # the wheel from the source archive
        _uv_build(source, again, known, "--wheel")
        (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
        if not filecmp.cmp(wheel, again / wheel.name, shallow=False):
            sys.exit(f"error: {archive.name} does not give the wheel that the tree gives: {_difference(wheel, again)}")
        lacking = _modules(source) ^ {name for name in _content(wheel) if name.startswith("lab/")}
        if lacking:
            sys.exit(f"error: pyproject.toml's package-data and the folder lab differ in {', '.join(sorted(lacking))}")
        out.mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("lab994-*.whl"), *out.glob("lab994-*.tar.gz")):
            old.unlink()
        return [Path(shutil.copy(path, out)) for path in (wheel, archive)]


def _uv_build(source: Path, out: Path, known: Origin, *what: str) -> None:
    """Build with this environment's setuptools: nothing is fetched."""
    command = ["uv", "build", "--quiet", "--no-config", "--no-build-isolation", "--python", sys.executable, *what]
    command = [sys.executable, "-m", *command, "--no-create-gitignore", "--out-dir", str(out), str(source)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": known.time, "PYTHONPATH": ""}
    )
    if done.returncode:
        sys.exit(f"error: uv build failed.\n{done.stderr}")


def _modules(source: Path) -> set[str]:
    return {path.relative_to(source).as_posix() for path in (source / "lab").rglob("*") if path.is_file()}


def _difference(wheel: Path, again: Path) -> str:
    one, other = (_content(path) for path in (wheel, again / wheel.name))
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(names) or "the same files, packed differently"


def _content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def told(known: Origin) -> str:
    """What was built from, in a line."""
    if not known.changed:
        return f"built from commit {known.commit}"
    some = ", ".join(known.changed[:5]) + (", …" if len(known.changed) > 5 else "")
    return f"built from the working tree, which is not commit {known.commit[:12]}, so that none is baked in: {some}"


if __name__ == "__main__":
    print(told(origin(ROOT)))
    for made in build(ROOT, Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "dist"):
        print(f"{made}: {made.stat().st_size / 1000:,.0f} kB")
