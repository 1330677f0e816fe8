"""Share what models have in common whose weights are compiled as constants, for inference only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.call import Tensor
from lstm_impl.model import Model
from lstm_impl.weights import LSTMWeights


class InferenceModel(Model):
    """Run a model on NumPy arrays, in calls that return when they are done."""

    def _open(self, weights: LSTMWeights) -> None:
        self._ready: dict[Any, Any] = {}
        self._set_weights(weights)

    def _forget(self) -> None:
        """Discard what was compiled with the previous weights."""
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
        """Do nothing, because a call returns only when it is done."""


def input_shapes(
    inputs: Mapping[str, npt.NDArray[np.generic]],
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes for which a model is compiled, with None for each input that is absent.

    The shapes of the states follow from that of the input and from the spec.
    """
    return tuple(
        inputs[name].shape if name in inputs else None for name in ("x", "lengths", "masks")
    )
