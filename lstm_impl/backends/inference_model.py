"""A model whose weights are constants of what was compiled: it infers and has no gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.call import Call, Tensor
from lstm_impl.model import Model
from lstm_impl.weights import LSTMWeights


class InferenceModel(Model):
    """What such models share; arrays are NumPy's, and a call returns when it is done."""

    def _open(self, weights: LSTMWeights) -> None:
        self._ready: dict[Any, Any] = {}
        self._set_weights(weights)

    def _forget(self) -> None:
        """Drop all that was compiled with the weights before."""
        self._ready.clear()

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        dtype = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
        return np.ascontiguousarray(array, dtype=dtype)

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights
        self._forget()

    def synchronize(self) -> None:
        """Nothing to wait for."""


def shapes_of(inputs: Mapping[str, npt.NDArray[np.generic]]) -> tuple[tuple[int, ...] | None, ...]:
    """Of a call's inputs by name, None for what is not given: what a compiled model is made for."""
    return tuple(inputs[name].shape if name in inputs else None for name in Call._fields)
