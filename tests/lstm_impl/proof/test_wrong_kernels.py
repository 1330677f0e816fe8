"""Test that the gate stops kernels with the mistakes that random networks do not show.

Each is the rounded model with one mistake, at a small and a larger size. The same model without it
passes.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients
from lstm_impl.optimizer import NumPyOptimizer, adam_corrections
from lstm_impl.proof import GateResult, check, gate
from lstm_impl.proof.comparison import round_to_int8
from lstm_impl.proof.networks import (
    PAIR,
    SMALLEST_PAIRED,
    find_nan_outputs,
    insert_not_finite,
    make_network_of_large_numbers,
    make_network_of_separate_products,
)
from lstm_impl.proof.rounding import estimate_deviations
from lstm_impl.reference import forward, forward_and_gradients
from lstm_impl.spec import PRECISIONS, round_to_bfloat16
from lstm_impl.weights import LayerWeights, LSTMState
from lstm_impl.workload import OPTIMIZERS
from tests.lstm_impl.backends.built import passes
from tests.lstm_impl.rounded_model import RoundedModel

SMALL, LARGER = LSTMSpec(5, 64), LSTMSpec(20, 100)
INFERENCE, TRAINING = Workload(4, 6), Workload(4, 6, "training")


@pytest.fixture(autouse=True)
def nothing_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget earlier updates, since all models here have the name of one backend."""
    monkeypatch.setattr(check, "_long_runs_judged", set())


class ChangedCell(RoundedModel):
    """Compute with changed weights, but report the right ones."""

    change: Callable[[LayerWeights], LayerWeights]

    def _run(self, cell: LayerWeights, *rest: Any) -> Any:
        return super()._run(type(self).change(cell), *rest)


def drop_rows(name: str, first: int) -> type[ChangedCell]:
    """Return a model whose products leave out the rows from ``first`` on; -1 is the last row."""

    def change(cell: LayerWeights) -> LayerWeights:
        array = getattr(cell, name).copy()
        array[first:] = 0
        return replace(cell, **{name: array})

    return type("WithoutRows", (ChangedCell,), {"change": staticmethod(change)})


def drop_column(gate_number: int, unit: int) -> type[ChangedCell]:
    def change(cell: LayerWeights) -> LayerWeights:
        kernel, size = cell.recurrent_kernel.copy(), len(cell.recurrent_kernel)
        kernel[:, gate_number * size + unit] = 0
        return replace(cell, recurrent_kernel=kernel)

    return type("WithoutColumn", (ChangedCell,), {"change": staticmethod(change)})


def clip_recurrent(cell: LayerWeights) -> LayerWeights:
    return replace(cell, recurrent_kernel=np.clip(cell.recurrent_kernel, -1, 1))


class RecurrentClippedAt1(ChangedCell):
    change = staticmethod(clip_recurrent)


class SumsInBfloat16(RoundedModel):
    """Round sums to bfloat16 after every eight products."""

    def _multiply(self, left: Any, right: Any) -> Any:
        total = np.zeros((len(left), right.shape[1]), np.float32)
        for start in range(0, len(right), 8):
            part = slice(start, start + 8)
            total = round_to_bfloat16(total + left[:, part] @ right[part])
        return total


class CellInBfloat16(RoundedModel):
    def _round_cell(self, cell: Any) -> Any:
        return round_to_bfloat16(cell)


class TanhClampedAt4(RoundedModel):
    def _tanh(self, z: Any) -> Any:
        return np.tanh(np.clip(z, -4, 4))


class NoGradientOfOpenGates(RoundedModel):
    def _slope(self, gate: Any) -> Any:
        return np.where(gate > 0.99, 0, super()._slope(gate))


class GradientsClippedAt100(RoundedModel):
    def _flow_back(self, dh: Any) -> Any:
        return np.clip(dh, -100, 100)

    def _back(self, trace: Any, dy: Any, dh: Any, dc: Any) -> Any:
        return super()._back(trace, np.clip(dy, -100, 100), dh, dc)


def inputs_changed(change: Callable[[Any], Any]) -> type[RoundedModel]:
    class Changed(RoundedModel):
        def _layers(self, call: Call) -> Any:
            return super()._layers(call._replace(x=change(call.x)))

    return Changed


