"""Test that the gate passes right models and fails each known kind of wrong one.

Without a framework: models compute with changed weights or gradients and report the right ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, reference
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Upstream
from lstm_impl.proof import GateResult, check, gate, select_judged_parts
from lstm_impl.proof.comparison import keep_worst
from lstm_impl.weights import LayerWeights
from lstm_impl.workload import GRADIENTS, OPTIMIZERS
from tests.lstm_impl.backends.built import passes
from tests.lstm_impl.lstm_states import get_state, replace_states
from tests.lstm_impl.rounded_model import RoundedModel
from tests.pairs import Row, pairwise, row_id

PRECISIONS = ("float64", "float32", "tf32", "bf32", "bf16x3", "float16", "bfloat16")
SPECS = (
    LSTMSpec(1, 4),
    LSTMSpec(5, 5),
    LSTMSpec(7, 13),
    LSTMSpec(6, 8, num_layers=2, bidirectional=True),
)
SPEC = LSTMSpec(5, 8)


def swap_gates(first: int, second: int) -> Callable[[LayerWeights], LayerWeights]:
    def change(cell: LayerWeights) -> LayerWeights:
        order = list(range(4))
        order[first], order[second] = order[second], order[first]

        def swap(array: Any) -> Any:
            gates = np.split(array, 4, axis=-1)
            return np.concatenate([gates[k] for k in order], axis=-1)

        return LayerWeights(*(swap(array) for array in cell))

    return change


def drop_forget_bias(cell: LayerWeights) -> LayerWeights:
    hidden = len(cell.bias) // 4
    bias = cell.bias.copy()
    bias[hidden : 2 * hidden] = 0
    return replace(cell, bias=bias)


def drop_bias(cell: LayerWeights) -> LayerWeights:
    return replace(cell, bias=np.zeros_like(cell.bias))


def transpose_recurrent(cell: LayerWeights) -> LayerWeights:
    gates = np.split(cell.recurrent_kernel, 4, axis=-1)
    return replace(cell, recurrent_kernel=np.concatenate([gate.T for gate in gates], axis=-1))


def drop_recurrence(cell: LayerWeights) -> LayerWeights:
    return replace(cell, recurrent_kernel=np.zeros_like(cell.recurrent_kernel))


WEIGHT_MUTATIONS = {
    "input_and_forget_gate_swapped": swap_gates(0, 1),
    "forget_gate_and_candidate_swapped": swap_gates(1, 2),
    "candidate_and_output_gate_swapped": swap_gates(2, 3),
    "input_and_output_gate_swapped": swap_gates(0, 3),
    "forget_bias_dropped": drop_forget_bias,
    "bias_dropped": drop_bias,
    "recurrent_kernel_transposed": transpose_recurrent,
    "recurrence_dropped": drop_recurrence,
}


class ChangedModel(NumPyModel):
    """Change a model in one way, by a function or in a subclass."""

    def __init__(self, spec: LSTMSpec, change: Any = None) -> None:
        super().__init__(get_backend("numpy"), spec, "cpu", False, LSTMWeights.random(spec, seed=3))
        self._change = change


class WeightMutant(ChangedModel):
    """Compute with changed weights, but report the right ones."""

    def __init__(self, spec: LSTMSpec, change: Callable[[LayerWeights], LayerWeights]) -> None:
        super().__init__(spec)
        self._shown = self._weights
        cells = [change(cell) for cell in self._weights.cells()]
        self._set_weights(LSTMWeights.from_cells(spec, cells))

    def get_weights(self) -> LSTMWeights:
        return self._shown


class GradientMutant(ChangedModel):
    """Compute right outputs, and gradients with one change."""

    def _train(self, *args: Any) -> RawGradients:
        raw: RawGradients = self._change(super()._train(*args))
        return raw


def scale_array(name: str, factor: float) -> Callable[[RawGradients], RawGradients]:
    def change(raw: RawGradients) -> RawGradients:
        cells = [
            tuple(replace(cell, **{name: getattr(cell, name) * factor}) for cell in layer)
            for layer in raw.weights.layers
        ]
        return replace(raw, weights=LSTMWeights(tuple(cells)))

    return change


GRADIENT_MUTATIONS: dict[str, Callable[[RawGradients], RawGradients]] = {
    "bias_step_doubled": scale_array("bias", 2.0),
    "kernel_gradient_dropped": scale_array("kernel", 0.0),
    "recurrent_gradient_negated": scale_array("recurrent_kernel", -1.0),
    "dx_reversed_in_time": lambda raw: replace(raw, dx=np.asarray(raw.dx)[::-1]),
    "dh_and_dc_swapped": lambda raw: replace(raw, dstates=(raw.dstates or ())[::-1]),
    "state_gradient_cut": lambda raw: replace_states(raw, dc=0 * get_state(raw, "dc")),
    "dx_is_nan": lambda raw: replace(raw, dx=np.nan * np.asarray(raw.dx)),
}


class UpdateMutant(ChangedModel):
    """Compute right gradients, and a changed update."""

    def _train_and_update(self, *args: Any) -> RawGradients:
        before = self._weights
        raw = super()._train_and_update(*args)
        self._weights = self._change(before, self._weights)
        return raw


def times(factor: float) -> Callable[[LSTMWeights, LSTMWeights], LSTMWeights]:
    def change(before: LSTMWeights, after: LSTMWeights) -> LSTMWeights:
        changed = iter(
            (then + factor * (np.float64(now) - then)).astype(then.dtype)
            for then, now in zip(before.arrays(), after.arrays(), strict=True)
        )
        return before.map(lambda _: next(changed))

    return change


def only_kernels(before: LSTMWeights, after: LSTMWeights) -> LSTMWeights:
    """Change the kernels and not the bias."""
    pairs = zip(before.arrays(), after.arrays(), strict=True)
    return LSTMWeights.from_arrays(SPEC, [old if old.ndim == 1 else new for old, new in pairs])


UPDATE_MUTATIONS = {
    "not_made": times(0.0),
    "negated": times(-1.0),
    "made_twice": times(2.0),
    "off_by_a_twentieth": times(1.05),
    "bias_left_out": only_kernels,
    "not_finite": times(np.nan),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("mutation", UPDATE_MUTATIONS)
def test_gate_of_a_wrong_update_fails(mutation: str, optimizer: str) -> None:
    workload = Workload(5, 15, "training", optimizer=optimizer)
    result = gate(UpdateMutant(SPEC, UPDATE_MUTATIONS[mutation]), workload)
    assert not result.passed
    assert result.describe().startswith("update differs from the float64 NumPy reference by")
    # Without the optimizer the same model is right: only the update is wrong.
    assert gate(UpdateMutant(SPEC, UPDATE_MUTATIONS[mutation]), Workload(5, 15, "training")).passed


@pytest.mark.parametrize("mutation", GRADIENT_MUTATIONS)
def test_gate_of_a_wrong_gradient_with_its_right_update_fails(mutation: str) -> None:
    model = GradientMutant(SPEC, GRADIENT_MUTATIONS[mutation])
    result = gate(model, Workload(5, 15, "training", optimizer="sgd"))
    assert not result.passed


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "tf32", "mixed_float16"])
def test_gate_updates_from_the_given_weights_and_restores_them(dtype: str, optimizer: str) -> None:
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True, dtype=dtype)
    model = get_backend("numpy").build(spec, LSTMWeights.random(spec, seed=3))
    for workload in (
        Workload(5, 15, "training", window=4, optimizer=optimizer),
        Workload(1, 1, "training", optimizer=optimizer),
    ):
        model.prepare(workload).run()  # a first call, which changes them
        result = passes(model, workload)
        assert 0 < result.errors["update"] <= result.bounds["update"]
        assert model.given_weights is not None
        pairs = zip(model.get_weights().arrays(), model.given_weights.arrays(), strict=True)
        for now, given in pairs:
            np.testing.assert_array_equal(now, given)


ROUNDED: dict[str, Sequence[Any]] = {
    "spec": (LSTMSpec(1, 4), LSTMSpec(5, 8), SPECS[-1]),
    "dtype": [*PRECISIONS[1:], "mixed_float16", "mixed_bfloat16"],
    "load": [(5, 15), (1, 1), (2, 60)],
    "mode": ["inference", "training"],
}


@pytest.mark.parametrize("row", pairwise(ROUNDED), ids=row_id)
def test_gate_of_a_computation_rounded_to_its_dtype_passes(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    model = RoundedModel(spec, LSTMWeights.random(spec, seed=3))
    batch, timesteps = row["load"]
    passes(model, Workload(batch, timesteps, row["mode"]))


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "mixed_float16", "bfloat16"])
def test_gate_of_one_rounded_timestep_of_one_unit_passes(dtype: str) -> None:
    """Elementwise operations cause most of the error there, and a mean is over few numbers."""
    spec = LSTMSpec(1, 1, dtype=dtype)
    for seed in range(60):
        model = RoundedModel(spec, LSTMWeights.random(spec, seed=seed))
        result = gate(model, Workload(1, 1, "training"), seed)
        assert result.passed, (seed, result.describe())


CHANGED: dict[str, Sequence[Any]] = {
    "mutation": list(WEIGHT_MUTATIONS),
    "dtype": PRECISIONS,
    "spec": SPECS,
}


@pytest.mark.parametrize("row", pairwise(CHANGED), ids=row_id)
def test_gate_of_a_changed_cell_fails_in_each_precision(row: Row) -> None:
    spec = replace(row["spec"], dtype=row["dtype"])
    model = WeightMutant(spec, WEIGHT_MUTATIONS[row["mutation"]])
    result = gate(model, Workload(5, 15, "inference"))
    assert not result.passed, f"{row} was not noticed: {result.errors}"


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("mutation", GRADIENT_MUTATIONS)
def test_gate_of_a_changed_gradient_fails_in_each_precision(mutation: str, dtype: str) -> None:
    model = GradientMutant(LSTMSpec(6, 8, dtype=dtype), GRADIENT_MUTATIONS[mutation])
    result = gate(model, Workload(5, 15, "training"))
    assert not result.passed, f"{mutation} was not noticed: {result.errors}"


class IgnoresFinalGradient(RoundedModel):
    """Leave out what flows back into the final cell state or hidden state."""

    ignored = "dc"

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        zero = np.zeros_like(get_state(upstream, self.ignored))
        return super()._train(gradients, call, replace_states(upstream, **{self.ignored: zero}))


@pytest.mark.parametrize(
    ("ignored", "timesteps"), [("dc", 1), ("dc", 8), ("dc", 25), ("dh", 1), ("dh", 8)]
)
def test_gate_of_an_ignored_final_gradient_fails_at_the_smallest_size(
    ignored: str, timesteps: int
) -> None:
    spec = LSTMSpec(1, 1, dtype="bfloat16")
    for seed in range(12):
        model = IgnoresFinalGradient(spec, LSTMWeights.random(spec, seed=seed))
        model.ignored = ignored
        result = gate(model, Workload(1, timesteps, "training"), seed)
        assert not result.passed, seed


@pytest.fixture
def nothing_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget earlier results, since each mutant has the name of the backend that it changes."""
    monkeypatch.setattr(check, "_all_judged", {})


