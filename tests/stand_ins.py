"""Tiny stand-ins of the four sets (20 training and 10 test images, their own sums), and mirrors on this machine."""

import contextlib
import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import _torchvision, data
from lab._sources import download, search
from lab._sources.catalogue import DATASETS

CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens, a connection is refused at once
SETS = ["mnist", "fashion_mnist", "kmnist", "qmnist"]


def few_digits(train: int = 300, test: int = 200) -> data.Data:
    """So many images of MNIST to train on, and to test on."""
    whole = data.load()
    kept = data.Labelled(whole.test.images[:test], whole.test.labels[:test])
    return replace(whole.limit(train), _read_test=lambda: kept)


def idx(values: np.ndarray) -> bytes:
    """`values` as an IDX file."""
    code = {"u1": 0x08, "i4": 0x0C}[values.dtype.str[1:]]
    dimensions = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, code, values.ndim]) + dimensions + values.astype(values.dtype.newbyteorder(">")).tobytes()


def tiny_contents(qmnist: bool, seed: int) -> list[bytes]:
    """Train images, train labels, test images, test labels."""
    random = np.random.default_rng(seed)
    contents = []
    for size in (20, 10):
        labels = random.permutation(np.arange(size, dtype=np.uint8) % 10)
        if qmnist:  # the class, then seven more columns, which must not be taken for it
            labels = np.stack([labels.astype(np.int32) + 1000 * column for column in range(8)], axis=1)
        contents += [idx(random.integers(0, 256, (size, 28, 28), dtype=np.uint8)), idx(labels)]
    return contents


@dataclass
class Tiny:
    """A stand-in that `load(name)` takes for the real set in this test."""

    name: str
    contents: dict[str, bytes]  # by file name
    packed: dict[str, bytes]  # by file name with .gz, as a mirror serves it
    raw: Path  # where the cache keeps them

    def put(self, folder: Path, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (self.packed if packed else self.contents).items():
            (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No folder, an empty cache, no package manager, mirror or proxy: each source fails until a test provides it."""
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(search, "_seen", set())
    monkeypatch.setattr(download, "RETRIES", 0)  # pooch waits before it


@pytest.fixture
def stand_in(bare, monkeypatch, tmp_path) -> Callable[..., Tiny]:
    def make(name: str = "mnist", seed: int = 0) -> Tiny:
        dataset = DATASETS[name]
        contents = dict(zip([file.name for file in dataset.files], tiny_contents(name == "qmnist", seed), strict=True))
        packed = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in contents.items()}
        stored = contents | packed
        files = [
            replace(f, size=len(contents[f.name]), sha256=hashlib.sha256(stored[f.stored]).hexdigest())
            for f in dataset.files
        ]
        monkeypatch.setitem(DATASETS, name, replace(dataset, files=tuple(files)))
        use_mirrors(monkeypatch, name, [CLOSED], packed)
        return Tiny(name, contents, packed, tmp_path / "cache" / dataset.torchvision / "raw")

    return make


def use_mirrors(monkeypatch, name: str, mirrors: list[str], packed: dict[str, bytes]) -> None:
    """Put `mirrors` and the MD5 of `packed` into torchvision's own tables."""
    table = getattr(_torchvision.datasets(), DATASETS[name].torchvision)
    resources = [(file, hashlib.md5(content).hexdigest()) for file, content in packed.items()]
    if name == "qmnist":
        whole = [(f"{mirrors[0]}/{file}", md5) for file, md5 in resources]
        monkeypatch.setattr(table, "resources", {"train": whole[:2], "test": whole[2:], "nist": []})
    else:
        monkeypatch.setattr(table, "resources", resources)
        monkeypatch.setattr(table, "mirrors", [f"{mirror}/" for mirror in mirrors])


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A mirror of `files` on this machine: its address, and the names asked of it so far."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path[1:])
            if asked[-1] not in files:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[asked[-1]])))
            self.end_headers()
            self.wfile.write(files[asked[-1]])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextlib.contextmanager
def answering(first: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends `first` and then `drip`, one byte each 20 ms for ever; nothing more if that is empty."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.sendall(first)
                while not stop.wait(0.02):
                    connection.sendall(drip)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def flip_last_byte(path: Path) -> bytes:
    """Damage `path`, keep its length: its new content."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path.read_bytes()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def check(loaded: data.Data, tiny: Tiny) -> None:
    """The tensors are those of the stand-in's files."""
    images, labels, test_images, test_labels = map(data.read_idx, tiny.contents.values())
    for part, want_images, want_labels in (
        (loaded.train, images, labels),
        (loaded.test, test_images, test_labels),
    ):
        assert torch.equal(part.images, want_images)
        assert torch.equal(part.labels, want_labels[:, 0] if want_labels.ndim == 2 else want_labels)
        assert part.labels.dtype == torch.int64
        assert int(part.labels.max()) == 9
