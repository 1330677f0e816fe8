"""``keras_jax``: ``keras.layers.LSTM`` on Keras's JAX backend, compiled by XLA as one program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lstm_impl.backend import Backend
from lstm_impl.backends.jax.model import JaxBackend, JaxModel
from lstm_impl.backends.keras.cells import make_layers, through_keras
from lstm_impl.backends.keras.environment import PACKAGE, VARIABLE, KerasThree
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.evidence import Evidence
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

CUDNN, SCAN, UNROLLED = "cuDNN", "lax.scan", "unrolled steps"


class KerasJaxModel(JaxModel):
    """Keras's layers, which lend their arithmetic; the parameters are the model's own."""

    backend: KerasJax

    def __init__(
        self, backend: Backend, spec: LSTMSpec, device: str, batch_major: bool, weights: LSTMWeights
    ) -> None:
        import keras

        super().__init__(backend, spec, device, batch_major, weights)
        more: dict[str, Any] = {"unroll": "unroll" in backend.options}
        if backend.options:
            more["use_cudnn"] = False
        with self._wide(), self._jax.default_device(self._device):
            self._layers = make_layers(keras, spec, weights, **more)
            # Seeds of dropout that none of them has.
            self._constants = [
                [variable.value for variable in layer.non_trainable_variables]
                for layer in self._layers
            ]

    def _network(self, parameters: Tensors, call: Call) -> Outputs:
        def run(row: int, x: Tensor, h: Tensor, c: Tensor, valid: Tensor | None) -> Any:
            variables = parameters[3 * row : 3 * row + 3]
            outputs, _ = self._layers[row].stateless_call(
                variables, self._constants[row], x, initial_state=[h, c], mask=valid
            )
            return outputs

        return through_keras(self.spec, call, run, self.batch_major)

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        calls = " ".join((*found.details["custom_calls"], *(found.kernels or ())))
        if "cudnn" in calls.lower() and "rnn" in calls.lower():
            ran = CUDNN
        else:
            # One while-loop of XLA's for each layer and direction, and more for the gradients.
            ran = SCAN if found.details["loops"] >= self.spec.state_layers else UNROLLED
        details = {**found.details, "implementation": ran}
        if self.device != "cpu" and ran == SCAN and not self.backend.options:
            details["fallback"] = f"{SCAN} in place of cuDNN"
        return replace(found, details=details)


class KerasJax(KerasThree, JaxBackend):
    """``keras.layers.LSTM``; ``+unroll`` is its own argument, ``+loop`` its ``use_cudnn=False``."""

    strategy = "keras_jax"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "jax"}
    packages = (*JaxBackend.packages, PACKAGE)
    summary = "keras.layers.LSTM on Keras's JAX backend"
    model = KerasJaxModel
    flags: ClassVar[tuple[str, ...]] = ("unroll", "loop")

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype == "float64":
            # keras.src.backend.common.dtypes: what comes of two float64 is float64 on TensorFlow
            # alone. The layer's outputs are called float64, and are not.
            return "Keras computes float64 in float32 on its JAX backend"
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        wanted = {"unroll": UNROLLED, "loop": SCAN}
        for option in self.options:
            if (ran := evidence.get("implementation")) != wanted[option]:
                return f"{self.name} is Keras's {wanted[option]}, and what ran is {ran}"
        return ""
