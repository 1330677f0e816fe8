"""Test the fused op: on odd sizes, in concurrent calls, and what it refuses.

The matrix of ``test_contract.py`` includes it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Workload, get_backend
from lstm_impl.call import Call
from lstm_impl.cell import CELLS, get_cell
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import measure_error
from lstm_impl.weights import LayerWeights
from tests.lstm_impl.backends.built import SPEC, built, needs, passes, tensors
from tests.pairs import Row, pairwise, row_id

tf = pytest.importorskip("tensorflow", reason="the op is TensorFlow's: pip install '.[cpu]'")

pytestmark = needs("fused_cpu")

Array = npt.NDArray[Any]

DTYPES = ("float32", "bf32", "bf16x3", "bfloat16", "mixed_bfloat16")


# -- it computes what the reference computes


@pytest.mark.parametrize(
    ("training", "lengths"),
    [
        pytest.param(False, None, id="inference of whole sequences"),
        pytest.param(True, [4, 2], id="training on padded sequences", marks=pytest.mark.slow),
        pytest.param(False, [4, 2], id="inference of padded ones", marks=pytest.mark.slow),
        pytest.param(True, None, id="training on whole ones", marks=pytest.mark.slow),
    ],
)
def test_forward_mode_of_the_ops_is_that_of_a_loop(training: bool, lengths: Any) -> None:
    given = tensors(SPEC, 2, 4)
    ends = None if lengths is None else tf.constant(lengths)
    # Every input in turn, and one of them in a graph: each pair compiles its own functions.
    pairs = [*((each, False) for each in given), (given[0], True)]
    for place, (watched, traced) in enumerate(pairs):
        found = []
        for name in ("fused_cpu", "static_unroll"):
            model = built(name)

            def outputs(x: Any, *states: Any, model: Any = model) -> Any:
                return model.network(Call(x, states, ends), training).flat

            run = tf.function(outputs, autograph=False) if traced else outputs
            with tf.autodiff.ForwardAccumulator(watched, tf.ones_like(watched)) as accumulator:
                made = run(*given)
            found.append([accumulator.jvp(each) for each in made])
        assert np.abs(found[1][0]).max() > 0.001, place
        for ours, expected in zip(*found, strict=True):
            np.testing.assert_allclose(ours, expected, atol=1e-5)


ODD: dict[str, Sequence[Any]] = {
    "units": [1, 4, 7, 33],
    "batch": [1, 3, 5],
    "dtype": DTYPES,
    "cell": list(CELLS),
}


@pytest.mark.parametrize("row", pairwise(ODD), ids=row_id)
def test_gate_of_odd_sizes_passes(row: Row) -> None:
    batch = row["batch"]
    for bidirectional, batch_major in ((False, False), (True, True)):
        cell = get_cell(row["cell"])
        spec = LSTMSpec(3, row["units"], 1, bidirectional, dtype=row["dtype"], cell=cell)
        model = built("fused_cpu", spec, batch_major=batch_major)
        for timesteps in (1, 6):
            workload = Workload(batch, timesteps, "training", batch_major=batch_major)
            for each in (workload, replace(workload, min_length=1)):
                result = gate(model, each)
                assert result.passed, f"{each}: {result.describe()}"


@pytest.mark.parametrize("dtype", ["bf32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_gate_of_a_gru_with_products_of_bfloat16_passes(cell: str, dtype: str) -> None:
    """The rows are enough for gradients by bfloat16, and the units fill a register."""
    spec = LSTMSpec(5, 21, bidirectional=True, dtype=dtype, cell=get_cell(cell))
    passes(built("fused_cpu", spec), Workload(16, 9, "training", min_length=3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_major", [False, True])
def test_results_of_repeated_calls_are_bitwise_equal(
    batch_major: bool, cell: str, dtype: str
) -> None:
    spec = LSTMSpec(70, 130, num_layers=2, dtype=dtype, cell=get_cell(cell))
    model = built("fused_cpu", spec, batch_major=batch_major)
    for batch in (1, 3, 40):
        workload = Workload(batch, 12, "training", min_length=4, batch_major=batch_major)
        step = model.prepare(workload)
        assert step.results is not None
        first = step.results(step.run())
        for _ in range(10):
            again = step.results(step.run())
            assert all(np.array_equal(first[name], again[name]) for name in first)


def test_concurrent_calls_give_their_own_results() -> None:
    spec = LSTMSpec(33, 100)
    model = built("fused_cpu", spec)
    inputs = [Workload(4 + 9 * k, 10).inputs(spec, seed=k) for k in range(6)]

    def run(k: int) -> Array:
        return np.asarray(model.forward(inputs[k].x, inputs[k].state)[0])

    alone = [run(k) for k in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for k, y in enumerate(pool.map(run, [k % 6 for k in range(60)])):
            np.testing.assert_array_equal(y, alone[k % 6])


def test_array_of_any_memory_layout_is_read() -> None:
    spec = LSTMSpec(3, 20)
    model = built("fused_cpu", spec)
    x = Workload(4, 10).inputs(spec).x
    expected, _ = model.forward(x)
    unaligned = np.empty(x.size + 1, np.float32)[1:].reshape(x.shape)
    np.copyto(unaligned, x)
    fixed = x.copy()
    fixed.flags.writeable = False
    for other in (unaligned, fixed, x.copy("F"), x.astype(np.float64), x.tolist()):
        y, state = model.forward(other)
        np.testing.assert_array_equal(y, expected)
        y[:], state.h[:] = 0, 0  # memory of their own
        np.testing.assert_array_equal(model.forward(x)[0], expected)


def test_nan_input_reaches_only_its_own_sequence() -> None:
    spec = LSTMSpec(3, 20)
    x, h, c = tensors(spec, 4, 6)
    spoilt = x.numpy()
    spoilt[3, 1, 0] = np.nan
    y, (h_last, _) = built("fused_cpu", spec)(tf.constant(spoilt), (h, c))
    found = np.isnan(y.numpy()).all(axis=2)
    expected = np.zeros((6, 4), bool)
    expected[3:, 1] = True
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.isnan(h_last.numpy()[0]).all(axis=1), expected[-1])


def test_values_in_the_padding_change_nothing() -> None:
    spec = LSTMSpec(3, 20, bidirectional=True)
    x, h, c = tensors(spec, 3, 5)
    lengths = tf.constant([5, 2, 3])
    model = built("fused_cpu", spec)
    found = []
    for filling in (0.0, np.nan):
        padded = np.where(np.arange(5)[:, None, None] < lengths.numpy()[:, None], x, filling)
        with tf.GradientTape() as tape:
            given = tf.constant(padded, tf.float32)
            tape.watch(given)
            y, state = model(given, (h, c), lengths)
            loss = tf.reduce_sum(y * y) + tf.reduce_sum(state[0])
        gradients = tape.gradient(loss, [given, *model.variables])
        found.append([each.numpy() for each in (y, *state, *gradients)])
    for clean, spoilt in zip(*found, strict=True):
        np.testing.assert_array_equal(spoilt, clean)


# -- what runs


def counts(model: Any, workload: Workload) -> dict[str, int]:
    ops: dict[str, int] = model.evidence(workload)["ops"]
    return {op: count for op, count in ops.items() if op.startswith("LstmImpl")}


@pytest.mark.parametrize("optimizer", [None, "sgd"], ids=["by_hand", "in_a_graph"])
def test_input_gradient_not_requested_is_not_computed(optimizer: str | None) -> None:
    model = built("fused_cpu", LSTMSpec(3, 4, num_layers=2))
    workload = Workload(2, 5, "training", optimizer=optimizer)
    forward = {"LstmImplFusedLstmTraining": 2, "LstmImplFusedLstmGrad": 2}
    for gradients, of_inputs in (("weights", 1), ("weights+input", 2), ("all", 2)):
        found = counts(model, replace(workload, gradients=gradients))
        assert found == forward | {"LstmImplFusedLstmInputGrad": of_inputs}


def test_inference_runs_one_op_per_layer_and_direction() -> None:
    model = built("fused_cpu", LSTMSpec(3, 4, num_layers=2, bidirectional=True))
    assert counts(model, Workload(2, 5)) == {"LstmImplFusedLstm": 4}


@pytest.mark.parametrize("training", [True, False])
def test_gradient_with_or_without_training_equals_the_reference(training: bool) -> None:
    spec = LSTMSpec(3, 9)
    model = built("fused_cpu", spec)
    x, h, c = tensors(spec, 3, 6)
    with tf.GradientTape() as tape:
        tape.watch([x, h, c])
        y, _ = model(x, (h, c), training=training)
    found = tape.gradient(y, [x, h, c])
    zero = LSTMState.zeros(spec, 3)
    expected = model.gradients(x, np.ones(y.shape), LSTMState(h.numpy(), c.numpy()), zero)
    assert measure_error(found[0], expected.x) < 1e-6
    assert measure_error(found[1], expected.state.h) < 1e-6
    assert measure_error(found[2], expected.state.c) < 1e-6


# -- in bfloat16


def test_sums_of_bfloat16_are_in_float32() -> None:
    """A sum in bfloat16 would stop growing: 1 + 1/256 + ... at 1, and 1 + 1 + ... at 256."""
    spec = LSTMSpec(512, 1, dtype="bfloat16")
    kernel, recurrent_kernel, bias = LSTMWeights.random(spec).map(np.zeros_like).layers[0][0]
    kernel[:, 2] = 2.0**-8  # of the candidate g
    bias[:] = [100.0, -100.0, 1.0, 100.0]
    cell = LayerWeights(kernel, recurrent_kernel, bias)
    model = get_backend("fused_cpu").build(spec, LSTMWeights.from_cells(spec, [cell]))
    _, state = model.forward(np.ones((1, 1, 512)))
    np.testing.assert_allclose(state.c, np.tanh(3.0), rtol=2.0**-8)
    kernel[:], bias[2] = 0.0, 0.0  # g = 0, and the gradient of its sum is 1 in every step
    model.set_weights(LSTMWeights.from_cells(spec, [cell]))
    found = model.gradients(np.ones((3000, 1, 512)), np.ones((3000, 1, 1))).weights
    np.testing.assert_allclose(found.layers[0][0].kernel[:, 2], 3000.0, rtol=2.0**-8)


# -- what it refuses


def test_synchronize_with_asynchronous_ops_waits_for_them() -> None:
    """By default, an op that is called outside a graph returns only when it is done."""
    model = built("fused_cpu", LSTMSpec(64, 256))
    step = model.prepare(Workload(8, 40))
    step.run()
    requested = Mock(wraps=tf.test.experimental.sync_devices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.test.experimental, "sync_devices", requested)
        step.synchronize()
        assert requested.call_count == 0
        tf.config.experimental.set_synchronous_execution(False)
        try:
            step.run()
            step.synchronize()
        finally:
            tf.config.experimental.set_synchronous_execution(True)
        assert requested.call_count == 1
