"""Share what models have whose weights are compiled in as constants: they only infer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.call import Tensor
from lstm_impl.model import Model
from lstm_impl.weights import LSTMWeights


class InferenceModel(Model):
    """A model of NumPy arrays whose calls return when they are done."""

    def _open(self, weights: LSTMWeights) -> None:
        self._ready: dict[Any, Any] = {}
        self._set_weights(weights)

    def _forget(self) -> None:
        """Drop what was compiled with the previous weights."""
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


def input_shapes(
    inputs: Mapping[str, npt.NDArray[np.generic]],
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes for which a model is compiled, None for each input that is not given.

    The states' shapes follow from the input's and the spec's.
    """
    return tuple(
        inputs[name].shape if name in inputs else None for name in ("x", "lengths", "masks")
    )
