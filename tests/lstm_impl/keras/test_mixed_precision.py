"""Test that layers in mixed_bfloat16 read their float32 weights without casts."""

from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

from lstm_impl.backends.fused_cpu.backend import FusedLayer  # noqa: E402
from lstm_impl.call import Call, LSTMOutputs, Tensors  # noqa: E402
from lstm_impl.keras import LSTM  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402

pytestmark = needs("fused_cpu")

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 4, 5, 6


def made(units: int = UNITS, **arguments: Any) -> Any:
    layer = LSTM(units, backend="fused_cpu", dtype="mixed_bfloat16", **arguments)
    layer.build((None, None, FEATURES))
    return layer


def inputs() -> Any:
    x = np.random.default_rng(0).standard_normal((BATCH, TIMESTEPS, FEATURES))
    return tf.constant(x, tf.bfloat16)


def cast_weights(function: Any, x: Any) -> list[Any]:
    """Return the shapes of the layer's weights that a function casts from float32."""
    graph = function.get_concrete_function(x).graph
    cast = [each.inputs[0] for each in graph.get_operations() if each.type == "Cast"]
    shapes = [each.shape.as_list() for each in cast if each.dtype == tf.float32]
    return [shape for shape in shapes if shape[-1] == 4 * UNITS]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_graph_of_mixed_layer_inside_a_mixed_model_casts_no_weight(training: bool) -> None:
    inner = made()
    # A model in mixed precision has an autocast scope of its own around the layer.
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), inner])
    model.dtype_policy = "mixed_bfloat16"

    @tf.function(autograph=False)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            y = model(x, training=training)
        return tape.gradient(y, model.trainable_variables)

    assert cast_weights(step, inputs()) == []
    gradients = step(inputs())
    assert [each.dtype for each in gradients] == [tf.float32] * 3
    assert all(np.abs(each).max() > 0 for each in gradients)


@pytest.mark.parametrize(
    ("units", "types"),
    [(UNITS, [tf.bfloat16] * 3), (200, [tf.resource] * 3)],
    ids=["small", "large"],
)
def test_eager_call_of_large_mixed_layer_reads_its_variables(
    units: int, types: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    infer = FusedLayer.infer

    def remembering(layer: FusedLayer, call: Call, parameters: Tensors) -> LSTMOutputs:
        read.extend(each.dtype for each in parameters)
        return infer(layer, call, parameters)

    monkeypatch.setattr(FusedLayer, "infer", remembering)
    layer = made(units)
    y = layer(inputs())
    assert read == types
    expected = tf.function(layer, autograph=False)(inputs())
    found, wanted = (tf.cast(each, tf.float32).numpy() for each in (y, expected))
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_mixed_layer_in_a_stateless_scope_uses_the_weights_given_there() -> None:
    layer = made()
    zeros = [(each, tf.zeros_like(each)) for each in layer.trainable_variables]
    assert np.abs(layer(inputs())).max() > 0
    with keras.StatelessScope(state_mapping=zeros):
        y = layer(inputs())
    np.testing.assert_array_equal(tf.cast(y, tf.float32), 0)