@pytest.mark.usefixtures("nothing_judged")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("gradients", ["weights", "weights+input"])
@pytest.mark.parametrize("mutation", GRADIENT_MUTATIONS)
def test_gate_judges_gradients_that_the_step_leaves_out(
    mutation: str, gradients: str, window: int | None
) -> None:
    def changed(raw: RawGradients) -> RawGradients:
        left_out = raw.dx is None if mutation.startswith("dx") else raw.dstates is None
        of_state = mutation.startswith(("dx", "dh", "state"))
        return raw if of_state and left_out else GRADIENT_MUTATIONS[mutation](raw)

    workload = Workload(5, 15, "training", gradients=gradients, window=window)
    assert not gate(GradientMutant(LSTMSpec(6, 8), changed), workload).passed


class OnlyThere(ChangedModel):
    """Make a mistake only in a step with these gradients."""

    def __init__(self, spec: LSTMSpec, gradients: str) -> None:
        super().__init__(spec, gradients)
        self.requested: list[tuple[str, int]] = []

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        self.requested.append((gradients, len(call.x)))
        raw = super()._train(gradients, call, upstream)
        return scale_array("bias", 1.01)(raw) if gradients == self._change else raw


@pytest.mark.usefixtures("nothing_judged")
def test_gate_judges_the_step_that_is_timed() -> None:
    spec = LSTMSpec(3, 4)
    for wrong in GRADIENTS:
        result = gate(OnlyThere(spec, wrong), Workload(2, 9, "training", gradients=wrong))
        assert not result.passed
        assert {"dx", "dh", "dc"} <= result.errors.keys()


