"""A root as Gradescope's containers have it: the system's folders, and /autograder, /opt/lab994 and /tmp of its own.

bubblewrap makes it. What pip is configured with on this machine is in reach of setup.sh, as it lies in these folders.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.grading.sandbox import bubblewrap

_OWN = {"autograder", "opt", "tmp", "proc", "dev", "sys"}
METADATA = {
    "id": 123456,
    "created_at": "2026-11-25T14:22:32.365935-07:00",
    "assignment": {"due_date": "2100-12-05T23:00:00.000000-07:00", "late_due_date": None, "title": "MNIST"},
    "users": [{"email": "student@example.com", "id": 1234, "name": "Student <b>User</b>"}],
    "previous_submissions": [],
}


@dataclass(frozen=True)
class Root:
    """Its folders lie below `folder`, here."""

    folder: Path

    @property
    def autograder(self) -> Path:
        return self.folder / "autograder"

    def submit(self, files: dict[str, bytes], metadata: Any = METADATA) -> Path:
        """Put a submission in the place of the last one; gives its folder."""
        submission = self.autograder / "submission"
        subprocess.run(["rm", "-rf", submission, self.autograder / "results"], check=True)
        submission.mkdir(parents=True)
        (self.autograder / "results").mkdir()
        (self.autograder / "submission_metadata.json").write_text(json.dumps(metadata))
        for name, content in files.items():
            (submission / name).parent.mkdir(parents=True, exist_ok=True)
            (submission / name).write_bytes(content)
        return submission

    def run(
        self, *command: str, options: tuple[str, ...] = (), seconds: float = 600.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in it, in /autograder. options: bubblewrap's, besides."""
        binds = [part for path in _system() for part in ("--ro-bind", str(path), str(path))]
        own = [
            *("--bind", str(self.autograder), "/autograder", "--bind", str(self.folder / "lab994"), "/opt/lab994"),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/autograder"),
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"),
            *("--setenv", "PATH", f"{sys.base_prefix}/bin:/usr/bin:/bin"),
        ]
        return subprocess.run(
            [*bubblewrap(), *binds, *own, *options, "--", *command], capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip

    def results(self) -> dict[str, Any]:
        """The one file that there is now."""
        (file,) = (self.autograder / "results").iterdir()
        assert file.name == "results.json"
        return dict(json.loads(file.read_text(encoding="utf-8")))


def _system() -> list[Path]:
    """What is bound to be read: all that lies in / and in /opt, but what the root has of its own."""
    tops = [path for path in Path("/").iterdir() if path.name not in _OWN]
    return [*tops, *(path for path in Path("/opt").iterdir() if path.name != "lab994")]
