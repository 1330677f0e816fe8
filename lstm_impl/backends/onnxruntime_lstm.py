"""``onnxruntime``: one LSTM operator a layer in an ONNX graph, run by ONNX Runtime. Inference only.

It is how many trained models are served. The graph is built here with the ``onnx`` package, opset
17, from the canonical weights; ONNX Runtime optimises it when a session is made (the trace). Inputs
and outputs stay on the device through an I/O binding. On a GPU a call returns when the device has
finished: ONNX Runtime waits by itself unless told otherwise.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl import cuda
from lstm_impl.backend import (
    Availability,
    Backend,
    Model,
    RawGradients,
    Tensor,
    UnavailableError,
)
from lstm_impl.layouts import onnx_layer
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

INSTALL_CPU = "pip install onnx onnxruntime"
INSTALL_GPU = "pip install onnx onnxruntime-gpu"

OPSET, IR_VERSION = 17, 8
"""Old enough for every ONNX Runtime since 1.12; the LSTM operator has not changed in between."""

DTYPES = ("float32", "tf32", "float16", "float64")

_threads = 0


def set_threads(count: int) -> None:
    """Let the sessions that are made from now on use ``count`` threads; 0 is their own choice."""
    global _threads
    _threads = count


class OnnxRuntime(Backend):
    """ONNX Runtime's LSTM operator, on the CPU or through the CUDA provider (cuDNN)."""

    strategy = "onnxruntime"
    framework = "onnxruntime"
    summary = "ONNX's LSTM operator in ONNX Runtime, inference only"

    def use_threads(self, count: int) -> None:
        set_threads(count)

    def availability(self, device: str = "cpu") -> Availability:
        kind = device.partition(":")[0]
        if kind not in self.devices:
            return Availability(False, f"{self.strategy} runs on {' and '.join(self.devices)} only")
        install = INSTALL_CPU if kind == "cpu" else INSTALL_GPU
        for package, words in (("onnxruntime", "ONNX Runtime"), ("onnx", "the package onnx")):
            if importlib.util.find_spec(package) is None:
                return Availability(False, f"{words} is not installed", install)
        # The package for GPUs takes the other's place.
        replace = f"pip uninstall onnxruntime && {INSTALL_GPU}"
        return cuda.available_to("ONNX Runtime", device, replace, _look)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            return "ONNX Runtime only infers; it computes no gradients"
        if "mixed" in spec.dtype:
            return "ONNX's LSTM operator has one type for weights and products, no mixed precision"
        if spec.dtype not in DTYPES:
            return f"ONNX's LSTM operator knows float16, float32 and float64, not {spec.dtype}"
        return ""

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        if device == "cpu" and spec.dtype == "float64":
            raise UnsupportedError(
                f"{self.name}: ONNX Runtime's LSTM operator does not compute float64 on a CPU"
            )
        return OnnxRuntimeModel(self, spec, device, batch_major, weights)


def _look() -> cuda.View:
    import onnxruntime

    built = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    version = getattr(onnxruntime, "cuda_version", "") or "12"
    return cuda.View(
        onnxruntime.__version__,
        _gpus_of_the_driver() if built else 0,
        cuda.parse_version(version) if built else None,
    )


def _gpus_of_the_driver() -> int:
    """How many GPUs the CUDA driver shows; ONNX Runtime has no question of its own for that."""
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


