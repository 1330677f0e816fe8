"""A Keras layer's weights as tensors of its compute type, on whichever backend Keras runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from lstm_impl.call import Tensor


class Weights(NamedTuple):
    """kernel ``[in, 4H]``, recurrent_kernel ``[H, 4H]`` and bias ``[4H]``, or None without one."""

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, cell: Any) -> Weights:
        """The weights of Keras's cell, as they are now."""

        def tensor(variable: Any) -> Tensor:
            return keras.ops.cast(keras.ops.convert_to_tensor(variable), cell.compute_dtype)

        bias = tensor(cell.bias) if cell.use_bias else None
        return cls(tensor(cell.kernel), tensor(cell.recurrent_kernel), bias)
