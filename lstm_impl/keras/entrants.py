"""A Keras layer's computation by one backend, ready to be compared and timed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lstm_impl.keras.layer import LSTM
from lstm_impl.proof import comparison
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.step import Step
from lstm_impl.workload import Workload

PARAMETERS = ("dlayer0.forward.kernel", "dlayer0.forward.recurrent", "dlayer0.forward.bias")
"""The gradients of a Keras layer's variables, by the names that bounds are known under."""


def clone(layer: LSTM, backend: str, **changed: Any) -> LSTM:
    """Return the same layer computed by ``backend``, with arguments ``changed``."""
    alone = {"name": None, "stateful": False, "return_state": False}
    config = layer.get_config() | alone | {"backend": backend} | changed
    made: LSTM = type(layer).from_config(config)
    made.build((None, None, features(layer)))
    made.set_weights(layer.get_weights())
    return made


def features(layer: LSTM) -> int:
    """Features that a built layer reads."""
    return int(layer.cell.kernel.shape[0])


def results(layer: Any, x: Any, mask: Any = None) -> dict[str, FloatArray]:
    """Outputs and gradients of a loss of them, by name, in float64, from a traced call."""

    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, mask=mask, training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * _target(y))
        return y, tape.gradient(loss, [x, *(each.value for each in layer.trainable_variables)])

    y, gradients = _traced(run)()
    arrays = dict(zip(("y", "dx", *PARAMETERS), (y, *gradients), strict=False))
    return {name: np.asarray(tf.cast(array, tf.float64)) for name, array in arrays.items()}


def _target(y: Any) -> Any:
    """A gradient for an output: any numbers of both signs, the same for the same shape."""
    shape = [size if size is not None else 1 for size in y.shape]
    return tf.constant(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def step(layer: LSTM, x: Any, mask: Any, training: bool) -> Step:
    """What is timed: a traced call of the layer on ``x`` ``[B, T, in]``, all sizes known."""
    given = (x,) if mask is None else (x, mask)

    def forward(x: Any, mask: Any = None) -> Any:
        return layer(x, mask=mask, training=False)

    def train(x: Any, mask: Any = None) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, mask=mask, training=True)
        wanted = [x, *(each.value for each in layer.trainable_variables)]
        return tape.gradient(y, wanted, output_gradients=tf.ones_like(y))

    traced = functools.cache(lambda: _traced(train if training else forward, *given))
    return Step(lambda: traced()(*given), tf.test.experimental.sync_devices, traced)


def _traced(function: Any, *arguments: Any) -> Any:
    """A graph for these arguments alone: one for each clone is meant, and not worth a warning."""
    return tf.function(function, autograph=False).get_concrete_function(*arguments)


def difference(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    spec: LSTMSpec,
    batch: int,
    timesteps: int,
) -> str:
    """Where results are not those of Keras's layer, in words, or an empty string."""
    allowed = comparison.bounds(spec, batch, timesteps, list(ours))
    for name, error in comparison.compare(ours, theirs).items():
        # both sides are rounded, each by as much as the bound allows
        if not error <= 2 * allowed[name]:
            return (
                f"{name} differs from Keras's by {error:.1e} of its largest value, "
                f"{2 * allowed[name]:.1e} allowed"
            )
    return ""


def padding(workload: Workload, *, around: bool = False) -> Any:
    """The mask ``[B, T]`` of sequences of the workload's lengths, or None."""
    lengths = workload.lengths()
    if lengths is None:
        return None
    before = (workload.timesteps - lengths + 1) // 2 if around else np.zeros_like(lengths)
    step = np.arange(workload.timesteps)[None] - before[:, None]
    return tf.constant((step >= 0) & (step < lengths[:, None]))


def sample(batch: int, timesteps: int, width: int, dtype: str, seed: int = 0) -> Any:
    """Input ``[batch, timesteps, width]`` for a layer that computes in ``dtype``."""
    x = np.random.default_rng(seed).standard_normal((batch, timesteps, width))
    return tf.constant(x.astype(np.float32), dtype=dtype)
