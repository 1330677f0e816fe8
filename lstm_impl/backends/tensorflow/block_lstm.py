"""Run ``block_lstm``: TensorFlow's fused ``BlockLSTMV2`` op, one kernel for a layer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lstm_impl.backends.tensorflow.backend import (
    Arrays,
    PaddingMask,
    TensorFlowBackend,
    reverse_time,
)
from lstm_impl.backends.tensorflow.second_gradient import guarded, is_in_vectorized_map
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LayerWeights
from lstm_impl.workload import Workload


class BlockLSTM(TensorFlowBackend):
    """Compute with ``BlockLSTMV2`` forward and ``BlockLSTMGradV2`` backward."""

    strategy = "block_lstm"
    summary = "TensorFlow's fused BlockLSTMV2 op, its gradient op called directly"
    flags = ("registered",)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.precision.compute not in ("float32", "float16"):
            text = "TensorFlow's BlockLSTMV2 has float32 and float16 kernels only"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)

    def to_layout(self, cell: LayerWeights) -> Arrays:
        return np.concatenate([cell.kernel, cell.recurrent_kernel], axis=0), cell.bias

    def from_layout(self, arrays: Arrays, gradient: bool) -> LayerWeights:
        both, bias = arrays
        inputs = len(both) - len(bias) // 4
        return LayerWeights(both[:inputs], both[inputs:], bias)

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        padding: PaddingMask | None,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        import tensorflow as tf

        x, (h, c), *_ = call
        inputs = reverse_time(x, padding) if reverse else x
        compute = _forward if "registered" in self.options else _with_gradient
        hidden, cells = compute(inputs, h, c, *parameters)
        if padding is None:
            y, h, c = hidden, hidden[-1], cells[-1]
        else:
            batch = tf.range(tf.shape(x)[1])
            last = tf.stack([padding.lengths - 1, batch], axis=1)
            h, c = tf.gather_nd(hidden, last), tf.gather_nd(cells, last)
            y = tf.where(padding.mask, hidden, tf.zeros_like(hidden))
        return Outputs(reverse_time(y, padding) if reverse else y, (h, c))


ARGUMENTS = ("seq_len_max", "x", "cs_prev", "h_prev", "w", "wci", "wcf", "wco", "b")
"""The arguments of the op and of its gradient, in their order."""


def _block(
    x: Tensor, h0: Tensor, c0: Tensor, both: Tensor, bias: Tensor
) -> tuple[dict[str, Any], Any]:
    """Return the op's arguments, which its gradient takes too, and the op's outputs."""
    import tensorflow as tf

    # The op requires the peephole weights, although use_peephole is off.
    peephole = tf.zeros([c0.shape[-1]], x.dtype)
    steps = tf.cast(tf.shape(x)[0], tf.int64)
    given = (steps, x, c0, h0, both, peephole, peephole, peephole, bias)
    arguments = dict(zip(ARGUMENTS, given, strict=True))
    # -1 means that the cell state is not clipped. In this version of the op, 0 would clip to zero.
    return arguments, tf.raw_ops.BlockLSTMV2(**arguments, cell_clip=-1.0, use_peephole=False)


def _forward(*given: Tensor) -> tuple[Tensor, Tensor]:
    """Compute hidden and cell states ``[T, B, H]``, with the op's registered gradient."""
    _, outputs = _block(*given)
    return outputs.h, outputs.cs


def _with_gradient(*given: Tensor) -> tuple[Tensor, Tensor]:
    """Compute hidden and cell states ``[T, B, H]``, differentiated by ``BlockLSTMGradV2``."""
    import tensorflow as tf

    @tf.custom_gradient
    def block(*given: Tensor) -> tuple[Any, Callable[..., Any]]:
        with _own_gradient():
            arguments, outputs = _block(*given)

        def backward(d_hidden: Tensor, d_cells: Tensor) -> Any:
            return _gradients(arguments, outputs._asdict(), d_hidden, d_cells)

        return guarded((outputs.h, outputs.cs)), backward

    hidden, cells = block(*given)
    return hidden, cells


@contextlib.contextmanager
def _own_gradient() -> Iterator[None]:
    """Give new ops the right gradient in ``tf.vectorized_map``, which drops custom gradients."""
    import tensorflow as tf

    if not is_in_vectorized_map():
        yield
        return
    with tf.compat.v1.get_default_graph().gradient_override_map({"BlockLSTMV2": _registered()}):
        yield


@functools.cache
def _registered() -> str:
    """Register the gradient, and return its name."""
    import tensorflow as tf

    name = "LstmImplBlockLSTM"

    @tf.RegisterGradient(name)
    def gradient(op: Any, *upstream: Tensor) -> list[Tensor | None]:
        kept = dict(zip(("i", "cs", "f", "o", "ci", "co", "h"), op.outputs, strict=True))
        _, d_cells, *_, d_hidden = upstream
        x, h0, c0, both, bias = _gradients(
            dict(zip(ARGUMENTS, op.inputs, strict=True)), kept, d_hidden, d_cells
        )
        return [None, x, c0, h0, both, None, None, None, bias]

    return name


def _gradients(
    arguments: dict[str, Any], kept: dict[str, Tensor], d_hidden: Tensor, d_cells: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of x, h0, c0, both kernels and bias, from inputs and outputs."""
    import tensorflow as tf

    found = tf.raw_ops.BlockLSTMGradV2(
        **arguments, **kept, cs_grad=d_cells, h_grad=d_hidden, use_peephole=False
    )
    return found.x_grad, found.h_prev_grad, found.cs_prev_grad, found.w_grad, found.b_grad