class OnnxRuntimeModel(Model):
    """A session for each combination of optional inputs, made when it is first needed."""

    def __init__(
        self,
        backend: Backend,
        spec: LSTMSpec,
        device: str,
        batch_major: bool,
        weights: LSTMWeights,
    ) -> None:
        import onnxruntime

        super().__init__(backend, spec, device, batch_major)
        self._ort = onnxruntime
        self._place = ("cpu", 0) if device == "cpu" else ("cuda", cuda.gpu_index(device))
        self._weights = weights
        self._sessions: dict[tuple[bool, bool], Any] = {}
        self._bound: tuple[Any, tuple[Tensor, ...], Any] | None = None

    # -- sessions

    def graph(self, lengths: bool = False, masks: bool = False) -> bytes:
        """The serialised ONNX model of this network, with or without the optional inputs."""
        return build_graph(self.spec, self._weights, self.batch_major, lengths, masks)

    def _options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = _threads
        options.inter_op_num_threads = 1  # layers wait for one another: nothing runs side by side
        return options

    def _open(self, options: Any, lengths: bool, masks: bool) -> Any:
        provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"
        if self.device != "cpu":
            if hasattr(self._ort, "preload_dlls"):  # finds CUDA's libraries in Python packages
                self._ort.preload_dlls()
            provider = (
                "CUDAExecutionProvider",
                {
                    "device_id": str(self._place[1]),
                    "use_tf32": "1" if self.spec.dtype == "tf32" else "0",
                },
            )
        session = self._ort.InferenceSession(
            self.graph(lengths, masks), sess_options=options, providers=[provider]
        )
        used = session.get_providers()
        if self.device != "cpu" and "CUDAExecutionProvider" not in used:
            # ONNX Runtime would go on with the CPU and only say so in its log.
            raise UnavailableError(
                f"{self.backend.name} on {self.device}: ONNX Runtime could not start its CUDA "
                f"provider and would use {', '.join(used)}; its log says which library is missing"
            )
        return session

    def _session(self, lengths: Tensor | None, masks: Tensor | None) -> Any:
        key = (lengths is not None, masks is not None)
        if key not in self._sessions:
            self._sessions[key] = self._open(self._options(), *key)
        return self._sessions[key]

    # -- what Model asks for

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        if np.issubdtype(array.dtype, np.integer):
            # The CUDA provider, too, reads lengths on the host.
            return self._ort.OrtValue.ortvalue_from_numpy(array.astype(np.int32), "cpu", 0)
        values = np.ascontiguousarray(array, dtype=self.spec.precision.storage)
        return self._ort.OrtValue.ortvalue_from_numpy(values, *self._place)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        array = np.array(tensor.numpy())  # a copy: the same call again would overwrite it
        if array.ndim != 4:
            return array
        # The output sequence, whose axes the graph leaves as the operator has them (build_graph).
        first, second, third, _ = array.shape
        rows = second if self.spec.bidirectional else third
        return array.reshape(first, rows, self.spec.output_size)

    def _infer(
        self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        session = self._session(lengths, masks)
        inputs = (x, h, c, *(each for each in (lengths, masks) if each is not None))
        binding = self._binding(session, inputs)
        session.run_with_iobinding(binding)
        y, h, c = binding.get_outputs()
        return y, h, c

    def _binding(self, session: Any, inputs: tuple[Tensor, ...]) -> Any:
        """Inputs bound to a session, and outputs to fresh memory: the last one if it is the same.

        Making one takes longer than a small LSTM. The same inputs give the same outputs, so that
        writing those into the same memory again changes nothing.
        """
        if self._bound is not None:
            bound_session, bound_inputs, binding = self._bound
            if bound_session is session and all(
                ours is theirs for ours, theirs in zip(bound_inputs, inputs, strict=True)
            ):
                return binding
        binding = session.io_binding()
        for each, value in zip(session.get_inputs(), inputs, strict=True):
            binding.bind_ortvalue_input(each.name, value)
        for each in session.get_outputs():
            binding.bind_output(each.name, *self._place)
        self._bound = (session, inputs, binding)
        return binding

    def _train(self, *args: Tensor) -> RawGradients:
        raise UnsupportedError(f"{self.backend.name}: ONNX Runtime computes no gradients")

    def _trace_ahead(
        self, gradients: str | None, *args: Tensor, optimizer: str | None = None
    ) -> None:
        *_, lengths, masks = args
        self._session(lengths, masks)

    def _host_weights(self, raw: Any) -> LSTMWeights:
        raise UnsupportedError(f"{self.backend.name}: ONNX Runtime computes no gradients")

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        # Weights are constants of the graph, so that it can be optimised for them.
        self._weights = weights
        self._sessions.clear()
        self._bound = None

    def synchronize(self) -> None:
        if self.device != "cpu" and self._bound is not None:
            self._bound[2].synchronize_outputs()

    def evidence(self, workload: Workload) -> dict[str, Any]:
        """The operators of the optimised graph that ran, each with the provider that ran it."""
        inputs = workload.inputs(self.spec)
        part = workload.windows()[0]
        x = np.swapaxes(inputs.x[part], 0, 1) if self.batch_major else inputs.x[part]
        lengths = inputs.lengths
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._open(options, lengths is not None, False)
            arrays = (x, inputs.state.h, inputs.state.c)
            values = [self._to_device(array) for array in arrays]
            if lengths is not None:
                values.append(self._to_device(lengths))
            names = [each.name for each in session.get_inputs()]
            session.run_with_ort_values(None, dict(zip(names, values, strict=True)))
            events = json.loads(Path(session.end_profiling()).read_text())
        return {
            "source": "ONNX Runtime profile",
            "device": self.device,
            "providers": session.get_providers(),
            **summarise(events),
        }


def summarise(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of operators as ``LSTM (CPUExecutionProvider)``, and of kernels, from a profile."""
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "op_name" in arguments:
            # A node has events for what goes before and after it, too; its own names the provider.
            if arguments.get("provider"):
                ops[f"{arguments['op_name']} ({arguments['provider']})"] += 1
        elif event.get("cat") == "Kernel":
            kernels[str(event.get("name"))] += 1
    return {"ops": dict(ops.most_common()), "kernels": dict(kernels.most_common())}


def build_graph(
    spec: LSTMSpec, weights: LSTMWeights, batch_major: bool, lengths: bool, masks: bool
) -> bytes:
    """A serialised ONNX model with inputs x, h0, c0 (lengths, masks) and outputs y, h, c.

    Axes as in ``Model``, but for y: ONNX's own output is ``[T, D, B, H]``. Bringing it into
    ``[T, B, D*H]`` on the device would copy it once or twice more, for nodes that no user of the
    operator needs: one direction is left as it is, ``[T, 1, B, H]`` (``[B, 1, T, H]`` batch-major),
    and two become ``[T, B, 2, H]`` (``[B, T, 2, H]``).
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    storage = np.dtype(spec.precision.storage)
    dtype = helper.np_dtype_to_tensor_dtype(storage)
    state = [spec.state_layers, "batch", spec.hidden_size]

    def sequence(features: int) -> list[str | int]:
        return ["batch", "time", features] if batch_major else ["time", "batch", features]

    def value(name: str, shape: list[Any], of: int = dtype) -> Any:
        return helper.make_tensor_value_info(name, of, shape)

    nodes: list[Any] = []
    constants: list[Any] = []

    def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def constant(name: str, array: npt.NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    layers = range(spec.num_layers)
    for name in ("h", "c") if spec.num_layers > 1 else ():
        node("Split", [f"{name}0"], [f"{name}0_{layer}" for layer in layers], axis=0)
    if spec.num_layers > 1:
        # No axis of directions: the last two in one, or one of length 1 left out. 0 keeps an axis.
        shape = [0, 0, -1] if spec.bidirectional else [0, -1, spec.hidden_size]
        joined = constant("joined", np.array(shape, np.int64))
    # Of the operator's output, where that is not what is wanted already.
    perm = {
        (False, False): None,
        (False, True): [2, 1, 0, 3],
        (True, False): [0, 2, 1, 3],
        (True, True): [2, 0, 1, 3],
    }[spec.bidirectional, batch_major]
    y = node("Transpose", ["x"], ["time_major"], perm=[1, 0, 2]) if batch_major else "x"
    for layer in layers:
        if layer and masks:
            row = constant(f"row_{layer}", np.array(layer - 1, np.int64))
            mask = node("Gather", ["masks", row], [f"mask_{layer}"], axis=0)
            y = node("Mul", [y, mask], [f"dropped_{layer}"])
        arrays = onnx_layer(weights.layers[layer])
        w, r, b = (
            constant(f"{name}_{layer}", np.ascontiguousarray(array, dtype=storage))
            for name, array in zip("WRB", arrays, strict=True)
        )
        split = f"_{layer}" if spec.num_layers > 1 else ""
        last = layer == layers[-1]
        rows = node(
            "LSTM",
            [y, w, r, b, "lengths" if lengths else "", f"h0{split}", f"c0{split}"],
            ["y" if last and perm is None else f"rows_{layer}", f"h{split}", f"c{split}"],
            hidden_size=spec.hidden_size,
            direction="bidirectional" if spec.bidirectional else "forward",
        )
        if not last:
            if spec.bidirectional:
                rows = node("Transpose", [rows], [f"side_by_side_{layer}"], perm=[0, 2, 1, 3])
            y = node("Reshape", [rows, joined], [f"y_{layer}"])
        elif perm is not None:
            node("Transpose", [rows], ["y"], perm=perm)
    for name in ("h", "c") if spec.num_layers > 1 else ():
        node("Concat", [f"{name}_{layer}" for layer in layers], [name], axis=0)

    inputs = [value("x", sequence(spec.input_size)), value("h0", state), value("c0", state)]
    if lengths:
        inputs.append(value("lengths", ["batch"], TensorProto.INT32))
    if masks:
        inputs.append(value("masks", [spec.num_layers - 1, "time", "batch", spec.output_size]))
    steps, rows = ("batch", "time") if batch_major else ("time", "batch")
    directions: list[str | int] = [rows, 2] if spec.bidirectional else [1, rows]
    outputs = [
        value("y", [steps, *directions, spec.hidden_size]),
        value("h", state),
        value("c", state),
    ]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return bytes(model.SerializeToString())
