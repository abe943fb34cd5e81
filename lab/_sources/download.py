"""Fetches files from torchvision's mirrors, with its MD5 sums; pooch does the work.

Time limits are ours: a server may not stay silent, and a file that drips, or never ends, is left. A mirror is tried
once more where a file arrived damaged, and left at any other failure.
"""

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lab import _torchvision
from lab._sources import formats
from lab._sources.catalogue import Dataset, File
from lab._sources.search import LARGEST, Unavailable, check_sum

SOCKET_TIMEOUT = 20.0  # seconds that a server may stay silent
DEADLINE = 120.0  # seconds for one file, however steadily a server drips
RETRIES = 1  # of a file that arrived damaged


def from_mirrors(dataset: Dataset, wanted: Sequence[File], folder: Path) -> Iterator[tuple[File, bytes]]:
    """Each wanted file as the cache stores it; `folder` is for what is half fetched.

    Raises Unavailable, with each mirror's failure, if the last mirror fails.
    """
    mirrors, md5 = tables(dataset)
    pending, problems = list(wanted), []
    for mirror in mirrors:
        try:
            while pending:
                yield pending[0], _from_mirror(mirror, pending[0], md5[f"{pending[0].name}.gz"], folder)
                pending.pop(0)
            return
        except Exception as error:  # whatever the layers below raise (UnicodeError for a proxy), the next one is asked
            problems.append(f"{mirror}: {error or type(error).__name__}")
    raise Unavailable("; ".join(problems))


def tables(dataset: Dataset) -> tuple[list[str], dict[str, str]]:
    """Torchvision's mirrors, and its MD5 sums by the name of the .gz."""
    try:
        datasets = _torchvision.datasets()
    except (ImportError, RuntimeError) as error:  # RuntimeError: its operators do not fit this torch
        raise Unavailable(f"torchvision cannot be imported: {error}") from error
    table = getattr(datasets, dataset.torchvision)
    if not isinstance(table.resources, dict):
        return list(table.mirrors), dict(table.resources)
    entries = [*table.resources["train"], *table.resources["test"]]  # QMNIST: (address, MD5), by part
    mirror = entries[0][0].rpartition("/")[0]
    return [f"{mirror}/"], {address.rpartition("/")[2]: md5 for address, md5 in entries}


def _from_mirror(mirror: str, file: File, md5: str, folder: Path) -> bytes:
    import pooch

    name = f"{file.name}.gz"
    pooch.get_logger().setLevel(logging.WARNING)  # it would tell each download in the notebook
    store = pooch.create(folder, mirror, registry={name: f"md5:{md5}"}, retry_if_failed=RETRIES)
    path = _within(DEADLINE, functools.partial(store.fetch, name, downloader=_get))
    packed = Path(path).read_bytes()
    stored = packed if file.packed else formats.unpacked(packed, file.size, f"{mirror}{name}")
    check_sum(file, stored, f"{mirror}{name}")
    return stored


def _get(url: str, path: str, pooch: object) -> None:
    """Pooch's downloader, bounded. What pooch should not try again is raised as an OSError of another kind."""
    from pooch import HTTPDownloader
    from requests import RequestException, Response
    from requests.exceptions import ChunkedEncodingError

    responses: list[Response] = []
    download = HTTPDownloader(
        timeout=SOCKET_TIMEOUT,
        headers={"User-Agent": "lab994", "Accept-Encoding": "identity"},  # the .gz as it lies there
        hooks={"response": lambda response, **_: responses.append(response)},
    )
    try:
        with open(path, "wb") as file:
            download(url, _Bounded(file), None)
    except ChunkedEncodingError:  # it broke off
        raise
    except RequestException as error:
        raise OSError(_cause(error)) from error
    finally:
        for response in responses:
            response.close()


def _cause(error: BaseException) -> str:
    """What it comes down to: "[Errno 111] Connection refused", without the names of all layers in between."""
    inner = error.__cause__ or error.__context__
    return _cause(inner) if inner is not None else str(error) or type(error).__name__


class _Bounded:
    """A file for the downloader to write to, of a size and for a time that are bounded."""

    def __init__(self, file: BinaryIO):
        self.file, self.deadline = file, time.monotonic() + DEADLINE

    def write(self, piece: bytes) -> None:
        written = self.file.tell() + len(piece)
        if written > LARGEST or time.monotonic() > self.deadline:
            raise TimeoutError(f"stopped after {written:,} bytes")
        self.file.write(piece)

    def flush(self) -> None:
        """Nothing: the file is read when it is closed."""


def _within(seconds: float, work: Callable[[], str]) -> str:
    """What `work` returns, or TimeoutError.

    In a thread, which is left behind: nothing else interrupts a name server that does not answer, or headers
    that arrive byte by byte.
    """
    outcome: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"not complete within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result
