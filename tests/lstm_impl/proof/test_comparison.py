"""How far arrays are apart and may be: errors, bounds, and the names that both are known by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstm_impl import LSTMSpec
from lstm_impl.proof.comparison import CEILING, bounds, compare, error


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([1.0, 2.0], 0.0), ([1.0, 2.5], 0.25), ([1.0, math.nan], math.inf), ([1.0], math.inf)],
)
def test_error_is_relative_to_the_largest_value(ours: list[float], expected: float) -> None:
    assert error(ours, [1.0, 2.0]) == expected


def test_a_few_elements_that_cancel_are_not_measured_against_themselves() -> None:
    assert error([1.2e-6], [1e-6]) == pytest.approx(0.2)
    assert compare({"dx": np.array([1.2e-6])}, {"dx": np.array([1e-6])})["dx"] == pytest.approx(
        2e-6
    )


def test_bounds_grow_with_time_and_roundoff_and_stop_at_the_ceiling() -> None:
    def bound(dtype: str, timesteps: int) -> float:
        return bounds(LSTMSpec(8, 8, dtype=dtype), 4, timesteps, ["y"])["y"]

    assert bound("float32", 1) < bound("float32", 100) < 1e-3
    assert bound("float64", 10) < bound("float32", 10) < bound("tf32", 10) < bound("bfloat16", 10)
    assert bound("bfloat16", 10_000) == CEILING
