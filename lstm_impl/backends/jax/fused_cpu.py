"""Run ``jax_fused_cpu``: the kernels of ``fused_cpu`` as custom calls of XLA, on a CPU."""

from collections.abc import Mapping
from typing import Any, ClassVar

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.fused_cpu.c_interface import CELLS, KernelModel
from lstm_impl.backends.jax.model import JaxBackend, JaxModel
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights


class JaxFusedCpuModel(KernelModel, JaxModel):
    """Run a JAX model with the kernels."""


class JaxFusedCpu(library.KernelBackend, JaxBackend):
    """Compute each layer and direction with ``fused_layer`` or ``fused_gru_layer``."""

    strategy = "jax_fused_cpu"
    summary = "the kernels of fused_cpu in JAX, compiled on first use"
    binding = library.JAX
    model = JaxFusedCpuModel
    cells: ClassVar[tuple[str, ...] | None] = tuple(CELLS)
    takes_resets = True

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if not {"lstm_impl_forward", "lstm_impl_gru_forward"}.isdisjoint(
            evidence.get("custom_calls", {})
        ):
            return ""
        return "XLA compiled no custom call of the kernels"

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Any:
        library.load(library.JAX)  # This compiles the library now, so that the first call does not.
        return super()._build(spec, weights, device, batch_major)

    def weights_for(self, compute_dtype: Any, parameters: Tensors) -> Tensors:
        # The kernels read float32 weights next to a bfloat16 input, so the weights are not cast.
        return parameters

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        valid: Tensor,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        from lstm_impl.backends.jax.fused_layer import compute_layer

        how: dict[str, Any] = {"reverse": reverse}
        if (resets := call.resets if call.restarts is None else call.restarts) is not None:
            how |= {"resets": resets, "reset_to": call.reset_to}
        made = compute_layer(cell, call.x, call.states, parameters, valid, **how)
        return Outputs.from_flat(made)
