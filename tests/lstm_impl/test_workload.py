"""Test a workload's checks, lengths, windows and arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom

from lstm_impl import PRECISIONS, LSTMSpec, Workload, dropout_masks

SPEC = LSTMSpec(3, 5, num_layers=3, bidirectional=True)

batches = st.integers(1, 30)
times = st.integers(1, 60)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"batch": 0}, "Workload.batch is 0; expected a positive integer"),
        ({"batch": 2.0}, "Workload.batch is 2.0"),
        ({"timesteps": 0}, "Workload.timesteps is 0"),
        ({"timesteps": True}, "Workload.timesteps is True"),
        ({"batch": 2**31}, "Workload.batch is 2147483648; expected at most 2147483647"),
        ({"batch": 10**5000}, "Workload.batch is a number of over 30 digits; expected at most"),
        ({"mode": "train"}, "'train'; expected one of inference, training"),
        ({"batch_major": {}}, "Workload.batch_major is {}; expected True or False"),
        ({"batch_major": 1}, "Workload.batch_major is 1"),
        ({"min_length": 0}, "Workload.min_length is 0"),
        ({"min_length": 9}, "Workload.min_length is 9; expected at most the 8 timesteps"),
        ({"window": 0}, "Workload.window is 0"),
        ({"window": 9}, "Workload.window is 9; expected at most the 8 timesteps"),
        ({"window": 4, "min_length": 4}, "leave one of them out"),
        ({"dropout": 1.0}, "Workload.dropout is 1.0; expected at least 0 and less than 1"),
        ({"dropout": -0.1}, "Workload.dropout is -0.1"),
        ({"dropout": math.nan}, "Workload.dropout is nan"),
        (
            {"mode": "training", "optimizer": "lion"},
            "Workload.optimizer is 'lion'; expected one of sgd, adam, or None",
        ),
        ({"mode": "training", "optimizer": 0}, "Workload.optimizer is 0; expected one of sgd"),
        ({"optimizer": "adam"}, "Workload.optimizer is 'adam', but mode is 'inference'"),
        (
            {"mode": "training", "gradients": "input"},
            "Workload.gradients is 'input'; expected one of weights, weights.input, all",
        ),
        ({"gradients": "weights"}, "Workload.gradients is 'weights', but mode is 'inference'"),
        ({"period": 0.01}, "only the calls of a stream"),
        ({"mode": "streaming", "window": 2}, "window"),
        ({"mode": "streaming", "min_length": 2}, "min_length"),
        ({"mode": "streaming", "dropout": 0.1}, "dropout"),
        ({"mode": "streaming", "optimizer": "adam"}, "optimizer"),
        ({"mode": "streaming", "gradients": "weights"}, "gradients"),
        *(({"mode": "streaming", "period": each}, "period") for each in (0.0, True, 1e9, math.nan)),
    ],
)
def test_wrong_field_raises_with_its_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Workload(**{"batch": 4, "timesteps": 8, **fields})


# -- lengths


@given(batches, times, st.data())
def test_lengths_are_evenly_spaced(batch: int, timesteps: int, data: st.DataObject) -> None:
    shortest = data.draw(st.integers(1, timesteps))
    workload = Workload(batch, timesteps, min_length=shortest)
    lengths = workload.lengths()
    assert lengths is not None
    assert lengths.shape == (batch,)
    assert lengths.dtype == np.int32
    assert lengths[0] == timesteps  # one sequence is full, so that no step is padding in all
    if batch > 1:
        assert lengths[-1] == shortest
        steps = -np.diff(lengths)
        assert steps.min() >= 0
        assert steps.max() - steps.min() <= 2  # evenly spaced, up to rounding at both ends
    assert workload.valid_timesteps() == lengths.sum()


# -- the arrays


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_inputs_have_their_shapes_and_precision(dtype: str) -> None:
    spec = LSTMSpec(3, 5, num_layers=3, bidirectional=True, dtype=dtype)
    inputs = Workload(4, 7, "training", min_length=2, dropout=0.25).inputs(spec)
    assert inputs.lengths is not None
    assert inputs.masks is not None
    assert inputs.x.shape == (7, 4, 3)
    assert inputs.dy.shape == (7, 4, 10)
    assert inputs.state.h.shape == inputs.state.c.shape == (6, 4, 5)
    assert inputs.masks.shape == (2, 7, 4, 10)
    for array in (inputs.x, inputs.dy, inputs.state.h, inputs.state.c, inputs.masks):
        assert array.dtype == spec.precision.storage
        np.testing.assert_array_equal(array, spec.quantize(array))
    assert np.all(inputs.state.h != 0)  # a backend that drops the state must fail
    assert not np.any(inputs.state.h == inputs.state.c)


@pytest.mark.parametrize(
    ("workload", "layers"),
    [
        (Workload(2, 3, "training"), 3),
        (Workload(2, 3, "inference", dropout=0.5), 3),  # dropout is for training
        (Workload(2, 3, "training", dropout=0.5), 1),  # and acts between layers
    ],
)
def test_inputs_without_dropout_have_no_masks(workload: Workload, layers: int) -> None:
    assert workload.inputs(LSTMSpec(3, 5, num_layers=layers)).masks is None


@given(st.floats(0, 0.95), st.integers(0, 1000))
@example(1e-5, 364)
def test_dropout_masks_are_zero_or_scaled(rate: float, seed: int) -> None:
    masks = dropout_masks(SPEC, timesteps=11, batch=13, rate=rate, seed=seed)
    kept = np.float32(1 / (1 - rate))
    assert set(np.unique(masks)) <= {np.float32(0), kept}
    # The number of dropped units is binomial: within five standard deviations except once in two
    # million. With very small rates it is far from normal.
    fewest, most = binom.interval(1 - 5.7e-7, masks.size, rate)
    means = kept * (1 - np.array([most, fewest]) / masks.size)
    assert means[0] - 1e-6 <= masks.mean(dtype=float) <= means[1] + 1e-6


@pytest.mark.parametrize(("timesteps", "shortest"), [(100, 1), (7, 2), (5, 5)])
def test_valid_timesteps_of_a_very_large_batch_use_the_mean(
    timesteps: int, shortest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Workload(50_000, timesteps, min_length=shortest).valid_timesteps()
    monkeypatch.setattr("lstm_impl.workload.MOST_LISTED", 49_999)
    counted = Workload(50_000, timesteps, min_length=shortest).valid_timesteps()
    assert counted == pytest.approx(listed, rel=1e-4)
    # As a list this would take 16 GB.
    assert Workload(2**31 - 1, timesteps, min_length=shortest).valid_timesteps() > 2**31
