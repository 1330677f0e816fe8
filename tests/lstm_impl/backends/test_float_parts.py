"""Test how the kernels split a float32 number into three bfloat16 numbers."""

import ctypes
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstm_impl.backends.fused_cpu import library
from lstm_impl.spec import FloatArray
from tests.lstm_impl.backends.test_fused_cpu_kernels import (
    GXX,
    NARROW,
    TILES,
    needs_compiler,
    on_x86,
)

PROGRAM = Path(__file__).resolve().parent / "float_parts.cc"

LARGEST = float(np.finfo(np.float32).max)
EXACT_FROM = 2.0**-102
ROUNDS_TO_INFINITY = float(np.uint32(0x7F7F8000).view(np.float32))

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
USUAL = NUMBERS.filter(lambda value: value == 0 or abs(value) >= EXACT_FROM)

pytestmark = needs_compiler


class Parts:
    """The functions of ``float_parts.h``, compiled."""

    def __init__(self, path: Path) -> None:
        self._loaded = ctypes.CDLL(str(path))

    def split(self, value: float | np.float32) -> list[float]:
        """Return the three parts of a number."""
        given = self._register(value)
        parts = np.empty((3, given.size), np.float32)
        self._loaded.split(self._address(given), ctypes.c_long(given.size), self._address(parts))
        assert np.array_equal(parts, parts[:, :1].repeat(given.size, 1), equal_nan=True)
        return [float(part) for part in parts[:, 0]]

    def are_usual(self, left: float, right: float) -> bool:
        """Return whether products of parts are right for a row and a matrix of these numbers."""
        lefts, rights = self._register(left), self._register(right)
        sizes = [ctypes.c_long(each.size) for each in (lefts, rights)]
        left_at, right_at = map(self._address, (lefts, rights))
        return bool(self._loaded.are_usual(left_at, sizes[0], right_at, sizes[1]))

    def multiply(self, parts: int, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return the product of two float32 matrices by this number of parts of each number."""
        rows, depth = left.shape
        sums = np.empty((rows, right.shape[1]), np.float32)
        sizes = map(ctypes.c_long, (rows, depth))
        self._loaded.multiply(parts, *sizes, *map(self._address, (left, right, sums)))
        return sums

    @property
    def columns(self) -> int:
        """The columns that a right operand has."""
        self._loaded.columns.restype = ctypes.c_long
        return int(self._loaded.columns())

    @staticmethod
    def _register(value: float | np.float32) -> FloatArray:
        return np.full(16, value, np.float32)

    @staticmethod
    def _address(array: FloatArray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)


@pytest.fixture(
    scope="module",
    params=[("-O1",), pytest.param(NARROW, marks=on_x86[1:])],
    ids=["native", "four_lanes"],
)
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    into = tmp_path_factory.mktemp("parts") / "parts.so"
    command = [str(GXX), *library.kernel_flags(library.NATIVE), "-I", str(library.SOURCES)]
    command += [*request.param, TILES, "-shared", "-fPIC", str(PROGRAM), "-o", str(into)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Parts(into)


def is_bfloat16(value: float) -> bool:
    return int(np.float32(value).view(np.uint32)) & 0xFFFF == 0


@given(USUAL)
@example(0.0)
@example(-0.0)
@example(LARGEST)
@example(-LARGEST)
@example(ROUNDS_TO_INFINITY)
@example(EXACT_FROM)
@example(1.0 + 2.0**-23)
@settings(deadline=None)
def test_parts_of_a_usual_number_are_bfloat16_and_sum_up_to_it(parts: Parts, value: float) -> None:
    found = parts.split(value)
    assert all(map(is_bfloat16, found)), found
    assert math.fsum(found) == value, found
    assert math.copysign(1, found[0]) == math.copysign(1, value)
    # What the kernels leave out is small because each part is small next to the one before.
    cut = 2.0**-8 if abs(value) < ROUNDS_TO_INFINITY else 2.0**-7
    assert abs(found[1]) <= cut * abs(value)
    assert abs(found[2]) <= 2.0**-8 * abs(found[1])


@given(st.floats(-EXACT_FROM, EXACT_FROM, width=32))
@example(2.0**-149)
@example(2.0**-126)
@settings(deadline=None)
def test_parts_of_a_tiny_number_miss_less_than_the_smallest_normal_number(
    parts: Parts, value: float
) -> None:
    found = parts.split(value)
    assert all(map(is_bfloat16, found)), found
    assert abs(math.fsum(found) - value) <= 2.0**-126


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_its_first_part_and_not_nan(parts: Parts, value: float) -> None:
    assert parts.split(value) == [value, 0.0, 0.0]


@given(st.integers(1, 2**23 - 1), st.booleans())
@settings(deadline=None)
def test_nan_is_its_first_part_whatever_its_bits(parts: Parts, low: int, negative: bool) -> None:
    bits = np.uint32(0x7F800000 | low | (0x80000000 if negative else 0))
    first, *others = parts.split(bits.view(np.float32))  # not as a float, which has other bits
    assert math.isnan(first)
    assert others == [0.0, 0.0]


@given(NUMBERS, NUMBERS)
@example(LARGEST, 0.0)
@example(2.0**-149, 1.0)
@example(0.0, 0.0)
@example(1.0, 2.0**-80)
@settings(deadline=None)
def test_numbers_are_usual_if_tiles_lose_nothing_of_their_products(
    parts: Parts, left: float, right: float
) -> None:
    """What tiles flush is at most ``2^-126`` times a factor, which must be less than rounding."""
    if not parts.are_usual(left, right):
        assert not (1e-10 <= abs(left) <= 1e10 and 1e-10 <= abs(right) <= 1e10)
        return
    assert 2**30 * abs(left) * abs(right) < LARGEST
    if left != 0 and right != 0:
        flushed = 2.0**-126 * (abs(left) + abs(right) + 2)
        assert flushed <= 2.0**-30 * abs(left * right)


@pytest.mark.parametrize("unusual", [math.inf, -math.inf, math.nan, LARGEST])
def test_special_numbers_are_not_usual_next_to_any_other(parts: Parts, unusual: float) -> None:
    for other in (0.0, 1.0, math.nan):
        assert not parts.are_usual(unusual, other)
        assert not parts.are_usual(other, unusual)


@pytest.mark.parametrize("rows", [1, 16, 19, 70])
@pytest.mark.parametrize("depth", [1, 33, 300])
def test_six_products_are_as_exact_as_float32_and_three_nearly(
    parts: Parts, rows: int, depth: int
) -> None:
    random = np.random.default_rng(rows * depth)
    left = random.standard_normal((rows, depth)).astype(np.float32)
    right = random.standard_normal((depth, parts.columns)).astype(np.float32)
    wide_left, wide_right = left.astype(np.float64), right.astype(np.float64)
    terms = np.abs(wide_left) @ np.abs(wide_right)
    six, three = (
        np.max(np.abs(parts.multiply(count, left, right) - wide_left @ wide_right) / terms)
        for count in (3, 2)
    )
    # What six products leave out, and the roundings of adding them, are 2^-24 each.
    assert six < 2.0**-21
    assert six < three < 2.0**-15
