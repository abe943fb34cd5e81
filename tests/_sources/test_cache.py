"""The sources in their order, and what the cache keeps."""

import errno
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import CLOSED, SETS, answering, check, flip_last_byte, idx, serving, snapshot, use_mirrors

from lab import _torchvision, data
from lab._files import write_whole
from lab._sources import cache, download, search
from lab._sources.catalogue import DATASETS
from lab.errors import DataError

datasets = _torchvision.datasets()


def test_each_source_is_asked_only_when_those_before_it_fail(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        own = tiny.put(tmp_path / "own")
        check(data.load("mnist", own), tiny)
        assert not tiny.raw.exists()  # 1: the folder; nothing is copied
        check(data.load("mnist"), tiny)
        assert asked == list(tiny.packed)  # 3: torchvision's mirrors, into the empty cache
        check(data.load("mnist"), tiny)
        assert asked == list(tiny.packed)  # 2: the cache
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)


def test_damaged_own_folder_is_reported_and_never_changed(stand_in, tmp_path, caplog):
    tiny = stand_in()
    tiny.put(tiny.raw)
    own = tiny.put(tmp_path / "own")
    damaged = flip_last_byte(own / "t10k-labels-idx1-ubyte")
    before = snapshot(own)
    loaded = data.load("mnist", own)
    check(loaded, tiny)
    assert loaded.source == f"cache {tiny.raw}"
    assert snapshot(own) == before
    assert hashlib.sha256(damaged).hexdigest() in caplog.text
    assert "t10k-labels-idx1-ubyte" in caplog.text


def truncate(path: Path) -> bytes:
    path.write_bytes(b"")
    return b""


@pytest.mark.parametrize("damage", [flip_last_byte, truncate, Path.unlink])
def test_damaged_cached_file_is_set_aside_and_fetched_again(stand_in, monkeypatch, damage):
    tiny = stand_in()
    tiny.put(tiny.raw)
    check(data.load("mnist"), tiny)
    damaged = damage(tiny.raw / "train-labels-idx1-ubyte")
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        check(data.load("mnist"), tiny)
    assert asked == ["train-labels-idx1-ubyte.gz"]  # the other three were good
    aside = [path.read_bytes() for path in tiny.raw.glob("*.corrupt")]
    assert aside == ([] if damage is Path.unlink else [damaged])


def test_good_file_that_another_process_put_there_is_not_set_aside(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"bad")
    before = path.stat()
    write_whole(path, b"good")
    cache._set_aside(path, before)
    assert path.read_bytes() == b"good"


def test_second_load_in_a_process_takes_no_checksums_again(stand_in, monkeypatch):
    tiny = stand_in()
    tiny.put(tiny.raw)
    sums = []
    real = search.check_sum
    monkeypatch.setattr(search, "check_sum", lambda *args: (sums.append(args[0].name), real(*args)))
    data.load("mnist")
    assert sums == list(tiny.contents)  # all four, the test files too
    data.load("mnist")
    assert len(sums) == 4
    os.utime(tiny.raw / sums[1], ns=(0, 0))  # it may have changed
    data.load("mnist")
    assert sums[4:] == ["train-labels-idx1-ubyte"]


@pytest.mark.parametrize("name", SETS)
def test_downloaded_set_is_what_torchvision_reads(stand_in, monkeypatch, name):
    tiny = stand_in(name)
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, name, [mirror], tiny.packed)
        loaded = data.load(name)
    check(loaded, tiny)
    assert asked == list(tiny.packed)
    theirs = getattr(datasets, DATASETS[name].torchvision)
    for train, ours in ((True, loaded.train), (False, loaded.test)):
        found = theirs(data.cache_root(), train=train, download=False)
        assert torch.equal(found.data, ours.images)
        assert [found[i][1] for i in range(len(found))] == ours.labels.tolist()


