"""Compute the layers for Keras on JAX: by ``lax.scan`` or the fused kernels, with any mask."""

import inspect

import jax
import jax.numpy as jnp
import keras

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import compute_layer, lanes
from lstm_impl.backends.jax.scan import scan_cell
from lstm_impl.call import Outputs, States, Tensor
from lstm_impl.cell import Cell
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
    name: str, cell: Cell, sequences: Tensor, states: States, weights: Weights, mask: Tensor | None
) -> Outputs:
    """Compute outputs ``[B, T, H]``, zero in masked steps, and the final states."""
    x = jnp.swapaxes(sequences, 0, 1)
    valid = None if mask is None else jnp.swapaxes(mask, 0, 1)
    parameters = weights.parameters
    if name == FUSED:
        y, *last = compute_layer(cell, x, states, parameters, valid)
    else:
        steps = None if valid is None else valid[:, :, None]
        scanned = scan_cell(cell, x, states, parameters, steps, preproject=name == BACKEND)
        y, *last = scanned.flat
    return Outputs(jnp.swapaxes(y, 0, 1), tuple(last))
