"""Test one direction of one layer by a backend: tracing, clones and masks."""

from typing import Any

import numpy as np
import pytest

from lstm_impl import Workload

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import tuning  # noqa: E402

# Of masks that Keras 3.16, and so this layer, does not pass on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)

# -- how it is traced


def test_xla_backend_is_compiled_forward_and_backward() -> None:
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


def test_eager_calls_of_other_shapes_do_not_retrace() -> None:
    layer = lstm_impl.keras.LSTM(4, backend="while_loop+hoisted")
    for batch, timesteps in ((2, 3), (1, 4), (3, 2)):
        layer(np.zeros((batch, timesteps, 3), np.float32))
    (core,) = layer._memory.cores.values()
    (function,) = core._functions.values()
    assert function.experimental_get_tracing_count() == 1


BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
MASK = np.arange(STEPS)[None] < np.array([STEPS, 2])[:, None]


def layer(**arguments: Any) -> Any:
    made = lstm_impl.keras.LSTM(UNITS, **{"return_sequences": True, **arguments})
    made.build((BATCH, None, WIDTH))
    return made


def test_clone_has_its_own_copy_of_the_weights() -> None:
    mine = layer(stateful=True, return_state=True, go_backwards=True, name="mine", dropout=0.5)
    made = tuning.clone(mine, "block_lstm", dropout=0.0)
    for ours, theirs in zip(made.get_weights(), mine.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (made.backend, mine.backend) == ("block_lstm", "auto")
    assert (made.dropout, mine.dropout) == (0.0, 0.5)
    assert made.go_backwards
    assert not made.stateful
    assert not made.return_state
    assert made.name != "mine"
    made.set_weights([0 * each for each in made.get_weights()])
    assert all(np.any(each) for each in mine.get_weights()[:2])
    assert tuning.features(mine) == WIDTH


@pytest.mark.parametrize("masked", [False, True])
def test_timed_call_is_inference_or_gradients(masked: bool) -> None:
    made = layer(backend="block_lstm")
    x = tuning.sample(BATCH, STEPS, WIDTH, "float32")
    mask = tf.constant(MASK) if masked else None
    y = tuning.layer_step(made, x, mask, training=False)
    y.trace()
    np.testing.assert_allclose(y.run(), made(x, mask=mask), rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(made(x, mask=mask, training=True))
    wanted = tape.gradient(loss, [x, *(each.value for each in made.trainable_variables)])
    for ours, theirs in zip(
        tuning.layer_step(made, x, mask, training=True).run(), wanted, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_mask_is_of_right_padding_or_of_both_sides() -> None:
    assert tuning.padding(Workload(BATCH, STEPS)) is None
    assert tuning.padding(Workload(BATCH, STEPS), around=True) is None
    work = Workload(BATCH, STEPS, min_length=2)
    np.testing.assert_array_equal(tuning.padding(work), MASK)
    around = [[True] * STEPS, [False, False, True, True, False]]
    np.testing.assert_array_equal(tuning.padding(work, around=True), around)