@pytest.mark.parametrize("name", ["kmnist", "qmnist"])
def test_file_beside_its_gz_is_what_the_gz_holds(stand_in, name):
    tiny = stand_in(name)
    tiny.put(tiny.raw, packed=True)
    check(data.load(name), tiny)
    raw = tiny.raw / next(iter(tiny.contents))
    assert raw.read_bytes() == tiny.contents[raw.name]
    damaged = flip_last_byte(raw)
    check(data.load(name), tiny)
    assert raw.read_bytes() == tiny.contents[raw.name]
    assert raw.with_name(f"{raw.name}.corrupt").read_bytes() == damaged


OTHER_GZ = gzip.compress(idx(np.zeros((10, 28, 28), dtype=np.uint8)))


@pytest.mark.parametrize("content", [b"no archive", OTHER_GZ], ids=["not gzip", "other images"])
def test_wrong_gz_is_set_aside_though_its_file_is_good(stand_in, monkeypatch, content):
    tiny = stand_in("kmnist")
    tiny.put(tiny.put(tiny.raw), packed=True)
    name = "t10k-images-idx3-ubyte.gz"
    (tiny.raw / name).write_bytes(content)
    with serving(tiny.packed) as (mirror, asked):
        use_mirrors(monkeypatch, "kmnist", [mirror], tiny.packed)
        check(data.load("kmnist"), tiny)
    assert asked == [name]
    assert (tiny.raw / f"{name}.corrupt").read_bytes() == content


@pytest.mark.parametrize("name", SETS)
def test_when_all_sources_fail_the_error_says_what_to_do(stand_in, tmp_path, name):
    tiny = stand_in(name)
    with pytest.raises(DataError) as caught:
        data.load(name, tmp_path / "nowhere")
    message = str(caught.value)
    lines = message.splitlines()
    for source, reason in [
        (f"folder {tmp_path / 'nowhere'}", "there is no such folder"),
        (f"cache {tiny.raw}", "is missing"),
        ("torchvision's mirrors", f"{CLOSED}/: [Errno"),
    ]:
        (line,) = [line for line in lines if line.startswith(f"  {source}: ")]
        assert reason in line
    assert f"put these files into {tiny.raw}" in message
    for file in DATASETS[name].files:
        assert f"  {file.stored}  SHA-256 {file.sha256}" in lines
    assert tiny.raw.is_dir()  # the folder is there to put them in


def test_cache_that_cannot_be_made(stand_in, monkeypatch, tmp_path):
    stand_in()
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cache folder .*file.* cannot be used: .*Set LAB_CACHE"):
        data.load("mnist")


def test_full_disk(stand_in, monkeypatch):
    tiny = stand_in()
    real = Path.write_bytes

    def write_half(path: Path, content: bytes) -> None:
        real(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with serving(tiny.packed) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        monkeypatch.setattr(Path, "write_bytes", write_half)
        with pytest.raises(DataError, match=r"No space left on device.*Set LAB_CACHE"):
            data.load("mnist")
    assert list(tiny.raw.iterdir()) == []  # nothing half written stays behind


LOAD = """
import hashlib, json, sys
from lab import data
from lab._sources import download
download.tables = lambda dataset: ([sys.argv[1]], json.loads(sys.argv[2]))
mnist = data.load("mnist")
print(hashlib.sha256(mnist.train.images.numpy().tobytes() + mnist.test.images.numpy().tobytes()).hexdigest())
"""


def test_two_processes_fill_one_cache_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_DATA", raising=False)
    mnist = data.load("mnist")
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"bad")  # both find it
    names = [file.name for file in DATASETS["mnist"].files]
    contents = {name: (data.cache_root() / "MNIST" / "raw" / name).read_bytes() for name in names}
    packed = {f"{name}.gz": gzip.compress(content, 1) for name, content in contents.items()}
    md5 = json.dumps({name: hashlib.md5(content).hexdigest() for name, content in packed.items()})
    environment = os.environ | {"LAB_CACHE": str(tmp_path / "cache"), "LAB_DATA": "", "no_proxy": "*"}
    with serving(packed) as (mirror, _):
        command = [sys.executable, "-c", LOAD, f"{mirror}/", md5]
        running = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(2)]
        results = [process.communicate(timeout=60) for process in running]
    both = mnist.train.images.numpy().tobytes() + mnist.test.images.numpy().tobytes()
    assert results == [(f"{hashlib.sha256(both).hexdigest()}\n", "")] * 2
    assert {path.name for path in raw.iterdir()} == {*contents, "train-labels-idx1-ubyte.corrupt"}
    assert (raw / "train-labels-idx1-ubyte.corrupt").read_bytes() == b"bad"
    for name, content in contents.items():
        assert (raw / name).read_bytes() == content


