"""Run ``openvino``: an operator of OpenVINO for each layer, for inference only."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import Package
from lstm_impl.backend import Backend
from lstm_impl.backends.inference_model import InferenceModel, input_shapes
from lstm_impl.backends.others.framework import OPENVINO
from lstm_impl.call import Call, Outputs, Request
from lstm_impl.cell import DEFAULT, GRU
from lstm_impl.evidence import Evidence
from lstm_impl.layouts import openvino_gru_layer, openvino_layer
from lstm_impl.model import Model, Stream
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

LOOP = "a loop over time"
"""The implementation of a model that does not use OpenVINO's own operation."""


class OpenVINOBackend(Backend):
    """Compute with OpenVINO on the CPU."""

    framework = "openvino"
    devices = ("cpu",)
    elsewhere = "OpenVINO's models are compiled for the CPU here, not for a GPU"
    packages: ClassVar[tuple[Package, ...]] = (OPENVINO.package,)
    hints: ClassVar[Mapping[str, str]] = {"float32": "f32"}
    """OpenVINO's names of the types in which it can compute, by precision."""

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        OPENVINO.before_import()
        return super()._build(spec, weights, device, batch_major)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            text = "OpenVINO only infers; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if spec.dtype not in self.hints:
            text = f"OpenVINO is given {' and '.join(self.hints)} only, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)


class OpenVINOModel(InferenceModel):
    """Keep a compiled model for each shape and set of optional inputs, made on first use."""

    @abc.abstractmethod
    def network(self, call: Call) -> Outputs:
        """Return node outputs for parameters, which are float32, and int32 for lengths."""

    def _model(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Any:
        """Return the model compiled for inputs of these shapes."""
        key = input_shapes(inputs)
        if key not in self._ready:
            import openvino

            precision = self.backend.hints[self.spec.dtype]
            config: dict[str, Any] = {
                "INFERENCE_PRECISION_HINT": precision,
                "PERFORMANCE_HINT": _hint(self.backend),
            }
            if self.backend.threads is not None:
                config["INFERENCE_NUM_THREADS"] = self.backend.threads
            compiled = openvino.compile_model(self._graph(inputs), "CPU", config)
            chosen = compiled.get_property("INFERENCE_PRECISION_HINT")
            if chosen != getattr(openvino.Type, precision):
                raise UnsupportedError(
                    f"OpenVINO computes in {chosen} on this CPU instead of {precision}; use float32"
                )
            self._ready[key] = compiled
        return self._ready[key]

    def _graph(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Any:
        """Build the network of parameters with these names."""
        import openvino
        from openvino import opset16 as opset

        kinds = {"f": openvino.Type.f32, "i": openvino.Type.i32}
        parameters = {
            name: opset.parameter(list(array.shape), kinds[array.dtype.kind], name)
            for name, array in inputs.items()
        }
        outputs = {name: each.output(0) for name, each in parameters.items()}
        call = Call.from_names(self.spec.cell.states, **outputs)
        results = [opset.result(each) for each in self.network(call).flat]
        return openvino.Model(results, list(parameters.values()))

    # -- what Model needs

    def _infer(self, call: Call) -> Outputs:
        inputs = call.by_name(self.spec.cell.states)
        # The parameters are in the order of these names.
        found = self._model(inputs)(list(inputs.values()))
        return Outputs.from_flat(found[number] for number in range(1 + len(call.states)))

    def _trace_ahead(self, request: Request) -> None:
        self._graph(request.call.by_name(self.spec.cell.states))

    def evidence(self, workload: Workload) -> Evidence:
        """Return the operations of the model as it was compiled for this processor."""
        call = Stream(self, workload.first_window()).request().call
        compiled = self._model(call.by_name(self.spec.cell.states))
        # At run time each node is an ExecutionNode, and its run-time information names its type.
        nodes = compiled.get_runtime_model().get_ops()
        ops = Counter(str(node.get_rt_info()["layerType"].astype(str)) for node in nodes)
        operation = "LSTMSequence" if self.spec.cell == DEFAULT else "GRUSequence"
        sequences = ops[operation] + ops["RNNSeq"]
        details = {
            "device": self.device,
            "precision": str(compiled.get_property("INFERENCE_PRECISION_HINT")),
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "hint": _hint(self.backend).lower(),
            "streams": int(compiled.get_property("NUM_STREAMS")),
            "implementation": operation if sequences >= self.spec.num_layers else LOOP,
        }
        if details["implementation"] == LOOP:
            details["fallback"] = f"{LOOP} in place of OpenVINO's {operation}"
        return Evidence("OpenVINO runtime model", ops, details=details)


def _hint(backend: Backend) -> str:
    """Return what the model is compiled for: latency, or throughput with the option."""
    return "THROUGHPUT" if "throughput" in backend.options else "LATENCY"


class OpenVINOSequenceModel(OpenVINOModel):
    """Build the network from OpenVINO's operations."""

    def network(self, call: Call) -> Outputs:
        from openvino import opset16 as opset

        spec = self.spec
        x, initial, lengths, masks, *_ = call

        def transposed(node: Any, axes: list[int]) -> Any:
            return opset.transpose(node, np.array(axes)).output(0)

        if not self.batch_major:
            x = transposed(x, [1, 0, 2])
        batch, timesteps = (x.get_partial_shape()[axis].get_length() for axis in (0, 1))
        if lengths is None:
            lengths = opset.constant(np.full(batch, timesteps, np.int32)).output(0)
        # [L*D, B, H] becomes [B, D, H] for each layer.
        rows = [
            [
                transposed(each, [1, 0, 2])
                for each in opset.split(state, 0, spec.num_layers).outputs()
            ]
            for state in initial
        ]
        last: list[list[Any]] = [[] for _ in initial]
        for number, cells in enumerate(self._weights.layers):
            if number and masks is not None:
                mask = opset.gather(masks, np.array(number - 1), np.array(0)).output(0)
                x = opset.multiply(x, transposed(mask, [1, 0, 2])).output(0)
            direction = "bidirectional" if spec.bidirectional else "forward"
            first = [each[number] for each in rows]
            if isinstance(spec.cell, GRU):
                layer = opset.gru_sequence(
                    *(x, *first, lengths, *openvino_gru_layer(cells), spec.hidden_size, direction),
                    linear_before_reset=spec.cell.reset_after,
                )
            else:
                layer = opset.lstm_sequence(
                    x, *first, lengths, *openvino_layer(cells), spec.hidden_size, direction
                )
            # [B, D, T, H] becomes [B, T, D*H].
            y = transposed(layer.output(0), [0, 2, 1, 3])
            shape = np.array([batch, timesteps, spec.output_size])
            x = opset.reshape(y, shape, special_zero=False).output(0)
            for states, output in zip(last, layer.outputs()[1:], strict=True):
                states.append(transposed(output, [1, 0, 2]))
        final = tuple(opset.concat(states, 0).output(0) for states in last)
        return Outputs(x if self.batch_major else transposed(x, [1, 0, 2]), final)


class OpenVINO(OpenVINOBackend):
    """Compute each layer with one ``LSTMSequence`` or ``GRUSequence``.

    The option ``+throughput`` compiles for many calls at once, which share the cores. A single
    call, as it is measured here, gets only its share of them.
    """

    strategy = "openvino"
    summary = "OpenVINO's LSTMSequence and GRUSequence, inference only"
    cells = ("lstm", "gru", "gru_reset_before")
    model = OpenVINOSequenceModel
    flags = ("throughput",)
    listed = ("", "+throughput")
    hints: ClassVar[Mapping[str, str]] = {"float32": "f32", "bfloat16": "bf16"}