def one_gate_smaller(name: str) -> type[RoundedModel]:
    """Return a model in which one unit's gradient of one gate is 15% too small."""

    class Smaller(RoundedModel):
        def _train(self, *arguments: Any) -> RawGradients:
            raw = super()._train(*arguments)
            ((cell,),) = raw.weights.layers
            array = getattr(cell, name).copy()
            array[..., array.shape[-1] // 3] *= np.float32(0.85)
            return replace(raw, weights=LSTMWeights(((replace(cell, **{name: array}),),)))

    return Smaller


class SpreadsNaN(RoundedModel):
    """Make all outputs NaN if one sequence has NaN, as a sum over the batch does."""

    def _infer(self, call: Call) -> Outputs:
        y, (h, c) = super()._infer(call)
        return Outputs(y + 0 * np.sum(call.x), (h, c))


BFLOAT16S, HALVES = ("bfloat16", "mixed_bfloat16"), ("bfloat16", "float16")
FINE = ("float32",)

WRONG: dict[str, tuple[type[RoundedModel], tuple[str, ...], Workload, str]] = {
    # model, types, workload, kind of error by which it is found
    "last_recurrent_row": (
        drop_rows("recurrent_kernel", -1), (*BFLOAT16S, "float16"), INFERENCE, "separate"
    ),
    "last_4_recurrent_rows": (
        drop_rows("recurrent_kernel", -4), HALVES, INFERENCE, "separate"
    ),
    "last_32_recurrent_rows": (
        drop_rows("recurrent_kernel", -32), HALVES, INFERENCE, "separate"
    ),
    "last_row_in_training": (
        drop_rows("recurrent_kernel", -1), HALVES, TRAINING, "separate"
    ),
    "last_input_row": (drop_rows("kernel", -1), HALVES, INFERENCE, "separate"),
    "first_column": (drop_column(0, 0), HALVES, INFERENCE, "separate"),
    "last_column_of_f": (drop_column(1, -1), HALVES, INFERENCE, "separate"),
    "last_column_of_o": (drop_column(3, -1), HALVES, INFERENCE, "separate"),
    "sums_in_bfloat16": (SumsInBfloat16, BFLOAT16S, INFERENCE, "separate"),
    "cell_in_bfloat16": (CellInBfloat16, ("float16", "mixed_float16"), INFERENCE, "sizes"),
    "one_gate_of_a_kernel_smaller": (
        one_gate_smaller("kernel"), BFLOAT16S, TRAINING, "separate"
    ),
    "one_gate_of_a_recurrent_kernel_smaller": (
        one_gate_smaller("recurrent_kernel"), BFLOAT16S, TRAINING, "separate"
    ),
    "tanh_clamped_at_4": (TanhClampedAt4, FINE, INFERENCE, "large"),
    "no_gradient_of_open_gates": (NoGradientOfOpenGates, FINE, TRAINING, "large"),
    "gradients_clipped_at_100": (
        GradientsClippedAt100, ("float32", "float16", "bfloat16"), TRAINING, "large"
    ),
    "inputs_clipped_at_100": (
        inputs_changed(lambda x: np.clip(x, -100, 100)),
        ("float32", "float16", "bfloat16"),
        INFERENCE,
        "large",
    ),
    "small_inputs_are_zero": (
        inputs_changed(lambda x: np.where(np.abs(x) < 1e-5, 0, x)), FINE, INFERENCE, "large"
    ),
    "recurrent_weights_clipped_at_1": (
        RecurrentClippedAt1, ("float32", "float16", "bfloat16"), INFERENCE, "large"
    ),
    "nan_is_zero": (
        inputs_changed(lambda x: np.where(np.isnan(x), 0, x)), HALVES, INFERENCE, "nan"
    ),
    "nan_is_zero_in_training": (
        inputs_changed(lambda x: np.where(np.isnan(x), 0, x)), FINE, TRAINING, "nan"
    ),
    "infinity_is_1": (
        inputs_changed(lambda x: np.where(np.isinf(x), 1, x)), FINE, INFERENCE, "infinity"
    ),
    "nan_in_all_sequences": (SpreadsNaN, FINE, INFERENCE, "spread"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "dtype", "spec"),
    [
        pytest.param(name, dtype, spec, id=f"{name}-{dtype}-{spec.hidden_size}")
        for name, (_, dtypes, _, _) in WRONG.items()
        for dtype in dtypes
        for spec in (SMALL, LARGER)
    ],
)
def test_gate_of_a_wrong_kernel_fails(name: str, dtype: str, spec: LSTMSpec) -> None:
    model, _, workload, kind = WRONG[name]
    spec = replace(spec, dtype=dtype)
    result = gate(model(spec, LSTMWeights.random(spec, seed=3)), workload, seed=4)
    assert not result.passed
    wrong = {n.split()[0] for n, off in result.errors.items() if not off <= result.bounds[n]}
    assert kind in wrong, result.describe()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "tf32", "bf32", "bf16x3", "float16", "bfloat16"])
