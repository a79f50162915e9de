"""The IDX format of the MNIST files: a magic number, the sizes, the bytes.

    0x00 0x00 | type (0x08: unsigned byte) | number of axes | each size as big-endian uint32 | values in C order

A file may be gzipped; that is found from its first bytes and not from its name.
Reference: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import pathlib
import zlib

import numpy as np

from irob.core.check import InputError

UNSIGNED_BYTE = 0x08
_GZIP = b"\x1f\x8b"


def contents(path) -> bytes:
    """The bytes of a file, decompressed if it is gzip; `InputError` names a file that is missing or broken."""
    path = pathlib.Path(path)
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise InputError(f"data file {str(path)!r}: cannot be read ({e.strerror}); wanted an IDX file") from None
    if not raw.startswith(_GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as e:
        why = str(e).rstrip(".")
        raise InputError(f"data file {str(path)!r}: broken gzip of {len(raw)} bytes ({why}); fetch it again") from None


def decode(data: bytes, *, name: str = "", axes: int | None = None) -> np.ndarray:
    """The array of an IDX file's bytes; `axes`, if given, is the number of axes wanted (3: images, 1: labels).

    >>> decode(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]
    """
    where = f"data file {name!r}" if name else "IDX data"
    wanted = bytes([0, 0, UNSIGNED_BYTE]).hex()
    if len(data) < 4 or data[:3].hex() != wanted or data[3] == 0:
        got = f"0x{data[:4].hex()}" if data else "an empty file"
        raise InputError(f"{where}: got {got} at its start, wanted 0x{wanted}, the magic of IDX unsigned bytes")
    if axes is not None and data[3] != axes:
        kinds = {1: "labels", 3: "images"}
        kind = kinds.get(axes, "values")
        raise InputError(f"{where}: got an array of {data[3]} axes, wanted {axes} ({kind}); is it the right file?")
    begin = 4 + 4 * data[3]
    if len(data) < begin:
        raise InputError(f"{where}: got {len(data)} bytes, wanted a header of {begin}; the file is cut off")
    shape = tuple(int(s) for s in np.frombuffer(data, ">u4", data[3], 4))
    size = begin + math.prod(shape)
    if len(data) != size:
        sizes = " x ".join(map(str, shape))
        raise InputError(f"{where}: got {len(data)} bytes, wanted {size} ({sizes} and the header); fetch it again")
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)


def read(path, *, axes: int | None = None) -> np.ndarray:
    """The array u8[...] of an IDX file, gzipped or not."""
    return decode(contents(path), name=str(path), axes=axes)
