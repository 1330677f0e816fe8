"""Test what the pattern of half precision's errors shows: a coarser type, a gain, a wrong unit.

Each model rounds as its type does (``rounded_model.py``), with one error that its largest deviation
does not show; errors, precisions, sizes and modes are combined in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload
from lstm_impl.call import Call, Outputs, RawGradients
from lstm_impl.proof import GateResult, gate
from lstm_impl.proof.comparison import gains
from lstm_impl.spec import round_to_bfloat16
from tests.lstm_impl.rounded_model import RoundedModel, to_single
from tests.pairs import Row, pairwise, row_id


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


ARRAYS = {name: np.random.default_rng(0).uniform(0.5, 1.0, (40, 6)) for name in ("y", "dkernel")}
HALF = LSTMSpec(3, 6, dtype="float16")


@given(st.floats(-0.5, 0.5))
def test_gains_are_of_the_best_fit_and_zero_for_noise(gain: float) -> None:
    found, allowed = gains(HALF, {n: (1 + gain) * a for n, a in ARRAYS.items()}, ARRAYS, 4)
    assert found == pytest.approx(dict.fromkeys(found, abs(gain)), abs=1e-12)
    assert set(found) == {f"{of} {name}" for of in ("whole", "unit") for name in ARRAYS}
    assert allowed["unit dkernel"] > allowed["unit y"] > allowed["whole y"]
    # Rounding of both signs: of two equal rows one is rounded up and one down.
    up = {name: np.concatenate([array, array]) for name, array in ARRAYS.items()}
    signs = np.repeat([1.0, -1.0], 40)[:, None]
    found, _ = gains(HALF, {name: array * (1 + gain * signs) for name, array in up.items()}, up, 4)
    assert max(found.values()) < 1e-12
