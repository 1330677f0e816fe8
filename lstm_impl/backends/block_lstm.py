"""``block_lstm``: TensorFlow's fused ``BlockLSTMV2`` op, a whole layer over time in one kernel.

Its gradient is ``BlockLSTMGradV2``, called by hand: TensorFlow 2.21 registers the gradient of the
first version, which has another gate order, for the second, so ``tf.GradientTape`` through the op
is wrong on every input. ``block_lstm+registered`` is that wrong gradient, kept to show that the
gate rejects it. The op knows no lengths: outputs past the end are masked and the last valid state
is gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_impl.backends.tensorflow_backend import (
    Arrays,
    Padding,
    TensorFlowBackend,
    reverse_time,
)
from lstm_impl.call import Outputs, State, Tensor, Tensors
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LayerWeights
from lstm_impl.workload import Workload


class BlockLSTM(TensorFlowBackend):
    """``BlockLSTMV2`` forward, ``BlockLSTMGradV2`` backward."""

    strategy = "block_lstm"
    summary = "TensorFlow's fused BlockLSTMV2 op, its gradient called by hand"
    flags = ("registered",)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.precision.compute not in ("float32", "float16"):
            return "TensorFlow's BlockLSTMV2 has float32 and float16 kernels only"
        return super().refusal(spec, workload)

    def to_layout(self, cell: LayerWeights) -> Arrays:
        return np.concatenate([cell.kernel, cell.recurrent_kernel], axis=0), cell.bias

    def from_layout(self, arrays: Arrays, gradient: bool) -> LayerWeights:
        both, bias = arrays
        inputs = len(both) - len(bias) // 4
        return LayerWeights(both[:inputs], both[inputs:], bias)

    def layer(
        self, x: Tensor, state: State, parameters: Tensors, padding: Padding | None, reverse: bool
    ) -> Outputs:
        import tensorflow as tf

        inputs = reverse_time(x, padding) if reverse else x
        compute = _forward if "registered" in self.options else _with_gradient
        hidden, cells = compute(inputs, *state, *parameters)
        if padding is None:
            y, h, c = hidden, hidden[-1], cells[-1]
        else:
            batch = tf.range(tf.shape(x)[1])
            last = tf.stack([padding.lengths - 1, batch], axis=1)
            h, c = tf.gather_nd(hidden, last), tf.gather_nd(cells, last)
            y = tf.where(padding.mask, hidden, tf.zeros_like(hidden))
        return Outputs(reverse_time(y, padding) if reverse else y, h, c)


def _block(
    x: Tensor, h0: Tensor, c0: Tensor, both: Tensor, bias: Tensor
) -> tuple[dict[str, Any], Any]:
    """The op's arguments, which its gradient takes too, and its outputs."""
    import tensorflow as tf

    peephole = tf.zeros([c0.shape[-1]], x.dtype)  # taken, though use_peephole is off
    arguments = {
        "seq_len_max": tf.cast(tf.shape(x)[0], tf.int64),
        "x": x,
        "cs_prev": c0,
        "h_prev": h0,
        "w": both,
        "wci": peephole,
        "wcf": peephole,
        "wco": peephole,
        "b": bias,
    }
    # The cell is not clipped; 0 would be taken for "clip at zero" by the second version.
    return arguments, tf.raw_ops.BlockLSTMV2(**arguments, cell_clip=-1.0, use_peephole=False)


def _forward(
    x: Tensor, h0: Tensor, c0: Tensor, both: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    _, outputs = _block(x, h0, c0, both, bias)
    return outputs.h, outputs.cs


def _with_gradient(
    x: Tensor, h0: Tensor, c0: Tensor, both: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Hidden and cell states ``[T, B, H]``, differentiated by ``BlockLSTMGradV2``."""
    import tensorflow as tf

    @tf.custom_gradient
    def block(
        x: Tensor, h0: Tensor, c0: Tensor, both: Tensor, bias: Tensor
    ) -> tuple[Any, Callable[..., Any]]:
        arguments, outputs = _block(x, h0, c0, both, bias)

        def backward(d_hidden: Tensor, d_cells: Tensor) -> Any:
            gradient = tf.raw_ops.BlockLSTMGradV2(
                **arguments,
                i=outputs.i,
                cs=outputs.cs,
                f=outputs.f,
                o=outputs.o,
                ci=outputs.ci,
                co=outputs.co,
                h=outputs.h,
                cs_grad=d_cells,
                h_grad=d_hidden,
                use_peephole=False,
            )
            return (
                gradient.x_grad,
                gradient.h_prev_grad,
                gradient.cs_prev_grad,
                gradient.w_grad,
                gradient.b_grad,
            )

        return (outputs.h, outputs.cs), backward

    hidden, cells = block(x, h0, c0, both, bias)
    return hidden, cells
