"""Keras's LSTM layers, of Keras 2 and of Keras 3 on any of its backends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lstm_impl.backends.stacking import through_layers
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights


def make_layers(keras: Any, spec: LSTMSpec, weights: LSTMWeights, **more: Any) -> list[Any]:
    """Built layers with these weights, in the order of the state's rows."""
    policy = {"tf32": "float32"}.get(spec.dtype, spec.dtype)
    layers = [
        keras.layers.LSTM(
            spec.hidden_size,
            return_sequences=True,
            return_state=True,
            go_backwards=direction == 1,
            # all are overwritten; Keras's own, an orthogonal one, has no bfloat16
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            dtype=policy,
            **more,
        )
        for _ in range(spec.num_layers)
        for direction in range(spec.num_directions)
    ]
    for layer, cell in zip(layers, weights.cells(), strict=True):
        layer.build((None, None, cell.kernel.shape[0]))
        for variable, array in zip(layer.trainable_variables, cell, strict=True):
            variable.assign(array)
    return layers


Run = Callable[[int, Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""The layer of a row: from what it reads ``[B, T, F]``, its first h and c, and what is no padding
``[B, T]``, to what it returns."""


def through_keras(spec: LSTMSpec, call: Call, run: Run, batch_major: bool) -> Outputs:
    """The network of such layers, which are batch-major: outputs in the layout of ``call.x``, h and
    c ``[L*D, B, H]``; masks are ``[L-1, T, B, D*H]`` in any case.
    """
    from keras import ops

    def swap(array: Tensor) -> Tensor:
        return ops.transpose(array, [1, 0, 2])

    x, masks = call.x if batch_major else swap(call.x), call.masks
    valid = None
    if call.lengths is not None:
        steps = ops.arange(ops.shape(x)[1], dtype="int32")
        valid = ops.expand_dims(steps, 0) < ops.expand_dims(call.lengths, 1)
    if masks is not None:
        masks = [swap(masks[number]) for number in range(spec.num_layers - 1)]

    def layer(row: int, x: Tensor, h: Tensor, c: Tensor, reverse: bool) -> Outputs:
        y, h, c = run(row, x, h, c, valid)
        if reverse:  # Keras leaves the outputs in the order they were computed
            y = ops.flip(y, axis=1)
        if valid is not None:  # Keras repeats the last valid output on padding
            y = ops.where(valid[:, :, None], y, ops.zeros_like(y))
        return Outputs(y, h, c)

    join = functools.partial(ops.concatenate, axis=-1)
    inside = call._replace(x=x, masks=masks)
    y, h, c = through_layers(spec, inside, layer, join, ops.stack)
    return Outputs(y if batch_major else swap(y), h, c)
