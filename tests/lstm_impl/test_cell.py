"""Test the description of cells, with the LSTM and with a made-up cell of two gates."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend, reference
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.cell import (
    CELLS,
    DEFAULT,
    GRU,
    LSTM,
    Cell,
    CellState,
    LSTMState,
    States,
    StepWeights,
    get_cell,
    list_cells,
)
from lstm_impl.proof import gate, make_numpy_judge
from lstm_impl.weights import LSTMGradients
from tests.lstm_impl.backends.built import mark_names
from tests.lstm_impl.made_up_cell import LEAKY

Float64 = npt.NDArray[np.float64]
CELLS_TO_TEST: list[Cell] = [*CELLS.values(), LEAKY]


def draw_states(
    spec: LSTMSpec, batch: int, rng: np.random.Generator
) -> tuple[CellState, CellState]:
    """Draw an initial state and the gradients of the last one."""
    shape = (spec.state_layers, batch, spec.hidden_size)
    first, last = (
        spec.cell.state_type(*(rng.standard_normal(shape) for _ in spec.cell.states))
        for _ in range(2)
    )
    return first, last


def numerical_gradient(
    objective: Callable[[], float], array: Float64, step: float = 1e-6
) -> Float64:
    """Return the central differences of an objective in each element of an array."""
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        values = []
        for moved in (kept + step, kept - step):
            array[place] = moved
            values.append(objective())
        array[place] = kept
        found[place] = (values[0] - values[1]) / (2 * step)
    return found


@pytest.mark.parametrize("cell", CELLS_TO_TEST, ids=lambda cell: cell.name)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_gradients_of_any_cell_equal_finite_differences(
    cell: Cell, bidirectional: bool, lengths: list[int] | None
) -> None:
    spec = LSTMSpec(2, 3, 2, bidirectional, "float64", cell)
    rng = np.random.default_rng(7)
    weights = LSTMWeights.random(spec, 5)
    x = rng.standard_normal((3, 2, spec.input_size))
    dy = rng.standard_normal((3, 2, spec.output_size))
    first, flow = draw_states(spec, 2, rng)

    def objective() -> float:
        y, last = reference.forward(spec, weights, x, first, lengths)
        pairs = zip(last, flow, strict=True)
        return float(np.sum(y * dy) + sum(np.sum(state * each) for state, each in pairs))

    found: LSTMGradients = reference.forward_and_gradients(
        spec, weights, x, dy, first, flow, lengths
    )[2]
    ours: list[Any] = [found.x, *found.weights.arrays(), *found.state]
    arrays: list[Any] = [x, *weights.arrays(), *first]
    for gradient, array in zip(ours, arrays, strict=True):
        expected = numerical_gradient(objective, array)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans())
@settings(max_examples=30)
@pytest.mark.parametrize("cell", CELLS_TO_TEST, ids=lambda cell: cell.name)
def test_parameter_count_is_the_size_of_random_weights(
    cell: Cell, inputs: int, hidden: int, layers: int, bidirectional: bool
) -> None:
    spec = LSTMSpec(inputs, hidden, layers, bidirectional, cell=cell)
    weights = LSTMWeights.random(spec)
    weights.check(spec)
    assert spec.parameter_count == sum(array.size for array in weights.arrays())
    assert all(array.shape[-1] == len(cell.gates) * hidden for array in weights.arrays())


def test_lstm_has_its_gates_states_and_forget_bias() -> None:
    assert (DEFAULT.gates, DEFAULT.states) == (("i", "f", "g", "o"), ("h", "c"))
    assert DEFAULT.gate_columns("f", 5) == slice(5, 10)
    spec = LSTMSpec(1000, 50)
    bias = LSTMWeights.random(spec).cells()[0].bias
    means = {gate: float(bias[DEFAULT.gate_columns(gate, 50)].mean()) for gate in DEFAULT.gates}
    assert means["f"] == pytest.approx(1.0, abs=0.1)
    assert all(abs(means[gate]) < 0.1 for gate in "igo")


def test_cells_with_equal_options_are_equal_and_make_equal_specs() -> None:
    assert LSTM() == DEFAULT
    assert LSTMSpec(2, 3) == LSTMSpec(2, 3, cell=LSTM())
    assert hash(LSTMSpec(2, 3)) == hash(LSTMSpec(2, 3, cell=LSTM()))
    assert LSTMSpec(2, 3) != LSTMSpec(2, 3, cell=LEAKY)


def test_state_iterates_over_the_states_in_their_order() -> None:
    state = LSTMState(h=np.zeros(1), c=np.ones(1))
    assert [array.item() for array in state] == [0.0, 1.0]
    assert [field.name for field in dataclasses.fields(state)] == list(DEFAULT.states)
    assert LEAKY.states == ("h",)


def test_unknown_cell_raises_with_the_known_names() -> None:
    assert get_cell("lstm") is DEFAULT
    assert set(list_cells()) >= set(CELLS)
    with pytest.raises(ValueError, match=r"'lstn' is no cell; expected one of .*lstm"):
        get_cell("lstn")
    with pytest.raises(ValueError, match=r"LSTMSpec\.cell is 'lstm'; expected a Cell"):
        LSTMSpec(2, 3, cell="lstm")  # type: ignore[arg-type]


def test_weights_of_another_cell_raise_with_both_shapes() -> None:
    lstm, leaky = LSTMSpec(2, 3), LSTMSpec(2, 3, cell=LEAKY)
    with pytest.raises(ValueError, match=r"kernel has shape \(2, 12\); expected \(2, 6\)"):
        LSTMWeights.random(lstm).check(leaky)


def test_backend_of_certain_cells_refuses_another_one_and_names_all() -> None:
    spec = LSTMSpec(2, 3, cell=LEAKY)
    weights = LSTMWeights.random(spec)
    backend, cells = get_backend("numpy_fused"), "cells lstm, gru and gru_reset_before"
    assert backend.refusal(spec) == f"it computes the {cells} only, not leaky"
    with pytest.raises(UnsupportedError, match=rf"numpy_fused: it computes the {cells} only"):
        backend.build(spec, weights)


def test_recurrent_kernel_that_reads_another_input_gets_its_gradient() -> None:
    """The candidate of a GRU multiplies something other than h in one of its forms."""
    cell = dataclasses.replace(DEFAULT)
    spec = LSTMSpec(2, 3, cell=cell)
    weights = LSTMWeights.random(spec, 1)
    rng = np.random.default_rng(0)
    given_ = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 3))
    plain = reference.forward_and_gradients(spec, weights, *given_)[2]

    @dataclasses.dataclass(frozen=True)
    class Told(LSTM):
        """Define an LSTM that names each gate with which it multiplies h."""

        def step_gradients(
            self, weights: Any, kept: Any, before: Any, after: Any, gradients: Any
        ) -> Any:
            found = super().step_gradients(weights, kept, before, after, gradients)
            return found._replace(recurrent_inputs=np.stack([before[0]] * len(self.gates)))

    told = reference.forward_and_gradients(dataclasses.replace(spec, cell=Told()), weights, *given_)
    for ours, theirs in zip(told[2].weights.arrays(), plain.weights.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


LOOPS = ("while_loop", "static_unroll", "scan", "jax_scan")
TRACED_FOR_SECONDS = ("while_loop+xla", "partial_unroll@2")


@pytest.mark.parametrize(
    "name",
    [
        "numpy",
        *mark_names(LOOPS),
        *(pytest.param(name, marks=pytest.mark.slow) for name in TRACED_FOR_SECONDS),
    ],
)
@pytest.mark.parametrize(
    "cell",
    [
        # The contract's tests have the GRUs of every backend.
        pytest.param(cell, id=cell.name, marks=[pytest.mark.slow] if isinstance(cell, GRU) else [])
        for cell in CELLS_TO_TEST[1:]
    ],
)
def test_another_cell_runs_in_loops_and_equals_the_reference(name: str, cell: Cell) -> None:
    backend = get_backend(name)
    if not (available := backend.availability("cpu")):
        pytest.skip(str(available))
    spec = LSTMSpec(3, 4, 2, bidirectional=True, cell=cell)
    workload = Workload(2, 5, "training", min_length=2)
    weights, inputs = LSTMWeights.random(spec), workload.inputs(spec)
    given_ = (inputs.x, inputs.dy, inputs.state, None, inputs.lengths)
    ours = backend.build(spec, weights).forward_and_gradients(*given_)
    theirs = reference.forward_and_gradients(spec, weights, *given_)
    for found, expected in zip(flatten_outputs(*ours), flatten_outputs(*theirs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def flatten_outputs(y: Any, state: Any, gradients: LSTMGradients) -> list[Any]:
    """Return the outputs, final states and all gradients."""
    return [y, *state, gradients.x, *gradients.state, *gradients.weights.arrays()]


def test_hand_written_gradient_refuses_another_cell() -> None:
    backend = get_backend("while_loop+hoisted")
    spec = LSTMSpec(3, 4, cell=LEAKY)
    assert "hand-written gradients are those of lstm and gru, not of leaky" in backend.refusal(spec)


def test_state_of_another_cell_raises_with_both_types() -> None:
    spec = LSTMSpec(3, 4, cell=LEAKY)
    model = get_backend("numpy").build(spec, LSTMWeights.random(spec))
    state = LSTMState.zeros(LSTMSpec(3, 4), 2)
    with pytest.raises(
        ValueError, match=r"state is a LSTMState; expected a CellState for the cell leaky"
    ):
        model.forward(np.zeros((5, 2, 3)), state)


# -- the gate


WORKLOADS = {
    "inference": Workload(3, 4),
    "training": Workload(3, 4, "training", min_length=2),
    "windows": Workload(3, 4, "training", window=2, optimizer="sgd", gradients="weights"),
    "adam": Workload(3, 4, "training", optimizer="adam"),
    "streaming": Workload(3, 2, "streaming"),
}


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS.keys())
@pytest.mark.parametrize("cell", CELLS_TO_TEST[1:], ids=lambda cell: cell.name)
def test_gate_passes_another_cell_computed_right(cell: Cell, workload: Workload) -> None:
    spec = LSTMSpec(3, 4, cell=cell)
    result = gate(RoundedReference(spec, LSTMWeights.random(spec)), workload)
    assert result.passed, result.describe()


@dataclasses.dataclass(frozen=True)
class BackwardsUpdate(GRU):
    """Define a GRU that uses its update gate the other way round."""

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        (new,), kept = super().step(weights, x, states)
        _, _, n, _ = np.split(kept, 4, axis=-1)
        return (states[0] + n - new,), kept


@dataclasses.dataclass(frozen=True)
class ExchangedGates(GRU):
    """Define a GRU with its reset and update gates exchanged."""

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        def exchange(array: Any) -> Any:
            r, z, n = np.split(array, 3, axis=-1)
            return np.concatenate([z, r, n], axis=-1)

        return super().step(StepWeights(*map(exchange, weights)), x, states)


@dataclasses.dataclass(frozen=True)
class DroppedSecondBias(GRU):
    """Define a GRU that forgets the bias of its recurrence."""

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        none = np.zeros_like(weights.bias)
        return super().step(weights._replace(recurrent_bias=none), x, states)


@dataclasses.dataclass(frozen=True)
class OtherForm(GRU):
    """Define a GRU whose reset gate acts before the product of the recurrent kernel."""

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        bias = weights.bias + np.asarray(weights.recurrent_bias)
        one = StepWeights(weights.kernel, weights.recurrent_kernel, bias)
        return GRU(reset_after=False).step(one, x, states)


@pytest.mark.parametrize(
    "wrong", [BackwardsUpdate(), ExchangedGates(), DroppedSecondBias(), OtherForm()], ids=repr
)
@pytest.mark.parametrize("mode", ["inference", "training", "streaming"])
def test_gate_stops_a_wrong_gru(wrong: GRU, mode: str) -> None:
    spec = LSTMSpec(5, 7, cell=GRU())
    model = RoundedReference(spec, LSTMWeights.random(spec))
    model.spec = dataclasses.replace(spec, cell=wrong)
    result = gate(model, WORKLOADS[mode], judge=make_numpy_judge(spec))
    assert not result.passed


class RoundedReference(NumPyModel):
    """Compute the reference with results in float32."""

    def __init__(self, spec: LSTMSpec, weights: LSTMWeights) -> None:
        super().__init__(get_backend("numpy"), spec, "cpu", False, weights.map(spec.quantize))

    def _to_host(self, tensor: Any) -> Any:
        return np.float32(tensor)
