"""``jax_scan``: ``jax.lax.scan`` over the cell's equations, compiled by XLA as one program."""

from __future__ import annotations

from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.call import Outputs, State, Tensor, Tensors


class JaxScan(JaxBackend):
    """One ``lax.scan`` for each layer and direction.

    Option ``+preproject`` computes the input product of all timesteps in one matrix product before
    the loop: more memory, fewer products.
    """

    strategy = "jax_scan"
    summary = "jax.lax.scan over the cell, compiled by XLA"
    flags = ("preproject",)
    listed = ("", "+preproject")

    def layer(
        self, x: Tensor, state: State, parameters: Tensors, lengths: Tensor | None, reverse: bool
    ) -> Outputs:
        import jax
        import jax.numpy as jnp

        kernel, recurrent_kernel, bias = parameters
        preproject = "preproject" in self.options

        def project(x: Tensor) -> Tensor:
            return jnp.matmul(x, kernel) + bias

        def step(carry: State, slices: tuple[Tensor, Tensor | None]) -> tuple[State, Tensor]:
            h, c = carry
            x_t, valid = slices
            z = (x_t if preproject else project(x_t)) + jnp.matmul(h, recurrent_kernel)
            i, f, g, o = jnp.split(z, 4, axis=-1)
            c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
            if valid is None:
                return (h_new, c_new), h_new
            # Backwards, the state simply does not move before the first valid step.
            y = jnp.where(valid, h_new, jnp.zeros_like(h_new))
            return (jnp.where(valid, h_new, h), jnp.where(valid, c_new, c)), y

        valid = None
        if lengths is not None:
            steps = jnp.arange(x.shape[0], dtype=lengths.dtype)
            valid = (steps[:, None] < lengths[None, :])[:, :, None]
        sequences = (project(x) if preproject else x, valid)
        (h, c), y = jax.lax.scan(step, state, sequences, reverse=reverse)
        return Outputs(y, h, c)
