"""Builds the lab's container image with podman, docker or buildah, whichever is there.

    .venv/bin/python .ci/image.py [OPTION ...]      options for the builder: --build-arg BASE=..., --secret ...
    BUILDER=buildah make image                      this one, whichever others are there

What the image is made of is put into build/image first, and nothing else of the machine is seen: the wheel of
.ci/dist.py, constraints.txt, what the lab needs to grade a class, here or on a cluster, and MNIST, by its SHA-256.
"""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dist

sys.path.insert(0, str(dist.ROOT))

from lab import __version__
from lab._sources import cache
from lab._sources.catalogue import DATASETS
from lab._sources.search import content_at
from lab.errors import LabError

BUILDERS = ("podman", "docker", "buildah")
REQUIREMENTS = ("requirements.txt", "lab/grading/requirements.txt", "lab/grading/requirements-cluster.txt")


def prepare(root: Path, context: Path) -> None:
    """Fill `context` anew. Raises dist.Unfit; DataError where MNIST can't be had."""
    shutil.rmtree(context, ignore_errors=True)
    (context / "data").mkdir(parents=True)
    _, archive = dist.build(root, context)
    archive.unlink()
    shutil.copy(root / "constraints.txt", context)
    lines = "\n".join((root / name).read_text(encoding="utf-8") for name in REQUIREMENTS)
    (context / "requirements.txt").write_text(lines, encoding="utf-8")
    mnist = DATASETS["mnist"]
    for file, place in zip(mnist.files, cache.find_files(mnist, None)[1], strict=True):
        (context / "data" / f"{file.name}.gz").write_bytes(gzip.compress(content_at(file, place), 6, mtime=0))
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # whatever this machine's umask is


def command(root: Path, context: Path, options: Sequence[str]) -> list[str]:
    """What builds it. Raises dist.Unfit where nothing can."""
    builder = next(filter(shutil.which, [os.environ["BUILDER"]] if os.environ.get("BUILDER") else BUILDERS), None)
    if builder is None:
        raise dist.Unfit(f"none of {', '.join(BUILDERS)} is here: install one. {context} holds what the image is of.")
    known = dist.origin(root)
    version = f"--build-arg=VERSION={__version__}"
    commit = f"--build-arg=COMMIT={'' if known.changed else known.commit}"
    file, tag = f"--file={root / '.ci' / 'Containerfile'}", f"--tag=lab994:{__version__}"
    return [builder, "build", file, tag, version, commit, *options, str(context)]


if __name__ == "__main__":
    try:
        print(dist.origin(dist.ROOT).line(), flush=True)
        prepare(dist.ROOT, dist.ROOT / "build" / "image")
        sys.exit(subprocess.run(command(dist.ROOT, dist.ROOT / "build" / "image", sys.argv[1:])).returncode)
    except (dist.Unfit, LabError) as reason:
        sys.exit(f"error: {reason}")
