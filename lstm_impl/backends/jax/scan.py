"""Run ``jax_scan``: ``jax.lax.scan`` over the cell's equations, compiled by XLA as one program."""

from __future__ import annotations

import functools
from typing import Any

from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.call import Call, LSTMOutputs, Outputs, State, Tensor, Tensors


class JaxScan(JaxBackend):
    """One ``lax.scan`` for each layer and direction.

    Option ``+preproject`` computes the input product of all timesteps in one matrix product before
    the loop: more memory, fewer products.
    """

    strategy = "jax_scan"
    summary = "jax.lax.scan over the cell, compiled by XLA"
    flags = ("preproject",)
    listed = ("", "+preproject")

    def layer(self, call: Call, parameters: Tensors, valid: Tensor, reverse: bool) -> Outputs:
        steps = None if valid is None else valid[:, :, None]
        how = steps, "preproject" in self.options
        h, c = call.states
        return Outputs.from_flat(scanned(call.x, (h, c), parameters, *how, reverse=reverse))


def scanned(
    x: Tensor,
    state: State,
    parameters: Tensors,
    valid: Tensor | None,
    preproject: bool,
    *,
    reverse: bool = False,
) -> LSTMOutputs:
    """Compute outputs ``[T, B, H]`` and the final state.

    x ``[T, B, in]``; valid ``[T, B, 1]``: a step that is False keeps the state, and its output is
    zero.
    """
    return LSTMOutputs(*_traced_once()(preproject, reverse, x, state, tuple(parameters), valid))


@functools.cache
def _traced_once() -> Any:
    """Return ``_scan`` by ``jit``, outside of which JAX compiles the loop in each call."""
    import jax

    return jax.jit(_scan, static_argnums=(0, 1), inline=True)


def _scan(
    preproject: bool,
    reverse: bool,
    x: Tensor,
    state: State,
    parameters: Tensors,
    valid: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    import jax
    import jax.numpy as jnp

    kernel, recurrent_kernel, bias = parameters

    def project(x: Tensor) -> Tensor:
        return jnp.matmul(x, kernel) + bias

    def step(carry: State, slices: tuple[Tensor, Tensor | None]) -> tuple[State, Tensor]:
        h, c = carry
        x_t, valid = slices
        z = (x_t if preproject else project(x_t)) + jnp.matmul(h, recurrent_kernel)
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        y = h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
        if valid is not None:
            # In reverse the state does not change before the first valid step.
            h_new, c_new = jnp.where(valid, h_new, h), jnp.where(valid, c_new, c)
            y = jnp.where(valid, h_new, jnp.zeros_like(h_new))
        return (h_new, c_new), y

    (h, c), y = jax.lax.scan(step, state, (project(x) if preproject else x, valid), reverse=reverse)
    return y, h, c
