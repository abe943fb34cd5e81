"""The forms in which people have a set's files: IDX, that as `.gz`, and NumPy's `.npy`, alone or in a `.zip` or `.npz`.

What a file is, its first bytes say, not its name.
"""

import ast
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from lab.errors import DataError

GZIP, ZIP, NUMPY = b"\x1f\x8b", b"PK\x03\x04", b"\x93NUMPY"
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LONGEST_NPY_HEADER = 10_000  # bytes; NumPy's own limit


def decoded_idx(content: bytes) -> NDArray[np.generic]:
    """The values of an IDX file: two zero bytes, the type, the number of dimensions (1 to 3), these, the values.

    Raises DataError if the content is not exactly that.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"Not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}.")
    dtype, start = np.dtype(_IDX_TYPES[content[2]]), 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    size = start + dtype.itemsize * math.prod(shape)
    if not 1 <= len(shape) <= 3 or len(content) < start or 0 in shape:
        raise DataError(f"Not an IDX file with values: {content[3]} dimensions, {shape}.")
    if len(content) != size:
        raise DataError(f"IDX file of shape {shape}: {len(content):,} bytes, expected {size:,}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def unpacked(stored: bytes, size: int, place: object) -> bytes:
    """What the gzip file `stored` holds. Raises DataError if that is damaged, or has not `size` bytes."""
    content, rest = bytearray(), stored
    try:
        while rest.startswith(GZIP) and len(content) <= size:  # such files can be joined; padding may follow
            gunzip = zlib.decompressobj(wbits=31)
            content += gunzip.decompress(rest, size + 1 - len(content))
            if not gunzip.eof and len(content) <= size:
                raise DataError(f"{place} cannot be unpacked: it ends too early")
            rest = gunzip.unused_data
    except zlib.error as error:
        raise DataError(f"{place} cannot be unpacked: {error}") from error
    if len(content) != size:
        found = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{place} cannot be unpacked: it holds {found} bytes, expected {size:,}")
    return bytes(content)


def could_hold(size: int, head: bytes, tail: bytes, wanted: int) -> bool:
    """Could a file of `size` bytes, with its first and its last bytes, hold an IDX file of `wanted` bytes?"""
    if head.startswith(GZIP):
        return int.from_bytes(tail[-4:], "little") == wanted  # a gzip file ends with the size of its content
    if head.startswith(NUMPY):
        return wanted // 2 < size < 8 * wanted + _LONGEST_NPY_HEADER
    return size == wanted


def idx_of_npy(stored: bytes, size: int, place: object) -> bytes:
    """An array of whole numbers from 0 to 255 as the IDX file of `size` bytes that holds the same.

    (N, 28, 28), (N, 784) or another form of images becomes (N, 28, 28), that of labels (N,).
    Raises DataError for others.
    """
    values = _npy_values(stored, place)
    rows = len(values) if values.ndim else 0
    shape = [rows] if values.size == rows else [rows, 28, 28]
    if values.size != math.prod(shape) or 4 + 4 * len(shape) + values.size != size:
        raise DataError(f"{place} has the shape {values.shape}, which is not the right one")
    small = values.astype(np.uint8)
    if not np.array_equal(small, values):
        raise DataError(f"{place} has values that are not whole numbers from 0 to 255")
    header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
    return header + small.tobytes()


def _npy_values(stored: bytes, place: object) -> NDArray[np.generic]:
    """The array of a .npy file. NumPy's own reader makes room for what the header claims before it looks."""
    try:
        wide = stored[6] > 1  # the major version: the header's length has four bytes
        start = 12 if wide else 10
        length = int.from_bytes(stored[8:start], "little")
        if length > _LONGEST_NPY_HEADER:
            raise ValueError("its header is too long")
        header = ast.literal_eval(stored[start : start + length].decode("latin-1"))
        dtype, shape = np.dtype(header["descr"]), tuple(map(int, header["shape"]))
        if dtype.kind not in "iu" or header["fortran_order"]:
            raise ValueError(f"it holds {dtype}, or its columns first")
        return np.frombuffer(stored, dtype, offset=start + length).reshape(shape)
    except (IndexError, KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"{place} is no array that can be read: {error}") from error
