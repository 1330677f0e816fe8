"""Keras's LSTM layers, of Keras 2 and of Keras 3 on any of its backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Arrays:
    """What is done to arrays around the layers, by a framework's functions.

    swap: the first two axes of three. upto: what is no padding, ``[B, T]``, by lengths ``[B]`` and
    an array ``[B, T, F]``. reverse: in time, of ``[B, T, F]``. zero: an array ``[B, T, F]``, zero
    where a mask ``[B, T]`` is false. join: arrays side by side, on the last axis. stack: on a new
    first axis.
    """

    swap: Callable[[Tensor], Tensor]
    upto: Callable[[Tensor, Tensor], Tensor]
    reverse: Callable[[Tensor], Tensor]
    zero: Callable[[Tensor, Tensor], Tensor]
    join: Callable[[list[Tensor]], Tensor]
    stack: Callable[[list[Tensor]], Tensor]

    @classmethod
    def of_keras(cls, ops: Any) -> Arrays:
        """By ``keras.ops``."""

        def upto(lengths: Tensor, x: Tensor) -> Tensor:
            steps = ops.arange(ops.shape(x)[1], dtype="int32")
            return ops.expand_dims(steps, 0) < ops.expand_dims(lengths, 1)

        return cls(
            swap=lambda each: ops.transpose(each, [1, 0, 2]),
            upto=upto,
            reverse=lambda y: ops.flip(y, axis=1),
            zero=lambda y, valid: ops.where(valid[:, :, None], y, ops.zeros_like(y)),
            join=lambda parts: ops.concatenate(parts, axis=-1),
            stack=ops.stack,
        )


Run = Callable[[int, Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""The layer of a row: from what it reads ``[B, T, F]``, its first h and c, and what is no padding
``[B, T]``, to what it returns."""


def through_keras(
    spec: LSTMSpec, call: Call, run: Run, arrays: Arrays, batch_major: bool
) -> Outputs:
    """The network of such layers, which are batch-major: outputs in the layout of ``call.x``, h and
    c ``[L*D, B, H]``."""
    x, lengths, masks = call.x, call.lengths, call.masks
    x = x if batch_major else arrays.swap(x)
    valid = None if lengths is None else arrays.upto(lengths, x)
    if masks is not None:
        masks = [arrays.swap(masks[number]) for number in range(spec.num_layers - 1)]

    def layer(row: int, x: Tensor, h: Tensor, c: Tensor, reverse: bool) -> Outputs:
        y, h, c = run(row, x, h, c, valid)
        if reverse:  # Keras leaves the outputs in the order they were computed
            y = arrays.reverse(y)
        if valid is not None:  # Keras repeats the last valid output on padding
            y = arrays.zero(y, valid)
        return Outputs(y, h, c)

    inside = call._replace(x=x, masks=masks)
    y, h, c = through_layers(spec, inside, layer, arrays.join, arrays.stack)
    return Outputs(y if batch_major else arrays.swap(y), h, c)
