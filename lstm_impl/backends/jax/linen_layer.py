"""Run a cell of ``flax.linen`` over a sequence with the kernels of ``fused_cpu``.

Importing this module imports Flax.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen

from lstm_impl.backends.jax.flax_sequence import (
    Activations,
    FlaxCall,
    check_cell,
    choose,
    compute_sequence,
)
from lstm_impl.backends.jax.flax_weights import read_linen_cell
from lstm_impl.call import Tensor
from lstm_impl.cell import CELLS, DEFAULT, Cell

KNOWN = Activations((linen.sigmoid, jax.nn.sigmoid), (linen.tanh, jax.nn.tanh, jnp.tanh))


class FusedLinenRNN(linen.RNN):  # type: ignore[misc]
    """Share what ``LinenLSTM`` and ``LinenGRU`` have in common: ``linen.RNN`` in one call.

    The arguments and parameters are those of ``flax.linen.RNN``, so that each of the two computes
    with the other's variables. The only difference is that outputs after the end of a sequence
    (``seq_lengths``) are zero.

    If the kernels cannot compute a call, ``flax.linen.RNN`` does. The first such call logs a
    warning with the reason.

    Raises
    ------
    UnsupportedError
        If the cell is of another kind, or has activations other than sigmoid and tanh.
    """

    kernel_cell: ClassVar[Cell]
    cell_classes: ClassVar[tuple[type[linen.RNNCellBase], ...]]

    def __post_init__(self) -> None:
        if isinstance(self.cell, linen.Module):
            check_cell(self, self.cell, (LinenLSTM, LinenGRU), KNOWN, "linen.RNN", "a")
        super().__post_init__()

    def __call__(
        self,
        inputs: Tensor,
        *,
        initial_carry: Any = None,
        init_key: Any = None,
        seq_lengths: Tensor | None = None,
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
        init_key, seq_lengths
            As in ``linen.RNN``.
        resets, reset_to
            As in ``lstm_impl.jax.LSTM``.
        **how
            ``return_carry``, ``time_major``, ``reverse`` and ``keep_order``. The module's own
            values are used for those that are None or absent.

        Raises
        ------
        UnsupportedError
            For resets where the kernels cannot compute, because ``linen.RNN`` takes none.
        ValueError
            If the carry, the lengths or the resets do not fit the inputs, or the inputs the cell.
        """
        chosen = choose(self, how)
        call = FlaxCall(inputs, initial_carry, seq_lengths, resets, reset_to, *chosen)

        def compute_by_flax(call: FlaxCall) -> Any:
            given = {"initial_carry": call.initial_carry, "seq_lengths": call.seq_lengths}
            how = {"time_major": call.time_major, "reverse": call.reverse}
            how |= {"keep_order": call.keep_order, "return_carry": True}
            return super(FusedLinenRNN, self).__call__(
                call.inputs, init_key=init_key, **given, **how
            )

        def initialize_carry(shape: tuple[int, ...]) -> Any:
            key = jax.random.key(0) if init_key is None else init_key
            return self.cell.initialize_carry(key, shape)

        if self.is_initializing():
            # Flax makes the parameters, with its own initializers and names.
            carry, y = compute_by_flax(call)
            return (carry, y) if call.return_carry else y
        return compute_sequence(
            type(self).__name__,
            "flax.linen.RNN",
            self.kernel_cell,
            self.cell.dtype,
            read_linen_cell(self.cell.variables["params"]),
            call,
            initialize_carry,
            compute_by_flax,
        )


class LinenLSTM(FusedLinenRNN):
    """Compute ``flax.linen.RNN`` of an ``OptimizedLSTMCell`` or ``LSTMCell`` in one call on a CPU.

    ``FusedLinenRNN`` documents arguments and results. The carry is ``(c, h)``, as in Flax.
    """

    kernel_cell = DEFAULT
    cell_classes = (linen.OptimizedLSTMCell, linen.LSTMCell)


class LinenGRU(FusedLinenRNN):
    """Compute ``flax.linen.RNN`` of a ``GRUCell`` in one call on a CPU.

    ``FusedLinenRNN`` documents arguments and results. The carry is h, as in Flax.
    """

    kernel_cell = CELLS["gru"]
    cell_classes = (linen.GRUCell,)
