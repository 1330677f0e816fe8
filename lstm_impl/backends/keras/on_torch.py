"""``keras_torch``: ``keras.layers.LSTM`` on Keras's PyTorch backend, gradients by autograd."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lstm_impl.backends.keras.cells import make_layers, through_keras
from lstm_impl.backends.keras.environment import PACKAGE, VARIABLE, KerasThree
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.evidence import Evidence
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

PYTHON_LOOP = "a Python loop"


class KerasTorchModel(TorchModel):
    """Keras's layers, whose variables are PyTorch's parameters; mixed precision is Keras's own."""

    backend: KerasTorch
    autocast = False

    def _made(self, weights: LSTMWeights) -> list[Tensor]:
        import keras

        self._keras = keras
        more = {"use_cudnn": False} if self.backend.options else {}
        with self._on_device():
            self._layers = make_layers(keras, self.spec, weights, **more)
        return [each.value for layer in self._layers for each in layer.trainable_variables]

    def _on_device(self) -> contextlib.AbstractContextManager[Any]:
        """Keras moves what it computes with to the device that it prefers, unless told another."""
        return self._keras.device(str(self.torch_device))  # type: ignore[no-any-return]

    def network(self, call: Call) -> Outputs:
        if call.lengths is not None:
            call = call._replace(lengths=call.lengths.to(call.x.device))

        def run(row: int, x: Tensor, h: Tensor, c: Tensor, valid: Tensor | None) -> Any:
            return self._layers[row](x, initial_state=[h, c], mask=valid)

        with self._on_device():
            return through_keras(self.spec, call, run, self.batch_major)

    def implementation(self, ops: Mapping[str, int]) -> str:
        if any("cudnn_rnn" in op for op in ops):
            return "cuDNN"
        return PYTHON_LOOP

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        ops = found.ops or Counter()
        # Dispatched by Python, each once a step: in the forward pass the loop has made so many.
        details = {**found.details, "products": ops["aten::matmul"], "steps": workload.timesteps}
        if not self.backend.options and details["implementation"] == PYTHON_LOOP:
            details["fallback"] = f"{PYTHON_LOOP} over time"
        return replace(found, details=details)


class KerasTorch(KerasThree, TorchBackend):
    """``keras.layers.LSTM``; ``+loop`` is its own ``use_cudnn=False``."""

    strategy = "keras_torch"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "torch"}
    packages = (*TorchBackend.packages, PACKAGE)
    summary = "keras.layers.LSTM on Keras's PyTorch backend"
    model = KerasTorchModel
    flags: ClassVar[tuple[str, ...]] = ("loop",)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype == "float64" and workload is not None and workload.min_length is not None:
            # keras.src.backend.common.dtypes: what comes of two float64 is float64 on TensorFlow
            # alone. Without a mask PyTorch's own operators decide.
            return (
                "Keras computes float64 in float32 on its PyTorch backend where there is a mask; "
                "sequences of one length it computes in float64"
            )
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if self.options and (ran := evidence.get("implementation")) != PYTHON_LOOP:
            return f"{self.name} is Keras's loop, and what ran is {ran}"
        return ""
