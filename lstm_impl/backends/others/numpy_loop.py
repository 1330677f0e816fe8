"""Run ``numpy``: the float64 reference as a backend, for machines without a framework."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import lstm_impl.reference as reference
from lstm_impl.backend import Backend
from lstm_impl.call import Call, Outputs, RawGradients, Tensor, Upstream
from lstm_impl.model import Model
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import OPTIMIZERS, Workload


class NumPyModel(Model):
    """Run the reference with the model's weights."""

    def _open(self, weights: LSTMWeights) -> None:
        self._set_weights(weights)
        self._optimizers: dict[str, NumPyOptimizer] = {}

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        return array

    def _infer(self, call: Call) -> Outputs:
        x, states, *rest = call
        state = self.spec.cell.state_type(*states)
        y, final = reference.forward(
            self.spec, self._weights, self._swapped(x), state, *_reference_arguments(*rest)
        )
        return Outputs(self._swapped(y), tuple(final))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        x, states, *rest = call
        dy, dstates = upstream
        state, dstate = (self.spec.cell.state_type(*each) for each in (states, dstates))
        given = self._swapped(x), self._swapped(dy), state, dstate
        y, final, found = reference.forward_and_gradients(
            self.spec, self._weights, *given, *_reference_arguments(*rest), of=gradients
        )
        inputs = [] if found.x is None else [self._swapped(found.x)]
        inputs += [] if found.state is None else list(found.state)
        outputs = Outputs(self._swapped(y), tuple(final))
        return RawGradients.of(outputs, inputs, found.weights)

    def _start_optimizer(self, name: str) -> None:
        self._optimizers[name] = NumPyOptimizer(name)

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        raw = self._train(gradients, call, upstream)
        changes = self._optimizers[optimizer].changes(raw.weights.arrays())
        arrays = [
            self.spec.quantize(array + change)
            for array, change in zip(self._weights.arrays(), changes, strict=True)
        ]
        self._set_weights(LSTMWeights.from_arrays(self.spec, arrays))
        return raw

    def _host_weights(self, raw: LSTMWeights, gradient: bool = True) -> LSTMWeights:
        return raw.map(lambda array: array.astype(self.spec.precision.storage))

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights

    def synchronize(self) -> None:
        """Do nothing, because NumPy returns when it is done."""

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        return {"kernels": ["numpy.matmul"], "device": "cpu"}


def _reference_arguments(
    lengths: Tensor, masks: Tensor, resets: Tensor, restarts: Tensor
) -> tuple[Tensor, ...]:
    """Return lengths, masks, resets and reset_to, as the reference takes them."""
    if restarts is not None:
        return lengths, masks, restarts, "initial_state"
    return lengths, masks, resets, "zeros"


class NumPyLoop(Backend):
    """Loop over time in Python, in float64 NumPy."""

    strategy = "numpy"
    framework = "numpy"
    model = NumPyModel
    summary = "the float64 NumPy reference, a Python loop over time"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    elsewhere = "NumPy computes on the CPU only"
    bf32 = True
    bf16x3 = True
    takes_resets = True
    cells = None  # The reference computes any cell.
    optimizers = OPTIMIZERS
