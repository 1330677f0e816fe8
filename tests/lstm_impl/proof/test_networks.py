"""Test that the gate finds what only large numbers show, and patterns of half precision's errors.

Each model is the NumPy loop, or the same in rounded arithmetic (``rounded_model.py``), with one
error; errors, precisions, sizes and modes are combined in pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Upstream
from lstm_impl.proof import GateResult, gate
from lstm_impl.proof.comparison import measure_gains
from lstm_impl.proof.networks import (
    CELLS,
    HELD,
    LARGE_INPUT,
    compare_saturated_results,
    saturate_network,
)
from lstm_impl.spec import round_to_bfloat16
from tests.lstm_impl.rounded_model import RoundedModel, to_single
from tests.pairs import Row, pairwise, row_id

PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16", "mixed_float16")


class Stepwise(NumPyModel):
    """Compute one timestep at a time, and change the cell states in between."""

    between: Callable[[Any], Any]

    def _infer(self, call: Call) -> Outputs:
        outputs, between = [], type(self).between
        h, c = call.states[0], between(call.states[1])
        for t in range(len(call.x)):
            y, (h, c) = super()._infer(Call(call.x[t : t + 1], (h, c)))
            c = between(c)
            outputs.append(y)
        return Outputs(np.concatenate(outputs), (h, c))


class CellCutAt3(Stepwise):
    between = staticmethod(lambda c: np.clip(c, -3, 3))


class CellCutAt10(Stepwise):
    between = staticmethod(lambda c: np.clip(c, -10, 10))


class NaNOver50(NumPyModel):
    filling = np.nan

    def _infer(self, call: Call) -> Outputs:
        y, (h, c) = super()._infer(call)
        over = np.abs(call.x).max(axis=-1, keepdims=True) > 50
        return Outputs(np.where(over, self.filling, y), (h, c))


class ZerosOver50(NaNOver50):
    filling = 0.0


class NegatedOver50(NumPyModel):
    def _infer(self, call: Call) -> Outputs:
        x = np.where(np.abs(call.x) > 50, -call.x, call.x)
        return super()._infer(call._replace(x=x))


class OverflowingSigmoid(RoundedModel):
    def _sigmoid(self, z: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.exp(z) / (1 + np.exp(z))  # NaN from 89 on, where exp(z) is infinite


SATURATED = {
    "cell_cut_at_3": CellCutAt3,
    "cell_cut_at_10": CellCutAt10,
    "nan_for_inputs_over_50": NaNOver50,
    "zeros_for_inputs_over_50": ZerosOver50,
    "inputs_over_50_negated": NegatedOver50,
}


LARGE: dict[str, Sequence[Any]] = {
    "wrong": list(SATURATED),
    "dtype": [*PRECISIONS, "mixed_bfloat16"],
    "size and load": [(4, 1, 1), (8, 5, 15), (8, 1, 80)],
}


@pytest.mark.parametrize("row", pairwise(LARGE), ids=row_id)
def test_gate_of_errors_in_large_numbers_only_fails(row: Row) -> None:
    size, batch, timesteps = row["size and load"]
    spec = LSTMSpec(3, size, dtype=row["dtype"])
    weights = LSTMWeights.random(spec, seed=3)
    model = SATURATED[row["wrong"]](get_backend("numpy"), spec, "cpu", False, weights)
    result = gate(model, Workload(batch, timesteps))
    assert not result.passed
    assert all(
        name.startswith(("saturated", "large", "infinity"))
        for name, off in result.errors.items()
        if not off <= result.bounds[name]
    ), "ordinary numbers were to show nothing"
    assert "with kernels and inputs 8 times as large" in result.describe()


def test_gate_of_an_overflowing_sigmoid_fails() -> None:
    spec = LSTMSpec(16, 8)
    result = gate(OverflowingSigmoid(spec, LSTMWeights.random(spec, seed=3)), Workload(5, 15))
    assert not result.passed


def test_gate_of_an_overflowing_backward_pass_fails() -> None:
    class Overflowing(NumPyModel):
        def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
            raw = super()._train(gradients, call, upstream)
            return replace(raw, dx=np.where(np.abs(call.x) > 50, np.nan, np.asarray(raw.dx)))

    for dtype in PRECISIONS:
        spec = LSTMSpec(3, 4, dtype=dtype)
        weights = LSTMWeights.random(spec, seed=3)
        model = Overflowing(get_backend("numpy"), spec, "cpu", False, weights)
        result = gate(model, Workload(5, 15, "training"))
        assert not result.passed
        wrong = {n for n, off in result.errors.items() if not off <= result.bounds[n]}
        assert wrong == {"saturated dx", "large dx"}


# -- the network itself


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("timesteps", [1, 15, HELD, HELD + 1, 3 * HELD])
def test_saturated_has_large_kernels_inputs_and_cells(dtype: str, timesteps: int) -> None:
    spec = LSTMSpec(3, 4, num_layers=2, dtype=dtype)
    weights, inputs = LSTMWeights.random(spec), Workload(2, timesteps).inputs(spec)
    enlarged, given = saturate_network(spec, weights, inputs)
    for small, large in zip(weights.cells(), enlarged.cells(), strict=True):
        np.testing.assert_array_equal(large.kernel, 8 * small.kernel)
        np.testing.assert_array_equal(large.bias, 8 * small.bias)
        np.testing.assert_array_equal(large.recurrent_kernel, small.recurrent_kernel)
    np.testing.assert_array_equal(given.state.h, inputs.state.h)
    cells = given.state.c
    np.testing.assert_array_equal(np.sign(cells), np.sign(inputs.state.c))
    assert CELLS[0] <= np.abs(cells).min() < np.abs(cells).max() == CELLS[1]
    assert given.x.shape == inputs.x.shape
    assert np.all(np.abs(given.x[..., 0]) == LARGE_INPUT)
    for array in (given.x, cells, *enlarged.arrays()):
        np.testing.assert_array_equal(array, spec.quantize(array))
    # An input is held for some steps: it is that of the last of them.
    np.testing.assert_array_equal(given.x[-1, :, 1:], 8 * inputs.x[-1, :, 1:])
    changes = np.flatnonzero(np.any(given.x[1:] != given.x[:-1], axis=(1, 2))) + 1
    assert changes.tolist() == [k for k in range(1, timesteps) if (timesteps - k) % HELD == 0]


def test_saturated_errors_of_half_precision_need_finite_gradients_only() -> None:
    right = {name: np.ones((2, 2)) for name in ("y", "c", "dx")}
    wrong = {name: 0.5 * array for name, array in right.items()}
    for dtype, names in (("float32", ["y", "c", "dx"]), ("float16", ["y", "c"])):
        spec = LSTMSpec(2, 2, dtype=dtype)
        found, allowed = compare_saturated_results(spec, wrong, right)
        assert found == {f"saturated {name}": 0.5 for name in names}
        assert found.keys() == allowed.keys()
        for broken in (np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.ones(3)):
            found, allowed = compare_saturated_results(
                LSTMSpec(2, 2, dtype=dtype), {**wrong, "dx": broken}, right
            )
            assert not found["saturated dx"] <= allowed["saturated dx"]
    found, _ = compare_saturated_results(
        LSTMSpec(2, 2), {"y": np.full(4, 0.01)}, {"y": np.zeros(4)}
    )
    assert found["saturated y"] == pytest.approx(0.1)  # relative to the smallest scale


# -- patterns of half precision: a coarser type, a gain, a wrong unit


def judged(model: Model, batch: int, timesteps: int, mode: str = "inference") -> GateResult:
    return gate(model, Workload(batch, timesteps, mode))


COARSER = {
    "all": (round_to_bfloat16,) * 3,
    "weights_and_inputs": (round_to_bfloat16, to_single, to_single),
    "states": (to_single, to_single, round_to_bfloat16),
    "all_but_the_gates": (round_to_bfloat16, to_single, round_to_bfloat16),
}


FINER: dict[str, Sequence[Any]] = {
    "what": list(COARSER),
    "dtype": ["mixed_float16", "float16", "tf32"],
    "spec": [LSTMSpec(5, 8), LSTMSpec(6, 8, 2, True), LSTMSpec(40, 32)],
    "mode": ["inference", "training"],
    "load": [(5, 15), (2, 60)],
}


@pytest.mark.parametrize("row", pairwise(FINER), ids=row_id)
def test_gate_of_bfloat16_for_a_finer_dtype_fails(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    model = RoundedModel(spec, LSTMWeights.random(spec, seed=3), *COARSER[row["what"]])
    batch, timesteps = row["load"]
    assert not judged(model, batch, timesteps, row["mode"]).passed


class LargerFromTheSecondCall(RoundedModel):
    calls = 0

    def _infer(self, call: Call) -> Outputs:
        self.calls += 1
        y, (h, c) = super()._infer(call)
        return Outputs(y if self.calls == 1 else y * 1.05, (h, c))


class OneUnitLarger(RoundedModel):
    def _infer(self, call: Call) -> Outputs:
        y, (h, c) = super()._infer(call)
        y = y.copy()
        # Neither the largest nor the smallest unit.
        order = np.argsort(np.mean(y**2, axis=(0, 1)))
        y[..., order[len(order) // 2]] *= 1.1
        return Outputs(y, (h, c))


class LargerGradients(RoundedModel):
    def _train(self, *args: Any) -> RawGradients:
        raw = super()._train(*args)
        return replace(raw, dx=1.05 * np.asarray(raw.dx))


GAINS: dict[str, Sequence[Any]] = {
    "dtype": ["bfloat16", "mixed_bfloat16", "float16", "mixed_float16"],
    "spec": [LSTMSpec(5, 8), LSTMSpec(40, 32)],
    "load": [(5, 15), (16, 20)],
}


@pytest.mark.parametrize("row", pairwise(GAINS), ids=row_id)
def test_gate_of_a_small_gain_of_an_array_or_unit_fails(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    weights = LSTMWeights.random(spec, seed=3)
    batch, timesteps = row["load"]
    model = LargerFromTheSecondCall(spec, weights)
    model.prepare(Workload(batch, timesteps)).run()  # what runs before the gate in each case
    assert not judged(model, batch, timesteps).passed
    assert not judged(OneUnitLarger(spec, weights), batch, timesteps).passed
    assert not judged(LargerGradients(spec, weights), batch, timesteps, "training").passed


def test_describe_of_one_sided_errors_names_the_gain() -> None:
    spec = LSTMSpec(40, 32, dtype="bfloat16")
    weights = LSTMWeights.random(spec, seed=3)
    result = judged(OneUnitLarger(spec, weights), 32, 20)
    assert "a unit of y is not as large as that of the float64 NumPy reference" in result.describe()
    larger = judged(LargerGradients(spec, weights), 32, 20, "training")
    assert "dx as a whole is not as large" in larger.describe()


# -- what is examined


ARRAYS = {
    name: np.random.default_rng(0).uniform(0.5, 1.0, (40, 6))
    for name in ("y", "dlayer0.forward.kernel")
}
HALF = LSTMSpec(3, 6, dtype="float16")


@given(st.floats(-0.5, 0.5))
def test_gains_are_of_the_best_fit_and_zero_for_noise(gain: float) -> None:
    found, allowed = measure_gains(HALF, {n: (1 + gain) * a for n, a in ARRAYS.items()}, ARRAYS, 4)
    assert found == pytest.approx(dict.fromkeys(found, abs(gain)), abs=1e-12)
    assert set(found) == {f"{of} {name}" for of in ("whole", "unit") for name in ARRAYS}
    assert allowed["unit dlayer0.forward.kernel"] > allowed["unit y"] > allowed["whole y"]
    # Rounding of both signs: of two equal rows one is rounded up and one down.
    up = {name: np.concatenate([array, array]) for name, array in ARRAYS.items()}
    signs = np.repeat([1.0, -1.0], 40)[:, None]
    found, _ = measure_gains(
        HALF, {name: array * (1 + gain * signs) for name, array in up.items()}, up, 4
    )
    assert max(found.values()) < 1e-12
