"""Run ``flax``: ``flax.nnx.RNN`` over an ``OptimizedLSTMCell``, as Flax users do."""

from __future__ import annotations

from typing import Any

from lstm_impl.backends.jax.framework import FLAX
from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell


class Flax(JaxBackend):
    """One ``nnx.RNN`` for each layer and direction."""

    strategy = "flax"
    framework = "flax"
    packages = (*JaxBackend.packages, FLAX.package)
    summary = "flax.nnx.RNN over an OptimizedLSTMCell, compiled by XLA"

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        valid: Tensor,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        import jax.numpy as jnp
        from flax import nnx

        x, (h, c), lengths, _ = call
        kernel, recurrent_kernel, bias = parameters

        def make() -> nnx.RNN:
            cell = nnx.OptimizedLSTMCell(
                x.shape[-1], h.shape[-1], param_dtype=kernel.dtype, rngs=nnx.Rngs(0)
            )
            always: dict[str, Any] = {"time_major": True, "return_carry": True, "keep_order": True}
            return nnx.RNN(cell, **always, reverse=reverse, rngs=False)

        # Only the shapes of the module's random weights are made.
        rnn = nnx.eval_shape(make)
        rnn.cell.dense_i.kernel = nnx.Param(kernel)
        rnn.cell.dense_h.kernel = nnx.Param(recurrent_kernel)
        rnn.cell.dense_h.bias = nnx.Param(bias)
        (c, h), y = rnn(x, initial_carry=(c, h), seq_lengths=lengths)
        if valid is not None:
            y = jnp.where(valid[:, :, None], y, jnp.zeros_like(y))
        return Outputs(y, (h, c))