@pytest.mark.usefixtures("nothing_judged")
def test_gate_keeps_nan_of_the_timed_step_next_to_all_gradients() -> None:
    class BrokenThere(ChangedModel):
        def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
            raw = super()._train(gradients, call, upstream)
            broken = gradients != "all" and np.abs(call.x).max() > 50
            return replace(raw, y=raw.y * np.nan) if broken else raw

    result = gate(BrokenThere(SPEC), Workload(2, 9, "training", gradients="weights"))
    assert not result.passed
    assert "8 times as large y differs" in result.describe()


@pytest.mark.usefixtures("nothing_judged")
def test_gate_judges_all_gradients_once_for_each_spec_on_few_steps() -> None:
    spec, workload = LSTMSpec(3, 4), Workload(64, 9, "training", gradients="weights")
    first, second = (OnlyThere(spec, "nothing") for _ in range(2))
    assert gate(first, workload).passed
    # Ordinary, saturated, zeros, repeats, separate products, large numbers, and NaN.
    assert first.requested == [*[("weights", 9)] * 7, *[("all", 3)] * 7]
    assert gate(second, replace(workload, timesteps=12, optimizer="sgd")).passed
    assert set(second.requested) == {("weights", 12)}
    other = OnlyThere(LSTMSpec(3, 5), "nothing")
    assert gate(other, workload).passed
    assert other.requested == first.requested


