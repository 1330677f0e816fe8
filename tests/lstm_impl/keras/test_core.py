"""One direction of one layer by a backend's own primitive, and the order of steps under a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import lstm_impl.keras  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)

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
