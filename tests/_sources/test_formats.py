"""The forms in which people have the files."""

import gzip
import io
import zlib

import numpy as np
import pytest
from stand_ins import idx

from lab._sources.formats import could_hold, decoded_idx, idx_of_npy, unpacked
from lab.errors import DataError


def test_idx_decodes_bytes_and_big_endian_integers():
    values = np.array([[1, -2, 300_000], [4, 5, 6]], dtype=np.int32)
    values_read = decoded_idx(idx(values))
    assert values_read.dtype == np.int32
    assert values_read.tolist() == values.tolist()
    assert decoded_idx(idx(np.array([7, 255], dtype=np.uint8))).tolist() == [7, 255]


GOOD = idx(np.zeros((2, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08", "Not an IDX file"),
        (b"\1\0\x08\x01" + GOOD[4:], "starts with 01 00 08 01"),
        (b"\0\0\x07\x02" + GOOD[4:], "Not an IDX file"),
        (b"\0\0\x08\x00", "0 dimensions"),
        (GOOD[:7], "Not an IDX file with values"),
        (b"\0\0\x08\x01\0\0\0\0", r"1 dimensions, \[0\]"),
        (GOOD[:-1], "17 bytes, expected 18"),
        (GOOD + b"\0", "19 bytes, expected 18"),
        (b"\0\0\x08\x04" + b"\0\0\0\1" * 4 + b"\0", "4 dimensions"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79,228,162,"),
        (gzip.compress(GOOD, mtime=0), "starts with 1f 8b 08"),
    ],
)
def test_idx_refuses_what_is_not_exactly_idx(content, message):
    with pytest.raises(DataError, match=message):
        decoded_idx(content)


# --- other forms ------------------------------------------------------------------------------------------


def npy(values: np.ndarray, **how: bool) -> bytes:
    stored = io.BytesIO()
    np.save(stored, values, **how)
    return stored.getvalue()


def test_joined_and_padded_gzip_files_are_unpacked():
    assert unpacked(gzip.compress(b"ab", mtime=0) + gzip.compress(b"cd") + bytes(9), 4, "file") == b"abcd"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (gzip.compress(b"abcde", mtime=0), "it holds more bytes, expected 4"),
        (gzip.compress(b"abc", mtime=0), "it holds 3 bytes, expected 4"),
        (gzip.compress(b"abcd", mtime=0)[:-9], "it ends too early"),
        (gzip.compress(b"abcd", mtime=0)[:-1] + b"\1", "incorrect length check"),
        (b"\x1f\x8b\x08", "it ends too early"),
        (b"plain", "it holds 0 bytes"),
        (zlib.compress(b"abcd"), "it holds 0 bytes"),
    ],
)
def test_gzip_file_that_is_damaged_or_another(stored, message):
    with pytest.raises(DataError, match=rf"file cannot be unpacked: .*{message}"):
        unpacked(stored, 4, "file")


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "i8"])
def test_array_becomes_the_idx_file_of_the_same_values(dtype):
    images = np.arange(2 * 28 * 28, dtype=np.int64).reshape(2, 28, 28) % 256
    wanted = idx(images.astype(np.uint8))
    assert idx_of_npy(npy(images.astype(dtype)), len(wanted), "file") == wanted
    assert idx_of_npy(npy(images.reshape(2, 784).astype(dtype)), len(wanted), "file") == wanted
    labels = np.array([[3], [9]])
    assert idx_of_npy(npy(labels.astype(dtype)), 10, "file") == idx(labels[:, 0].astype(np.uint8))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (npy(np.zeros(3, dtype=np.uint8)), r"has the shape \(3,\)"),
        (npy(np.array(7)), r"has the shape \(\)"),
        (npy(np.array([1, 256])), "not whole numbers from 0 to 255"),
        (npy(np.array([1, -1])), "not whole numbers from 0 to 255"),
        (npy(np.array([0.5, 1.0])), "it holds float64"),
        (npy(np.array([{}, []], dtype=object), allow_pickle=True), "no array that can be read"),
        (npy(np.zeros(2, dtype=np.uint8))[:-1], "no array that can be read"),
        (npy(np.zeros((2, 2), dtype=np.uint8)).replace(b"(2, 2)", b"(9**9)"), "no array"),
        (b"\x93NUMPY", "no array that can be read"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff", "its header is too long"),
        (b"\x93NUMPY\1\0\x04\0exit", "no array that can be read"),
        (b"\x93NUMPY\1\0\x02\0[]", "no array that can be read"),
    ],
)
def test_array_of_another_kind_is_refused(stored, message):
    with pytest.raises(DataError, match=rf"file .*({message})"):
        idx_of_npy(stored, 10, "file")


def test_what_could_hold_a_file_is_told_by_its_size_and_ends():
    packed = gzip.compress(bytes(1000))
    assert could_hold(len(packed), packed[:8], packed[-4:], 1000)
    assert not could_hold(len(packed), packed[:8], packed[-4:], 1001)
    assert could_hold(1000, b"\0\0\x08\3", b"", 1000)
    assert not could_hold(999, b"\0\0\x08\3", b"", 1000)
    assert could_hold(8128, b"\x93NUMPY\1\0", b"", 1000)
    assert not could_hold(1 << 20, b"\x93NUMPY\1\0", b"", 1000)
