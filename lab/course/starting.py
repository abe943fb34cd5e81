"""A student's repository: the notebook, a README, and what grades it on every push. `lab init` makes it.

What grades is this lab at one commit, which each of the files names in full: nothing that is checked comes from the
student's own checkout. The texts are in `starter/`, with the names of what differs between @ signs.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from lab import _release
from lab._files import FileError, write_whole
from lab._place import PACKAGE
from lab.course.plan import edition_sources
from lab.course.student_copy import notebook_of, student_copy
from lab.errors import LabError
from lab.rules import RUBRICS, load_rubric

STARTER = PACKAGE / "course" / "starter"
_AUTOGRADER = PACKAGE / "grading" / "autograde" / "classroom50_entry.py"
_FILES = {"github": (".github/workflows/lab.yml", "lab.yml"), "gitlab": (".gitlab-ci.yml", "gitlab-ci.yml"),
          "compose": ("compose.yaml", "compose.yaml")}  # fmt: skip
"""Of each kind of grading the file in the repository, and its text."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_PLACES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*/[A-Za-z0-9._-]+")  # GitLab has groups in groups
_REMOTE = re.compile(r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)([^/:]+)[/:](.+?)(?:\.git)?/?")
_CHECKED = (
    "Each push is graded, in minutes: of the notebook the exercises that train nothing, of `my_net.lab` everything but "
    "the number of epochs. {where} The run is red until all is earned that was checked; an exercise that you have not "
    "answered yet is open, and no mistake. It is a check for you: what counts is what your teacher grades."
)
_WHERE = {
    "github": "The tab *Actions* has the runs: each with a table, notes at the cells that fall short, and the page "
    "`feedback.html` among its artifacts.",
    "gitlab": "*Build, Pipelines* has the runs, each with the page `feedback.html` among its artifacts.",
    "compose": "`docker compose run --rm grade` does it here, and writes `report/feedback.html`.",
}


class StartError(LabError):
    """A repository that can't be made: why, and what to do. Nothing was written."""


@dataclass(frozen=True)
class Wanted:
    """What the repository is to have."""

    notebook: str = "mnist_994"
    kinds: Sequence[str] = ("github",)  # github, gitlab, compose; none
    repository: str | None = None  # owner and name, where it will be; None: as git's remote says
    commit: str | None = None  # of the lab that grades; None: this lab's own
    lab: str | None = None  # the lab's repository on GitHub; None: the lab's own


@dataclass(frozen=True)
class Started:
    """What was made."""

    folder: Path
    files: Sequence[str]
    notes: Sequence[str]

    def lines(self) -> list[str]:
        """For a person."""
        return [f"{self.folder} has {', '.join(self.files)}.", *self.notes]


def start(folder: Path, wanted: Wanted) -> Started:
    """Make the repository in `folder`, which may hold other files: all of it or nothing. Raises StartError, FileError.

    A folder that lies in no git repository becomes one.
    """
    kinds = [kind for kind in dict.fromkeys(wanted.kinds) if kind != "none"]
    files = _files(folder, wanted, kinds)
    there = [name for name in files if (folder / name).is_symlink() or (folder / name).exists()]
    if there or (folder.exists() and not folder.is_dir()):
        what = ", ".join(there) or str(folder)
        raise StartError(f"there is {what} in {folder} already: name another folder. Nothing is written.")
    _write(folder, files)
    return Started(folder, list(files), _notes(folder, kinds))


def write_autograder(
    path: Path, commit: str | None = None, repository: str | None = None, rubric: str | None = None
) -> None:
    """Write what Classroom 50 runs for each submission (`classroom50_entry.py`). Raises StartError, FileError.

    rubric: the assignment, one of the lab's own; None: the one that a hand-in says it is for.
    """
    known = sorted(one.stem for one in RUBRICS.glob("*.toml"))
    if rubric is not None and rubric not in known:
        raise StartError(f"--rubric is one of {', '.join(known)} here, and not {rubric!r}. Nothing is written.")
    if path.exists() or path.is_symlink():
        raise StartError(f"{path} is there already: name another file with --out. Nothing is written.")
    text = _AUTOGRADER.read_text(encoding="utf-8")
    write_whole(path, _filled(text, _pinned(commit, repository) | {"LAB_RUBRIC": rubric or ""}))


# -- files ------------------------------------------------------------------------------------------------------------


