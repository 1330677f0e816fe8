"""A model whose weights are constants of what was compiled: it infers and has no gradients."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from lstm_impl.call import Call, RawGradients, Tensor, Upstream
from lstm_impl.model import Model
from lstm_impl.spec import UnsupportedError
from lstm_impl.weights import LSTMWeights


class InferenceModel(Model):
    """What such models share; arrays are NumPy's, and a call returns when it is done.

    runtime: what computes, as its makers spell it. A subclass keeps what it compiles, and forgets
    that when the weights change.
    """

    runtime: ClassVar[str]
    _weights: LSTMWeights

    @abc.abstractmethod
    def _forget(self) -> None:
        """Drop all that was compiled with the weights before."""

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        dtype = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
        return np.ascontiguousarray(array, dtype=dtype)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.asarray(tensor)

    def _no_gradients(self) -> NoReturn:
        raise UnsupportedError(f"{self.backend.name}: {self.runtime} computes no gradients")

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        self._no_gradients()

    def _host_weights(self, raw: Any) -> LSTMWeights:
        self._no_gradients()

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights
        self._forget()

    def synchronize(self) -> None:
        """Nothing to wait for."""
