"""Test how a user's arguments are checked, named in errors, and rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import PRECISIONS, LSTMSpec, LSTMState
from lstm_impl.model import (
    batch_and_timesteps,
    checked_array,
    checked_lengths,
    checked_masks,
    checked_state,
)

SPEC = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 4, num_layers=2, bidirectional=True)


@pytest.mark.parametrize(
    ("shape", "batch_major", "says"),
    [
        ((2, 3), False, r"x has shape \(2, 3\); expected three axes, \[time, batch, feature\]"),
        ((), False, r"x has shape \(\); expected three axes"),
        ((0, 2, 3), False, "so no timesteps; expected at least one"),
        ((2, 0, 3), False, "so no sequences; expected at least one"),
        ((0, 0, 3), False, "so no timesteps"),
        ((2, 0, 3), True, r"no timesteps; .*\(\[batch, time, feature\]\)"),
        ((0, 2, 3), True, "no sequences"),
    ],
)
def test_input_without_timesteps_or_sequences_raises(
    shape: tuple[int, ...], batch_major: bool, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        batch_and_timesteps(shape, batch_major)


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        ("float32", np.zeros((2, 2, 4)), r"x has shape \(2, 2, 4\); expected \(2, 2, 3\)"),
        ("float32", np.full((2, 2, 3), np.nan), r"x\[0, 0, 0\] is nan; expected finite numbers"),
        ("float32", [[[0, 0, 0]] * 2, [[1, 2, 3], [1, np.inf, 3]]], r"x\[1, 1, 1\] is inf"),
        (
            "float16",
            [[[1, 2, 1e6]] * 2] * 2,
            r"x\[0, 0, 2\] is 1000000.0; .* that float16 can hold",
        ),
    ],
)
def test_array_of_a_wrong_shape_or_not_finite_raises_with_its_name(
    dtype: str, value: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        checked_array(LSTMSpec(3, 4, dtype=dtype), "x", value, (2, 2, 3))


@given(st.sampled_from(sorted(PRECISIONS)), st.lists(st.floats(-1e3, 1e3), min_size=1))
def test_checked_array_is_rounded_to_its_precision(dtype: str, values: list[float]) -> None:
    spec = LSTMSpec(3, 4, dtype=dtype)
    found = checked_array(spec, "x", values, (len(values),))
    assert found.dtype == spec.precision.storage
    np.testing.assert_array_equal(found, spec.quantize(values))


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ([1], r"lengths has shape \(1,\) .*; expected 2 integers, one for each sequence"),
        ([[1, 2]], r"lengths has shape \(1, 2\)"),
        ([1.0, 2.0], "type float64; expected 2 integers"),
        ([True, True], "type bool"),
        ([0, 3], "lengths holds 0 to 3; expected 1 to the 3 timesteps of x"),
        ([1, 4], "lengths holds 1 to 4; expected 1 to the 3"),
    ],
)
def test_wrong_lengths_raise(lengths: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        checked_lengths(lengths, batch=2, timesteps=3)


@pytest.mark.parametrize("name", ["h", "c"])
def test_state_of_a_wrong_shape_raises_with_its_name(name: str) -> None:
    good = np.zeros((4, 5, 4))
    for bad, says in (
        (np.zeros((1, 5, 4)), rf"dstate.{name} has shape \(1, 5, 4\); expected \(4, 5, 4\)"),
        (np.full((4, 5, 4), np.nan), rf"dstate.{name}\[0, 0, 0\] is nan"),
    ):
        with pytest.raises(ValueError, match=says):
            checked_state(DEEP, "dstate", LSTMState(**{"h": good, "c": good, name: bad}), batch=5)


def test_masks_for_one_layer_or_of_a_wrong_shape_raise() -> None:
    assert checked_masks(SPEC, None, batch=5, timesteps=2) is None
    with pytest.raises(ValueError, match="dropout acts between layers and there is one"):
        checked_masks(SPEC, np.ones((0, 2, 5, 4)), batch=5, timesteps=2)
    with pytest.raises(ValueError, match=r"masks has shape \(2, 5, 8\); expected \(1, 2, 5, 8\)"):
        checked_masks(DEEP, np.ones((2, 5, 8)), batch=5, timesteps=2)
