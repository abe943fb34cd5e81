"""Files that are written whole or not at all."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import _files
from lab._files import FileError, part_name, sweep, write_whole


@pytest.mark.parametrize(("content", "stored"), [(b"\0\xff", b"\0\xff"), ("9 ≥ 4\r\n", "9 ≥ 4\r\n".encode())])
def test_bytes_and_text_replace_what_was_there(tmp_path, content, stored):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    write_whole(path, content)
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_lone_surrogate_in_a_text_is_written_as_a_question_mark(tmp_path):
    write_whole(tmp_path / "file", "a\ud800b")
    assert (tmp_path / "file").read_bytes() == b"a?b"


def test_long_name_leaves_room_for_the_partial_files_own(tmp_path):
    write_whole(tmp_path / ("n" * 250), b"content")
    assert (tmp_path / ("n" * 250)).read_bytes() == b"content"


@pytest.mark.parametrize("step", ["write", "replace"])
def test_failure_keeps_the_old_file_and_leaves_nothing_half_written(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    real = Path.write_bytes

    def fail(part: Path, content: bytes) -> None:
        real(part, content[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "write":
        monkeypatch.setattr(Path, "write_bytes", fail)
    else:
        monkeypatch.setattr(os, "replace", lambda part, path: fail(part, b"after"))
    with pytest.raises(FileError, match=r"file cannot be written: No space left on device") as caught:
        write_whole(path, b"after")
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("place", "reason"), [("none/file", "No such file"), ("folder", "Is a directory")])
def test_place_that_cannot_be_written_is_named(tmp_path, place, reason):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=rf"{place} cannot be written: {reason}"):
        write_whole(tmp_path / place, b"content")


@pytest.mark.skipif(os.name == "nt", reason="a process id is not looked up there")
def test_sweep_removes_what_a_killed_process_left_and_no_other(tmp_path):
    program = "from lab._files import part_name; print(part_name('file'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    left = done.stdout.strip()
    (tmp_path / left).write_bytes(b"half")
    (tmp_path / left.replace("file", "folder")).mkdir()
    (tmp_path / left.replace("file", "folder") / "inside").touch()
    ours, theirs, old = tmp_path / part_name("file"), tmp_path / "a.00000000-1-ab.part", tmp_path / "b.1f2e.part"
    for path in (ours, theirs, old, tmp_path / "file"):
        path.touch()
    for path in (ours, old):
        os.utime(path, (0, time.time() - 3600 * (_files.PART_HOURS + 1)))
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {ours.name, theirs.name, "file"}
    sweep(tmp_path / "nowhere")  # and no error
    for name in (left, left.replace("file", "other")):
        (tmp_path / name).touch()
    write_whole(tmp_path / "file", "whole")  # sweeps before its own door
    assert {path.name for path in tmp_path.iterdir()} == {ours.name, theirs.name, "file", left.replace("file", "other")}