def test_gate_of_windows_without_the_carried_state_fails() -> None:
    class Forgetful(ChangedModel):
        def _infer(self, call: Call) -> Outputs:
            zeros = np.zeros_like(call.states[0])
            return super()._infer(call._replace(states=(zeros, zeros)))

    assert not gate(Forgetful(LSTMSpec(3, 5)), Workload(2, 9, "inference", window=4)).passed


def test_gate_of_windows_carries_the_state_to_a_shorter_last_one() -> None:
    seen: list[Call] = []

    class Watching(ChangedModel):
        def _infer(self, call: Call) -> Outputs:
            seen.append(call)
            return super()._infer(call)

    spec, workload = LSTMSpec(3, 5), Workload(2, 14, "inference", window=4)
    model = Watching(spec)
    assert gate(model, workload).passed
    # And the first one for each of the other networks and for NaN.
    assert [len(call.x) for call in seen] == [4, 4, 2, *[4] * 6]
    inputs = workload.inputs(spec)
    state = inputs.state
    for call, part in zip(seen, select_judged_parts(workload), strict=False):
        np.testing.assert_array_equal(call.x, inputs.x[part])
        np.testing.assert_allclose(call.states[0], state.h, atol=1e-6)
        np.testing.assert_allclose(call.states[1], state.c, atol=1e-6)
        _, state = reference.forward(spec, model.get_weights(), call.x, state)


class Converting(NumPyModel):
    """Keep converted weights, and return them by the inverse conversion."""

    def get_weights(self) -> LSTMWeights:
        return super().get_weights().map(lambda array: array * 0.5)


def test_gate_of_a_wrong_weight_conversion_fails() -> None:
    spec = LSTMSpec(3, 4)
    given = LSTMWeights.random(spec)
    for kept in (given.map(lambda array: array * 2), given):
        model = Converting(get_backend("numpy"), spec, "cpu", False, kept)
        model.given_weights = given
        result = gate(model, Workload(2, 3))
        assert not result.passed
    assert "weights differs" in result.describe()


@pytest.mark.parametrize(
    ("timesteps", "window", "parts"),
    [
        (9, None, [(0, 9)]),
        (8, 4, [(0, 4), (4, 8)]),
        (16, 4, [(0, 4), (4, 8)]),  # the others repeat the same computation
        (6, 4, [(0, 4), (4, 6)]),
        (14, 4, [(0, 4), (4, 8), (12, 14)]),
    ],
)
def test_judged_parts_are_two_windows_and_a_shorter_last_one(
    timesteps: int, window: int | None, parts: list[tuple[int, int]]
) -> None:
    found = select_judged_parts(Workload(2, timesteps, window=window))
    assert [(part.start, part.stop) for part in found] == parts


