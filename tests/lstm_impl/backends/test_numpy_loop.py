"""The reference as a backend: what stands around it, the arithmetic being its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Workload, get_backend, reference
from lstm_impl.optimizer import NumPyOptimizer
from tests.lstm_impl.backends.built import built

DEEP = LSTMSpec(3, 5, 2, True)


@pytest.mark.parametrize("batch_major", [False, True])
def test_a_step_gives_what_the_reference_gives_in_either_layout(batch_major: bool) -> None:
    model = built("numpy", DEEP, batch_major=batch_major)
    workload = Workload(4, 6, "training", min_length=2, dropout=0.5, batch_major=batch_major)
    raw = model.prepare(workload).run()
    inputs = workload.inputs(DEEP)
    zero = LSTMState.zeros(DEEP, 4)
    y, state, found = reference.forward_and_gradients(
        *(DEEP, model.get_weights(), inputs.x, inputs.dy, inputs.state, zero),
        *(inputs.lengths, inputs.masks),
    )

    def turned(array: Any) -> Any:
        return np.swapaxes(array, 0, 1) if batch_major else array

    np.testing.assert_array_equal(raw.y, turned(y))
    np.testing.assert_array_equal(raw.h, state.h)
    np.testing.assert_array_equal(raw.c, state.c)
    np.testing.assert_array_equal(raw.dx, turned(found.x))
    for ours, theirs in zip(raw.weights.arrays(), found.weights.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_step_with_an_optimizer_moves_the_weights_and_remembers_its_moments(name: str) -> None:
    model = built("numpy")
    workload = Workload(2, 4, "training", optimizer=name, gradients="weights")
    step = model.prepare(workload)
    optimizer = NumPyOptimizer(name)
    for _ in range(3):
        before = model.get_weights().arrays()
        changes = optimizer.changes(step.run().weights.arrays())
        for was, now, change in zip(before, model.get_weights().arrays(), changes, strict=True):
            np.testing.assert_allclose(now, was + change, atol=1e-7)
            assert now.dtype == was.dtype
            assert np.any(now != was)


def test_it_needs_nothing_and_runs_on_a_cpu_alone() -> None:
    backend = get_backend("numpy")
    assert backend.availability("cpu")
    assert str(backend.availability("gpu:0")) == "NumPy computes on the CPU only"
    for dtype in ("float16", "bfloat16", "float32", "float64", "mixed_bfloat16"):
        spec = replace(DEEP, dtype=dtype)
        assert backend.refusal(spec, Workload(2, 3, "training", min_length=1)) == ""
        backend.build(spec, LSTMWeights.random(spec)).forward(np.ones((3, 2, 3)))
