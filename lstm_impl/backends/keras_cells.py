"""The layers that every Keras here is asked for, Keras 2 and Keras 3 on whichever of its backends.

One ``LSTM`` layer of Keras's for each layer and direction, with Keras's own variables. This room
knows Keras's arguments and what it leaves undone, and is told which Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lstm_impl.backends.stacking import through_layers
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights


def make_layers(keras: Any, spec: LSTMSpec, weights: LSTMWeights, **more: Any) -> list[Any]:
    """Built layers with these weights, in the order of the state's rows.

    keras: the module, ``keras`` or ``tf_keras``. more: arguments of ``LSTM``, such as ``unroll``.
    """
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

    reverse: in time, of ``[B, T, F]``. zero: an array ``[B, T, F]``, zero where a mask ``[B, T]``
    is false. join: arrays side by side, on the last axis. stack: on a new first axis.
    """

    reverse: Callable[[Tensor], Tensor]
    zero: Callable[[Tensor, Tensor], Tensor]
    join: Callable[[list[Tensor]], Tensor]
    stack: Callable[[list[Tensor]], Tensor]

    @classmethod
    def of_keras(cls, ops: Any) -> Arrays:
        """By ``keras.ops``."""
        return cls(
            reverse=lambda y: ops.flip(y, axis=1),
            zero=lambda y, valid: ops.where(valid[:, :, None], y, ops.zeros_like(y)),
            join=lambda parts: ops.concatenate(parts, axis=-1),
            stack=ops.stack,
        )


Run = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""The layer of a row: from what it reads ``[B, T, F]`` and its first h and c to what it returns."""


def through_keras(
    spec: LSTMSpec, call: Call, run: Run, arrays: Arrays, valid: Tensor | None
) -> Outputs:
    """The network of such layers, batch-major: outputs ``[B, T, D*H]``, h and c ``[L*D, B, H]``.

    call: batch-major, its masks ``[L-1, B, T, D*H]``; valid ``[B, T]``: false on padding.
    """

    def layer(row: int, x: Tensor, h: Tensor, c: Tensor, reverse: bool) -> Outputs:
        y, h, c = run(row, x, h, c)
        if reverse:  # Keras leaves the outputs in the order they were computed
            y = arrays.reverse(y)
        if valid is not None:  # Keras repeats the last valid output on padding
            y = arrays.zero(y, valid)
        return Outputs(y, h, c)

    return through_layers(spec, call, layer, arrays.join, arrays.stack)
