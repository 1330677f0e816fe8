"""One direction of one layer through a backend's own primitive, under any mask of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lstm_impl.backends.fused_cpu.backend import FusedCpu, FusedLayer
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.block_lstm import BlockLSTM
from lstm_impl.backends.tensorflow.loops import (
    LayerInputs,
    LoopBackend,
    StaticUnroll,
    WhileLoop,
    by_loop,
)
from lstm_impl.backends.tensorflow.second_gradient import in_forward_mode, own, twice_differentiable
from lstm_impl.call import Call, Outputs, Tensor, Tensors, Upstream
from lstm_impl.spec import LSTMSpec, UnsupportedError

FORWARD_MODE = (
    "forward-mode differentiation (tf.autodiff.ForwardAccumulator) in a graph needs the number of "
    "timesteps when it is traced: give the function an input of known shape, or enter the "
    "accumulator outside of the graph"
)


class LayerCore:
    """Outputs and final state of one layer by ``backend``, differentiable, traced as it needs."""

    def __init__(self, backend: TensorFlowBackend, compute_dtype: str) -> None:
        self.backend = backend
        self._dtype = compute_dtype
        self._functions: dict[tuple[str, bool, bool], Any] = {}

    def __call__(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool, training: bool = True
    ) -> Outputs:
        """The outputs for ``inputs``.

        mask ``[T, B, 1]`` bool, any pattern: a step that is False keeps the state and has zero
        output. With ``reverse`` the steps are read from the last to the first; outputs stand at
        the step they belong to. training: whether to be prepared for a gradient, which may be
        requested in any case.
        """
        if in_forward_mode(inputs):
            if inputs.x.shape[0] is None:
                raise UnsupportedError(FORWARD_MODE)
            return by_loop(StaticUnroll(), inputs, mask, reverse)
        if isinstance(self.backend, FusedCpu):
            return by_fused_op(inputs, mask, reverse, training)
        if self.backend.xla:
            return self._compiled(inputs, mask, reverse)
        # A fused op is a handful of ops in any case; a loop is hundreds.
        loop = isinstance(self.backend, LoopBackend)
        if loop and self.backend.dynamic and tf.executing_eagerly():
            return self._traced(inputs, mask, reverse)
        return self._direct(inputs, mask, reverse)

    # -- by the backend's ops, here

    def _direct(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        if isinstance(self.backend, LoopBackend):
            return by_loop(self.backend, inputs, mask, reverse)
        if isinstance(self.backend, BlockLSTM):
            return self._with_second_gradient(inputs, mask, reverse)
        return self._right_padded(inputs, mask, reverse)

    def _right_padded(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        """By a backend that goes forward over right-padded sequences and knows no other mask."""
        x, h, c, *parameters = inputs
        if reverse:
            x = tf.reverse(x, [0])
        if mask is None:
            y, h, c = self._stack(x, h, c, parameters, None)
        else:
            valid = mask[:, :, 0]
            if reverse:
                valid = tf.reverse(valid, [0])
            lengths = tf.reduce_sum(tf.cast(valid, tf.int32), axis=0)
            # cuDNN takes no empty sequence: one step is computed and thrown away.
            y, h_last, c_last = self._stack(
                take_steps(x, valid_steps(valid)), h, c, parameters, tf.maximum(lengths, 1)
            )
            number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
            y = take_steps(y, tf.maximum(number, 0))
            y = tf.where(valid[:, :, None], y, tf.zeros_like(y))
            some = lengths[:, None] > 0
            h, c = tf.where(some, h_last, h), tf.where(some, c_last, c)
        return Outputs(tf.reverse(y, [0]) if reverse else y, h, c)

    def _stack(
        self, x: Tensor, h: Tensor, c: Tensor, parameters: Tensors, lengths: Tensor | None
    ) -> Outputs:
        """The backend's network of one layer, which takes its parameters in its own layout."""
        if isinstance(self.backend, BlockLSTM):
            kernel, recurrent_kernel, bias = parameters
            parameters = tf.concat([kernel, recurrent_kernel], axis=0), bias
        spec = LSTMSpec(x.shape[-1], h.shape[-1], dtype=self._dtype)
        # Training mode always: in Keras a gradient may be requested with training=False too.
        call = Call(x, h[None], c[None], lengths)
        y, h, c = self.backend.stack(spec, call, parameters, training=True)
        return Outputs(y, h[0], c[0])

    def _with_second_gradient(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool
    ) -> Outputs:
        """Right-padded, by a backend whose gradient is an op that has no gradient itself."""

        def forward(inputs: Tensors, masks: Tensors) -> tuple[Outputs, Any]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(inputs)
                outputs = self._right_padded(LayerInputs(*inputs), _only(masks), reverse)
            return outputs, (tape, inputs, outputs)

        def backward(kept: Any, inputs: Tensors, masks: Tensors, upstream: Tensors) -> Tensors:
            tape, watched, outputs = kept
            return _gradient(tape, outputs, watched, upstream)

        return _twice_differentiable(forward, backward, inputs, mask, reverse)

    # -- traced once, for calls outside a graph

    def _traced(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        masks = () if mask is None else (mask,)
        key = ("direct", reverse, bool(masks))
        if key not in self._functions:

            def direct(inputs: LayerInputs, masks: Tensors) -> Outputs:
                return self._direct(inputs, _only(masks), reverse)

            def any_batch_and_time(tensor: Tensor) -> Any:
                sizes = [None] * (len(tensor.shape) - 1) + [tensor.shape[-1]]
                return tf.TensorSpec(sizes, tensor.dtype)

            self._functions[key] = tf.function(
                direct,
                input_signature=[
                    LayerInputs(
                        *map(any_batch_and_time, inputs[:3]),
                        *(tf.TensorSpec(p.shape, p.dtype) for p in inputs[3:]),
                    ),
                    tuple(map(any_batch_and_time, masks)),
                ],
                autograph=False,
            )
        return Outputs(*self._functions[key](inputs, masks))

    # -- compiled by XLA

    def _compiled(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        """Forward and backward each compiled: a loop that is compiled cannot be differentiated
        from outside."""
        forward, backward = self._compiled_pair(mask is not None, reverse)
        return _twice_differentiable(
            lambda inputs, masks: forward(LayerInputs(*inputs), masks),
            lambda kept, inputs, masks, upstream: backward(
                own(kept), LayerInputs(*inputs), masks, Upstream(*upstream)
            ),
            inputs,
            mask,
            reverse,
        )

    def _compiled_pair(self, masked: bool, reverse: bool) -> tuple[Any, Any]:
        by_hand = None  # the backend, if it has the gradient written by hand
        if isinstance(self.backend, LoopBackend) and "hoisted" in self.backend.options:
            by_hand = self.backend

        def forward(inputs: LayerInputs, masks: Tensors) -> tuple[Outputs, Tensors]:
            mask = _only(masks)
            if by_hand is not None:
                return by_hand.forward_with_residuals(inputs, mask, reverse)
            return self._direct(inputs, mask, reverse), ()

        def backward(kept: Any, inputs: LayerInputs, masks: Tensors, upstream: Upstream) -> Tensors:
            mask = _only(masks)
            if by_hand is not None:
                return by_hand.backward_from_residuals(kept, inputs, mask, reverse, upstream)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = self._direct(inputs, mask, reverse)
            return _gradient(tape, outputs, inputs, upstream)

        pair = []
        for name, body in (("forward", forward), ("backward", backward)):
            key = (name, reverse, masked)
            if key not in self._functions:
                self._functions[key] = tf.function(body, jit_compile=True, autograph=False)
            pair.append(self._functions[key])
        return pair[0], pair[1]


def _twice_differentiable(
    forward: Callable[[Tensors, Tensors], tuple[Outputs, Any]],
    backward: Callable[[Any, Tensors, Tensors, Tensors], Tensors],
    inputs: LayerInputs,
    mask: Tensor | None,
    reverse: bool,
) -> Outputs:
    def plain(*given: Tensor) -> Outputs:
        count = len(inputs)
        return by_loop(WhileLoop(), LayerInputs(*given[:count]), _only(given[count:]), reverse)

    masks = () if mask is None else (mask,)
    return Outputs(*twice_differentiable(plain, forward, backward, inputs, masks))


def _only(masks: Tensors) -> Tensor | None:
    return masks[0] if masks else None


def _gradient(tape: Any, targets: Tensors, sources: Tensors, upstream: Tensors) -> Tensors:
    gradients: Tensors = tape.gradient(
        list(targets), list(sources), output_gradients=list(upstream)
    )
    return gradients


def by_fused_op(inputs: LayerInputs, mask: Tensor | None, reverse: bool, training: bool) -> Outputs:
    """The outputs by the fused op, which takes any mask as it is."""
    x, h, c, *parameters = inputs
    layer = FusedLayer(reverse=reverse)
    call = Call(x, h[None], c[None], None if mask is None else mask[:, :, 0])
    y, h, c = layer.train(call, parameters)[0] if training else layer.infer(call, parameters)
    return Outputs(y, h[0], c[0])


# -- masks, in the order in which steps are read


def valid_steps(valid: Tensor) -> Tensor:
    """Where each sequence's valid steps are: row k of ``[T, B]`` is the step of the k-th one."""
    shape = tf.shape(valid)
    timesteps, batch = shape[0], shape[1]
    step = tf.broadcast_to(tf.range(timesteps)[:, None], shape)
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
    # what is masked goes into one more row, which is cut off
    row = tf.where(valid, number, timesteps)
    column = tf.broadcast_to(tf.range(batch)[None, :], shape)
    rows = tf.scatter_nd(tf.stack([row, column], axis=-1), step, [timesteps + 1, batch])
    return rows[:-1]


def take_steps(sequence: Tensor, steps: Tensor) -> Tensor:
    """``sequence [T, B, ...]`` at ``steps [T, B]``, for each sequence of the batch by itself."""
    column = tf.broadcast_to(tf.range(tf.shape(steps)[1])[None, :], tf.shape(steps))
    taken = tf.gather_nd(sequence, tf.stack([steps, column], axis=-1))
    taken.set_shape(sequence.shape)
    return taken


def repeat_last(y: Tensor, valid: Tensor) -> Tensor:
    """``y [T, B, H]`` where a masked step has the last valid one's output, or zero before it."""
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
    last = take_steps(valid_steps(valid), tf.maximum(number, 0))
    return tf.where((number >= 0)[:, :, None], take_steps(y, last), tf.zeros_like(y))