# --- what else may be in the cache ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
@pytest.mark.parametrize("below", [".", "MNIST-files"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_person_put_into_the_cache_is_kept_rightly(stand_in, name, below, packed):
    tiny = stand_in(name)
    if name == "kmnist" and not packed:
        pytest.skip("only the sum of the .gz is known")
    tiny.put(tiny.raw.parent / below, packed)  # MNIST/ without raw/, or a folder off
    check(data.load(name), tiny)
    kept = sorted([*tiny.contents, *(tiny.packed if name == "kmnist" else ())])
    assert sorted(path.name for path in tiny.raw.iterdir()) == kept
    assert (tiny.raw / kept[0]).is_file()


def test_gz_in_the_cache_serves(stand_in):
    tiny = stand_in()
    tiny.put(tiny.raw, packed=True)
    check(data.load("mnist"), tiny)
    assert {*tiny.contents, *tiny.packed} == {path.name for path in tiny.raw.iterdir()}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD = [pipe, folder_with_a_file, link_to_itself, link_to_nowhere, link_to_a_device]


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes, and no links for everybody")
@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_what_is_no_file_is_set_aside(stand_in, monkeypatch, make, name):
    tiny = stand_in(name)
    tiny.put(tiny.put(tiny.raw), packed=name == "kmnist")
    path = tiny.raw / "train-labels-idx1-ubyte"
    with serving(tiny.packed) as (mirror, _):
        use_mirrors(monkeypatch, name, [mirror], tiny.packed)
        for _ in range(2):  # a second one has a folder in its way
            path.unlink()
            make(path)
            check(data.load(name), tiny)
            assert path.read_bytes() == tiny.contents[path.name]
            assert not path.is_symlink()


def test_nothing_is_fetched_and_no_torchvision_imported_where_the_cache_is_full(stand_in, monkeypatch):
    tiny = stand_in()
    tiny.put(tiny.raw)
    monkeypatch.setattr(download, "tables", lambda dataset: pytest.fail("asked"))
    before = time.monotonic()
    check(data.load("mnist"), tiny)
    assert time.monotonic() - before < 1


@pytest.mark.skipif(os.name == "nt", reason="a process id is not looked up there")
def test_a_killed_download_leaves_nothing_for_ever(stand_in, monkeypatch):
    tiny = stand_in()
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b".") as mirror:
        program = LOAD.replace("mnist =", "import socket; mnist =")
        md5 = json.dumps(dict.fromkeys(tiny.packed, "0" * 32))
        process = subprocess.Popen([sys.executable, "-c", program, f"{mirror}/", md5])
        deadline = time.monotonic() + 60
        while not any(tiny.raw.glob("*.part/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert any(tiny.raw.glob("*.part/*"))
        with pytest.raises(DataError):
            data.load("mnist")
        assert any(tiny.raw.glob("*.part/*"))  # a living process writes to it
        process.kill()
        process.wait()
    with pytest.raises(DataError):
        data.load("mnist")
    assert list(tiny.raw.iterdir()) == []


def test_cache_that_is_no_folders_name(stand_in, monkeypatch):
    stand_in()
    monkeypatch.setenv("LAB_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(DataError, match=r"LAB_CACHE names ~nobody-of-this-name/cache, which is no folder"):
        data.load("mnist")
