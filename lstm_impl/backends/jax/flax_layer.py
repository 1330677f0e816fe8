"""Run a cell of Flax over a sequence with the kernels of ``fused_cpu``.

Importing this module imports Flax.
"""

import functools
import logging
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import compute_layer, lanes
from lstm_impl.call import States, Tensor
from lstm_impl.cell import CELLS, DEFAULT, Cell
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

SIGMOID = nnx.sigmoid, jax.nn.sigmoid
HOW = ("return_carry", "time_major", "reverse", "keep_order")
TANH = nnx.tanh, jax.nn.tanh, jnp.tanh


class FusedRNN(nnx.RNN):  # type: ignore[misc]
    """Share what ``LSTM`` and ``GRU`` have in common: ``flax.nnx.RNN`` in one call on a CPU.

    The arguments, parameters and results are those of ``nnx.RNN``, so that each of the two can load
    the other's state. The only difference is that outputs after the end of a sequence
    (``seq_lengths``) are zero.

    If the kernels cannot compute a call, ``nnx.RNN`` does. The first such call logs a warning with
    the reason: a type other than float32 and bfloat16, another device, or kernels that can be
    neither loaded nor compiled.

    Raises
    ------
    UnsupportedError
        If the cell is of another kind, or has activations other than sigmoid and tanh."""

    kernel_cell: ClassVar[Cell]
    cell_class: ClassVar[type[nnx.RNNCellBase]]

    def __init__(self, cell: nnx.RNNCellBase, **how: Any) -> None:
        name, own, found = type(self).__name__, self.cell_class, type(cell)
        fits = isinstance(cell, own)
        if not fits or cell.gate_fn not in SIGMOID or cell.activation_fn not in TANH:
            serving = [each for each in (LSTM, GRU) if isinstance(cell, each.cell_class)]
            other = "nnx.RNN" if fits or not serving else f"lstm_impl.jax.{serving[0].__name__}"
            raise UnsupportedError(
                f"lstm_impl.jax.{name} computes an nnx.{own.__name__} with sigmoid and tanh; use "
                f"{other} for {found.__name__}"
            )
        super().__init__(cell, **how)

    # -- methods that a subclass must define

    def _read_weights(self) -> list[Tensor]:
        """Return the weights of the cell of Flax in the order of ``Cell.parameters``."""
        raise NotImplementedError

    @staticmethod
    def _split_carry(carry: Any) -> States:
        """Return the states of a carry in the order of ``Cell.states``."""
        raise NotImplementedError

    @staticmethod
    def _make_carry(states: States) -> Any:
        """Return the carry that consists of the given states."""
        raise NotImplementedError

    def __call__(
        self,
        inputs: Tensor,
        *,
        initial_carry: Any = None,
        seq_lengths: Tensor | None = None,
        rngs: Any = None,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
        **how: bool | None,
    ) -> Any:
        """Compute the outputs ``[.., T, H]``, or the carry and the outputs.

        Parameters
        ----------
        inputs
            ``[.., T, in]``, or ``[T, .., in]`` if time-major.
        initial_carry
            ``(c, h)`` for an LSTM, ``h`` for a GRU, or None.
        seq_lengths, rngs
            As in ``nnx.RNN``.
        resets
            Bool ``[.., T]``, or ``[T, ..]`` if time-major, or None. A sequence starts over before a
            step that is True, which is where an episode begins. No gradient flows past it.
        reset_to
            The state from which it starts over: ``zeros``, or ``initial_state`` for the initial
            carry.
        **how
            ``return_carry``, ``time_major``, ``reverse`` and ``keep_order``. The module's own
            values are used for those that are None or absent.

        Raises
        ------
        UnsupportedError
            For resets where the kernels cannot compute, because ``nnx.RNN`` takes none.
        """
        if unknown := how.keys() - {*HOW}:
            raise TypeError(
                f"{type(self).__name__} has no argument {min(unknown)!r}; expected some of "
                f"{', '.join(HOW)}"
            )
        chosen = [getattr(self, name) if how.get(name) is None else how[name] for name in HOW]
        with_carry, time_major, reverse, keep_order = chosen
        weights = self._read_weights()
        # An initial carry that is not given gets the type of the weights.
        carried = () if initial_carry is None else self._split_carry(initial_carry)
        dtype = jnp.dtype(self.cell.dtype or jnp.result_type(inputs, *carried, *weights))
        if why_not := _obstacle(dtype.name, inputs):
            if resets is not None:
                raise UnsupportedError(f"LSTM: flax.nnx.RNN takes no resets, and {why_not}")
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
            _warn_once(why_not, type(self).__name__)
            return (carry, y) if with_carry else y
        x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
        steps, *examples, features = x.shape
        if initial_carry is None:
            generators = self.rngs if rngs is None else getattr(rngs, "carry", rngs)
            initial_carry = self.cell.initialize_carry((*examples, features), generators)
        x, *states = (each.astype(dtype) for each in (x, *self._split_carry(initial_carry)))
        parameters = tuple(weights)
        if dtype != jnp.bfloat16 or any(each.dtype != jnp.float32 for each in parameters):
            parameters = tuple(each.astype(dtype) for each in parameters)
        valid = None
        if seq_lengths is not None:
            valid = jnp.arange(steps)[:, None] < seq_lengths.reshape(-1)
        batch = math.prod(examples)
        before = tuple(each.reshape(batch, -1) for each in states)
        flat = self.kernel_cell, x.reshape(steps, batch, features), before, parameters, valid
        if resets is not None:
            if resets.shape != inputs.shape[:-1]:
                raise ValueError(f"resets has shape {resets.shape}; expected {inputs.shape[:-1]}")
            resets = (resets if time_major else jnp.moveaxis(resets, -1, 0)).reshape(steps, batch)
        starts: Any = {} if resets is None else {"resets": resets, "reset_to": reset_to}
        y, *after = compute_layer(*flat, reverse=bool(reverse), **starts)
        y = y.reshape(steps, *examples, y.shape[-1])
        if reverse and not keep_order:
            y = flip_sequences(y, seq_lengths, len(examples), time_major=True)
        y = y if time_major else jnp.moveaxis(y, 0, -2)
        last = tuple(each.reshape(*examples, each.shape[-1]) for each in after)
        return (self._make_carry(last), y) if with_carry else y


