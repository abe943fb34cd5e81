"""Builds the release, a wheel and a source archive, from a copy of what git has: nothing that lies about gets in.

    .venv/bin/python .ci/dist.py [FOLDER [TAG]]       build/dist if you do not say

The wheel is built twice, from the copy and from the source archive; they must be the same, byte for byte, and have
every file of the folder lab. What it was built from, a commit or a tree with changes, is said, and the commit baked in
(lab._release.commit()). With TAG it is a release: the tag must be this version's, the tree the commit, and FOLDER
gets CHANGES.md, what CHANGELOG.md says of it.
"""

import filecmp
import os
import re
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


class Unfit(Exception):
    """What can't be released as it is."""


@dataclass(frozen=True)
class Origin:
    """What is built."""

    commit: str  # 40 hexadecimal digits
    time: str  # of the commit, in seconds since 1970
    changed: tuple[str, ...]  # the files that are not as in the commit

    def line(self) -> str:
        """For a person."""
        if not self.changed:
            return f"built from commit {self.commit}"
        some = ", ".join(self.changed[:5]) + (", …" if len(self.changed) > 5 else "")
        return f"built from the working tree, which is not commit {self.commit[:12]}, so that none is baked in: {some}"


def origin(root: Path) -> Origin:
    """What the tree at `root` is. Raises CalledProcessError outside a repository."""
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    changed = tuple(line[3:] for line in status if line)
    return Origin(_git(root, "rev-parse", "HEAD").strip(), _git(root, "log", "-1", "--format=%ct").strip(), changed)


def build(root: Path, out: Path) -> list[Path]:
    """Build both into `out`, in place of what is there of earlier builds; the two files, the wheel first.

    Raises Unfit.
    """
    known = origin(root)
    with tempfile.TemporaryDirectory() as temporary:
        source, built, again = (Path(temporary, name) for name in ("source", "built", "again"))
        _export(root, source, known)
        _uv_build(source, built, known, "--sdist", "--wheel")  # the wheel from the source archive
        _uv_build(source, again, known, "--wheel")
        (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
        if not filecmp.cmp(wheel, again / wheel.name, shallow=False):
            raise Unfit(f"{archive.name} does not give the wheel that the tree gives: {_difference(wheel, again)}.")
        lacking = _modules(source) ^ {name for name in _content(wheel) if name.startswith("lab/")}
        if lacking:
            raise Unfit(f"pyproject.toml's package-data and the folder lab differ in {', '.join(sorted(lacking))}.")
        out.mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("lab994-*.whl"), *out.glob("lab994-*.tar.gz")):
            old.unlink()
        return [Path(shutil.copy(path, out)) for path in (wheel, archive)]


def changes(root: Path, tag: str) -> str:
    """What CHANGELOG.md says of the release `tag`. Raises Unfit where the tag, the version and it do not agree."""
    version = re.search(r'^__version__ = "(.+)"$', (root / "lab" / "__init__.py").read_text(encoding="utf-8"), re.M)
    if version is None or tag != f"v{version[1]}":
        raise Unfit(f"the tag is {tag}, and lab/__init__.py says {version[1] if version else 'no version'}.")
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(version[1])} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if section is None or not section[1].strip():
        raise Unfit(f"CHANGELOG.md has nothing under `## {version[1]} - DATE`.")
    return section[1].strip() + "\n"


def main(out: Path, tag: str) -> None:
    """Build, and say what was made. Raises Unfit."""
    known = origin(ROOT)
    print(known.line())
    notes = changes(ROOT, tag) if tag else ""
    if tag and known.changed:
        raise Unfit("a release is built from its commit: commit or put away what has changed.")
    for made in build(ROOT, out):
        print(f"{made}: {made.stat().st_size / 1000:,.0f} kB")
    if tag:
        (out / "CHANGES.md").write_text(notes, encoding="utf-8")


def _export(root: Path, folder: Path, known: Origin) -> None:
    """Copy what git tracks, and what is new and not ignored, into `folder`; with the commit, if it is one."""
    for name in filter(None, _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (root / name).is_file():  # what is deleted is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    if not known.changed:
        (folder / BAKED).write_text(f"{known.commit}\n", encoding="ascii")


def _uv_build(source: Path, out: Path, known: Origin, *what: str) -> None:
    """Build with this environment's setuptools: nothing is fetched."""
    command = ["uv", "build", "--quiet", "--no-config", "--no-build-isolation", "--python", sys.executable, *what]
    command = [sys.executable, "-m", *command, "--no-create-gitignore", "--out-dir", str(out), str(source)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**alone, "SOURCE_DATE_EPOCH": known.time}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise Unfit(f"uv build failed.\n{done.stderr}")


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


if __name__ == "__main__":
    try:
        main(Path((sys.argv[1:2] or [ROOT / "build" / "dist"])[0]), "".join(sys.argv[2:3]))
    except Unfit as reason:
        sys.exit(f"error: {reason}")
