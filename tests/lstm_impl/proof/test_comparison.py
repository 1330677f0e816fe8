"""Test errors of arrays and their bounds, the reference as a judge, and approximate backends."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import threadpoolctl

from lstm_impl import LSTMSpec, LSTMWeights, Workload, proof, reference
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.proof import make_numpy_judge
from lstm_impl.proof.comparison import (
    CEILING,
    compare,
    compute_bounds,
    measure_emulated_errors,
    measure_error,
    measure_gains,
    measure_sparse_errors,
    measure_update_error,
)
from lstm_impl.proof.judge import _find_thread_pools
from lstm_impl.spec import FloatArray
from lstm_impl.workload import OPTIMIZERS


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([1.0, 2.0], 0.0), ([1.0, 2.5], 0.25), ([1.0, math.nan], math.inf), ([1.0], math.inf)],
)
def test_error_is_relative_to_the_largest_value(ours: list[float], expected: float) -> None:
    assert measure_error(ours, [1.0, 2.0]) == expected


def test_compare_of_cancelling_elements_uses_the_smallest_scale() -> None:
    assert measure_error([1.2e-6], [1e-6]) == pytest.approx(0.2)
    for name, scale in (("dx", 0.1), ("y", 0.1), ("c", 0.25)):
        found = compare({name: np.array([1.2e-6])}, {name: np.array([1e-6])})
        assert found[name] == pytest.approx(2e-7 / scale)


def test_bounds_grow_with_time_and_roundoff_up_to_the_ceiling() -> None:
    def bound(dtype: str, timesteps: int) -> float:
        return compute_bounds(LSTMSpec(8, 8, dtype=dtype), 4, timesteps, ["y"])["y"]

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
        """Return the error over its bound if the change of one array is multiplied by a factor."""
        after = [
            (old + change * (factor if number == wrong else 1.0)).astype(old.dtype)
            for number, (old, change) in enumerate(zip(before.arrays(), changes, strict=True))
        ]
        weights = LSTMWeights.from_arrays(spec, after)
        found, allowed = measure_update_error(spec, before, weights, changes)
        return found / allowed

    assert off(1.0) <= 1.0
    assert off(1.5) > 1.0
    assert off(0.0) > 1.0


def test_update_error_of_biases_allows_for_the_offset() -> None:
    spec = LSTMSpec(3, 4)
    before = LSTMWeights.random(spec).map(lambda array: array * np.float32(1e-4))
    changes = [np.full(array.shape, 1e-5) for array in before.arrays()]

    def share(wrong: int, offset: float) -> float:
        """Return the error over its bound if one array is kept as its difference from 1."""
        after = [
            np.float32(np.float32(old - 1) + change) + 1 if number == wrong else old + change
            for number, (old, change) in enumerate(zip(before.arrays(), changes, strict=True))
        ]
        weights = LSTMWeights.from_arrays(spec, [np.float32(each) for each in after])
        found, allowed = measure_update_error(spec, before, weights, changes, offset)
        return found / allowed

    assert share(2, 0.0) > 1.0
    assert share(2, 1.0) <= 1.0
    assert share(0, 1.0) > 1.0  # a kernel has no offset


# -- judges


@pytest.mark.parametrize(("batch", "threads"), [(2, {1}), (400, {2})])
def test_numpy_judge_of_small_products_uses_one_thread(
    batch: int, threads: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several threads, the threads would wait for one another in a busy loop."""
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
        judge = make_numpy_judge(spec)
        judge.run(weights, inputs.window(slice(0, 2)), None)
        assert blas_threads() == before
    assert set(seen) == threads


def test_numpy_judge_works_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library requires only NumPy."""
    spec, inputs = LSTMSpec(3, 5), Workload(2, 4).inputs(LSTMSpec(3, 5), 0)
    weights, judge = LSTMWeights.random(spec), make_numpy_judge(spec)
    expected = judge.run(weights, inputs.window(slice(0, 4)), None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _find_thread_pools.cache_clear()
    try:
        found = judge.run(weights, inputs.window(slice(0, 4)), None)
        assert _find_thread_pools() is None
    finally:
        _find_thread_pools.cache_clear()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)


def blas_threads() -> list[int]:
    return [
        each["num_threads"] for each in _find_thread_pools().info() if each["user_api"] == "blas"
    ]


SPEC = LSTMSpec(16, 32)
WORKLOAD = Workload(8, 12)
Change: TypeAlias = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]


def rounded(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [np.round(each * 512) / 512 for each in arrays]


def gates_exchanged(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [np.concatenate(np.split(each, 4, -1)[::-1], -1) for each in arrays]


def no_bias(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [*arrays[:2], 0 * arrays[2]]


def no_recurrence(arrays: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return [arrays[0], 0 * arrays[1], arrays[2]]


class ChangedModel(NumPyModel):
    """Compute with weights that ``change`` has changed."""

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
    kinds = ("rms", "quantised", "short")
    assert set(result.errors) == {f"{kind} {name}" for kind in kinds for name in "yhc"}
    assert all(1e-4 < off < 0.02 for off in result.errors.values()), result.errors


@pytest.mark.parametrize("change", [gates_exchanged, no_bias, no_recurrence])
def test_gate_of_an_approximation_of_another_network_fails(change: Change) -> None:
    result = judged(change)
    assert not result.passed
    assert "the root mean square of y's difference from the" in result.describe()
    assert "of its own, 10% allowed" in result.describe()


def test_bounds_are_cut_to_the_largest_that_prove_something() -> None:
    right = {"y": np.zeros((5, 1, 2)), "h": np.zeros((1, 1, 2)), "c": np.zeros((1, 1, 2))}
    _, allowed = measure_sparse_errors(
        "large", right, {name: right[name] + 1e9 for name in right}, right
    )
    assert allowed == {"large y": 2.0, "large h": 2.0, "large c": 2.0 * (12 + 5)}
    _, allowed = measure_emulated_errors(
        "short", right, right, {name: right[name] + 0.5 for name in right}
    )
    assert allowed == pytest.approx(dict.fromkeys(("short y", "short h", "short c"), 0.3))
    # Of two cells that are zero, rounding explains an error of more than their smallest scale.
    _, allowed = measure_gains(LSTMSpec(1, 2, num_layers=4, dtype="bfloat16"), right, right, 1)
    assert allowed["unit c"] == 1.0
