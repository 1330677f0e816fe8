"""Compute the layer for Keras on JAX: by ``lax.scan``, with any mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_impl.backends.jax.scan import scanned
from lstm_impl.call import State, Tensor
from lstm_impl.keras.base import Weights

BACKEND = "jax_scan+preproject"
"""One matrix product for the input of all steps, before the loop."""

NAMES = ("jax_scan", BACKEND)
TANH = (jnp.tanh, jax.nn.tanh)
SIGMOID = (jax.nn.sigmoid,)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    return bool(jax.default_backend() == "gpu")


def becomes_program(sequences: Tensor) -> bool:
    """Return whether JAX is tracing a program from this call instead of computing it."""
    return isinstance(sequences, jax.core.Tracer)


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
    y, h, c = scanned(x, state, weights, valid, name == BACKEND, **how)
    last = h
    if valid is not None and zero_masked:
        last = jnp.where(valid[-1], h, jnp.zeros_like(h))
    return last, jnp.swapaxes(y, 0, 1) if every_step else last[:, None], (h, c)
