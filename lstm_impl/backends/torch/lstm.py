"""Run ``torch``: ``torch.nn.LSTM`` and ``torch.nn.GRU``.

On an NVIDIA GPU both are cuDNN's. On a CPU, the LSTM is oneDNN's, and the GRU is a loop over
PyTorch's own operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from lstm_impl.availability import Availability
from lstm_impl.backends.torch.compiled import compiler_availability, frozen
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs, States, Tensor, Tensors
from lstm_impl.cell import DEFAULT
from lstm_impl.layouts import torch_parameters
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


class TorchLSTMModel(TorchModel):
    """Keep the weights in ``model.module``, an ``nn.LSTM`` or ``nn.GRU`` of all layers."""

    def _made(self, weights: LSTMWeights) -> list[Tensor]:
        self.module = self._new_module(self.spec.input_size, self.spec.num_layers)
        self._layers: list[Tensor] = []
        self._copied: tuple[int, ...] = ()
        self._frozen: dict[tuple[int, ...], Any] = {}
        return trained_parameters(self.module)

    def _new_module(self, input_size: int, num_layers: int) -> Tensor:
        how = {"batch_first": self.batch_major, "bidirectional": self.spec.bidirectional}
        like = {"device": self.torch_device, "dtype": self.variable_dtype}
        sizes = input_size, self.spec.hidden_size, num_layers
        kind = self._torch.nn.LSTM if self.spec.cell == DEFAULT else self._torch.nn.GRU
        module = kind(*sizes, **how, **like)
        if _has_two_biases(self.spec):
            return module
        with self._torch.no_grad():
            for name, parameter in module.named_parameters():
                if name.startswith("bias_ih"):
                    parameter.zero_()
                    parameter.requires_grad_(False)
        return module

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self._frozen.clear()

    def _infer(self, call: Call) -> Outputs:
        if "frozen" not in self.backend.options:
            return super()._infer(call)
        with self._torch.inference_mode(), self.precision():
            if call.x.shape not in self._frozen:
                self._frozen[call.x.shape] = frozen(self.module, call.x, *call.states)
            return Outputs.from_flat(self._frozen[call.x.shape](call.x, *call.states))

    def trained(self, masks: Tensor | None) -> Tensors:
        if masks is None:
            return self.parameters
        return [each for layer in self._layers for each in trained_parameters(layer)]

    def network(self, call: Call) -> Outputs:
        rnn = self._torch.nn.utils.rnn
        x, states, lengths, masks, *_ = call
        timesteps = x.shape[1 if self.batch_major else 0]

        def run(module: Tensor, x: Tensor, states: States) -> Outputs:
            # A module of a cell with one state takes and returns that state alone, not in a tuple.
            given = states if len(states) > 1 else states[0]
            if lengths is None:
                y, last = module(x, given)
            else:
                packed = rnn.pack_padded_sequence(
                    x, lengths, batch_first=self.batch_major, enforce_sorted=False
                )
                y, last = module(packed, given)
                y, _ = rnn.pad_packed_sequence(
                    y, batch_first=self.batch_major, total_length=timesteps
                )
            return Outputs(y, last if len(states) > 1 else (last,))

        if masks is None:
            return run(self.module, x, states)
        self._copy_to_layers()
        directions = self.spec.num_directions
        last: list[States] = []
        for number, layer in enumerate(self._layers):
            if number:
                mask = masks[number - 1]
                x = x * (mask.transpose(0, 1) if self.batch_major else mask)
            rows = slice(number * directions, (number + 1) * directions)
            x, final = run(layer, x, tuple(each[rows] for each in states))
            last.append(final)
        return Outputs(x, tuple(map(self._torch.cat, zip(*last, strict=True))))

    def _copy_to_layers(self) -> None:
        """Copy the weights of ``module`` to the modules of single layers, if they have changed."""
        if not self._layers:
            # A parameter that is made in inference mode could never be trained.
            with self._torch.inference_mode(False):
                self._layers = [
                    self._new_module(self.spec.layer_input_size(layer), 1)
                    for layer in range(self.spec.num_layers)
                ]
        versions = tuple(parameter._version for parameter in self.parameters)
        if versions == self._copied:
            return
        layers = [each for layer in self._layers for each in trained_parameters(layer)]
        with self._torch.no_grad():
            for ours, theirs in zip(layers, self.parameters, strict=True):
                ours.copy_(theirs)
        self._copied = versions


class Torch(TorchBackend):
    """Compute with ``torch.nn.LSTM`` and ``torch.nn.GRU``.

    The option ``+frozen`` compiles the module with ``torch.compile`` and constant weights. These
    are then reordered for oneDNN once, and not in each call.
    """

    strategy = "torch"
    summary = "torch.nn.LSTM: oneDNN on a CPU, cuDNN on a GPU"
    model = TorchLSTMModel
    flags: ClassVar[tuple[str, ...]] = ("frozen",)
    bf32 = True
    cells: ClassVar[tuple[str, ...] | None] = ("lstm", "gru")

    def tools(self, device: str) -> Availability:
        if "frozen" in self.options:
            return compiler_availability(device)
        return super().tools(device)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if "frozen" in self.options and spec.cell != DEFAULT:
            text = (
                "+frozen reorders weights for oneDNN, which PyTorch does not use for a "
                f"{spec.cell.name}"
            )
            return RefusalReason(text, Refusal.NO_CELL)
        if (
            "frozen" in self.options
            and workload is not None
            and (workload.training or workload.min_length is not None)
        ):
            text = "with +frozen it only infers, and only sequences of one length"
            code = Refusal.NO_GRADIENTS if workload.training else Refusal.UNSUPPORTED
            return RefusalReason(text, code)
        if spec.cell != DEFAULT and spec.dtype == "bf32":
            text = f"bf32 is oneDNN's, which PyTorch does not use for a {spec.cell.name}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        named = torch_parameters(weights)
        if _has_two_biases(spec):
            return [*named.values()]
        return [array for name, array in named.items() if not name.startswith("bias_ih")]

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        return LSTMWeights.from_arrays(spec, [np.ascontiguousarray(array.T) for array in arrays])


def trained_parameters(module: Tensor) -> list[Tensor]:
    """Return weight_ih, weight_hh and bias_hh of each layer and direction of an ``nn.LSTM``.

    For an ``nn.GRU``, bias_ih comes before bias_hh.
    """
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _has_two_biases(spec: LSTMSpec) -> bool:
    """Return whether both biases of the module are parameters of the cell."""
    return "recurrent_bias" in spec.cell.parameters
