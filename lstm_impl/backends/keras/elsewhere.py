"""Run Keras's ``LSTM`` and ``GRU`` layers on its JAX, PyTorch and OpenVINO backends."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lstm_impl.backends.jax.model import JaxBackend, JaxModel
from lstm_impl.backends.keras.cells import (
    PACKAGE,
    VARIABLE,
    KerasThree,
    calling,
    make_layers,
    through_keras,
)
from lstm_impl.backends.others.openvino import OpenVINOBackend, OpenVINOModel
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs, States, Tensor, Tensors
from lstm_impl.cell import GRU
from lstm_impl.evidence import Evidence
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

CUDNN, SCAN, UNROLLED = "cuDNN", "lax.scan", "unrolled steps"


class KerasJaxModel(JaxModel):
    """Run Keras's layers as functions of the model's parameters."""

    backend: KerasJax

    def _open(self, weights: LSTMWeights) -> None:
        import keras

        super()._open(weights)
        spec, backend = self.spec, self.backend
        more: dict[str, Any] = {"unroll": "unroll" in backend.options}
        if backend.options:
            more["use_cudnn"] = False
        with self._wide(), self._jax.default_device(self._device):
            self._layers = make_layers(keras, spec, weights, **more)
            # These variables are the seeds of dropout, which none of the layers has.
            self._constants = [
                [variable.value for variable in layer.non_trainable_variables]
                for layer in self._layers
            ]

    def _network(self, parameters: Tensors, call: Call) -> Outputs:
        def run(row: int, x: Tensor, states: States, valid: Tensor | None) -> Any:
            size = len(parameters) // self.spec.state_layers
            variables = parameters[row * size : (row + 1) * size]
            outputs, _ = self._layers[row].stateless_call(
                variables, self._constants[row], x, initial_state=[*states], mask=valid
            )
            return outputs

        return through_keras(self.spec, call, run, self.batch_major)

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        calls = " ".join((*found.details["custom_calls"], *(found.kernels or ())))
        if "cudnn" in calls.lower() and "rnn" in calls.lower():
            ran = CUDNN
        else:
            # Each layer and direction has a while-loop of XLA, and gradients have more of them.
            ran = SCAN if found.details["loops"] >= self.spec.state_layers else UNROLLED
        details = {**found.details, "implementation": ran}
        if self.device != "cpu" and ran == SCAN and not self.backend.options:
            details["fallback"] = f"{SCAN} in place of cuDNN"
        return replace(found, details=details)


class KerasJax(KerasThree, JaxBackend):
    """Compute with Keras's layers on JAX.

    The option ``+unroll`` is an argument of the layers, and ``+loop`` is ``use_cudnn=False``.
    """

    strategy = "keras_jax"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "jax"}
    early_modules = ("keras",)
    packages = (*JaxBackend.packages, PACKAGE)
    summary = "keras.layers.LSTM or GRU on Keras's JAX backend"
    model = KerasJaxModel
    flags: ClassVar[tuple[str, ...]] = ("unroll", "loop")

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype == "float64":
            # In keras.src.backend.common.dtypes, two float64 give float64 only on TensorFlow. The
            # outputs of the layer are called float64, but they are not.
            text = "Keras computes float64 in float32 on its JAX backend"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        wanted = {"unroll": UNROLLED, "loop": SCAN}
        for option in self.options:
            if (ran := evidence.get("implementation")) != wanted[option]:
                return f"{self.name} is Keras's {wanted[option]}, and what ran is {ran}"
        return ""


PYTHON_LOOP = "a Python loop"


class KerasTorchModel(TorchModel):
    """Run Keras's layers, whose variables are PyTorch's parameters.

    Keras itself handles mixed precision.
    """

    backend: KerasTorch
    autocast = False

    def _made(self, weights: LSTMWeights) -> list[Tensor]:
        import keras

        self._keras = keras
        more = {"use_cudnn": False} if self.backend.options else {}
        with self._use_device():
            self._layers = make_layers(keras, self.spec, weights, **more)
        return [each.value for layer in self._layers for each in layer.trainable_variables]

    def _use_device(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which Keras uses this device instead of the one that it prefers."""
        return self._keras.device(str(self.torch_device))  # type: ignore[no-any-return]

    def network(self, call: Call) -> Outputs:
        if call.lengths is not None:
            call = call._replace(lengths=call.lengths.to(call.x.device))
        with self._use_device():
            return through_keras(self.spec, call, calling(self._layers), self.batch_major)

    def implementation(self, ops: Mapping[str, int]) -> str:
        if any("cudnn_rnn" in op for op in ops):
            return "cuDNN"
        return PYTHON_LOOP

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        ops = found.ops or Counter()
        # Python calls each of these operators once in every step of the forward pass's loop.
        details = {**found.details, "products": ops["aten::matmul"], "steps": workload.timesteps}
        if not self.backend.options and details["implementation"] == PYTHON_LOOP:
            details["fallback"] = f"{PYTHON_LOOP} over time"
        return replace(found, details=details)


class KerasTorch(KerasThree, TorchBackend):
    """Compute with Keras's layers. ``+loop`` is their argument ``use_cudnn=False``."""

    strategy = "keras_torch"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "torch"}
    early_modules = ("keras",)
    packages = (*TorchBackend.packages, PACKAGE)
    summary = "keras.layers.LSTM or GRU on Keras's PyTorch backend"
    model = KerasTorchModel
    flags: ClassVar[tuple[str, ...]] = ("loop",)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype == "float64" and spec.cell == GRU(reset_after=False):
            return RefusalReason(
                "Keras computes float64 in float32 on its PyTorch backend in a GRU with "
                "reset_after=False; use reset_after=True, which it computes in float64",
                Refusal.NO_DTYPE,
            )
        if spec.dtype == "float64" and workload is not None and workload.min_length is not None:
            # In keras.src.backend.common.dtypes, two float64 give float64 only on TensorFlow.
            # Without a mask, PyTorch's operators decide the type.
            return RefusalReason(
                "Keras computes float64 in float32 on its PyTorch backend where there is a mask; "
                "use sequences of one length, which it computes in float64",
                Refusal.NO_DTYPE,
            )
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if self.options and (ran := evidence.get("implementation")) != PYTHON_LOOP:
            return f"{self.name} is Keras's loop, and what ran is {ran}"
        return ""


class KerasOpenVINOModel(OpenVINOModel):
    """Run Keras's layers on symbolic tensors, and compile the graph that they make."""

    def network(self, call: Call) -> Outputs:
        from keras.src.backend.openvino.core import OpenVINOKerasTensor

        names = self.spec.cell.states
        wrapped = {name: OpenVINOKerasTensor(each) for name, each in call.by_name(names).items()}
        inside = Call.from_names(names, **wrapped)
        found = through_keras(self.spec, inside, calling(self._layers), self.batch_major)
        return Outputs.from_flat(each.output for each in found.flat)

    def _set_weights(self, weights: LSTMWeights) -> None:
        import keras

        super()._set_weights(weights)
        self._layers = make_layers(keras, self.spec, weights)


class KerasOpenVINO(KerasThree, OpenVINOBackend):
    """Compute with Keras's layers in OpenVINO."""

    strategy = "keras_openvino"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "openvino"}
    early_modules = ("keras",)
    summary = "keras.layers.LSTM or GRU on Keras's OpenVINO backend, inference only"
    model = KerasOpenVINOModel
    packages = (*OpenVINOBackend.packages, PACKAGE)
