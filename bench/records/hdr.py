"""Encode and decode histograms of seconds in HdrHistogram's "V2 compressed" format, in Base64.

The histograms count whole nanoseconds with three significant digits. HdrHistogram's own libraries
are not used, because they allocate whatever memory a text from a foreign file claims to need. The
tests compare this module with them.
"""

import base64
import binascii
import struct
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.records.stored import LONGEST_HISTOGRAM

_NANOSECONDS = 1e9
_HIGHEST = 3_600 * 10**9
"""An hour in nanoseconds. Longer times count as an hour."""

_DIGITS, _HALF_BITS = 3, 10
"""Three digits need 2 x 10**3 distinct values for each power of two, so there are 2 x 2**10."""
_PLAIN, _COMPRESSED = 0x1C849313, 0x1C849314
_HEAD = struct.Struct(">iiiiqqd")
_OUTER = struct.Struct(">ii")
_MOST_COUNTS = (_HIGHEST.bit_length() - _HALF_BITS + 1) << _HALF_BITS
_MOST_BYTES = _HEAD.size + 9 * _MOST_COUNTS
_LARGEST_COUNT = 2**53


class Histogram(NamedTuple):
    """Hold the bins of a histogram in order, without empty ones, as arrays ``[bins]``.

    A bin has the number of values that are at least ``low`` and below ``high`` seconds.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    number: npt.NDArray[np.int64]


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


def decode(text: str) -> Histogram:
    """Return the histogram that a text encodes. Raise ValueError for other text."""
    numbers = _numbers(_unpack(text))
    # A negative number stands for that many empty bins.
    ends = np.cumsum(np.where(numbers < 0, -numbers, 1))
    if ends.size and ends[-1] > _MOST_COUNTS:
        raise ValueError("it has more bins than an hour needs")
    kept = numbers > 0
    places = ends[kept] - 1
    row = np.maximum((places >> _HALF_BITS) - 1, 0)
    low = (places - (row << _HALF_BITS)) << row
    high = low + (np.int64(1) << row)
    return Histogram(low / _NANOSECONDS, high / _NANOSECONDS, numbers[kept])


def _places(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bin of each value. Each power of two has a row of bins."""
    # This is exact: a double has 53 bits, and an hour has a number of nanoseconds with 42 bits.
    row = np.maximum(np.frexp(values.astype(np.float64))[1] - _HALF_BITS - 1, 0)
    return np.asarray((row << _HALF_BITS) + (values >> row), dtype=np.int64)


def _variable(number: int) -> bytes:
    """Encode an integer as ZigZag LEB128: seven bits per byte, the lowest bits first."""
    rest = number << 1 if number >= 0 else ((-number) << 1) - 1
    found = bytearray()
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def _unpack(text: str) -> bytes:
    if len(text) > LONGEST_HISTOGRAM:
        raise ValueError(f"it has more than {LONGEST_HISTOGRAM} characters")
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


def _numbers(body: bytes) -> npt.NDArray[np.int64]:
    """Decode integers in ZigZag LEB128. Raises ValueError for other bytes."""
    found = np.frombuffer(body, dtype=np.uint8)
    last = np.flatnonzero(found < 0x80)  # the last byte of each integer
    if found.size and found[-1] >= 0x80:
        raise ValueError("its last count is truncated")
    first = np.concatenate(([0], last[:-1] + 1)) if last.size else last
    digits = np.arange(found.size) - np.repeat(first, last - first + 1)
    # Nine bytes hold 63 bits, so that nothing overflows.
    if digits.size and digits.max() > 8:
        raise ValueError("it has a count of too many digits")
    parts = (found & 0x7F).astype(np.int64) << (7 * digits)
    coded = np.add.reduceat(parts, first) if last.size else np.zeros(0, np.int64)
    numbers = np.asarray((coded >> 1) ^ -(coded & 1), dtype=np.int64)
    if numbers.size and not (numbers.min() >= -_MOST_COUNTS and numbers.max() <= _LARGEST_COUNT):
        raise ValueError("it has a count that is too large")
    return numbers
