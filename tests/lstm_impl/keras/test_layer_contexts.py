"""Test the layer in TensorFlow's control flow, function transformations and forward mode.

Values and gradients must equal those of Keras's layer in the same context.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstm_impl import UnsupportedError

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

from tests.lstm_impl.keras import test_layer  # noqa: E402
from tests.lstm_impl.keras.test_layer import FEATURES, UNITS, build, random  # noqa: E402

# Of masks that Keras 3.16, and so this layer, does not pass on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")

X = tf.constant(random(2, 3, FEATURES), tf.float32)
TANGENT = tf.constant(random(2, 3, FEATURES, seed=1), tf.float32)


def backends(*usual: str) -> list[Any]:
    """Return the backends as parameters, of which all but the usual ones are slow."""
    return [
        pytest.param(name, marks=() if name in usual else pytest.mark.slow)
        for name in [*test_layer.PLAIN, *test_layer.COMPILED]
    ]


Call = Callable[[Any], Any]


def in_while_loop(call: Call, x: Any) -> Any:
    def body(i: Any, total: Any) -> Any:
        return i + 1, total + call(x * tf.cast(i, tf.float32))

    return tf.while_loop(lambda i, _: i < 2, body, (0, tf.zeros([2, 3, UNITS])))[1]


def in_cond(call: Call, x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) < 1e9, lambda: call(x), lambda: call(2 * x))


def in_scan(call: Call, x: Any) -> Any:
    return tf.scan(
        lambda total, each: total + call(each), tf.stack([x, -x]), tf.zeros([2, 3, UNITS])
    )


def in_recompute_grad(call: Call, x: Any) -> Any:
    return tf.recompute_grad(lambda each: call(each))(x)


CONTEXTS = (in_while_loop, in_cond, in_scan, in_recompute_grad)


def keras_layer() -> Any:
    layer = keras.layers.LSTM(UNITS, return_sequences=True, use_cudnn=False)
    layer.build((None, None, FEATURES))
    layer.set_weights(test_layer.initial_weights())
    return layer


def everywhere(layer: Any, training: bool, tape: bool, graph: bool) -> list[Any]:
    """Return results in all contexts, and with a tape the gradients of a loss of each."""

    def run(x: Any) -> list[Any]:
        with tf.GradientTape() as recorded:
            recorded.watch(x)
            made = [context(functools.partial(layer, training=training), x) for context in CONTEXTS]
            loss = sum((k + 1) * tf.reduce_sum(y * y) for k, y in enumerate(made))
        sources = [x, *(each.value for each in layer.trainable_variables)]
        return made + (recorded.gradient(loss, sources) if tape else [])

    return [each.numpy() for each in (tf.function(run, autograph=False) if graph else run)(X)]


@functools.cache
def expected() -> list[Any]:
    return everywhere(keras_layer(), True, tape=True, graph=True)


def check(found: list[Any], wanted: list[Any]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", backends("fused_cpu"))
def test_control_flow_values_and_gradients_equal_keras(name: str) -> None:
    layer = build(name, return_sequences=True)
    # ``auto`` takes another backend without training; gradients are requested in both cases.
    for training in (True, False) if name in ("auto", "fused_cpu") else (True,):
        check(everywhere(layer, training, tape=True, graph=True), expected())
    count = len(CONTEXTS)
    check(everywhere(layer, False, tape=False, graph=True), expected()[:count])
    check(everywhere(layer, False, tape=False, graph=False), expected()[:count])


def vectorized(layer: Any, training: bool) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch(X)
        y = tf.vectorized_map(lambda each: layer(each[None], training=training)[0], X)
        loss = tf.reduce_sum(y * y)
    sources = [X, *(each.value for each in layer.trainable_variables)]
    return [each.numpy() for each in (y, *tape.gradient(loss, sources))]


@pytest.mark.parametrize("name", backends("fused_cpu"))
def test_vectorized_map_gradients_equal_keras(name: str) -> None:
    layer = build(name, return_sequences=True)
    for training in (True, False) if name == "auto" else (True,):
        check(vectorized(layer, training), _vectorized_by_keras())


def test_vectorized_map_of_a_traced_function_raises() -> None:
    layer = build("block_lstm", return_sequences=True)
    traced = tf.function(lambda each: layer(each), autograph=False)
    traced(X[:1])

    def mapped() -> None:
        with tf.GradientTape() as tape:
            tape.watch(X)
            tf.vectorized_map(lambda each: traced(each[None])[0], X)

    with pytest.raises(LookupError, match="trace the function inside of it"):
        mapped()


@functools.cache
def _vectorized_by_keras() -> list[Any]:
    return vectorized(keras_layer(), True)


# -- forward mode


def jvp(layer: Any) -> Any:
    with tf.autodiff.ForwardAccumulator(X, TANGENT) as accumulator:
        y = layer(X, training=True)
    return accumulator.jvp(y)


def jvp_of_a_weight(layer: Any) -> Any:
    weight = layer.trainable_variables[1].value
    with tf.autodiff.ForwardAccumulator(weight, tf.ones_like(weight)) as accumulator:
        y = layer(X, training=True)
    return accumulator.jvp(y)


def jvp_of_a_function(layer: Any) -> Any:
    mask = tf.constant([[True, True, False], [True, False, True]])
    traced = tf.function(lambda x: layer(x, mask=tf.identity(mask), training=True), autograph=False)
    with tf.autodiff.ForwardAccumulator(X, TANGENT) as accumulator:
        y = traced(X)
    return accumulator.jvp(y)


def jvp_of_inference(layer: Any) -> Any:
    with tf.autodiff.ForwardAccumulator(X, TANGENT) as accumulator:
        y = layer(X)
    return accumulator.jvp(y)


def jvp_of_inference_in_a_function(layer: Any) -> Any:
    traced = tf.function(lambda x: layer(x), autograph=False)
    with tf.autodiff.ForwardAccumulator(X, TANGENT) as accumulator:
        y = traced(X)
    return accumulator.jvp(y)


def forward_over_reverse(layer: Any) -> Any:
    with tf.autodiff.ForwardAccumulator(X, TANGENT) as accumulator:
        with tf.GradientTape() as tape:
            tape.watch(X)
            loss = tf.reduce_sum(layer(X, training=True) ** 2)
        gradient = tape.gradient(loss, X)
    return accumulator.jvp(gradient)


def reverse_over_forward(layer: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(X)
        loss = tf.reduce_sum(jvp(layer) ** 2)
    return tape.gradient(loss, X)


MODES = (
    *(jvp, jvp_of_a_weight, jvp_of_a_function, jvp_of_inference, jvp_of_inference_in_a_function),
    *(forward_over_reverse, reverse_over_forward),
)
IN_GRAPHS = (jvp, forward_over_reverse)


@functools.cache
def _followed_by_keras() -> list[Any]:
    return [mode(keras_layer()).numpy() for mode in MODES]


# All use the same plain loop there, and tracing it takes seconds.
@pytest.mark.parametrize("name", backends())
def test_forward_mode_equals_keras(name: str) -> None:
    layer = build(name, return_sequences=True)
    wanted = dict(zip(MODES, _followed_by_keras(), strict=True))
    check([mode(layer).numpy() for mode in MODES], list(wanted.values()))
    # Keras's own loop raises TypeError here.
    for mode in IN_GRAPHS if name == "fused_cpu" else ():
        traced = tf.function(lambda mode=mode: mode(layer), autograph=False)
        check([traced().numpy()], [wanted[mode]])


def test_forward_mode_in_a_graph_of_any_length_is_refused() -> None:
    layer = build("while_loop", return_sequences=True)

    @tf.function(input_signature=[tf.TensorSpec([2, None, FEATURES])], autograph=False)
    def run(x: Any) -> Any:
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            y = layer(x)
        return accumulator.jvp(y)

    with pytest.raises(UnsupportedError, match="needs the number of timesteps"):
        run(X)
