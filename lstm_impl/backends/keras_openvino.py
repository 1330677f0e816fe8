"""``keras_openvino``: ``keras.layers.LSTM`` on Keras's OpenVINO backend, for inference on a CPU.

As Keras's ``predict`` does it: the layers are called with parameters in place of arrays, which
makes an OpenVINO model, and that is compiled. Without a mask it is OpenVINO's ``LSTMSequence``, one
operation a layer and direction; with one, a loop. float32 is pinned: on processors that have
bfloat16 OpenVINO would otherwise compute in that. It needs a process whose Keras has this backend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import Package
from lstm_impl.backends.keras_cells import Arrays, make_layers, through_keras
from lstm_impl.backends.keras_environment import PACKAGE, VARIABLE, KerasThree
from lstm_impl.call import Call, Outputs, RawGradients, Request, Tensor, Upstream
from lstm_impl.evidence import Evidence
from lstm_impl.model import Model
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

SEQUENCE, LOOP = "LSTMSequence", "a loop over time"

_threads: int | None = None


class KerasOpenVINO(KerasThree):
    """``keras.layers.LSTM``."""

    strategy = "keras_openvino"
    framework = "openvino"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "openvino"}
    summary = "keras.layers.LSTM on Keras's OpenVINO backend, inference only"
    devices = ("cpu",)
    elsewhere = "Keras compiles OpenVINO's models for the CPU, not for a GPU"
    packages = (Package("openvino", "OpenVINO", "pip install openvino"), PACKAGE)

    def use_threads(self, count: int) -> None:
        global _threads
        _threads = count

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            return "Keras on OpenVINO only infers; it computes no gradients"
        if spec.dtype != "float32":
            return f"OpenVINO is asked for float32 only, not {spec.dtype}"
        return ""

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return KerasOpenVINOModel(self, spec, device, batch_major, weights)


class KerasOpenVINOModel(Model):
    """A compiled model for each shape and combination of optional inputs, made when needed."""

    def __init__(
        self,
        backend: KerasOpenVINO,
        spec: LSTMSpec,
        device: str,
        batch_major: bool,
        weights: LSTMWeights,
    ) -> None:
        super().__init__(backend, spec, device, batch_major)
        self._compiled: dict[tuple[tuple[int, ...] | None, ...], Any] = {}
        self._set_weights(weights)

    def _model(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Any:
        """The compiled model for inputs of these shapes."""
        key = tuple(inputs[name].shape if name in inputs else None for name in Call._fields)
        if key not in self._compiled:
            import openvino

            config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
            if _threads is not None:
                config["INFERENCE_NUM_THREADS"] = _threads
            self._compiled[key] = openvino.compile_model(self._graph(inputs), "CPU", config)
        return self._compiled[key]

    def _graph(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Any:
        """The network as OpenVINO's operations, of parameters by these names."""
        import keras
        import openvino
        from keras.src.backend.openvino.core import OpenVINOKerasTensor
        from openvino import opset16 as opset

        kinds = {"f": openvino.Type.f32, "i": openvino.Type.i32}
        parameters = {
            name: opset.parameter(list(array.shape), kinds[array.dtype.kind], name)
            for name, array in inputs.items()
        }
        given = {name: OpenVINOKerasTensor(each.output(0)) for name, each in parameters.items()}
        ops, swap = keras.ops, not self.batch_major
        x, h, c, lengths, masks = Call(**given)
        if swap:
            x = ops.transpose(x, [1, 0, 2])
        if masks is not None:
            masks = ops.transpose(masks, [0, 2, 1, 3])
        valid = None
        if lengths is not None:
            steps = ops.arange(x.shape[1], dtype="int32")
            valid = ops.expand_dims(steps, 0) < ops.expand_dims(lengths, 1)

        def run(row: int, x: Tensor, h: Tensor, c: Tensor) -> Any:
            return self._layers[row](x, initial_state=[h, c], mask=valid)

        call = Call(x, h, c, lengths, masks)
        outputs = through_keras(self.spec, call, run, Arrays.of_keras(ops), valid)
        if swap:
            outputs = outputs._replace(y=ops.transpose(outputs.y, [1, 0, 2]))
        results = [opset.result(each.output) for each in outputs]
        return openvino.Model(results, list(parameters.values()))

    # -- what Model asks for

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        dtype = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
        return np.ascontiguousarray(array, dtype=dtype)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.asarray(tensor)

    def _infer(self, call: Call) -> Outputs:
        inputs = call.given()
        # In the order of the parameters, which is the call's.
        found = self._model(inputs)(list(inputs.values()))
        return Outputs(*(found[number] for number in range(3)))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        raise UnsupportedError(f"{self.backend.name}: OpenVINO computes no gradients")

    def _trace_ahead(self, request: Request) -> None:
        self._graph(request.call.given())

    def _host_weights(self, raw: Any) -> LSTMWeights:
        raise UnsupportedError(f"{self.backend.name}: OpenVINO computes no gradients")

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        import keras

        # Weights are constants of the compiled models.
        self._weights = weights
        self._layers = make_layers(keras, self.spec, weights)
        self._compiled.clear()

    def synchronize(self) -> None:
        """Nothing to wait for: the model returns when it is done."""

    def evidence(self, workload: Workload) -> Evidence:
        """The operations of the model as OpenVINO compiled it for this processor."""
        inputs = workload.first_window().inputs(self.spec)
        x = np.swapaxes(inputs.x, 0, 1) if self.batch_major else inputs.x
        call = Call(x, inputs.state.h, inputs.state.c, inputs.lengths, inputs.masks)
        given = {name: self._to_device(array) for name, array in call.given().items()}
        compiled = self._model(given)
        runtime = compiled.get_runtime_model()
        # At run time every node is an ExecutionNode; what it is stands in its information.
        ops = Counter(
            str(node.get_rt_info()["layerType"].astype(str)) for node in runtime.get_ops()
        )
        sequences = sum(count for op, count in ops.items() if op in ("LSTMSequence", "RNNSeq"))
        details = {
            "device": self.device,
            "precision": str(compiled.get_property("INFERENCE_PRECISION_HINT")),
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "implementation": SEQUENCE if sequences >= self.spec.state_layers else LOOP,
        }
        if details["implementation"] == LOOP:
            details["fallback"] = f"{LOOP} in place of OpenVINO's LSTMSequence"
        return Evidence("OpenVINO runtime model", ops, details=details)
