"""Encode and decode histograms of seconds in HdrHistogram's "V2 compressed" format, in Base64.

They count whole nanoseconds with three significant digits. HdrHistogram's libraries are not used,
since they allocate what a text of a foreign file claims to need; the tests compare with them.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.records.stored import LONGEST_HISTOGRAM

_NANOSECONDS = 1e9
_HIGHEST = 3_600 * 10**9
"""An hour in nanoseconds. Longer times count as an hour."""

_DIGITS, _HALF_BITS = 3, 10
"""Three digits need 2 x 10**3 distinct values for each power of two: 2 x 2**10."""
_PLAIN, _COMPRESSED = 0x1C849313, 0x1C849314
_HEAD = struct.Struct(">iiiiqqd")
_OUTER = struct.Struct(">ii")
_MOST_COUNTS = (_HIGHEST.bit_length() - _HALF_BITS + 1) << _HALF_BITS
_MOST_BYTES = _HEAD.size + 9 * _MOST_COUNTS
_LARGEST_COUNT = 2**53


class Bin(NamedTuple):
    """Hold the number of values that are at least ``low`` and below ``high`` seconds."""

    low: float
    high: float
    number: int


def encode(seconds: npt.NDArray[np.float64]) -> str:
    """Encode the histogram of times ``[n]`` in seconds as Base64 text."""
    values = np.clip(np.rint(seconds * _NANOSECONDS), 0, _HIGHEST).astype(np.int64)
    counts = np.bincount(_places(values)) if values.size else np.zeros(1, np.int64)
    body = bytearray()
    zeros = 0
    for count in counts.tolist():
        if count == 0:
            zeros += 1
            continue
        if zeros:
            body += _variable(-zeros)
            zeros = 0
        body += _variable(count)
    head = _HEAD.pack(_PLAIN, len(body), 0, _DIGITS, 1, _HIGHEST, 1.0)
    packed = zlib.compress(head + bytes(body))
    return base64.b64encode(_OUTER.pack(_COMPRESSED, len(packed)) + packed).decode()


def decode(text: str) -> list[Bin]:
    """Return a histogram's bins in order, without empty ones. Raises ValueError for other text."""
    counts: list[Bin] = []
    place = 0
    for number in _numbers(_unpacked(text)):
        if number < 0:
            place -= number
        else:
            row = max((place >> _HALF_BITS) - 1, 0)
            low, width = (place - (row << _HALF_BITS)) << row, 1 << row
            counts.append(Bin(low / _NANOSECONDS, (low + width) / _NANOSECONDS, number))
            place += 1
        if place > _MOST_COUNTS:
            raise ValueError("it has more bins than an hour needs")
    return [each for each in counts if each.number]


def _places(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bin of each value; each power of two has a row of bins."""
    # Exact, since a double holds 53 bits and an hour of nanoseconds has 42.
    row = np.maximum(np.frexp(values.astype(np.float64))[1] - _HALF_BITS - 1, 0)
    return np.asarray((row << _HALF_BITS) + (values >> row), dtype=np.int64)


def _variable(number: int) -> bytes:
    """Encode an integer as ZigZag LEB128: seven bits a byte, the lowest first."""
    rest = number << 1 if number >= 0 else ((-number) << 1) - 1
    found = bytearray()
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def _unpacked(text: str) -> bytes:
    if len(text) > LONGEST_HISTOGRAM:
        raise ValueError(f"it is longer than {LONGEST_HISTOGRAM} letters")
    try:
        packed = base64.b64decode(text, validate=True)
        cookie, length = _OUTER.unpack_from(packed)
        inflating = zlib.decompressobj()
        found = inflating.decompress(packed[_OUTER.size :], _MOST_BYTES)
        plain, size, offset, digits, lowest, _, ratio = _HEAD.unpack_from(found)
    except (binascii.Error, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from None
    if cookie != _COMPRESSED or plain != _PLAIN or length != len(packed) - _OUTER.size:
        raise ValueError("it is not a compressed histogram of version 2")
    if (offset, digits, lowest, ratio) != (0, _DIGITS, 1, 1.0):
        raise ValueError("it is not of whole nanoseconds with three digits")
    if not inflating.eof or inflating.unused_data or len(found) != _HEAD.size + size:
        raise ValueError("it is truncated, or longer than an hour needs")
    return found[_HEAD.size :]


def _numbers(body: bytes) -> Iterator[int]:
    number = shift = 0
    for each in body:
        number |= (each & 0x7F) << shift
        shift += 7
        if each & 0x80:
            if shift > 56:
                raise ValueError("it has a count of too many digits")
            continue
        found = number >> 1 if not number & 1 else -((number + 1) >> 1)
        if not -_MOST_COUNTS <= found <= _LARGEST_COUNT:
            raise ValueError("it has a count that is too large")
        yield found
        number = shift = 0
    if shift:
        raise ValueError("its last count is truncated")