def test_describe_puts_nan_first_and_then_the_worst() -> None:
    bounds = {"y": 1.0, "dx": 1e-3, "whole y": 0.5, "unit y": 0.5, "saturated c": 0.1}
    errors = {"y": 0.5, "dx": 2e-3, "whole y": math.nan, "unit y": 5.0, "saturated c": 0.05}
    sentences = GateResult(False, "judge", errors, bounds).describe().split("; ")
    assert sentences == [
        "y as a whole is not as large as that of the judge: off by nan, 5.00e-01 allowed",
        "a unit of y is not as large as that of the judge: off by 5.00e+00, 5.00e-01 allowed",
        "dx differs from the judge by 2.00e-03 of its largest value, 1.00e-03 allowed",
    ]
    right = GateResult(True, "judge", {"y": 0.5, "h": 0.1}, {"y": 1.0, "h": 0.1}).describe()
    assert right == "equal to the judge: largest error 1.0e-01 of 1.0e-01 allowed (h)"


def test_keep_of_one_name_keeps_the_largest_share_of_its_bound() -> None:
    """The bounds of a later window differ from those of the first."""
    errors: dict[str, float] = {}
    bounds: dict[str, float] = {}
    kept = []
    for off, allowed in ((0.1, 1.0), (0.2, 4.0), (0.05, 0.1), (math.nan, 1.0), (9.0, 1.0)):
        keep_worst(errors, bounds, {"y": off}, {"y": allowed})
        kept.append((errors["y"], bounds["y"]))
    np.testing.assert_equal(kept, [(0.1, 1.0)] * 2 + [(0.05, 0.1)] + [(math.nan, 1.0)] * 2)


# -- streams

STREAM = Workload(2, 1, "streaming")


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("timesteps", [1, 4])
def test_gate_of_a_rounded_stream_passes(dtype: str, timesteps: int) -> None:
    spec = LSTMSpec(5, 8, num_layers=2, dtype=dtype)
    right = RoundedModel(spec, LSTMWeights.random(spec, seed=3))
    result = passes(right, replace(STREAM, timesteps=timesteps))
    assert {"y", "streamed y", "streamed h", "streamed c"} <= set(result.errors)


class StateNotKept(ChangedModel):
    """Begin each call with a zero state, as a stateless layer does."""

    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(states=(0 * call.states[0], 0 * call.states[1])))


class CellNotKept(ChangedModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(states=(call.states[0], 0 * call.states[1])))


class StateKeptOfTheBeginning(ChangedModel):
    _begun: tuple[object, object] | None = None

    def _stream(self, call: Call) -> Outputs:
        self._begun = self._begun or (call.states[0], call.states[1])
        return self._infer(call._replace(states=(self._begun[0], self._begun[1])))


class StateOfAnotherSequence(ChangedModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(states=(call.states[0][:, ::-1], call.states[1][:, ::-1])))


class StateInFewerDigits(ChangedModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(states=tuple(map(np.float16, call.states))))


class EveryOtherChunk(ChangedModel):
    _last: Outputs | None = None

    def _stream(self, call: Call) -> Outputs:
        if self._last is not None:
            last, self._last = self._last, None
            return last
        self._last = self._infer(call)
        return self._last


WRONG_STREAMS = (
    StateNotKept,
    CellNotKept,
    StateKeptOfTheBeginning,
    StateOfAnotherSequence,
    StateInFewerDigits,
    EveryOtherChunk,
)


@pytest.mark.parametrize("wrong", WRONG_STREAMS)
def test_gate_of_a_stream_that_is_right_for_one_call_only_fails(wrong: type[ChangedModel]) -> None:
    assert gate(wrong(SPEC), replace(STREAM, mode="inference")).passed
    result = gate(wrong(SPEC), STREAM)
    assert not result.passed
    assert "fed chunk by chunk" in result.describe()