@pytest.mark.parametrize("spec", [SMALL, LARGER])
def test_gate_of_a_right_kernel_of_these_sizes_passes(spec: LSTMSpec, dtype: str) -> None:
    spec = replace(spec, dtype=dtype)
    for workload in (INFERENCE, TRAINING):
        passes(RoundedModel(spec, LSTMWeights.random(spec, seed=3)), workload, seed=4)


# -- the networks


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("make", [make_network_of_separate_products, make_network_of_large_numbers])
def test_sparse_network_is_exact_with_one_weight_a_row_and_column(make: Any, dtype: str) -> None:
    spec = LSTMSpec(7, 12, num_layers=2, bidirectional=True, dtype=dtype)
    inputs = Workload(5, 4, "training", min_length=2).inputs(spec, 1)
    network = make(spec, inputs, 1)
    few = network.inputs
    for array in (few.x, few.dy, few.state.h, few.state.c, *network.weights.arrays()):
        np.testing.assert_array_equal(array, round_to_bfloat16(array))
        np.testing.assert_array_equal(array, spec.quantize(array))
    for cell in network.weights.cells():
        gates = np.split(cell.recurrent_kernel != 0, 4, axis=-1)
        for gate_ in gates:
            np.testing.assert_array_equal(gate_.sum(axis=0), 1)
            np.testing.assert_array_equal(gate_.sum(axis=1), 1)
        assert np.all((cell.kernel != 0).any(axis=1))
    whole, dstate = network.batch(spec)
    assert whole.x.shape == inputs.x.shape
    assert whole.lengths is not None
    assert set(whole.lengths.tolist()) <= set(inputs.lengths.tolist())  # type: ignore[union-attr]
    alone = np.any(dstate.h != 0, axis=(0, 2))
    assert sorted(np.flatnonzero(alone).tolist()) == sorted(network.flowing.tolist())


def test_separate_products_of_large_sums_have_a_pair_that_cancels() -> None:
    spec = LSTMSpec(SMALLEST_PAIRED, SMALLEST_PAIRED, dtype="bfloat16")
    network = make_network_of_separate_products(spec, Workload(3, 2).inputs(spec), 1)
    (cell,) = network.weights.cells()
    for kernel in (cell.kernel, cell.recurrent_kernel):
        first, second = (int(np.flatnonzero(kernel[:, 0] == sign * PAIR)[0]) for sign in (1, -1))
        assert second - first >= 8
    x, h = network.inputs.x, network.inputs.state.h[0]
    rows = [int(np.flatnonzero(cell.kernel[:, 0] == sign * PAIR)[0]) for sign in (1, -1)]
    np.testing.assert_array_equal(x[..., rows[0]], x[..., rows[1]])
    rows = [int(np.flatnonzero(cell.recurrent_kernel[:, 0] == s * PAIR)[0]) for s in (1, -1)]
    np.testing.assert_array_equal(h[:, rows], 1.0)


@pytest.mark.parametrize("make", [make_network_of_separate_products, make_network_of_large_numbers])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_deviations_are_those_of_a_rounded_computation(dtype: str, make: Any) -> None:
    """The errors of a computation that rounds have the size that is propagated."""
    spec = LSTMSpec(6, 24, num_layers=2, bidirectional=True, dtype=dtype)
    inputs = Workload(8, 5, "training").inputs(spec, 1)
    network = make(spec, inputs, 5)
    model = RoundedModel(spec, network.weights)
    few, dstate = network.inputs, network.dstate
    y, final, _ = forward_and_gradients(spec, network.weights, few.x, few.dy, few.state, dstate)
    ours, state = model.forward(few.x, few.state)
    rounding = estimate_deviations(spec, network.weights, few, dstate)
    pairs = {"y": (ours, y), "h": (state.h, final.h), "c": (state.c, final.c)}
    for name, (a, b) in pairs.items():
        size = np.sqrt(np.mean((a - b) ** 2) / np.mean(rounding[name] ** 2))
        assert 0.2 < size < 2.0, (name, size)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("lengths", [None, 3])
