"""Test how errors of arrays and their bounds are computed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.proof.comparison import CEILING, bounds, compare, error, update_error
from lstm_impl.workload import OPTIMIZERS


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([1.0, 2.0], 0.0), ([1.0, 2.5], 0.25), ([1.0, math.nan], math.inf), ([1.0], math.inf)],
)
def test_error_is_relative_to_the_largest_value(ours: list[float], expected: float) -> None:
    assert error(ours, [1.0, 2.0]) == expected


def test_compare_of_cancelling_elements_uses_the_smallest_scale() -> None:
    assert error([1.2e-6], [1e-6]) == pytest.approx(0.2)
    assert compare({"dx": np.array([1.2e-6])}, {"dx": np.array([1e-6])})["dx"] == pytest.approx(
        2e-6
    )


def test_bounds_grow_with_time_and_roundoff_up_to_the_ceiling() -> None:
    def bound(dtype: str, timesteps: int) -> float:
        return bounds(LSTMSpec(8, 8, dtype=dtype), 4, timesteps, ["y"])["y"]

    assert bound("float32", 1) < bound("float32", 100) < 1e-3
    assert bound("float64", 10) < bound("float32", 10) < bound("tf32", 10) < bound("bfloat16", 10)
    assert bound("bfloat16", 10_000) == CEILING


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("wrong", range(3))
def test_update_error_is_that_of_the_worst_array(wrong: int, optimizer: str) -> None:
    spec = LSTMSpec(3, 4)
    before = LSTMWeights.random(spec)
    gradients = [np.ones_like(array) for array in before.arrays()]
    changes = NumPyOptimizer(optimizer).changes(gradients)

    def off(factor: float) -> float:
        """Return the share of the bound used if one array's change is multiplied by a factor."""
        after = [
            (old + change * (factor if number == wrong else 1.0)).astype(old.dtype)
            for number, (old, change) in enumerate(zip(before.arrays(), changes, strict=True))
        ]
        weights = LSTMWeights.from_arrays(spec, after)
        found, allowed = update_error(spec, before, weights, changes)
        return found / allowed

    assert off(1.0) <= 1.0
    assert off(1.5) > 1.0
    assert off(0.0) > 1.0


def test_update_error_of_biases_allows_for_the_offset() -> None:
    spec = LSTMSpec(3, 4)
    before = LSTMWeights.random(spec).map(lambda array: array * np.float32(1e-4))
    changes = [np.full(array.shape, 1e-5) for array in before.arrays()]

    def share(wrong: int, offset: float) -> float:
        """Return the share of the bound used if one array is kept as itself less 1."""
        after = [
            np.float32(np.float32(old - 1) + change) + 1 if number == wrong else old + change
            for number, (old, change) in enumerate(zip(before.arrays(), changes, strict=True))
        ]
        weights = LSTMWeights.from_arrays(spec, [np.float32(each) for each in after])
        found, allowed = update_error(spec, before, weights, changes, offset)
        return found / allowed

    assert share(2, 0.0) > 1.0
    assert share(2, 1.0) <= 1.0
    assert share(0, 1.0) > 1.0  # a kernel has no offset
