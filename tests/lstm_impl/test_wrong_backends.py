"""Backends that are wrong where random weights of ordinary size do not show it, and right ones.

Each is the NumPy loop, or the same in rounded arithmetic (``rounded_model.py``), with one thing
wrong. What the gate can find before the clock is here; what is wrong or right, precisions, sizes
and modes meet in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.backends.numpy_loop import NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Upstream
from lstm_impl.proof import GateResult, gate
from lstm_impl.spec import round_to_bfloat16
from tests.lstm_impl.pairs import Row, pairwise, spelled
from tests.lstm_impl.rounded_model import RoundedModel, to_single

PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16", "mixed_float16")
SPECS = (LSTMSpec(1, 4), LSTMSpec(5, 8), LSTMSpec(6, 8, num_layers=2, bidirectional=True))
LOADS = ((5, 15), (1, 1), (2, 60))


def judged(model: Model, batch: int, timesteps: int, mode: str = "inference") -> GateResult:
    return gate(model, Workload(batch, timesteps, mode))


# -- right ones


ROUNDED: dict[str, Sequence[Any]] = {
    "spec": SPECS,
    "dtype": [*PRECISIONS[1:], "mixed_bfloat16"],
    "load": LOADS,
    "mode": ["inference", "training"],
}


@pytest.mark.parametrize("row", pairwise(ROUNDED), ids=spelled)
def test_a_computation_that_rounds_as_its_type_does_passes(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    model = RoundedModel(spec, LSTMWeights.random(spec, seed=3))
    batch, timesteps = row["load"]
    result = judged(model, batch, timesteps, row["mode"])
    assert result.passed, result.describe()


# -- wrong ones that a saturated network shows


class Stepwise(NumPyModel):
    """One timestep after the other, so that something may happen to the cells between them."""

    between: Callable[[Any], Any]

    def _infer(self, call: Call) -> Outputs:
        outputs, between = [], type(self).between
        h, c = call.h, between(call.c)
        for t in range(len(call.x)):
            y, h, c = super()._infer(Call(call.x[t : t + 1], h, c))
            c = between(c)
            outputs.append(y)
        return Outputs(np.concatenate(outputs), h, c)


class CellCutAt3(Stepwise):
    between = staticmethod(lambda c: np.clip(c, -3, 3))


class CellCutAt10(Stepwise):
    between = staticmethod(lambda c: np.clip(c, -10, 10))


class NaNOver50(NumPyModel):
    def _infer(self, call: Call) -> Outputs:
        y, h, c = super()._infer(call)
        over = np.abs(call.x).max(axis=-1, keepdims=True) > 50
        return Outputs(np.where(over, np.nan, y), h, c)


class ZerosOver50(NumPyModel):
    def _infer(self, call: Call) -> Outputs:
        y, h, c = super()._infer(call)
        over = np.abs(call.x).max(axis=-1, keepdims=True) > 50
        return Outputs(np.where(over, 0.0, y), h, c)


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


@pytest.mark.parametrize("row", pairwise(LARGE), ids=spelled)
def test_what_is_wrong_for_large_numbers_only_is_stopped(row: Row) -> None:
    size, batch, timesteps = row["size and load"]
    spec = LSTMSpec(3, size, dtype=row["dtype"])
    weights = LSTMWeights.random(spec, seed=3)
    model = SATURATED[row["wrong"]](get_backend("numpy"), spec, "cpu", False, weights)
    result = judged(model, batch, timesteps)
    assert not result.passed
    assert all(
        name.startswith("saturated")
        for name, off in result.errors.items()
        if not off <= result.bounds[name]
    ), "ordinary numbers were to show nothing"
    assert "with kernels and inputs 8 times as large" in result.describe()


def test_a_sigmoid_that_overflows_is_stopped() -> None:
    spec = LSTMSpec(16, 8)
    result = judged(OverflowingSigmoid(spec, LSTMWeights.random(spec, seed=3)), 5, 15)
    assert not result.passed


def test_a_backward_pass_that_overflows_is_stopped_in_every_precision() -> None:
    class Overflowing(NumPyModel):
        def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
            raw = super()._train(gradients, call, upstream)
            return replace(raw, dx=np.where(np.abs(call.x) > 50, np.nan, raw.dx))

    for dtype in PRECISIONS:
        spec = LSTMSpec(3, 4, dtype=dtype)
        weights = LSTMWeights.random(spec, seed=3)
        model = Overflowing(get_backend("numpy"), spec, "cpu", False, weights)
        result = judged(model, 5, 15, "training")
        assert not result.passed
        assert [n for n, off in result.errors.items() if not off <= result.bounds[n]] == [
            "saturated dx"
        ]


# -- wrong ones that the look of half precision's errors shows

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


@pytest.mark.parametrize("row", pairwise(FINER), ids=spelled)
def test_bfloat16_does_not_pass_for_a_finer_type(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    model = RoundedModel(spec, LSTMWeights.random(spec, seed=3), *COARSER[row["what"]])
    batch, timesteps = row["load"]
    assert not judged(model, batch, timesteps, row["mode"]).passed


def test_a_coarser_type_is_named() -> None:
    spec = LSTMSpec(40, 32, dtype="mixed_float16")
    model = RoundedModel(spec, LSTMWeights.random(spec, seed=3), *COARSER["weights_and_inputs"])
    text = judged(model, 32, 20).describe()
    assert text.startswith("it seems to compute in bfloat16: ")


class LargerFromTheSecondCall(RoundedModel):
    calls = 0

    def _infer(self, call: Call) -> Outputs:
        self.calls += 1
        y, h, c = super()._infer(call)
        return Outputs(y if self.calls == 1 else y * 1.05, h, c)


class OneUnitLarger(RoundedModel):
    def _infer(self, call: Call) -> Outputs:
        y, h, c = super()._infer(call)
        y = y.copy()
        # Neither the largest nor the smallest unit.
        order = np.argsort(np.mean(y**2, axis=(0, 1)))
        y[..., order[len(order) // 2]] *= 1.1
        return Outputs(y, h, c)


class LargerGradients(RoundedModel):
    def _train(self, *args: Any) -> RawGradients:
        raw = super()._train(*args)
        return replace(raw, dx=raw.dx * 1.05)


GAINS: dict[str, Sequence[Any]] = {
    "dtype": ["bfloat16", "mixed_bfloat16", "float16", "mixed_float16"],
    "spec": [LSTMSpec(5, 8), LSTMSpec(40, 32)],
    "load": [(5, 15), (16, 20)],
}


@pytest.mark.parametrize("row", pairwise(GAINS), ids=spelled)
def test_a_gain_of_a_twentieth_or_a_unit_off_by_a_tenth_is_stopped(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    weights = LSTMWeights.random(spec, seed=3)
    batch, timesteps = row["load"]
    model = LargerFromTheSecondCall(spec, weights)
    model.prepare(Workload(batch, timesteps)).run()  # what comes before the gate in every case
    assert not judged(model, batch, timesteps).passed
    assert not judged(OneUnitLarger(spec, weights), batch, timesteps).passed
    assert not judged(LargerGradients(spec, weights), batch, timesteps, "training").passed


def test_what_only_the_signs_of_errors_show_is_told_in_words() -> None:
    spec = LSTMSpec(40, 32, dtype="bfloat16")
    weights = LSTMWeights.random(spec, seed=3)
    result = judged(OneUnitLarger(spec, weights), 32, 20)
    assert "a unit of y is not as large as that of the float64 NumPy reference" in result.describe()
    larger = judged(LargerGradients(spec, weights), 32, 20, "training")
    assert "dx as a whole is not as large" in larger.describe()