@pytest.mark.parametrize(
    ("layers", "bidirectional"), [(1, False), (1, True), (2, False), (2, True)]
)
def test_nan_reaches_what_it_reaches_in_the_reference(
    layers: int, bidirectional: bool, lengths: int | None
) -> None:
    spec = LSTMSpec(3, 4, layers, bidirectional)
    inputs, rows, step = insert_not_finite(Workload(4, 7, min_length=lengths).inputs(spec))
    assert set(map(str, rows)) == {"nan", "inf"}
    y, final = forward(spec, LSTMWeights.random(spec), inputs.x, inputs.state, inputs.lengths)
    row = next(row for value, row in rows.items() if np.isnan(value))
    length = 7 if inputs.lengths is None else int(inputs.lengths[row])
    y = y[:length, row]
    np.testing.assert_array_equal(find_nan_outputs(spec, y, step), np.isnan(y))
    assert np.all(np.isnan(final.h[:, row]))
    assert np.all(np.isnan(final.c[:, row]))


# -- updates


class FrozenAfterTheThird(NumPyModel):
    updates = 0

    def _start_optimizer(self, name: str) -> None:
        super()._start_optimizer(name)
        self.updates = 0

    def _train_and_update(self, *arguments: Any) -> RawGradients:
        before = self._weights
        raw = super()._train_and_update(*arguments)
        self.updates += 1
        if self.updates > 3:
            self._weights = before
        return raw


class GradientsFrozenAfterTheThird(FrozenAfterTheThird):
    """Update the weights, but compute with those after the third update."""

    kept: LSTMWeights | None = None

    def _start_optimizer(self, name: str) -> None:
        super()._start_optimizer(name)
        self.kept = None

    def _train_and_update(self, *arguments: Any) -> RawGradients:
        if self.updates >= 3:
            self.kept = self.kept or self._weights
        self.updates += 1
        return NumPyModel._train_and_update(self, *arguments)

    def _train(self, *arguments: Any) -> RawGradients:
        now = self._weights
        self._weights = self.kept or now
        try:
            return super()._train(*arguments)
        finally:
            self._weights = now


class CorrectionFrozen(NumPyOptimizer):
    """Correct the bias of Adam's moments as in the tenth update from then on."""

    def changes(self, gradients: Any) -> Any:
        found = super().changes(gradients)
        if self.name == "sgd" or self._step <= 10:
            return found
        right, wrong = adam_corrections(self._step), adam_corrections(10)
        factor = right[0] / wrong[0] * np.sqrt(wrong[1] / right[1])
        return [each * factor for each in found]


class AdamCorrectedToTen(NumPyModel):
    def _start_optimizer(self, name: str) -> None:
        self._optimizers[name] = CorrectionFrozen(name)


@pytest.mark.parametrize("spec", [LSTMSpec(3, 4), LSTMSpec(5, 40)])
@pytest.mark.parametrize(
    ("wrong", "optimizer"),
    [
        *((FrozenAfterTheThird, name) for name in OPTIMIZERS),
        *((GradientsFrozenAfterTheThird, name) for name in OPTIMIZERS),
        (AdamCorrectedToTen, "adam"),
    ],
)
def test_gate_of_updates_that_go_wrong_late_fails(
    wrong: type[NumPyModel], optimizer: str, spec: LSTMSpec
) -> None:
    model = wrong(get_backend("numpy"), spec, "cpu", False, LSTMWeights.random(spec, seed=3))
    result = gate(model, replace(TRAINING, optimizer=optimizer))
    assert not result.passed
    expected = "updated" if wrong is GradientsFrozenAfterTheThird else "update"
    wrong_names = {n.split()[0] for n, off in result.errors.items() if not off <= result.bounds[n]}
    assert expected in wrong_names


