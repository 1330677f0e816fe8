"""A sequence of steps of Flax's cell by the kernels of ``fused_cpu``; importing it imports Flax."""

import functools
import logging
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import fused_layer, lanes
from lstm_impl.call import State, Tensor
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

SIGMOID = nnx.sigmoid, jax.nn.sigmoid
HOW = ("return_carry", "time_major", "reverse", "keep_order")
TANH = nnx.tanh, jax.nn.tanh, jnp.tanh


class LSTM(nnx.RNN):  # type: ignore[misc]
    """``flax.nnx.RNN`` of an ``nnx.OptimizedLSTMCell``, computed on a CPU by one call.

    Its arguments, parameters and results are those of ``nnx.RNN``, so that either loads the other's
    state; but outputs behind the end of a sequence (``seq_lengths``) are zero.

    Where the kernels cannot compute, ``nnx.RNN`` does, and the first such call logs a warning with
    the reason: in other types than float32 and bfloat16, on other devices, and where the kernels
    can neither be loaded nor compiled.

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
        weights = [
            self.cell.dense_i.kernel[...],
            self.cell.dense_h.kernel[...],
            self.cell.dense_h.bias[...],
        ]
        # A carry that is not given has the type of the weights.
        read = inputs, *(initial_carry or ()), *weights
        dtype = jnp.dtype(self.cell.dtype or jnp.result_type(*read))
        if why_not := _obstacle(dtype.name, inputs):
            carry, y = super().__call__(
                inputs,
                initial_carry=initial_carry,
                seq_lengths=seq_lengths,
                rngs=rngs,
                **dict(zip(HOW, (True, time_major, reverse, keep_order), strict=True)),
            )
            if seq_lengths is not None:
                axis = 0 if time_major else y.ndim - 2
                y = jnp.where(_valid(y.shape, axis, seq_lengths), y, jnp.zeros_like(y))
            _warn_once(why_not)
            return (carry, y) if with_carry else y
        x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
        steps, *examples, features = x.shape
        if initial_carry is None:
            generators = self.rngs if rngs is None else getattr(rngs, "carry", rngs)
            initial_carry = self.cell.initialize_carry((*examples, features), generators)
        x, h, c = (each.astype(dtype) for each in (x, *initial_carry[::-1]))
        parameters = tuple(weights)
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


def _valid(shape: tuple[int, ...], axis: int, lengths: Tensor) -> Tensor:
    """Return which outputs of this shape, with the timesteps on an axis, are before the end."""
    steps = jnp.arange(shape[axis]).reshape(
        [-1 if each == axis else 1 for each in range(len(shape))]
    )
    ends = jnp.expand_dims(lengths, (axis, len(shape) - 1))
    return jnp.asarray(steps < ends)


def _obstacle(dtype: str, x: Tensor) -> str:
    """Return why the kernels cannot compute a call here, or an empty string."""
    if reason := library.unsupported_type(dtype):
        return reason
    if (platform := _platform(x)) != "cpu":
        return f"its kernels are for a CPU, and this call is on {platform}"
    usable = library.usable(library.JAX, lanes, INSTEAD)
    return "" if usable else str(usable)


def _platform(x: Tensor) -> str:
    """Return the kind of device that computes with an array, such as ``cpu``."""
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        return str(next(iter(x.devices())).platform)
    device = jax.config.jax_default_device  # a device, its platform's name, or None
    return str(jax.default_backend() if device is None else getattr(device, "platform", device))


INSTEAD = "flax.nnx.RNN computes"


def _warn_once(why_not: str) -> None:
    """Log why Flax's own code computes, once for each reason."""
    if library.usable(library.JAX, lanes, INSTEAD):  # else that was logged
        _warn(why_not)


@functools.cache
def _warn(why_not: str) -> None:
    logger.warning("lstm_impl.jax.LSTM: %s; %s in their place", why_not, INSTEAD)
