"""A sequence of steps of Flax's cell by the kernels of ``fused_cpu``; importing it imports Flax."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

from lstm_impl.backends.jax.fused_layer import fused_layer
from lstm_impl.call import State, Tensor
from lstm_impl.spec import UnsupportedError

SIGMOID = nnx.sigmoid, jax.nn.sigmoid
HOW = ("return_carry", "time_major", "reverse", "keep_order")
TANH = nnx.tanh, jax.nn.tanh, jnp.tanh


class LSTM(nnx.RNN):  # type: ignore[misc]
    """``flax.nnx.RNN`` of an ``nnx.OptimizedLSTMCell``, computed on a CPU by one call.

    Its arguments, parameters and results are those of ``nnx.RNN``, so that either loads the other's
    state; but outputs behind the end of a sequence (``seq_lengths``) are zero. float32 or bfloat16.

    Raises UnsupportedError for another cell, or one of other activations.
    """

    def __init__(self, cell: nnx.OptimizedLSTMCell, **how: Any) -> None:
        is_lstm = isinstance(cell, nnx.OptimizedLSTMCell)
        if not is_lstm or cell.gate_fn not in SIGMOID or cell.activation_fn not in TANH:
            raise UnsupportedError(
                "lstm_impl.jax.LSTM computes an nnx.OptimizedLSTMCell with sigmoid and tanh; use "
                f"nnx.RNN for {type(cell).__name__}"
            )
        super().__init__(cell, **how)

    def __call__(
        self,
        inputs: Tensor,
        *,
        initial_carry: State | None = None,
        seq_lengths: Tensor | None = None,
        rngs: Any = None,
        **how: bool | None,
    ) -> Any:
        """Compute outputs ``[.., T, H]``, or the carry ``(c, h)`` and them, as ``nnx.RNN`` does.

        inputs: ``[.., T, in]``, or ``[T, .., in]`` if time_major. how: ``return_carry``,
        ``time_major``, ``reverse`` and ``keep_order``; those of the module where they are None.
        """
        if unknown := how.keys() - {*HOW}:
            raise TypeError(f"LSTM has no argument {min(unknown)!r}")
        chosen = [getattr(self, name) if how.get(name) is None else how[name] for name in HOW]
        with_carry, time_major, reverse, keep_order = chosen
        x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
        steps, *examples, features = x.shape
        if initial_carry is None:
            generators = self.rngs if rngs is None else getattr(rngs, "carry", rngs)
            initial_carry = self.cell.initialize_carry((*examples, features), generators)
        weights = self.cell.dense_i.kernel, self.cell.dense_h.kernel, self.cell.dense_h.bias
        given = (x, *initial_carry[::-1], *(each[...] for each in weights))
        dtype = self.cell.dtype or jnp.result_type(*given)
        x, h, c = (each.astype(dtype) for each in given[:3])
        parameters = given[3:]
        if dtype != jnp.bfloat16 or any(each.dtype != jnp.float32 for each in parameters):
            parameters = tuple(each.astype(dtype) for each in parameters)
        valid = None
        if seq_lengths is not None:
            valid = jnp.arange(steps)[:, None] < seq_lengths.reshape(-1)
        batch = math.prod(examples)
        h, c = (each.reshape(batch, -1) for each in (h, c))
        flat = x.reshape(steps, batch, features), h, c, *parameters, valid
        y, *after = fused_layer(*flat, reverse=bool(reverse))
        y = y.reshape(steps, *examples, y.shape[-1])
        if reverse and not keep_order:
            y = flip_sequences(y, seq_lengths, len(examples), time_major=True)
        y = y if time_major else jnp.moveaxis(y, 0, -2)
        h, c = (each.reshape(*examples, each.shape[-1]) for each in after)
        return ((c, h), y) if with_carry else y
