"""Run ``flax``: the RNN of ``flax.nnx`` over its LSTM or GRU cell, as users call it."""

from __future__ import annotations

from typing import Any

from lstm_impl.backends.jax.framework import FLAX
from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell


class Flax(JaxBackend):
    """Compute each layer and direction with one ``nnx.RNN``.

    ``nnx.GRUCell`` has no bias in its recurrence, although the equations in its documentation have
    one in the candidate. Therefore a layer ``dense_h`` with a bias replaces the cell's own.
    """

    strategy = "flax"
    framework = "flax"
    packages = (*JaxBackend.packages, FLAX.package)
    summary = "flax.nnx.RNN over an OptimizedLSTMCell or a GRUCell, compiled by XLA"
    cells = ("lstm", "gru")

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

        x, states, lengths, *_ = call
        kernel, recurrent_kernel, *biases = parameters

        def make() -> nnx.RNN:
            kind = nnx.OptimizedLSTMCell if cell == DEFAULT else nnx.GRUCell
            like: dict[str, Any] = {"param_dtype": kernel.dtype, "rngs": nnx.Rngs(0)}
            made = kind(x.shape[-1], states[0].shape[-1], **like)
            if len(biases) > 1:
                made.dense_h = nnx.Linear(*recurrent_kernel.shape, **like)
            always: dict[str, Any] = {"time_major": True, "return_carry": True, "keep_order": True}
            return nnx.RNN(made, **always, reverse=reverse, rngs=False)

        # This traces only the shapes of the module, so that no random weights are made.
        rnn = nnx.eval_shape(make)
        rnn.cell.dense_i.kernel = nnx.Param(kernel)
        rnn.cell.dense_h.kernel = nnx.Param(recurrent_kernel)
        rnn.cell.dense_h.bias = nnx.Param(biases[-1])
        if len(biases) > 1:
            rnn.cell.dense_i.bias = nnx.Param(biases[0])
        # The carry of Flax's LSTM is (c, h). The carry of a GRU is the state itself.
        carry = states[0] if len(states) == 1 else states[::-1]
        last, y = rnn(x, initial_carry=carry, seq_lengths=lengths)
        if valid is not None:
            y = jnp.where(valid[:, :, None], y, jnp.zeros_like(y))
        return Outputs(y, (last,) if len(states) == 1 else last[::-1])
