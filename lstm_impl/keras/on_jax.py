"""Compute the layer for Keras on JAX: by ``lax.scan`` or the fused kernels, with any mask."""

import inspect

import jax
import jax.numpy as jnp
import keras

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import fused_layer, lanes
from lstm_impl.backends.jax.scan import scanned
from lstm_impl.call import LSTMOutputs, State, Tensor
from lstm_impl.keras.base import Weights
from lstm_impl.keras.choice import LayerCall

BACKEND = "jax_scan+preproject"
"""One matrix product for the input of all steps, before the loop."""

FUSED, BINDING, load = "jax_fused_cpu", library.JAX, lanes
STEPS = keras.Model.test_step.__code__, keras.Model.predict_step.__code__
NAMES = ("jax_scan", BACKEND, FUSED)
TANH = (jnp.tanh, jax.nn.tanh)
SIGMOID = (jax.nn.sigmoid,)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    return bool(jax.default_backend() == "gpu")


def loop_is_faster(call: LayerCall) -> bool:
    """Return whether Keras's loop over the steps takes less time than the kernels: of one step in a
    program, from which XLA leaves out the product with an initial state of zeros.
    """
    return call.traced and call.training and call.timesteps == 1


def becomes_program(sequences: Tensor) -> bool:
    """Return whether JAX is tracing a program from this call instead of computing it."""
    return isinstance(sequences, jax.core.Tracer)


def in_keras_step() -> bool:
    """Return whether Keras traces this call for its ``evaluate`` or ``predict``, which no export
    holds. Their steps have no public mark: this looks for them among the callers.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code not in STEPS:
        frame = frame.f_back
    return frame is not None


def cummax(steps: Tensor) -> Tensor:
    """Return the largest number up to each place of the second axis."""
    return jax.lax.cummax(steps, axis=1)


def compute(
    name: str, sequences: Tensor, state: State, weights: Weights, mask: Tensor | None
) -> LSTMOutputs:
    """Compute outputs ``[B, T, H]``, zero in masked steps, and the final h and c."""
    x = jnp.swapaxes(sequences, 0, 1)
    valid = None if mask is None else jnp.swapaxes(mask, 0, 1)
    if name == FUSED:
        y, h, c = fused_layer(x, *state, *weights, valid)
    else:
        steps = None if valid is None else valid[:, :, None]
        y, h, c = scanned(x, state, weights, steps, name == BACKEND)
    return LSTMOutputs(jnp.swapaxes(y, 0, 1), h, c)
