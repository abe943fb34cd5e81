"""A set's files are found where people put them, under whatever names."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from stand_ins import Tiny, check, flip_last_byte

from lab import data
from lab._sources import search
from lab._sources.catalogue import DATASETS
from lab._sources.formats import decoded_idx
from lab.errors import DataError


@pytest.mark.parametrize("by", ["argument", "LAB_DATA"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", [".", "MNIST/raw"])
def test_own_folder_in_any_form(stand_in, monkeypatch, tmp_path, by, packed, below):
    tiny = stand_in()
    own = tmp_path / "own"
    tiny.put(own / below, packed)
    if by == "LAB_DATA":
        monkeypatch.setenv("LAB_DATA", str(own))
    loaded = data.load("mnist", own if by == "argument" else None)
    check(loaded, tiny)
    assert loaded.source == f"folder {own}"


def test_relative_folder_serves_after_the_process_has_moved(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    tiny.put(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    loaded = data.load("mnist", "own")
    monkeypatch.chdir("own")
    check(loaded, tiny)


def test_argument_comes_before_lab_data(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    tiny.put(tmp_path / "own")
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "nothing"))
    assert data.load("mnist", tmp_path / "own").source.endswith("own")


def test_good_gz_in_own_folder_serves_where_the_raw_file_is_damaged(stand_in, tmp_path):
    tiny = stand_in()
    own = tiny.put(tiny.put(tmp_path / "own"), packed=True)
    flip_last_byte(own / "train-images-idx3-ubyte")
    check(data.load("mnist", own), tiny)


def test_one_set_is_not_taken_for_another(stand_in, tmp_path):
    digits, garments = stand_in("mnist", seed=0), stand_in("fashion_mnist", seed=1)
    own = digits.put(tmp_path / "own")  # the same four names
    check(data.load("mnist", own), digits)
    with pytest.raises(DataError, match="expected"):
        data.load("fashion_mnist", own)
    garments.put(own / "FashionMNIST" / "raw")
    check(data.load("fashion_mnist", own), garments)
    check(data.load("mnist", own), digits)


def test_own_folder_without_the_gz_cannot_be_checked(stand_in, tmp_path):
    own = stand_in("kmnist").put(tmp_path / "own")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        data.load("kmnist", own)


# --- as people have them ----------------------------------------------------------------------------------

DAMAGES = 20  # of each form; 4,000 were tried once
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in DATASETS["mnist"].files)


def dotted(tiny: Tiny, own: Path) -> None:
    for name, content in tiny.contents.items():
        (own / name.replace("-idx", ".idx")).write_bytes(content)


def dotted_gz(tiny: Tiny, own: Path) -> None:
    for name, content in tiny.packed.items():
        (own / name.replace("-idx", ".idx")).write_bytes(content)


def other_names(tiny: Tiny, own: Path) -> None:
    for number, content in enumerate(tiny.contents.values()):
        (own / f"download ({number})").write_bytes(content)


def gz_without_its_ending(tiny: Tiny, own: Path) -> None:
    for name, content in zip(tiny.contents, tiny.packed.values(), strict=True):
        (own / name).write_bytes(content)


def unpacked_under_the_gzs_name(tiny: Tiny, own: Path) -> None:
    for name, content in zip(tiny.packed, tiny.contents.values(), strict=True):
        (own / name).write_bytes(content)


def kaggle(tiny: Tiny, own: Path) -> None:
    for name, content in tiny.contents.items():
        (own / name).mkdir()
        (own / name / name).write_bytes(content)


def without_raw(tiny: Tiny, own: Path) -> None:
    tiny.put(own / "MNIST")


def one_level_off(tiny: Tiny, own: Path) -> None:
    tiny.put(own / "data" / "MNIST" / "raw", packed=True)


def in_two_folders(tiny: Tiny, own: Path) -> None:
    for name, content in tiny.contents.items():
        place = own / ("train" if name.startswith("train") else "test")
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(content)


def archive(tiny: Tiny, own: Path) -> None:
    with zipfile.ZipFile(own / "archive.zip", "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in tiny.contents.items():
            whole.writestr(name.replace("-idx", ".idx"), content)
            whole.writestr(f"{name}/{name}", content)


def archive_of_gz(tiny: Tiny, own: Path) -> None:
    with zipfile.ZipFile(own / "mnist (1).zip", "w") as whole:
        for name, content in tiny.packed.items():
            whole.writestr(f"MNIST/raw/{name}", content)


def arrays(tiny: Tiny) -> dict[str, np.ndarray]:
    names = ("x_train", "y_train", "x_test", "y_test")
    return {name: decoded_idx(content) for name, content in zip(names, tiny.contents.values(), strict=True)}


def keras(tiny: Tiny, own: Path) -> None:
    np.savez(own / "mnist.npz", **arrays(tiny))


def wide_and_flat_arrays(tiny: Tiny, own: Path) -> None:
    for name, values in arrays(tiny).items():
        np.save(own / name, values.reshape(len(values), -1).astype("i8"))


FORMS = [dotted, dotted_gz, other_names, gz_without_its_ending, unpacked_under_the_gzs_name, kaggle, without_raw]
FORMS += [one_level_off, in_two_folders, archive, archive_of_gz, keras, wide_and_flat_arrays]


@pytest.mark.parametrize("form", FORMS)
def test_files_as_people_have_them(stand_in, tmp_path, form):
    tiny = stand_in()
    own = tmp_path / "own"
    own.mkdir()
    form(tiny, own)
    loaded = data.load("mnist", own)
    check(loaded, tiny)
    assert loaded.source == f"folder {own}"
    assert not tiny.raw.exists()


@pytest.mark.parametrize("form", [archive, keras])
def test_an_archive_may_be_named_itself(stand_in, monkeypatch, tmp_path, form):
    tiny = stand_in()
    form(tiny, tmp_path)
    (path,) = [*tmp_path.glob("*.zip"), *tmp_path.glob("*.npz")]
    monkeypatch.setenv("LAB_DATA", str(path))
    check(data.load("mnist"), tiny)


def test_packed_sets_are_found_under_other_names(stand_in, tmp_path):
    tiny = stand_in("qmnist")
    for number, content in enumerate(tiny.packed.values()):
        (tmp_path / f"{number}.bin").write_bytes(content)
    check(data.load("qmnist", tmp_path), tiny)


def test_altered_content_under_other_names_is_not_taken(stand_in, tmp_path):
    tiny = stand_in()
    (tmp_path / "own").mkdir()
    dotted(tiny, tmp_path / "own")
    keras(tiny, tmp_path / "own")
    changed = arrays(tiny) | {"y_test": np.zeros(10, dtype=np.uint8)}
    np.savez(tmp_path / "own" / "mnist.npz", **changed)
    flip_last_byte(tmp_path / "own" / TEST_LABELS.replace("-idx", ".idx"))
    with pytest.raises(
        DataError, match=rf"folder .*own: {TEST_LABELS} is missing; there are mnist\.npz, t10k-images\.idx3"
    ):
        data.load("mnist", tmp_path / "own")


# --- what is in the way -----------------------------------------------------------------------------------


def reason(own: Path | str) -> str:
    """What is said of the folder `own`."""
    with pytest.raises(DataError) as caught:
        data.load("mnist", own)
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith(f"  folder {own}: ")]
    return line.removeprefix(f"  folder {own}: ")


def test_what_is_there_instead_is_listed(stand_in, tmp_path):
    stand_in()
    own = tmp_path / "own"
    (own / "sub").mkdir(parents=True)
    assert reason(own).endswith("t10k-labels-idx1-ubyte is missing; there is no file in it, nor up to 3 levels below")
    for number in range(20):
        (own / "sub" / f"picture {number:02}.png").touch()
    (own / "a\x1b[31m").touch()
    said = reason(own)
    assert r"there are 'a\x1b[31m', sub/picture 00.png, sub/picture 01.png" in said
    assert said.endswith("sub/picture 10.png and 9 more")


def test_a_file_that_is_no_archive_is_said(stand_in, tmp_path):
    stand_in()
    (tmp_path / "file").write_bytes(b"text")
    assert "is missing" in reason(tmp_path / "file")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is missing" in reason(tmp_path / "bad.zip")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(40, "Too many levels of links")])
def test_folder_that_may_not_be_entered_leads_to_the_next_source(stand_in, monkeypatch, tmp_path, error):
    tiny = stand_in()
    tiny.put(tiny.raw)
    own = tmp_path / "own"
    own.mkdir()
    real = os.scandir

    def scandir(path: Path) -> object:
        if path == own:
            raise error
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setenv("LAB_DATA", str(own))
    check(data.load("mnist"), tiny)
    for path in tiny.raw.iterdir():
        path.unlink()
    assert reason(own) == f"it can't be looked into: {error.strerror}"


@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-this-name/x", "n" * 300])
def test_name_that_is_none_leads_to_the_next_source(stand_in, name):
    tiny = stand_in()
    assert reason(name)
    tiny.put(tiny.raw)
    check(data.load("mnist", name), tiny)


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes, and no links for everybody")
def test_pipes_devices_and_links_in_a_loop_are_passed_by(stand_in, tmp_path):
    tiny = stand_in()
    own = tmp_path / "own"
    tiny.put(own / "b" / "c")
    for path in (own / IMAGES, own / "b" / f"{LABELS}.gz"):
        os.mkfifo(path)
    (own / LABELS).symlink_to(LABELS)
    (own / "a").symlink_to(own)
    (own / TEST_LABELS).symlink_to("/dev/zero")
    (own / TEST_IMAGES).symlink_to("nowhere")
    check(data.load("mnist", own), tiny)


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes")
def test_a_pipe_as_the_folder(stand_in, tmp_path):
    stand_in()
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "it is neither a folder nor an archive"


def test_the_number_of_entries_is_bounded(stand_in, monkeypatch, tmp_path):
    stand_in()
    monkeypatch.setattr(search, "MOST_ENTRIES", 50)
    for number in range(200):
        (tmp_path / "own" / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / f"{number % 3}" / f"{number}").touch()
    looked_at = []
    real = search._try_path
    monkeypatch.setattr(search, "_try_path", lambda hunt, path, size: (looked_at.append(path), real(hunt, path, size)))
    reason(tmp_path / "own")
    assert len(looked_at) == 47  # and three folders


def test_what_is_read_is_bounded(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    size = DATASETS["mnist"].files[0].size
    monkeypatch.setattr(search, "MOST_READ", 3 * size)
    for number in range(9):
        (tmp_path / f"{number}").write_bytes(bytes(size))
    tiny.put(tmp_path / "sub")
    tried = []
    real = search.content_at
    monkeypatch.setattr(search, "content_at", lambda file, place: (tried.append(place), real(file, place))[1])
    reason(tmp_path)
    assert len(tried) == 4


def test_a_gz_that_unpacks_to_more_is_left_early(stand_in, tmp_path):
    tiny = stand_in()
    own = tiny.put(tmp_path / "own", packed=True)
    (own / f"{LABELS}.gz").write_bytes(gzip.compress(bytes(50_000_000), 1))
    assert f"{LABELS}.gz cannot be unpacked: it holds more bytes, expected 28" in reason(own)


@pytest.mark.parametrize("form", [archive, archive_of_gz, keras, wide_and_flat_arrays, dotted_gz])
def test_damaged_files_are_told_and_never_a_traceback(stand_in, tmp_path, form):
    """A few bytes changed, cut off or doubled, at random."""
    tiny = stand_in()
    own = tmp_path / "own"
    own.mkdir()
    form(tiny, own)
    good = {path: path.read_bytes() for path in own.iterdir()}
    random = np.random.default_rng(994)
    for _ in range(DAMAGES):
        for path, content in good.items():
            damaged = bytearray(content)
            ends = [int(random.integers(0, 200)), int(random.integers(max(0, len(content) - 400), len(content)))]
            for at in [*ends, int(random.integers(0, len(content)))]:
                damaged[at : at + int(random.integers(0, 3))] = random.bytes(int(random.integers(0, 3)))
            path.write_bytes(damaged)
        try:
            found = search.find_all(DATASETS["mnist"], own)
        except search.Unavailable:
            continue
        for file, place in zip(DATASETS["mnist"].files, found, strict=True):
            assert search.content_at(file, place) == tiny.contents[file.name]
