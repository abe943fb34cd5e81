"""Fetching from torchvision's mirrors, and what can go wrong with it."""

import gzip
import http.server
import threading
import time

import numpy as np
import pytest
from stand_ins import CLOSED, SETS, answering, check, idx, serving, use_mirrors

from lab import data
from lab._sources import download
from lab._sources.catalogue import DATASETS
from lab.errors import DataError


def test_next_mirror_is_asked_for_what_the_first_did_not_have(stand_in, monkeypatch):
    tiny = stand_in()
    names = list(tiny.packed)
    wrong = {names[0]: tiny.packed[names[0]], names[1]: gzip.compress(b"a page of the hotel's network")}
    with serving(wrong) as (bad, asked_bad), serving(tiny.packed) as (good, asked_good):
        use_mirrors(monkeypatch, "mnist", [CLOSED, bad, good], tiny.packed)
        check(data.load("mnist"), tiny)
    assert asked_bad == names[:2]
    assert asked_good == names[1:]
    assert sorted(path.name for path in tiny.raw.iterdir()) == sorted(tiny.contents)  # nothing half done


@pytest.mark.parametrize("alter", ["md5", "sha256"])
def test_both_sums_of_a_download_count(stand_in, monkeypatch, alter):
    tiny = stand_in()
    served = dict(tiny.packed)
    name = "train-labels-idx1-ubyte.gz"
    served[name] = gzip.compress(idx(np.zeros(20, dtype=np.uint8)), mtime=0)
    with serving(served) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed if alter == "md5" else served)
        with pytest.raises(DataError, match="MD5 hash of downloaded file" if alter == "md5" else "has SHA-256"):
            data.load("mnist")
    assert not (tiny.raw / "train-labels-idx1-ubyte").exists()


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "drip", "limit", "reason"),
    [
        (b"", b"", "SOCKET_TIMEOUT", "timed out"),
        (HEADERS, b"", "SOCKET_TIMEOUT", "timed out"),
        (HEADERS, b".", "DEADLINE", "not complete within|stopped after"),
        (b"HTTP/1.1 200 OK\r\nX: ", b".", "DEADLINE", "not complete within"),
    ],
    ids=["hung", "hung after its headers", "drips its file", "drips its headers"],
)
def test_slow_server_is_left(stand_in, monkeypatch, first, drip, limit, reason):
    tiny = stand_in()
    monkeypatch.setattr(download, limit, 0.3)
    with answering(first, drip) as mirror:
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        start = time.monotonic()
        with pytest.raises(DataError, match=reason):
            data.load("mnist")
        assert time.monotonic() - start < 2


def test_server_that_never_stops_is_left(stand_in, monkeypatch):
    tiny = stand_in()
    monkeypatch.setattr(download, "LARGEST", 1000)
    with serving({name: bytes(5000) for name in tiny.packed}) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        with pytest.raises(DataError, match="stopped after"):
            data.load("mnist")


@pytest.mark.parametrize("name", SETS)
def test_torchvision_lists_every_file(name):
    mirrors, md5 = download.tables(DATASETS[name])
    assert all(mirror.endswith("/") for mirror in mirrors)
    assert list(md5) == [f"{file.name}.gz" for file in DATASETS[name].files]


def test_file_that_broke_off_is_fetched_once_more(stand_in, monkeypatch):
    tiny = stand_in()
    monkeypatch.setattr(download, "RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    asked: list[str] = []

    class BreaksOff(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path[1:]
            content = tiny.packed[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if name in asked else content[:-5])
            asked.append(name)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        use_mirrors(monkeypatch, "mnist", [f"http://127.0.0.1:{server.server_port}"], tiny.packed)
        check(data.load("mnist"), tiny)
        server.shutdown()
    assert asked == [name for name in tiny.packed for _ in range(2)]


@pytest.mark.parametrize(
    "proxy", ["http://.bad..name:3128", "http://[bad", "nonsense://proxy", "http://" + "a" * 70 + ":1"]
)
def test_malformed_proxy_is_a_reason(stand_in, monkeypatch, proxy):
    tiny = stand_in()
    monkeypatch.delenv("no_proxy")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    use_mirrors(monkeypatch, "mnist", ["http://mirror.invalid", "http://second.invalid"], tiny.packed)
    with pytest.raises(
        DataError, match=r"torchvision's mirrors: http://mirror\.invalid/: .*; http://second\.invalid/: ."
    ):
        data.load("mnist")
    tiny.put(tiny.raw)
    check(data.load("mnist"), tiny)


def test_whatever_a_mirror_raises_the_next_is_asked(stand_in, monkeypatch):
    tiny = stand_in()
    real = download._get

    def get(url: str, *args: object) -> None:
        if "bad" in url:
            raise UnicodeError("label empty or too long")
        real(url, *args)

    monkeypatch.setattr(download, "_get", get)
    with serving(tiny.packed) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", ["http://bad", mirror], tiny.packed)
        check(data.load("mnist"), tiny)


def test_nothing_is_told_while_all_goes_well(stand_in, monkeypatch, capfd):
    tiny = stand_in()
    with serving(tiny.packed) as (mirror, _):
        use_mirrors(monkeypatch, "mnist", [mirror], tiny.packed)
        data.load("mnist")
    assert capfd.readouterr() == ("", "")
