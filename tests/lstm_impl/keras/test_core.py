"""One direction of one layer by a backend's own primitive, and the order of steps under a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lstm_impl import get_backend
from tests.lstm_impl.keras.masked_steps import MASKS, problem, repeated

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import lstm_impl.keras  # noqa: E402
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend  # noqa: E402
from lstm_impl.backends.tensorflow.loop import LayerInputs  # noqa: E402
from lstm_impl.keras.core import LayerCore, repeat_last, take_steps, valid_steps  # noqa: E402

FUSED = get_backend("fused_cpu").availability("cpu")
X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)

# -- steps under a mask


Mask = npt.NDArray[np.bool_]
any_mask = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=7))


@given(any_mask)
def test_valid_steps_come_first_in_their_order(valid: Mask) -> None:
    timesteps, batch = valid.shape
    found = valid_steps(tf.constant(valid)).numpy()
    for column in range(batch):
        steps = np.flatnonzero(valid[:, column])
        wanted = np.pad(steps, (0, timesteps - len(steps)))
        np.testing.assert_array_equal(found[:, column], wanted)


@given(any_mask, st.data())
def test_each_sequence_is_read_at_its_own_steps(valid: Mask, data: st.DataObject) -> None:
    steps = data.draw(arrays(np.int32, valid.shape, elements=st.integers(0, len(valid) - 1)))
    sequence = np.arange(valid.size * 2.0).reshape(*valid.shape, 2)
    found = take_steps(tf.constant(sequence), tf.constant(steps))
    np.testing.assert_array_equal(found, np.take_along_axis(sequence, steps[:, :, None], axis=0))


@given(any_mask)
def test_a_masked_step_has_the_output_of_the_last_valid_one_or_zero_before_it(valid: Mask) -> None:
    y = np.arange(1.0, valid.size + 1).reshape(*valid.shape, 1)
    found = repeat_last(tf.constant(y), tf.constant(valid)).numpy()
    wanted = repeated(y.swapaxes(0, 1), valid.T)
    np.testing.assert_array_equal(found.swapaxes(0, 1), wanted)


# -- what a backend computes under one


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "while_loop",  # takes any mask as it is
        "block_lstm",  # knows sequences padded on the right alone
        pytest.param(
            "fused_cpu", marks=pytest.mark.skipif(not FUSED, reason=f"fused_cpu: {FUSED}")
        ),
    ],
)
def test_a_masked_step_keeps_the_state_and_has_no_output(name: str, masked: bool) -> None:
    given = problem(MASKS if masked else np.ones_like(MASKS))
    backend = get_backend(name)
    assert isinstance(backend, TensorFlowBackend)
    core = LayerCore(backend, "float32")
    x, mask = (each.swapaxes(0, 1) for each in (given.x, given.mask[:, :, None]))
    y, h, c = given.solved()
    # One core serves both directions: the steps of the second are given in reverse.
    for reverse in (False, True):
        order = slice(None, None, -1 if reverse else 1)
        inputs = (x[order], given.h, given.c, *given.cell)
        found = core(
            LayerInputs(*(tf.constant(each, tf.float32) for each in inputs)),
            tf.constant(mask[order]) if masked else None,
            reverse,
            training=False,
        )
        np.testing.assert_allclose(found.y.numpy()[order].swapaxes(0, 1), y, atol=1e-6)
        np.testing.assert_allclose(found.h, h, atol=1e-6)
        np.testing.assert_allclose(found.c, c, atol=1e-6)


# -- how it is traced


def test_an_xla_backend_is_compiled_forward_and_backward() -> None:
    layer = lstm_impl.keras.LSTM(4, backend="while_loop+hoisted+xla")
    layer.build(X.shape)

    @tf.function(autograph=False)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, layer.trainable_variables[0].value)

    library = step.get_concrete_function(tf.constant(X)).graph.as_graph_def().library.function
    compiled = [f.signature.name for f in library if f.attr["_XlaMustCompile"].b]
    assert sum("forward" in name for name in compiled) == 1
    assert sum("backward" in name for name in compiled) == 1


def test_outside_a_graph_other_shapes_are_not_traced_again() -> None:
    layer = lstm_impl.keras.LSTM(4, backend="while_loop+hoisted")
    for batch, timesteps in ((2, 3), (1, 4), (3, 2)):
        layer(np.zeros((batch, timesteps, 3), np.float32))
    (core,) = layer._memory.cores.values()
    (function,) = core._functions.values()
    assert function.experimental_get_tracing_count() == 1