class LSTM(FusedRNN):
    """Compute ``flax.nnx.RNN`` of an ``nnx.OptimizedLSTMCell`` in one call on a CPU.

    ``FusedRNN`` documents arguments and results. The carry is ``(c, h)``, as in Flax.
    """

    kernel_cell = DEFAULT
    cell_class = nnx.OptimizedLSTMCell

    def _read_weights(self) -> list[Tensor]:
        cell = self.cell
        return [cell.dense_i.kernel[...], cell.dense_h.kernel[...], cell.dense_h.bias[...]]

    @staticmethod
    def _split_carry(carry: Any) -> States:
        c, h = carry
        return h, c

    @staticmethod
    def _make_carry(states: States) -> Any:
        return states[::-1]


class GRU(FusedRNN):
    """Compute ``flax.nnx.RNN`` of an ``nnx.GRUCell`` in one call on a CPU.

    ``FusedRNN`` documents arguments and results. The carry is h, as in Flax.

    The reset gate acts after the product with the recurrent kernel. Flax's cell adds no bias to
    that product, although the equations in its documentation have one for the candidate. If
    ``dense_h`` has a bias, which may be the ``bias_hh`` of a GRU of PyTorch, this layer adds it.
    """

    kernel_cell = CELLS["gru"]
    cell_class = nnx.GRUCell

    def _read_weights(self) -> list[Tensor]:
        of_input, of_state = self.cell.dense_i, self.cell.dense_h
        bias = of_input.bias[...]
        second = jnp.zeros_like(bias) if of_state.bias is None else of_state.bias[...]
        return [of_input.kernel[...], of_state.kernel[...], bias, second]

    @staticmethod
    def _split_carry(carry: Any) -> States:
        return (carry,)

    @staticmethod
    def _make_carry(states: States) -> Any:
        return states[0]


def _valid(shape: tuple[int, ...], axis: int, lengths: Tensor) -> Tensor:
    """Return which outputs of this shape are before the end of their sequence.

    ``axis`` is the axis of the timesteps.
    """
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
        return f"its kernels run on a CPU, and this call is on {platform}"
    usable = library.usable(library.JAX, lanes, INSTEAD)
    return "" if usable else str(usable)


def _platform(x: Tensor) -> str:
    """Return the kind of device that computes with an array, such as ``cpu``."""
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        return str(next(iter(x.devices())).platform)
    # The setting is a device, the name of its platform, or None.
    device = jax.config.jax_default_device
    return str(jax.default_backend() if device is None else getattr(device, "platform", device))


INSTEAD = "flax.nnx.RNN computes"
"""What computes in place of the kernels, for warnings."""


def _warn_once(why_not: str, layer: str) -> None:
    """Log why Flax's own code computes, once for each reason and layer."""
    if library.usable(library.JAX, lanes, INSTEAD):  # Otherwise the library has logged a warning.
        _warn(why_not, layer)


@functools.cache
def _warn(why_not: str, layer: str) -> None:
    logger.warning("lstm_impl.jax.%s: %s; %s in their place", layer, why_not, INSTEAD)
