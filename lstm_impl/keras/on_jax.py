"""The layer's computation where Keras runs on JAX: ``lax.scan``, with any mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_impl.call import State, Tensor
from lstm_impl.keras.base import Weights

BACKEND = "jax_scan+preproject"
"""One matrix product for the input of all steps, before the loop."""

NAMES = ("jax_scan", BACKEND)
TANH = (jnp.tanh, jax.nn.tanh)
SIGMOID = (jax.nn.sigmoid,)


def on_gpu() -> bool:
    """Whether JAX computes on a GPU."""
    return bool(jax.default_backend() == "gpu")


def becomes_program(sequences: Tensor) -> bool:
    """Whether JAX is tracing a program from this call, and not computing it."""
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
    """Last output ``[B, H]``, outputs ``[B, T, H]`` (or ``[B, 1, H]``), final h and c."""
    kernel, recurrent_kernel, bias = weights
    preproject = name == BACKEND

    def project(x: Tensor) -> Tensor:
        product = jnp.matmul(x, kernel)
        return product if bias is None else product + bias

    def step(carry: State, slices: tuple[Tensor, Tensor | None]) -> tuple[State, Tensor | None]:
        h, c = carry
        x_t, valid = slices
        z = (x_t if preproject else project(x_t)) + jnp.matmul(h, recurrent_kernel)
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
        if valid is not None:
            h_new, c_new = jnp.where(valid, h_new, h), jnp.where(valid, c_new, c)
        y = h_new
        if valid is not None and zero_masked:
            y = jnp.where(valid, h_new, jnp.zeros_like(h_new))
        return (h_new, c_new), y if every_step else None

    x = jnp.swapaxes(sequences, 0, 1)
    valid = None if mask is None else jnp.swapaxes(mask, 0, 1)[:, :, None]
    (h, c), y = jax.lax.scan(step, state, (project(x) if preproject else x, valid))
    last = h
    if valid is not None and zero_masked:
        last = jnp.where(valid[-1], h, jnp.zeros_like(h))
    if not every_step:
        return last, last[:, None], (h, c)
    return last, jnp.swapaxes(y, 0, 1), (h, c)
