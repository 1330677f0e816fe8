"""Compute the layers for Keras on JAX with ``lax.scan`` or the fused kernels, and any mask."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import keras

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import compute_layer, encode_steps, lanes
from lstm_impl.backends.jax.scan import scan_cell
from lstm_impl.call import Outputs, States, Tensor
from lstm_impl.cell import Cell
from lstm_impl.keras.base import Weights
from lstm_impl.keras.choice import LayerCall

BACKEND = "jax_scan+preproject"
"""The backend without the kernels. It computes the input products of all steps before the loop."""

LOOP = "a scan"
"""What computes resets without the kernels, for explanations."""

FUSED, BINDING, load = "jax_fused_cpu", library.JAX, lanes
STEPS = keras.Model.test_step.__code__, keras.Model.predict_step.__code__
NAMES = ("jax_scan", BACKEND, FUSED)
TANH = (jnp.tanh, jax.nn.tanh)
SIGMOID = (jax.nn.sigmoid,)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    return bool(jax.default_backend() == "gpu")


def loop_is_faster(call: LayerCall) -> bool:
    """Return whether Keras's loop over the steps is faster than the kernels.

    It is faster for one training step in a program, because XLA leaves out the product with an
    initial state of zeros.
    """
    return call.traced and call.training and call.timesteps == 1


def becomes_program(sequences: Tensor) -> bool:
    """Return whether JAX traces this call into a program instead of computing it."""
    return isinstance(sequences, jax.core.Tracer)


def in_keras_step() -> bool:
    """Return whether Keras traces this call for ``evaluate`` or ``predict``, which is not exported.

    The steps of these methods have no public mark, so they are searched among the callers.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code not in STEPS:
        frame = frame.f_back
    return frame is not None


def cummax(steps: Tensor) -> Tensor:
    """Return the cumulative maximum over the second axis."""
    return jax.lax.cummax(steps, axis=1)


def compute(
    name: str,
    cell: Cell,
    sequences: Tensor,
    states: States,
    weights: Weights,
    mask: Tensor | None,
    starts: tuple[Tensor, str] | None = None,
) -> Outputs:
    """Compute the outputs ``[B, T, H]``, which are zero in masked steps, and the final states.

    starts: before which steps sequences start over, bool ``[B, T]``, and the state from which.
    """
    x = jnp.swapaxes(sequences, 0, 1)
    valid = None if mask is None else jnp.swapaxes(mask, 0, 1)
    parameters = weights.parameters
    first, reset_to = (None, "zeros") if starts is None else (starts[0].T, starts[1])
    if name == FUSED:
        bits = valid if first is None else encode_steps(first, reset_to, valid)
        y, *last = compute_layer(cell, x, states, parameters, bits)
    else:
        steps = None if valid is None else valid[:, :, None]
        how: Any = {"preproject": name == BACKEND}
        if first is not None:
            from_zeros = reset_to == "zeros"
            how["from_zeros" if from_zeros else "from_initial"] = first[:, :, None]
        y, *last = scan_cell(cell, x, states, parameters, steps, **how).flat
    return Outputs(jnp.swapaxes(y, 0, 1), tuple(last))