def _files(folder: Path, wanted: Wanted, kinds: Sequence[str]) -> dict[str, str]:
    """The text of each file, by its name below the folder."""
    sources = {path.stem: path for path in edition_sources()}
    if wanted.notebook not in sources:
        known = ", ".join(sorted(sources)) or "none: this lab was installed without its notebooks"
        raise StartError(f"there is no notebook {wanted.notebook!r}: there is {known}. Nothing is written.")
    rubric = load_rubric(wanted.notebook)
    words = _pinned(wanted.commit, wanted.lab) | {
        "NOTEBOOK": wanted.notebook,
        "TITLE": rubric.title,
        "DATASET": rubric.dataset,
        "BADGE": _badge(folder, wanted.repository, kinds),
        "CHECKED": "\n\n".join(_CHECKED.format(where=_WHERE[kind]) if number == 0 else _WHERE[kind]
                               for number, kind in enumerate(kinds)) or "Nothing here grades a push.",
    }  # fmt: skip
    notebook = nbformat.writes(student_copy(notebook_of(sources[wanted.notebook]))) + "\n"
    texts = {"README.md": "README.md", ".gitignore": "gitignore", **dict(_FILES[kind] for kind in kinds)}
    made = {name: _filled((STARTER / text).read_text(encoding="utf-8"), words) for name, text in texts.items()}
    return {f"{wanted.notebook}.ipynb": notebook, **made}


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text


def _pinned(commit: str | None, repository: str | None) -> dict[str, str]:
    """The lab that grades. Raises StartError."""
    commit, repository = commit or _release.commit(), repository or _release.REPOSITORY
    if commit is None:
        raise StartError(
            "this lab does not know which commit it is of, and what grades is pinned to one: say it with "
            f"--lab-commit, 40 hexadecimal digits, as https://github.com/{repository}/commits shows them."
        )
    if not _release.COMMIT.fullmatch(commit):
        raise StartError(f"{commit!r} is no commit in full: --lab-commit wants its 40 hexadecimal digits, in small.")
    if not _REPOSITORY.fullmatch(repository):
        raise StartError(f"{repository!r} is no repository on GitHub: --lab-repository wants OWNER/NAME.")
    return {
        "LAB_REPOSITORY": repository,
        "LAB_COMMIT": commit,
        "LAB_TAG": _release.tag(),
        "LAB_ARCHIVE": f"https://github.com/{repository}/archive/{commit}.tar.gz",
        "LAB_CONSTRAINTS": f"https://raw.githubusercontent.com/{repository}/{commit}/constraints.txt",
    }


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """All of them, or none: what was written is taken away where one fails. Folders that were made may stay."""
    written = list[Path]()
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
            written.append(path)
    except (OSError, FileError) as error:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"{folder} cannot be written: {reason}. Nothing is written.") from error


# -- git --------------------------------------------------------------------------------------------------------------


def _badge(folder: Path, repository: str | None, kinds: Sequence[str]) -> str:
    """The picture that says whether the last push was green, on a line of its own; empty where there can be none."""
    if repository is not None and not _PLACES.fullmatch(repository):
        raise StartError(f"{repository!r} is no repository: --repository wants OWNER/NAME.")
    host, there = _remote(folder)
    if "github" in kinds:
        # Relative to where GitHub shows the file: good for every copy of a template, too.
        known = repository or (there if host == "github.com" else "")
        actions = f"https://github.com/{known}/actions" if known else "../../actions"
        return f"[![lab]({actions}/workflows/lab.yml/badge.svg)]({actions}/workflows/lab.yml)\n\n"
    if "gitlab" in kinds and (repository or there):
        place = f"https://{host or 'gitlab.com'}/{repository or there}"
        return f"[![lab]({place}/badges/main/pipeline.svg)]({place}/-/pipelines)\n\n"
    return ""


def _remote(folder: Path) -> tuple[str, str]:
    """The host of git's remote `origin`, and the repository there; empty where there is none."""
    found = _REMOTE.fullmatch(_git(folder, "config", "--get", "remote.origin.url")) if folder.is_dir() else None
    return (found[1], found[2]) if found is not None and _PLACES.fullmatch(found[2]) else ("", "")


def _notes(folder: Path, kinds: Sequence[str]) -> list[str]:
    """Make it a repository where it lies in none, and say what comes next."""
    root = _git(folder, "rev-parse", "--show-toplevel")
    if not root and shutil.which("git"):
        _git(folder, "init", "--quiet", "--initial-branch=main")
        root = _git(folder, "rev-parse", "--show-toplevel")
    if not root:
        return ["git is not installed: the folder is no repository yet."]
    if kinds and Path(root).resolve() != folder.resolve():
        return [f"It lies in the repository {root}: what grades is looked for at the top of one. Move it there."]
    return [f"Next: cd {folder} && git add -A && git commit -m 'The lab' && git push"]


def _git(folder: Path, *words: str) -> str:
    """What git says; empty where it fails, or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
