"""The gate of backends that approximate: their error is found, another network is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, proof
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs
from lstm_impl.spec import FloatArray

SPEC = LSTMSpec(16, 32)
WORKLOAD = Workload(8, 12)
Change: TypeAlias = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]


def rounded(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [np.round(each * 64) / 64 for each in arrays]


def gates_exchanged(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [np.concatenate(np.split(each, 4, -1)[::-1], -1) for each in arrays]


def no_bias(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [*arrays[:2], 0 * arrays[2]]


def no_recurrence(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [arrays[0], 0 * arrays[1], arrays[2]]


class ChangedModel(NumPyModel):
    """Computes with weights that ``change`` makes of its own."""

    change: Change

    def _infer(self, call: Call) -> Outputs:
        kept = self._weights
        self._weights = LSTMWeights.from_arrays(self.spec, self.change(kept.arrays()))
        try:
            return super()._infer(call)
        finally:
            self._weights = kept


class Changed(NumPyLoop):
    approximate = True
    model = ChangedModel


def judged(change: Change) -> proof.GateResult:
    model = Changed().build(SPEC, LSTMWeights.random(SPEC, seed=3))
    assert isinstance(model, ChangedModel)
    model.change = change
    return proof.gate(model, WORKLOAD, seed=1)


def test_approximation_passes_with_the_error_of_each_array() -> None:
    result = judged(rounded)
    assert result.passed
    assert set(result.errors) == {"rms y", "rms h", "rms c"}
    assert all(0.001 < off < 0.1 for off in result.errors.values()), result.errors


@pytest.mark.parametrize("change", [gates_exchanged, no_bias, no_recurrence])
def test_another_network_fails(change: Change) -> None:
    result = judged(change)
    assert not result.passed
    assert "the root mean square of y's difference from the" in result.describe()
    assert "of its own, 10% allowed" in result.describe()
