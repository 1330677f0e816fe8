"""Test sequences that start over in the middle of a call: the reference and the arguments."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lstm_impl import (
    LSTMGradients,
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    UnsupportedError,
    Workload,
    get_backend,
    list_backends,
    reference,
)
from lstm_impl.cell import CELLS
from lstm_impl.workload import RESET_TO, Inputs, InputSets
from tests.lstm_impl.backends.built import built, choose_marks, mark_names, passes, ready

RESETS = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
"""Resets ``[T, B]`` at the first and at the last step, at neighbours, and in one sequence."""

TIMESTEPS, BATCH = RESETS.shape


def specs() -> list[LSTMSpec]:
    """Return a network of each cell with two layers and two directions."""
    return [LSTMSpec(3, 4, 2, True, "float64", cell) for cell in CELLS.values()]


def draw(spec: LSTMSpec, lengths: Any = None, resets: Any = RESETS) -> tuple[LSTMWeights, Inputs]:
    inputs = Workload(BATCH, TIMESTEPS, "training").inputs(spec)
    return LSTMWeights.random(spec), replace(inputs, lengths=lengths, resets=resets)


def run(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None = None
) -> tuple[npt.NDArray[np.float64], LSTMState, LSTMGradients]:
    flow = dstate or inputs.state.map(np.cos)
    given = spec, weights, inputs.x, inputs.dy, inputs.state, flow, inputs.lengths, inputs.masks
    return reference.forward_and_gradients(*given, inputs.resets, inputs.reset_to)


def clear(rows: npt.NDArray[np.bool_]) -> Callable[[Any], Any]:
    """Return a function that sets the given rows of a state to zero."""
    return lambda state: np.where(rows[:, None, None], 0, state)


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: str(spec.cell.name))
def test_parts_between_resets_are_as_sequences_of_their_own(spec: LSTMSpec) -> None:
    """The parts are independent of each other in both directions, and in gradients."""
    weights, inputs = draw(spec)
    y, last, gradients = run(spec, weights, inputs)
    total = weights.map(np.zeros_like)
    for row in range(BATCH):
        starts = sorted({0, TIMESTEPS, *map(int, np.flatnonzero(RESETS[:, row]))})
        for start, stop in itertools.pairwise(starts):
            part = inputs.sequences([row]).window(slice(start, stop)).without_resets()
            flow = part.state.map(np.cos)
            # A direction begins with the given state, and ends in the returned one, at one end of
            # the call each. The other ends are zeros, and have no gradient.
            backward = np.arange(spec.state_layers) % 2 == 1
            starts_over = np.where(backward, stop < TIMESTEPS, start > 0 or RESETS[0, row])
            is_inside = np.where(backward, start > 0, stop < TIMESTEPS)
            state = part.state.map(clear(starts_over))
            flow = flow.map(clear(is_inside))
            own_y, own_last, own = run(spec, weights, replace(part, state=state), flow)
            np.testing.assert_allclose(y[start:stop, row], own_y[:, 0], atol=1e-14)
            np.testing.assert_allclose(gradients.x[start:stop, row], own.x[:, 0], atol=1e-13)
            for found, right in zip(last, own_last, strict=True):
                kept = ~is_inside
                np.testing.assert_allclose(found[kept, row], right[kept, 0], atol=1e-14)
            for found, right in zip(gradients.state, own.state, strict=True):
                kept = ~starts_over
                np.testing.assert_allclose(found[kept, row], right[kept, 0], atol=1e-13)
            arrays = zip(total.arrays(), own.weights.arrays(), strict=True)
            total = LSTMWeights.from_arrays(spec, [a + b for a, b in arrays])
        if RESETS[0, row]:
            for found in gradients.state:
                assert not np.any(found[::2, row])
    for found, right in zip(gradients.weights.arrays(), total.arrays(), strict=True):
        np.testing.assert_allclose(found, right, atol=1e-12)


@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("spec", specs(), ids=lambda spec: str(spec.cell.name))
def test_gradients_with_resets_equal_finite_differences(spec: LSTMSpec, reset_to: str) -> None:
    weights, inputs = draw(spec, lengths=np.array([5, 3, 4]))
    inputs = replace(inputs, reset_to=reset_to)
    flow = inputs.state.map(np.cos)
    gradients = run(spec, weights, inputs, flow)[2]
    computed = [gradients.x, *gradients.state, *gradients.weights.arrays()]

    def objective(x: Any, *others: Any) -> float:
        """Compute the number whose gradients ``run`` returns."""
        count = len(spec.cell.states)
        moved = replace(inputs, x=x, state=type(inputs.state)(*others[:count]))
        y, last, _ = run(spec, LSTMWeights.from_arrays(spec, others[count:]), moved, flow)
        return float(np.vdot(y, inputs.dy) + sum(map(np.vdot, last, flow)))

    arrays, rng, step = [inputs.x, *inputs.state, *weights.arrays()], np.random.default_rng(0), 1e-6
    for _ in range(4):
        ways = [rng.standard_normal(each.shape) for each in arrays]
        ends = (
            objective(*(each + by * way for each, way in zip(arrays, ways, strict=True)))
            for by in (step, -step)
        )
        measured = (next(ends) - next(ends)) / (2 * step)
        assert sum(map(np.vdot, computed, ways)) == pytest.approx(measured, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: str(spec.cell.name))
def test_reset_on_padding_changes_nothing(spec: LSTMSpec) -> None:
    lengths = np.array([5, 3, 2])
    weights, inputs = draw(spec, lengths)
    valid = np.arange(TIMESTEPS)[:, None] < lengths
    given = run(spec, weights, inputs)
    cleared = run(spec, weights, replace(inputs, resets=RESETS & valid))
    assert np.array_equal(given[0], cleared[0])
    assert all(map(np.array_equal, given[1], cleared[1]))
    assert np.array_equal(given[2].x, cleared[2].x)


def test_initial_state_is_taken_up_again_where_it_is_wanted() -> None:
    spec = LSTMSpec(3, 4, dtype="float64")
    weights, inputs = draw(spec, resets=np.ones((TIMESTEPS, BATCH), bool))
    y, _, gradients = run(spec, weights, replace(inputs, reset_to="initial_state"))
    first = inputs.window(slice(2, 3)).without_resets()
    np.testing.assert_allclose(y[2:3], run(spec, weights, first)[0], atol=1e-15)
    assert np.all(gradients.state.h)


# -- arguments


def test_each_set_of_inputs_has_as_many_resets_at_other_places() -> None:
    workload = Workload(4, 50, reset_rate=0.03)
    sets = InputSets(LSTMSpec(2, 3), workload)
    drawn = [np.asarray(sets(number).resets) for number in range(4)]
    assert {int(np.sum(each)) for each in drawn} == {6}
    assert len({each.tobytes() for each in drawn}) == 4
    one = Workload(1, 5, reset_rate=0.001).inputs(LSTMSpec(2, 3)).resets
    assert one is not None
    assert one.sum() == 1


def test_inputs_without_resets_are_those_that_a_seed_always_gave() -> None:
    spec, plain = LSTMSpec(2, 3), Workload(4, 5, "training")
    ours, theirs = replace(plain, reset_rate=0.5).inputs(spec), plain.inputs(spec)
    assert np.array_equal(ours.x, theirs.x)
    assert theirs.resets is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reset_rate": 1.5}, "reset_rate is 1.5; expected 0 to 1"),
        ({"reset_to": "ones", "reset_rate": 0.1}, "reset_to is 'ones'; expected one of zeros"),
        ({"reset_to": "initial_state"}, "reset_rate is 0"),
        ({"reset_to": "initial_state", "reset_rate": 0.1, "mode": "streaming"}, "'streaming'"),
    ],
)
def test_wrong_field_is_refused_with_its_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Workload(2, 3, **fields)


def test_resets_of_another_shape_or_type_are_refused() -> None:
    spec = LSTMSpec(3, 4)
    model = get_backend("numpy").build(spec, LSTMWeights.random(spec), batch_major=True)
    x = np.zeros((BATCH, TIMESTEPS, 3))
    model.forward(x, resets=RESETS.T)
    for wrong in (RESETS, RESETS.T.astype(np.float32)):
        with pytest.raises(ValueError, match=r"resets has shape .*; expected bool of shape \(3, 5"):
            model.forward(x, resets=wrong)
    with pytest.raises(ValueError, match="reset_to is 'ones'"):
        model.forward(x, resets=RESETS.T, reset_to="ones")


def test_batch_major_model_takes_batch_major_resets() -> None:
    spec = LSTMSpec(3, 4)
    weights, inputs = draw(spec)
    time_major = get_backend("numpy").build(spec, weights)
    batch_major = get_backend("numpy").build(spec, weights, batch_major=True)
    y, _ = time_major.forward(inputs.x, resets=RESETS)
    ours, _ = batch_major.forward(inputs.x.swapaxes(0, 1), resets=RESETS.T)
    assert np.array_equal(ours.swapaxes(0, 1), y)


# -- backends


def test_backend_without_resets_refuses_them() -> None:
    spec, silent = LSTMSpec(3, 4), []
    for name in list_backends():
        backend = get_backend(name)
        reason = backend.refusal(spec, Workload(2, 3, reset_rate=0.1))
        if not reason and not backend.takes_resets:
            silent.append(name)
    assert not silent
    assert "resets" in get_backend("onnxruntime").refusal(spec, Workload(2, 3, reset_rate=0.1))


def test_refused_resets_raise() -> None:
    backend = get_backend("numpy:forward")
    spec = LSTMSpec(3, 4)
    model = backend.build(spec, LSTMWeights.random(spec))
    with pytest.raises(UnsupportedError, match="never start over"):
        model.forward(np.zeros((TIMESTEPS, BATCH, 3)), resets=RESETS)


def assert_equal_to_reference(name: str, spec: LSTMSpec, reset_to: str) -> None:
    """Compare all results of a backend in float64 with those of the reference."""
    weights, inputs = draw(spec, lengths=np.array([5, 3, 4]))
    given = inputs.x, inputs.dy, inputs.state, inputs.state.map(np.cos), inputs.lengths
    results = []
    for backend in (ready(name), get_backend("numpy")):
        model = backend.build(spec, weights)
        how: Any = {"resets": inputs.resets, "reset_to": reset_to}
        y, last, found = model.forward_and_gradients(*given, **how)
        results.append([y, *last, found.x, *found.state, *found.weights.arrays()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


LOOPS = [
    *((name, "lstm") for name in ("while_loop", "while_loop+hoisted", "static_unroll", "jax_scan")),
    *((name, "gru") for name in ("while_loop+hoisted", "scan")),
    *((name, "gru_reset_before") for name in ("while_loop+hoisted", "jax_scan")),
]


@pytest.mark.parametrize(
    ("name", "cell"),
    [pytest.param(*each, marks=choose_marks(each[0])) for each in LOOPS],
)
def test_loops_with_resets_equal_the_reference(name: str, cell: str) -> None:
    for reset_to in RESET_TO:
        assert_equal_to_reference(name, LSTMSpec(3, 4, 1, True, "float64", CELLS[cell]), reset_to)


@pytest.mark.parametrize("reset_to", RESET_TO)
def test_plain_loop_passes_the_gate_with_resets(reset_to: str) -> None:
    model = built("while_loop", LSTMSpec(3, 4))
    passes(model, Workload(3, 4, "training", 2, reset_rate=0.2, reset_to=reset_to))


KERNELS = ("numpy_fused", "fused_cpu", "torch_fused_cpu", "jax_fused_cpu")


@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("cell", [None, *CELLS])
@pytest.mark.parametrize("name", mark_names(KERNELS))
def test_kernels_with_resets_pass_the_gate(name: str, cell: str | None, reset_to: str) -> None:
    """Both directions, lengths, and a layer whose units do not fill a register."""
    backend = ready(name)
    spec = LSTMSpec(3, 20, bidirectional=True, cell=CELLS[cell or "lstm"])
    if cell is None:  # with weights in float32
        spec = replace(spec, dtype="mixed_bfloat16")
    if reason := backend.refusal(spec):
        pytest.skip(reason)
    workload = Workload(9, 7, "training", 3, reset_rate=0.1, reset_to=reset_to)
    passes(backend.build(spec, LSTMWeights.random(spec, 1)), workload)


@pytest.mark.parametrize("dtype", ["bfloat16", "bf32"])
def test_kernels_in_bfloat16_with_resets_pass_the_gate(dtype: str) -> None:
    model = built("fused_cpu", LSTMSpec(20, 40, dtype=dtype))
    passes(model, Workload(24, 6, "training", reset_rate=0.1, gradients="weights"))


@pytest.mark.parametrize("batch", [1, 4])
def test_kernels_that_read_weights_in_place_take_resets(batch: int) -> None:
    model = built("numpy_fused", LSTMSpec(16, 32))
    for timesteps in (1, 3):
        passes(model, Workload(batch, timesteps, "training", reset_rate=0.5))


def test_kernels_in_int8_take_resets() -> None:
    model = built("numpy_fused:int8", LSTMSpec(16, 32))
    passes(model, Workload(8, 6, reset_rate=0.2))


@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("variant", ["split", "steps"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_loops_and_splits_of_users_pass_the_gate(cell: str, variant: str, reset_to: str) -> None:
    model = built(f"torch:{variant}", LSTMSpec(3, 4, 2, cell=CELLS[cell]))
    passes(model, Workload(3, 5, "training", reset_rate=0.2, reset_to=reset_to))


@pytest.mark.slow  # compiles by Inductor and XLA
@pytest.mark.parametrize("name", ["torch_compile", "torch_compile+cell", "while_loop+hoisted+xla"])
def test_compiled_loops_with_resets_equal_the_reference(name: str) -> None:
    assert_equal_to_reference(name, LSTMSpec(3, 4, dtype="float64"), "zeros")


@pytest.mark.parametrize("name", ["numpy", "while_loop"])
def test_windows_and_streams_pass_the_gate_with_resets(name: str) -> None:
    model = built(name, LSTMSpec(3, 4))
    passes(model, Workload(3, 7, "training", window=3, optimizer="sgd", reset_rate=0.1))
    passes(model, Workload(3, 2, "streaming", reset_rate=0.1))


@pytest.mark.slow  # traces three gradients of a loop
@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_second_gradient_and_forward_mode_of_the_op_equal_the_loop(
    cell: str, reset_to: str
) -> None:
    spec = LSTMSpec(3, 4, cell=CELLS[cell])
    weights, inputs = draw(spec, lengths=np.array([5, 3, 4]))
    found = []
    for name in ("fused_cpu", "while_loop"):
        model: Any = ready(name).build(spec, weights)
        import tensorflow as tf

        x, *state = (tf.constant(each, tf.float32) for each in (inputs.x, *inputs.state))

        def loss(x: Any, *state: Any, model: Any = model) -> Any:
            resets, lengths = tf.constant(RESETS), tf.constant(inputs.lengths)
            y, last = model(x, state, lengths, resets=resets, reset_to=reset_to)
            return sum(tf.reduce_sum(tf.sin(each)) for each in (y, *last))

        def second(*given: Any, loss: Any = loss) -> list[Any]:
            with tf.GradientTape() as outer:
                outer.watch(given)
                with tf.GradientTape() as inner:
                    inner.watch(given)
                    value = loss(*given)
                penalty = sum(tf.reduce_sum(each**2) for each in inner.gradient(value, given))
            return list(outer.gradient(penalty, given))

        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as forward:
            value = loss(x, *state)
        moved = forward.jvp(value)
        found.append([*second(x, *state), *tf.function(second)(x, *state), moved])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
