"""Run a cell of Flax's nnx over a sequence with the kernels of ``fused_cpu``.

Importing this module imports Flax.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_impl.backends.jax.flax_sequence import (
    Activations,
    FlaxCall,
    check_cell,
    choose,
    compute_sequence,
)
from lstm_impl.backends.jax.flax_weights import read_cell
from lstm_impl.call import Tensor
from lstm_impl.cell import CELLS, DEFAULT, Cell

KNOWN = Activations((nnx.sigmoid, jax.nn.sigmoid), (nnx.tanh, jax.nn.tanh, jnp.tanh))


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
    cell_classes: ClassVar[tuple[type[nnx.RNNCellBase], ...]]
    """The classes of cells that it computes. The first one is named in messages."""

    def __init__(self, cell: nnx.RNNCellBase, **how: Any) -> None:
        check_cell(self, cell, (LSTM, GRU), KNOWN, "nnx.RNN", "an")
        super().__init__(cell, **how)

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
        ValueError
            If the carry, the lengths or the resets do not fit the inputs, or the inputs the cell.
        """
        chosen = choose(self, how)
        call = FlaxCall(inputs, initial_carry, seq_lengths, resets, reset_to, *chosen)

        def initialize_carry(shape: tuple[int, ...]) -> Any:
            generators = self.rngs if rngs is None else getattr(rngs, "carry", rngs)
            return self.cell.initialize_carry(shape, generators)

        def compute_by_flax(call: FlaxCall) -> Any:
            given = {"initial_carry": call.initial_carry, "seq_lengths": call.seq_lengths}
            how = {"time_major": call.time_major, "reverse": call.reverse}
            how |= {"keep_order": call.keep_order, "return_carry": True}
            return super(FusedRNN, self).__call__(call.inputs, rngs=rngs, **given, **how)

        return compute_sequence(
            type(self).__name__,
            "flax.nnx.RNN",
            self.kernel_cell,
            self.cell.dtype,
            read_cell(self.cell),
            call,
            initialize_carry,
            compute_by_flax,
        )


class LSTM(FusedRNN):
    """Compute ``flax.nnx.RNN`` of an ``nnx.OptimizedLSTMCell`` in one call on a CPU.

    ``FusedRNN`` documents arguments and results. The carry is ``(c, h)``, as in Flax. An
    ``nnx.LSTMCell`` works, too. It has one matrix for each gate, which each call joins.
    """

    kernel_cell = DEFAULT
    cell_classes = (nnx.OptimizedLSTMCell, nnx.LSTMCell)


class GRU(FusedRNN):
    """Compute ``flax.nnx.RNN`` of an ``nnx.GRUCell`` in one call on a CPU.

    ``FusedRNN`` documents arguments and results. The carry is h, as in Flax.

    The reset gate acts after the product with the recurrent kernel. Flax's cell adds no bias to
    that product, although the equations in its documentation have one for the candidate. If
    ``dense_h`` has a bias, which may be the ``bias_hh`` of a GRU of PyTorch, this layer adds it.
    """

    kernel_cell = CELLS["gru"]
    cell_classes = (nnx.GRUCell,)
