"""Compute the layer for Keras on JAX: by ``lax.scan`` or the fused kernels, with any mask."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import keras

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import fused_layer, lanes
from lstm_impl.backends.jax.scan import scanned
from lstm_impl.call import State, Tensor
from lstm_impl.keras.base import Weights
from lstm_impl.spec import UnsupportedError

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


def compute(
    name: str,
    sequences: Tensor,
    state: State,
    weights: Weights,
    mask: Tensor | None,
    zero_masked: bool,
    every_step: bool,
) -> tuple[Tensor, Tensor, State]:
    """Compute last output ``[B, H]``, outputs ``[B, T, H]`` (or ``[B, 1, H]``), final h and c."""
    x = jnp.swapaxes(sequences, 0, 1)
    valid = None if mask is None else jnp.swapaxes(mask, 0, 1)[:, :, None]
    how = {"zero_masked": zero_masked, "every_step": every_step}
    if name == FUSED:
        if on_gpu():
            raise UnsupportedError(f"{FUSED}: its kernels are for a CPU, and JAX computes on a GPU")
        bias = weights.bias
        bias = jnp.zeros(weights.kernel.shape[1], x.dtype) if bias is None else bias
        steps = None if valid is None else valid[:, :, 0]
        y, h, c = fused_layer(x, *state, weights.kernel, weights.recurrent_kernel, bias, steps)
        if valid is not None and not zero_masked:
            y = _repeated(y, steps, state[0])
        y = y if every_step else None
    else:
        y, h, c = scanned(x, state, weights, valid, name == BACKEND, **how)
    last = h
    if valid is not None and zero_masked:
        last = jnp.where(valid[-1], h, jnp.zeros_like(h))
    return last, jnp.swapaxes(y, 0, 1) if every_step else last[:, None], (h, c)


def _repeated(y: Tensor, valid: Tensor, h: Tensor) -> Tensor:
    """Return ``y [T, B, H]`` with each masked step's output that of the step before, at first h."""
    steps = jnp.arange(len(y))[:, None]
    last = jax.lax.cummax(jnp.where(valid, steps, -1), axis=0)
    taken = jnp.take_along_axis(y, jnp.maximum(last, 0)[:, :, None], axis=0)
    return jnp.where((last >= 0)[:, :, None], taken, h)
