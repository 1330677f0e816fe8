"""Run ``onnxruntime``: an ONNX graph with one LSTM or GRU operator a layer, for inference."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import lstm_impl.cuda as cuda
from lstm_impl.availability import Package, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.backends.inference_model import InferenceModel
from lstm_impl.backends.onnx.framework import INSTALL_CPU, INSTALL_GPU, ONNX_RUNTIME
from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.call import Call, Outputs, Request, Tensor
from lstm_impl.evidence import Evidence
from lstm_impl.model import Model, Stream
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

DTYPES = ("float32", "tf32", "float16", "float64")
"""The precisions in which the operators compute on some device."""


class OnnxRuntimeModel(InferenceModel):
    """Keep a session for each combination of optional inputs, made on first use."""

    _bound: tuple[Any, list[Tensor], Any] | None
    _fed: tuple[Any, list[str]] | None

    def _open(self, weights: LSTMWeights) -> None:
        import onnxruntime

        super()._open(weights)
        self._ort = onnxruntime
        on_cpu = self.device == "cpu"
        self._place = ("cpu", 0) if on_cpu else ("cuda", cuda.gpu_index(self.device))

    # -- sessions

    def graph(self, lengths: bool = False, masks: bool = False) -> bytes:
        """Serialise this network as ONNX, with or without the optional inputs."""
        return build_graph(self.spec, self._weights, self.batch_major, lengths, masks)

    def _options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self.backend.threads or 0  # 0 lets ONNX Runtime choose.
        options.inter_op_num_threads = 1  # Layers depend on one another, so none run in parallel.
        return options

    def _new_session(self, options: Any, lengths: bool, masks: bool) -> Any:
        provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"
        if self.device != "cpu":
            if hasattr(self._ort, "preload_dlls"):  # It finds CUDA's libraries in Python packages.
                self._ort.preload_dlls()
            tf32 = "1" if self.spec.dtype == "tf32" else "0"
            chosen = {"device_id": str(self._place[1]), "use_tf32": tf32}
            provider = ("CUDAExecutionProvider", chosen)
        session = self._ort.InferenceSession(
            self.graph(lengths, masks), sess_options=options, providers=[provider]
        )
        used = session.get_providers()
        if self.device != "cpu" and "CUDAExecutionProvider" not in used:
            # ONNX Runtime would use the CPU instead, and say so only in its log.
            raise UnavailableError(
                f"{self.backend.name} on {self.device}: ONNX Runtime could not start its CUDA "
                f"provider and would use {', '.join(used)}; its log says which library is missing"
            )
        return session

    def _session(self, call: Call) -> Any:
        key = (call.lengths is not None, call.masks is not None)
        if key not in self._ready:
            self._ready[key] = self._new_session(self._options(), *key)
        return self._ready[key]

    # -- what Model needs

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        if np.issubdtype(array.dtype, np.integer):
            # The CUDA provider reads lengths on the host too.
            return self._ort.OrtValue.ortvalue_from_numpy(array.astype(np.int32), "cpu", 0)
        values = np.ascontiguousarray(array, dtype=self.spec.precision.storage)
        return self._ort.OrtValue.ortvalue_from_numpy(values, *self._place)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        # The array is copied, because the next call would overwrite the bound output.
        array = np.array(tensor if isinstance(tensor, np.ndarray) else tensor.numpy())
        if array.ndim != 4:
            return array
        # This is the output sequence. The graph leaves its axes as the operator has them
        # (build_graph).
        first, second, third, _ = array.shape
        rows = second if self.spec.bidirectional else third
        return array.reshape(first, rows, self.spec.output_size)

    def _infer(self, call: Call) -> Outputs:
        session = self._session(call)
        binding = self._binding(session, list(call.by_name(self.spec.cell.states).values()))
        session.run_with_iobinding(binding)
        return Outputs.from_flat(binding.get_outputs())

    def _stream(self, call: Call) -> Outputs:
        if self.device != "cpu":
            return self._infer(call)
        # In a stream no input comes twice, and binding takes longer than a small LSTM. Wrapping
        # outputs as OrtValues takes long too. On the host, session.run reads arrays where they are.
        session = self._session(call)
        if self._fed is None or self._fed[0] is not session:
            self._fed = (session, [each.name for each in session.get_inputs()])
        feeds = dict(zip(self._fed[1], (call.x, *call.states), strict=True))
        return Outputs.from_flat(session.run(None, feeds))

    def _binding(self, session: Any, inputs: list[Tensor]) -> Any:
        """Bind new inputs to a session, and its outputs to memory that no earlier outputs use."""
        if self._bound is None or self._bound[0] is not session:
            self._bound = (session, [None] * len(inputs), session.io_binding())
        _, bound, binding = self._bound
        new = [k for k, each in enumerate(inputs) if each is not bound[k]]
        if new:
            names = [each.name for each in session.get_inputs()]
            for k in new:
                binding.bind_ortvalue_input(names[k], inputs[k])
                bound[k] = inputs[k]
            binding.clear_binding_outputs()
            for each in session.get_outputs():
                binding.bind_output(each.name, *self._place)
        return binding

    def _trace_ahead(self, request: Request) -> None:
        self._session(request.call)

    def _forget(self) -> None:
        super()._forget()
        self._bound = None
        self._fed = None

    def synchronize(self) -> None:
        if self.device != "cpu" and self._bound is not None:
            self._bound[2].synchronize_outputs()

    def evidence(self, workload: Workload) -> Evidence:
        """Return the operators of the optimised graph, each with the provider that ran it."""
        call = Stream(self, workload.first_window()).request().call
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._new_session(options, call.lengths is not None, False)
            names = [each.name for each in session.get_inputs()]
            values = call.by_name(self.spec.cell.states).values()
            session.run_with_ort_values(None, dict(zip(names, values, strict=True)))
            events = json.loads(Path(session.end_profiling()).read_text())
        ops, kernels = summarise(events)
        details = {"device": self.device, "providers": session.get_providers()}
        return Evidence("ONNX Runtime profile", ops, kernels, details)


class OnnxRuntime(Backend):
    """Compute with ONNX Runtime's operators, on a GPU through its CUDA provider (cuDNN)."""

    strategy = "onnxruntime"
    framework = "onnxruntime"
    packages = (
        ONNX_RUNTIME.package,
        Package("onnx", "the package onnx", INSTALL_CPU, INSTALL_GPU),
    )
    gpu = ONNX_RUNTIME.gpu
    summary = "ONNX's LSTM and GRU operators in ONNX Runtime, inference only"
    cells: ClassVar[tuple[str, ...] | None] = ("lstm", "gru", "gru_reset_before")
    model = OnnxRuntimeModel

    @property
    def hides_nan(self) -> bool:
        """Whether NaN becomes a number. The CPU kernels clip before each gate, which drops NaN."""
        return True

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            text = "ONNX Runtime only infers; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if "mixed" in spec.dtype:
            text = "ONNX's operators have one type for weights and products, no mixed precision"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if spec.dtype not in DTYPES:
            text = f"ONNX's operators support float16, float32 and float64, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        if device == "cpu" and spec.dtype == "float64":
            raise UnsupportedError(
                f"{self.name}: ONNX Runtime's operators do not compute float64 on a CPU; use "
                "float32"
            )
        return super()._build(spec, weights, device, batch_major)


def summarise(events: list[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Count the operators in a profile, as ``LSTM (CPUExecutionProvider)``, and the kernels."""
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "op_name" in arguments:
            # A node has events before and after it too. Only its own event names the provider.
            if arguments.get("provider"):
                ops[f"{arguments['op_name']} ({arguments['provider']})"] += 1
        elif event.get("cat") == "Kernel":
            kernels[str(event.get("name"))] += 1
    return ops, kernels
