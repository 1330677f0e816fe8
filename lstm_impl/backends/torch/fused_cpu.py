"""Run ``torch_fused_cpu``: the kernels of ``fused_cpu`` as an operator of PyTorch, on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.stacking import through_layers
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs
from lstm_impl.weights import LSTMWeights

OPERATORS = ("lstm_impl::fused_lstm", "lstm_impl::fused_gru")
"""The prefix of the operators' names."""


class TorchFusedCpuModel(c_interface.KernelModel, TorchModel):
    """Keep canonical weights, and call one operator for each layer and direction."""

    autocast = False  # The kernels read float32 weights next to a bfloat16 input.

    def _open(self, weights: LSTMWeights) -> None:
        c_interface.kernels()  # This compiles the kernels now, so that the first call does not.
        super()._open(weights)

    def network(self, call: Call) -> Outputs:
        from lstm_impl.backends.torch.fused_layer import compute_layer, select_operators

        torch, operators = self._torch, select_operators(self.spec.cell)
        parameters, valid = self.parameters, None
        count = len(self.spec.cell.parameters)
        if call.lengths is not None:
            timesteps = call.x.shape[1 if self.batch_major else 0]
            valid = torch.arange(timesteps)[:, None] < call.lengths

        how = {"batch_major": self.batch_major}
        if len(parameters) == count:  # A single layer needs no views and no copies.
            return Outputs.from_flat(compute_layer(operators, call, parameters, valid, **how))

        def layer(row: int, own: Call, reverse: bool) -> Outputs:
            weights = parameters[count * row : count * (row + 1)]
            made = compute_layer(operators, own, weights, valid, reverse=reverse, **how)
            return Outputs.from_flat(made)

        if self.batch_major and call.masks is not None:
            call = call._replace(masks=call.masks.transpose(1, 2))
        join = functools.partial(torch.cat, dim=-1)
        return through_layers(self.spec, call, layer, join, torch.stack)

    def implementation(self, ops: Mapping[str, int]) -> str:
        return "the kernels of fused_cpu" if ran(ops) else super().implementation(ops)


class TorchFusedCpu(library.KernelBackend, TorchBackend):
    """Compute each layer and direction with ``fused_layer`` or ``fused_gru_layer``."""

    strategy = "torch_fused_cpu"
    summary = "the kernels of fused_cpu in PyTorch, compiled on first use"
    model = TorchFusedCpuModel
    binding = library.C
    cells: ClassVar[tuple[str, ...] | None] = tuple(c_interface.CELLS)
    takes_resets = True

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        return "" if ran(evidence.get("ops", {})) else "no operator of the kernels ran"


def ran(ops: Iterable[str]) -> bool:
    """Return whether an operator of the kernels is among these."""
    return any(op.startswith(OPERATORS) for op in ops)
