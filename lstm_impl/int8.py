"""Dynamic quantisation to int8, as PyTorch and ONNX Runtime offer it for an LSTM's inference."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from lstm_impl.backend import Backend
from lstm_impl.backends.onnx.runtime import OnnxRuntime, OnnxRuntimeModel
from lstm_impl.backends.torch.lstm import Torch, TorchLSTMModel
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


class _Int8(Backend):
    """What quantised backends have in common."""

    devices = ("cpu",)
    approximate = True

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        """Why it cannot compute ``spec`` (on ``workload``), or an empty string."""
        if spec.dtype != "float32":
            return f"float32 weights are rounded to int8, not {spec.dtype}"
        if workload is None:
            return ""
        if workload.training or workload.dropout:
            return "a quantised LSTM only infers, without dropout"
        if workload.window is not None or workload.streaming:
            return "the error of a quantised LSTM is known for whole sequences only"
        return ""


class TorchInt8Model(TorchLSTMModel):
    """The module quantised, with the weights that it was built with."""

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self.module = self._quantised()

    def _quantised(self) -> Any:
        torch = self._torch
        module = self._lstm(self.spec.input_size, self.spec.num_layers)
        # The float32 parameters are kept in ``parameters``; the module's own are copied from them.
        with torch.no_grad():
            for ours, kept in zip(
                (each for each in module.parameters() if each.requires_grad),
                self.parameters,
                strict=True,
            ):
                ours.copy_(kept)
        with warnings.catch_warnings():
            # PyTorch announces that these functions move to a package of their own.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.ao")
            whole = torch.nn.Sequential(module)
            made = torch.ao.quantization.quantize_dynamic(whole, {torch.nn.LSTM}, torch.qint8)
        return made[0]


class TorchInt8(_Int8, Torch):
    """``torch.nn.LSTM`` after ``torch.ao.quantization.quantize_dynamic``."""

    strategy = "torch:int8"
    model = TorchInt8Model
    summary = "torch.nn.LSTM, dynamically quantised to int8"


class OnnxRuntimeInt8Model(OnnxRuntimeModel):
    """Sessions of quantised graphs."""

    def graph(self, lengths: bool = False, masks: bool = False) -> bytes:
        """The serialised ONNX model with its LSTM operators quantised."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "int8.onnx"
            quantize_dynamic(
                onnx.load_from_string(super().graph(lengths, masks)),
                place,
                op_types_to_quantize=["LSTM"],
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
            return place.read_bytes()


class OnnxRuntimeInt8(_Int8, OnnxRuntime):
    """ONNX Runtime's ``DynamicQuantizeLSTM``, made by its own ``quantize_dynamic``."""

    strategy = "onnxruntime:int8"
    model = OnnxRuntimeInt8Model
    summary = "ONNX's LSTM in ONNX Runtime, dynamically quantised to int8"


def int8(backend: str) -> Backend:
    """The quantised backend of the same runtime as the float32 backend with this id."""
    kinds = {kind.strategy: kind for kind in (TorchInt8, OnnxRuntimeInt8)}
    return kinds[f"{backend}:int8"]()
