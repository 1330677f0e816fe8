"""Test the reference as a judge, and the gate of approximate backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import threadpoolctl

from lstm_impl import LSTMSpec, LSTMWeights, Workload, proof, reference
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs
from lstm_impl.proof import numpy_judge
from lstm_impl.proof.judge import _pools
from lstm_impl.spec import FloatArray


@pytest.mark.parametrize(("batch", "threads"), [(2, {1}), (400, {2})])
def test_numpy_judge_of_small_products_uses_one_thread(
    batch: int, threads: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else threads wait for one another in a busy loop; and what was set before is set again."""
    spec, workload = LSTMSpec(128, 128), Workload(batch, 2)
    seen: list[int] = []
    forward = reference.forward

    def watched(*args: Any) -> Any:
        seen.extend(blas_threads())
        return forward(*args)

    monkeypatch.setattr(reference, "forward", watched)
    weights = LSTMWeights.random(spec)
    inputs = workload.inputs(spec, 0)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        judge = numpy_judge(spec)
        judge.run(weights, inputs.window(slice(0, 2)), None)
        assert blas_threads() == before
    assert set(seen) == threads


def blas_threads() -> list[int]:
    return [each["num_threads"] for each in _pools().info() if each["user_api"] == "blas"]


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
    """A model that computes with weights changed by ``change``."""

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


def test_gate_of_an_approximation_passes_with_its_errors() -> None:
    result = judged(rounded)
    assert result.passed
    assert set(result.errors) == {"rms y", "rms h", "rms c"}
    assert all(0.001 < off < 0.1 for off in result.errors.values()), result.errors


@pytest.mark.parametrize("change", [gates_exchanged, no_bias, no_recurrence])
def test_gate_of_an_approximation_of_another_network_fails(change: Change) -> None:
    result = judged(change)
    assert not result.passed
    assert "the root mean square of y's difference from the" in result.describe()
    assert "of its own, 10% allowed" in result.describe()
