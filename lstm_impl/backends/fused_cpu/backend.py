"""``fused_cpu``: a layer over the whole sequence in one op of our own, on a CPU.

The kernels are C++ (``lstm_impl/native``), compiled on first use. In inference nothing is kept;
in training the gates and cell states are, and backward is one op for dz of all steps and the
gradients of the weights, and another for the input's, which is left out where nobody asks for it.

Outside a graph a training step calls the ops one by one: calling an op takes some microseconds,
calling a graph a hundred. Wherever else they are called, TensorFlow knows their gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import lstm_impl.backends.fused_cpu.library as fused_cpu_library
from lstm_impl.availability import Availability
from lstm_impl.backends.fused_cpu.layer import FusedLayer, InputGradients, Kept, ops
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.call import Call, Outputs, RawGradients, Request, State, Tensor, Tensors, Upstream
from lstm_impl.model import Model
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, differentiated

__all__ = ["FusedCpu", "ops"]

COMPUTES = ("float32", "bfloat16")
"""Types of what is read, written and kept; the sums are in float32 with both."""


class FusedModel(TensorFlowModel):
    """Calls the ops by hand; in a graph only with an optimizer, or in a graph of the user's own."""

    def network(self, call: Call, training: bool) -> Outputs:
        # Not transposed, as for other backends: the ops take either layout.
        with self._tf.device(self.tf_device):
            return self._network.forward(call, self._values(), keep=training)[0]

    @functools.cached_property
    def _network(self) -> Network:
        return Network(self.spec, self.batch_major)

    def _infer(self, call: Call) -> Outputs:
        return self._network.forward(call, self._parameters, keep=False)[0]

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        parameters = self._parameters
        outputs, kept = self._network.forward(call, parameters, keep=True)
        inputs, weights = self._network.backward(
            call,
            parameters,
            kept,
            upstream,
            of_input=gradients != "weights",
            of_state=gradients == "all",
            last=True,
        )
        if self._mixed:
            with self._tf.device(self.tf_device):
                weights = [self._tf.cast(each, self.variable_dtype) for each in weights]
        return RawGradients.of(outputs, differentiated(gradients, *inputs), weights)

    def synchronize(self) -> None:
        # An op on a CPU that is called by itself has returned when it is done, but where all ops
        # are put into a queue; asking every device takes as long as a small op.
        if self._tf.config.experimental.get_synchronous_execution():
            return
        super().synchronize()

    def _trace_ahead(self, request: Request) -> None:
        if request.optimizer is not None:
            super()._trace_ahead(request)

    @functools.cached_property
    def _mixed(self) -> bool:
        """Whether the weights are kept in another type than they are read in."""
        return bool(self.variable_dtype != self.compute_dtype)

    @functools.cached_property
    def _handles(self) -> Tensors:
        return [variable.handle for variable in self.variables]

    @property
    def _parameters(self) -> Tensors:
        """The variables' handles: outside a graph the ops read them by themselves."""
        if not self._mixed:
            return self._handles
        with self._tf.device(self.tf_device):
            return self._values()


class FusedCpu(TensorFlowBackend):
    """``LstmImplFusedLstm`` forward, ``LstmImplFusedLstmGrad`` backward."""

    strategy = "fused_cpu"
    summary = "a fused op of our own in C++, compiled on first use"
    model = FusedModel
    flags = ()
    devices = ("cpu",)

    def tools(self, device: str) -> Availability:
        return fused_cpu_library.availability()

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.precision.compute not in COMPUTES:
            return f"its kernels know {' and '.join(COMPUTES)}, not {spec.precision.compute}"
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if any(op.startswith("LstmImplFusedLstm") for op in evidence.get("ops", {})):
            return ""
        return "no fused op ran; the profiler saw " + (", ".join(evidence.get("ops", {})) or "none")

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        ops()  # compiled now, not in the first call
        return super()._build(spec, weights, device, batch_major)

    def stack(self, spec: LSTMSpec, call: Call, parameters: Tensors, training: bool) -> Outputs:
        return Network(spec, batch_major=False).forward(call, parameters, keep=training)[0]


class Network:
    """Layers and directions of fused ops, forward and backward."""

    def __init__(self, spec: LSTMSpec, batch_major: bool) -> None:
        self._num_layers = spec.num_layers
        self._directions = spec.num_directions
        self._batch_major = batch_major
        self._layers = [
            FusedLayer(row, row % self._directions == 1, batch_major)
            for row in range(spec.state_layers)
        ]

    def forward(self, call: Call, parameters: Tensors, keep: bool) -> tuple[Outputs, list[Kept]]:
        """Outputs and final states; and, to ``keep``, what ``backward`` needs of each layer and
        direction.
        """
        x, h, c, padding, _ = call
        if len(self._layers) == 1 and not keep:
            return self._layers[0].infer(x, h, c, parameters, padding), []
        states: list[State] = []
        kept: list[Kept] = []
        for number in range(self._num_layers):
            if number and call.masks is not None:
                x = x * self._mask(call.masks, number)
            of_layer = []
            for row in self._rows(number):
                read = (x, h, c, parameters[3 * row : 3 * row + 3], padding)
                if keep:
                    made, needed = self._layers[row].train(*read)
                    kept.append(needed)
                else:
                    made = self._layers[row].infer(*read)
                of_layer.append(made.y)
                states.append((made.h, made.c))
            x = _joined(of_layer, 2)
        return Outputs(x, *(_joined(each, 0) for each in zip(*states, strict=True))), kept

    def backward(
        self,
        call: Call,
        parameters: Tensors,
        kept: Sequence[Kept],
        upstream: Upstream,
        of_input: bool = True,
        of_state: bool = True,
        last: bool = False,
    ) -> tuple[InputGradients, list[Tensor]]:
        """Gradients of x, h and c, where they are requested, and of the parameters.

        last: what was kept is not needed again.
        """
        import tensorflow as tf

        dy = upstream.dy
        weights: list[Tensor] = []
        states: list[State] = []
        for number in reversed(range(self._num_layers)):
            parts = [dy] if self._directions == 1 else tf.split(dy, 2, axis=2)
            of_layer: list[Tensor] = []
            of_inputs: list[InputGradients] = []
            for row, part in zip(self._rows(number), parts, strict=True):
                inputs, gradients = self._layers[row].backward(
                    kept[row],
                    call.h,
                    call.c,
                    parameters[3 * row : 3 * row + 3],
                    call.lengths,
                    upstream._replace(dy=part),
                    of_input=of_input or number > 0,
                    of_state=of_state,
                    last=last,
                )
                of_layer += gradients
                of_inputs.append(inputs)
            weights = of_layer + weights
            states = [(each.dh, each.dc) for each in of_inputs] + states
            dy = of_inputs[0].dx
            if len(of_inputs) == 2 and dy is not None:
                dy = dy + of_inputs[1].dx
            if number and call.masks is not None:
                dy = dy * self._mask(call.masks, number)
        if not of_state:
            return InputGradients(dy, None, None), weights
        dh, dc = (_joined(each, 0) for each in zip(*states, strict=True))
        return InputGradients(dy, dh, dc), weights

    def _rows(self, number: int) -> range:
        return range(number * self._directions, (number + 1) * self._directions)

    def _mask(self, masks: Tensor, number: int) -> Tensor:
        """The dropout mask of what layer ``number`` reads; masks are time-major."""
        import tensorflow as tf

        mask = masks[number - 1]
        return tf.transpose(mask, [1, 0, 2]) if self._batch_major else mask


def _joined(tensors: Sequence[Tensor], axis: int) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    import tensorflow as tf

    return tf.concat(tensors, axis)
