"""One direction of one layer through a backend's own primitive, under any mask of steps.

This room knows tensors and backends: time-major arrays go in and come out. It knows nothing of
Keras, whose view of a mask (a masked step repeats the last output) is in ``layer.py``, but for
the ``repeat_last`` that it is made with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lstm_impl.backends.block_lstm import BlockLSTM
from lstm_impl.backends.fused_cpu import FusedCpu
from lstm_impl.backends.fused_cpu_layer import FusedLayer
from lstm_impl.backends.loop import LayerInputs, LoopBackend
from lstm_impl.backends.tensorflow_backend import Padding, TensorFlowBackend
from lstm_impl.backends.while_loop import WhileLoop
from lstm_impl.call import Call, Outputs, Tensor, Tensors, Upstream
from lstm_impl.spec import LSTMSpec


class LayerCore:
    """Outputs and final state of one layer by ``backend``, differentiable, traced as it needs.

    Called outside a graph, a loop whose trace serves every shape is traced once and then called as
    a graph; an ``+xla`` backend is compiled, forward and backward each as a whole, wherever it is
    called.
    """

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
        asked for in any case.
        """
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
        """By a backend that goes forward over right-padded sequences and knows no other mask.

        Masked steps do not move the state, so each sequence's valid steps are moved to its front,
        in the order they are read; what comes out is moved back.
        """
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
        # Training mode always: in Keras a gradient may be asked for with training=False too.
        call = Call(x, h[None], c[None], lengths)
        y, h, c = self.backend.stack(spec, call, parameters, training=True)
        return Outputs(y, h[0], c[0])

    def _with_second_gradient(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool
    ) -> Outputs:
        """Right-padded, by a backend whose gradient is an op that has no gradient itself."""

        def forward(inputs: LayerInputs) -> tuple[Outputs, Any]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(inputs)
                outputs = self._right_padded(inputs, mask, reverse)
            return outputs, (tape, inputs, outputs)

        def backward(kept: Any, inputs: LayerInputs, upstream: Upstream) -> Tensors:
            tape, watched, outputs = kept
            gradients: Tensors = tape.gradient(
                list(outputs), list(watched), output_gradients=list(upstream)
            )
            return gradients

        return twice_differentiable(forward, backward, inputs, mask, reverse)

    # -- traced once, for calls outside a graph

    def _traced(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        masks = () if mask is None else (mask,)
        key = ("direct", reverse, bool(masks))
        if key not in self._functions:

            def direct(inputs: LayerInputs, masks: Tensors) -> Outputs:
                return self._direct(inputs, masks[0] if masks else None, reverse)

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
        from outside.

        With the gradient written by hand, the backward pass takes what the forward one kept; else
        it computes the forward pass again.
        """
        masks = () if mask is None else (mask,)
        forward, backward = self._compiled_pair(mask is not None, reverse)
        return twice_differentiable(
            lambda inputs: forward(inputs, masks),
            lambda kept, inputs, upstream: backward(kept, inputs, masks, upstream),
            inputs,
            mask,
            reverse,
        )

    def _compiled_pair(self, masked: bool, reverse: bool) -> tuple[Any, Any]:
        by_hand = self._by_hand

        def forward(inputs: LayerInputs, masks: Tensors) -> tuple[Outputs, Tensors]:
            mask = masks[0] if masks else None
            if by_hand is not None:
                return by_hand.forward_with_residuals(inputs, mask, reverse)
            return self._direct(inputs, mask, reverse), ()

        def backward(kept: Any, inputs: LayerInputs, masks: Tensors, upstream: Upstream) -> Tensors:
            mask = masks[0] if masks else None
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

    @property
    def _by_hand(self) -> LoopBackend | None:
        """The backend, if it has the gradient written by hand."""
        if isinstance(self.backend, LoopBackend) and "hoisted" in self.backend.options:
            return self.backend
        return None


# -- gradients


def by_loop(
    backend: LoopBackend, inputs: LayerInputs, mask: Tensor | None, reverse: bool
) -> Outputs:
    """The outputs by a loop, which takes any mask as it is."""
    x, h, c, *parameters = inputs
    padding = None if mask is None else Padding(None, mask)  # a loop needs no lengths
    return backend.layer(x, (h, c), parameters, padding, reverse)


def by_fused_op(inputs: LayerInputs, mask: Tensor | None, reverse: bool, training: bool) -> Outputs:
    """The outputs by the fused op, which takes any mask as it is.

    Unless in training, nothing is kept for the gradient, which computes the forward pass again.
    """
    layer = FusedLayer(reverse=reverse)
    padding = None if mask is None else mask[:, :, 0]

    def read(inputs: LayerInputs) -> tuple[Any, ...]:
        x, h, c, *parameters = inputs
        return x, h[None], c[None], parameters, padding

    def of_layer(outputs: Outputs) -> Outputs:
        y, h, c = outputs
        return Outputs(y, h[0], c[0])

    def forward(inputs: LayerInputs) -> tuple[Outputs, Any]:
        if not training:
            return of_layer(layer.infer(*read(inputs))), None
        outputs, kept = layer.train(*read(inputs))
        return of_layer(outputs), kept

    def backward(kept: Any, inputs: LayerInputs, upstream: Upstream) -> Tensors:
        _, h, c, parameters, _ = read(inputs)
        if not training:
            _, kept = layer.train(*read(inputs))
        dy, dh, dc = upstream
        of_inputs, of_weights = layer.backward(
            kept, h, c, parameters, padding, Upstream(dy, dh[None], dc[None])
        )
        return [of_inputs.dx, of_inputs.dh[0], of_inputs.dc[0], *of_weights]

    return twice_differentiable(forward, backward, inputs, mask, reverse)


def twice_differentiable(
    forward: Callable[[LayerInputs], tuple[Outputs, Any]],
    backward: Callable[[Any, LayerInputs, Upstream], Tensors],
    inputs: LayerInputs,
    mask: Tensor | None,
    reverse: bool,
) -> Outputs:
    """``forward`` with ``backward`` as its gradient, whose own gradient is that of a plain loop.

    forward(inputs) returns the outputs and whatever backward(that, inputs, upstream) needs.
    TensorFlow can differentiate neither a compiled loop nor BlockLSTMGradV2; the plain loop's ops
    are made only where a second gradient is asked for.
    """

    # Outside a graph an enclosing tape goes on recording in here: what ``forward`` and ``backward``
    # do must not reach it, hence stop_gradient.
    def layer(*inputs: Tensor) -> tuple[Tensors, Callable[..., Any]]:
        outputs, kept = forward(LayerInputs(*_stopped(inputs)))

        def gradient(*upstream: Tensor) -> Any:
            def first(*everything: Tensor) -> tuple[list[Tensor], Callable[..., Any]]:
                stopped = _stopped(everything)
                count = len(inputs)
                found = backward(kept, LayerInputs(*stopped[:count]), Upstream(*stopped[count:]))

                def second(*upstream: Tensor) -> Any:
                    return gradient_of_gradient(
                        everything[:count], everything[count:], upstream, mask, reverse
                    )

                return list(found), second

            return tf.custom_gradient(first)(*inputs, *upstream)

        return tuple(outputs), gradient

    return Outputs(*tf.custom_gradient(layer)(*inputs))


def gradient_of_gradient(
    inputs: Tensors,
    upstream: Tensors,
    upstream_of_gradient: Tensors,
    mask: Tensor | None,
    reverse: bool,
) -> Tensors:
    """What a plain loop's gradient, with ``upstream`` flowing into its outputs, sends back.

    To ``inputs`` and to ``upstream``; upstream_of_gradient flows into the gradient of each input.
    """
    sources = [*inputs, *upstream]
    with tf.GradientTape() as outer:
        outer.watch(sources)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            outputs = by_loop(WhileLoop(), LayerInputs(*inputs), mask, reverse)
        first = _gradient(inner, outputs, inputs, upstream)
    return _gradient(outer, first, sources, upstream_of_gradient)


def _gradient(tape: Any, targets: Tensors, sources: Tensors, upstream: Tensors) -> Tensors:
    gradients: Tensors = tape.gradient(
        list(targets),
        list(sources),
        output_gradients=list(upstream),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return gradients


def _stopped(tensors: Tensors) -> tuple[Tensor, ...]:
    return tuple(map(tf.stop_gradient, tensors))


# -- masks, in the order in which steps are read


def valid_steps(valid: Tensor) -> Tensor:
    """Where each sequence's valid steps are: row k of ``[T, B]`` is the step of the k-th one.

    valid ``[T, B]`` bool. Rows past a sequence's last valid step are 0.
    """
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
    """``y [T, B, H]`` where a masked step has the output of the last valid one, or zero before it.

    valid ``[T, B]`` bool; both in the order in which steps are read.
    """
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
    last = take_steps(valid_steps(valid), tf.maximum(number, 0))
    return tf.where((number >= 0)[:, :, None], take_steps(y, last), tf.zeros_like(y))