def test_gate_judges_a_long_run_of_updates_once_for_each_spec() -> None:
    calls = []

    class Counting(NumPyModel):
        def _train_and_update(self, *arguments: Any) -> RawGradients:
            calls.append(arguments[0])
            return super()._train_and_update(*arguments)

    def judged(spec: LSTMSpec, optimizer: str) -> int:
        calls.clear()
        model = Counting(get_backend("numpy"), spec, "cpu", False, LSTMWeights.random(spec))
        passes(model, replace(TRAINING, optimizer=optimizer))
        return len(calls)

    spec = LSTMSpec(3, 4)
    first, second = judged(spec, "adam"), judged(spec, "adam")
    assert first - second == check.LONG_RUN - check.UPDATES
    assert judged(spec, "sgd") == first
    assert judged(LSTMSpec(3, 5), "adam") == first


# -- approximations


class Int8Model(NumPyModel):
    """Round weights and inputs to int8, which is a right approximation."""

    levels = 1.0
    cell = np.inf

    def _approximate(self, call: Call) -> tuple[LSTMWeights, Any]:
        def coarser(array: Any) -> Any:
            step = np.max(np.abs(array)) / 127 * self.levels
            return array if array.ndim == 1 else np.round(array / step) * step

        weights = self._weights.map(coarser)
        inputs = replace(
            Workload(1, 1).inputs(self.spec),
            x=call.x,
            state=LSTMState(*call.states),
        )
        return weights, round_to_int8(weights, inputs)[1]

    def _infer(self, call: Call) -> Outputs:
        kept = self._weights
        self._weights, inputs = self._approximate(call)
        try:
            h, c, outputs = call.states[0], np.clip(call.states[1], -self.cell, self.cell), []
            for t in range(len(inputs.x)):
                y, (h, c) = super()._infer(call._replace(x=inputs.x[t : t + 1], states=(h, c)))
                c = np.clip(c, -self.cell, self.cell)
                outputs.append(y)
            return Outputs(np.concatenate(outputs), (h, c))
        finally:
            self._weights = kept


class Int4Weights(Int8Model):
    levels = 127 / 7


class CellClippedAt1(Int8Model):
    cell = 1.0


class HiddenStateIgnored(Int8Model):
    def _infer(self, call: Call) -> Outputs:
        return super()._infer(call._replace(states=(0 * call.states[0], call.states[1])))


class StateIgnored(Int8Model):
    def _infer(self, call: Call) -> Outputs:
        return super()._infer(call._replace(states=(0 * call.states[0], 0 * call.states[1])))


def judge_approximation(model: type[Int8Model], spec: LSTMSpec, workload: Workload) -> GateResult:
    class Approximate(NumPyLoop):
        approximate = True

        def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
            return model(self, spec, "cpu", False, weights)

    return gate(Approximate().build(spec, LSTMWeights.random(spec, seed=3)), workload, seed=1)


APPROXIMATED = [
    (LSTMSpec(16, 32), Workload(8, 12)),
    (LSTMSpec(3, 5), Workload(4, 2)),
    (LSTMSpec(20, 100), Workload(2, 150)),
]


@pytest.mark.parametrize(("spec", "workload"), APPROXIMATED)
@pytest.mark.parametrize("wrong", [Int4Weights, CellClippedAt1, HiddenStateIgnored, StateIgnored])
def test_gate_of_a_coarser_or_forgetful_approximation_fails(
    wrong: type[Int8Model], spec: LSTMSpec, workload: Workload
) -> None:
    result = judge_approximation(wrong, spec, workload)
    assert not result.passed
    assert "rounding to int8 explains" in result.describe()


@pytest.mark.parametrize(("spec", "workload"), APPROXIMATED)
def test_gate_of_an_approximation_by_int8_passes(spec: LSTMSpec, workload: Workload) -> None:
    result = judge_approximation(Int8Model, spec, workload)
    assert result.passed, result.describe()


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        *itertools.product(["inference"], ["float32", "float16", "bfloat16"]),
        ("training", "float32"),
        pytest.param("training", "float16", marks=pytest.mark.slow),
        pytest.param("training", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_right_model_of_many_layers_that_amplify_rounding_passes(dtype: str, mode: str) -> None:
    """To the first order, rounding explains less than these layers with large weights make of it.

    In float16 gradients overflow, which is right.
    """
    spec = LSTMSpec(5, 16, 8, dtype=dtype)
    model = RoundedModel(spec, LSTMWeights.random(spec))
    result = gate(model, Workload(2, 40, mode))
    assert result.passed, result.describe()
