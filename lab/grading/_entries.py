"""What lies in a folder that students filled? No link is followed, nothing that is no ordinary file is touched.

Names come out printable. How much is looked at is bounded, and one folder that can't be read stops nobody else's.
"""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from lab._terminal import printable
from lab.grading.collect import MAX_FILES, SKIPPED
from lab.grading.roster import InboxError

MOST_ENTRIES = 20_000
"""Files and folders that are looked at in one hand-in."""
GRADABLE = (".lab", ".ipynb", ".py")
Listing = tuple[list["os.DirEntry[str]"], list["os.DirEntry[str]"], list[str]]
"""Folders, files, and the names of what is left out."""


def is_left_out(name: str) -> bool:
    """Is it nothing that a student handed in, by its name?"""
    return name in SKIPPED or name.startswith("._") or name in (".DS_Store", "Thumbs.db", "desktop.ini")


def entries(folder: Path) -> Listing:
    """The folders and files of a folder by name; and names of what is neither, or hidden.

    Raises InboxError for a folder that can't be read.
    """
    try:
        with os.scandir(folder) as scanned:
            shown = [one for one in scanned if not is_left_out(one.name)]
    except OSError as error:
        raise InboxError(f"cannot read {printable(str(folder))}: {error.strerror or error}.") from error
    shown.sort(key=lambda one: one.name)
    folders = [one for one in shown if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]
    files = [one for one in shown if one.is_file(follow_symlinks=False) and not one.name.startswith(".")]
    others = [one.name for one in shown if one not in folders and one not in files]
    return folders, files, others


def entries_if_any(folder: Path) -> Listing:
    """The same; nothing where the folder can't be read: one student's does not stop the class."""
    try:
        return entries(folder)
    except InboxError:
        return [], [], []


def files_under(folder: Path, hidden: bool = True) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Every file in a hand-in's folder by its name, and what to say of it.

    As `lab/grading/collect.py` takes them. Of more than MAX_FILES one more is named: then that says that they are too
    many. hidden: with those whose names start with a dot.
    """
    files: dict[str, Path] = {}
    left, unread, count, waiting = 0, 0, 0, [(folder, "")]
    while waiting and count < MOST_ENTRIES and len(files) <= MAX_FILES:
        place, before = waiting.pop()
        try:
            with os.scandir(place) as scanned:
                inside = sorted(itertools.islice(scanned, MOST_ENTRIES), key=lambda one: one.name)
        except OSError:
            unread += 1
            continue
        for one in inside:
            count += 1
            if is_left_out(one.name) or (one.name.startswith(".") and not hidden):
                continue
            if one.is_dir(follow_symlinks=False):
                waiting.append((Path(one.path), f"{before}{printable(one.name)}/"))
            elif one.is_file(follow_symlinks=False):
                name = f"{before}{printable(one.name)}"
                while name in files:  # two names that look alike once they are written out
                    name += "_"
                if len(files) <= MAX_FILES:
                    files[name] = Path(one.path)
            else:
                left += 1
    notes = [f"{left} links, pipes or devices are left out."] if left else []
    notes += [f"{unread} folders can't be read."] if unread else []
    notes += ["it holds too many files and folders: not all were looked at."] if waiting else []
    return files, tuple(notes)


def notes_of(files: Iterable[str]) -> list[str]:
    """What a teacher should know of a hand-in before it is graded. files: their names."""
    names = list(files)
    archives = [name for name in names if name.lower().endswith((".zip", ".tar", ".gz", ".7z", ".rar"))]
    notes = [f"{archives[0]} is an archive, and was not unpacked."] if archives else []
    if set(names) <= {"onlinetext.html", "text.html", "link.html"}:
        notes.append("there is a text that was typed in, and no file.")
    return notes
