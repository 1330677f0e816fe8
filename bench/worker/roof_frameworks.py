"""The work of roofs in TensorFlow, PyTorch, JAX and ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.machine import devices
from bench.worker.roof_work import Library, Sizes, Work, called, factors, mebibytes, unrolls
from lstm_impl.backends import onnx_graph
from lstm_impl.backends.jax_model import wide
from lstm_impl.spec import FloatArray


class TensorFlowLibrary:
    """TensorFlow's operators, and XLA's loop."""

    name = "TensorFlow"
    frameworks: tuple[str, ...] = ("tensorflow",)

    def __init__(self, device: str) -> None:
        import tensorflow as tf

        self.version = str(tf.__version__)
        self._tf: Any = tf
        self._gpu = device != "cpu"
        self._device = "/CPU:0"
        if self._gpu:
            index = devices.gpu_index(device)
            # Else TensorFlow would compute on the CPU without a word.
            if len(tf.config.list_logical_devices("GPU")) <= index:
                raise RuntimeError(f"TensorFlow does not see {device}")
            self._device = f"/GPU:{index}"

    @contextlib.contextmanager
    def _at(self, precision: str) -> Iterator[None]:
        config = self._tf.config.experimental
        before = config.tensor_float_32_execution_enabled()
        if self._gpu:
            config.enable_tensor_float_32_execution(precision == "tf32")
        try:
            with self._tf.device(self._device):
                yield
        finally:
            if self._gpu:  # a setting of the whole process, on which the models rely
                config.enable_tensor_float_32_execution(before)

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Operators called one by one, or a loop that XLA compiles."""
        tf = self._tf
        dtype = "float32" if precision == "tf32" else precision
        unrolled = unrolls(sizes)
        with self._at(precision):
            left, right = (tf.cast(tf.constant(each), dtype) for each in factors(sizes))
            out = tf.matmul(left, right)

        def call(count: int) -> None:
            with self._at(precision):
                for _ in range(count):
                    tf.matmul(left, right)
                tf.test.experimental.sync_devices()

        if not compiled:
            return (Work(call, 1, called(self.name)),)

        def body(number: Any, left: Any, out: Any) -> Any:
            for _ in range(unrolled):
                out = tf.matmul(left, right)
                # The next product waits for this one, as a timestep does.
                left = tf.tensor_scatter_nd_update(left, [[0, 0]], out[0, :1])
            return number + 1, left, out

        def loop(count: Any, left: Any, out: Any) -> Any:
            return tf.while_loop(lambda number, *_: number < count, body, (0, left, out))

        function = tf.function(loop, jit_compile=True, autograph=False)

        def run(count: int) -> None:
            with self._at(precision):
                function(tf.constant(count), left, out)
                tf.test.experimental.sync_devices()

        return (Work(run, unrolled, "TensorFlow with XLA"),)

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """On a GPU: adding a number to an array. A CPU's memory is as fast whoever asks."""
        if not self._gpu:
            return ()
        tf = self._tf
        with tf.device(self._device):
            source = tf.ones([size // 4])

        def run(count: int) -> None:
            with tf.device(self._device):
                for _ in range(count):
                    tf.add(source, 1.0)
                tf.test.experimental.sync_devices()

        return (Work(run, 2 * size, f"adding to {mebibytes(size)} by TensorFlow"),)


class TorchLibrary:
    """PyTorch's operators."""

    name = "PyTorch"
    frameworks: tuple[str, ...] = ("torch", "flashrnn")

    def __init__(self, device: str) -> None:
        import torch

        self.version = str(torch.__version__)
        self._torch: Any = torch
        self._gpu = device != "cpu"
        self._device = f"cuda:{devices.gpu_index(device)}" if self._gpu else "cpu"

    def _wait(self) -> None:
        if self._gpu:
            self._torch.cuda.synchronize(self._device)

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Operators called one by one: its BLAS's, and on a CPU those of oneDNN, as its LSTM's."""
        if compiled:
            return ()
        torch = self._torch
        dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        left, right = (torch.tensor(each).to(self._device, dtype) for each in factors(sizes))
        out = left @ right

        def run(count: int) -> None:
            if self._gpu:
                from lstm_impl.backends.torch_model import allow_tf32

                allow_tf32(precision == "tf32")  # PyTorch's models set it anew for each call
            with torch.inference_mode():
                for _ in range(count):
                    torch.mm(left, right, out=out)
                self._wait()

        works = [Work(run, 1, called(self.name))]
        if not self._gpu:
            with contextlib.suppress(Exception):  # not built with oneDNN, or not for this precision
                works.append(self._of_onednn(left, right))
        return works

    def _of_onednn(self, left: Any, right: Any) -> Work:
        """The operator that PyTorch's own compiler puts in place of a linear layer."""
        torch = self._torch
        linear = torch.ops.mkldnn._linear_pointwise
        with torch.inference_mode():
            columns = torch.ops.mkldnn._reorder_linear_weight(right.t().contiguous(), len(left))
            linear(left, columns, None, "none", [], "")

        def run(count: int) -> None:
            with torch.inference_mode():
                for _ in range(count):
                    linear(left, columns, None, "none", [], "")

        return Work(run, 1, f"{called(self.name)} with oneDNN")

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """On a GPU: a copy."""
        if not self._gpu:
            return ()
        source = self._torch.ones(size // 4, device=self._device)
        target = self._torch.empty_like(source)

        def run(count: int) -> None:
            for _ in range(count):
                target.copy_(source)
            self._wait()

        return (Work(run, 2 * size, f"copy of {mebibytes(size)} by PyTorch"),)


class JaxLibrary:
    """JAX's operators, and XLA's loop."""

    name = "JAX"
    frameworks: tuple[str, ...] = ("jax", "flax")

    def __init__(self, device: str) -> None:
        import jax

        self.version = str(jax.__version__)
        self._jax: Any = jax
        self._gpu = device != "cpu"
        kind, index = ("gpu", devices.gpu_index(device)) if self._gpu else ("cpu", 0)
        self._device = jax.devices(kind)[index]

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Operators called one by one, or a loop that XLA compiles."""
        jax = self._jax
        exact: str | None = None
        if self._gpu and precision in ("float32", "tf32"):
            exact = "highest" if precision == "float32" else "tensorfloat32"
        dtype = "float32" if precision == "tf32" else precision
        unrolled = unrolls(sizes)
        product = jax.jit(lambda left, right: jax.numpy.matmul(left, right, precision=exact))
        with wide(precision):
            left, right = (
                jax.device_put(jax.numpy.asarray(each, dtype), self._device)
                for each in factors(sizes)
            )
            out = product(left, right)

        def call(count: int) -> None:
            with wide(precision):
                for _ in range(count):  # each waited for: JAX may run independent ones at once
                    jax.block_until_ready(product(left, right))

        if not compiled:
            return (Work(call, 1, "JAX"),)

        def body(number: Any, carried: Any) -> Any:
            left, out = carried
            for _ in range(unrolled):
                out = jax.numpy.matmul(left, right, precision=exact)
                # The next product waits for this one, as a timestep does.
                left = jax.lax.dynamic_update_slice(left, out[:1, :1], (0, 0))
            return left, out

        loop = jax.jit(lambda count, left, out: jax.lax.fori_loop(0, count, body, (left, out)))

        def run(count: int) -> None:
            with wide(precision):
                jax.block_until_ready(loop(count, left, out))

        return (Work(run, unrolled, "JAX with XLA"),)

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """On a GPU: adding a number to an array."""
        if not self._gpu:
            return ()
        jax = self._jax
        source = jax.device_put(np.ones(size // 4, np.float32), self._device)
        add = jax.jit(lambda array: array + 1)

        def run(count: int) -> None:
            for _ in range(count):
                last = add(source)
            jax.block_until_ready(last)

        return (Work(run, 2 * size, f"adding to {mebibytes(size)} by JAX"),)


class OnnxRuntimeLibrary:
    """ONNX Runtime's MatMul, in sessions of its own. threads: of each session."""

    name = "ONNX Runtime"
    frameworks: tuple[str, ...] = ("onnxruntime",)

    def __init__(self, device: str, threads: int = 0) -> None:
        import onnx
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        self._onnx: Any = onnx
        self._ort: Any = onnxruntime
        self._threads = threads
        self._place = ("cpu", 0) if device == "cpu" else ("cuda", devices.gpu_index(device))

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """With weights that it may lay out as it likes; and, where small, several in one call."""
        on_gpu = self._place[0] != "cpu"
        if compiled or precision == "bfloat16":
            return ()
        works = [self._session(sizes, precision, 1, constant=True)]
        unrolled = unrolls(sizes)
        # On a GPU a call is waited for, and products that do not need one another may overlap.
        if unrolled > 1 and not on_gpu:
            works.append(self._session(sizes, precision, unrolled, constant=False))
        return works

    def _session(self, sizes: Sizes, precision: str, unrolled: int, *, constant: bool) -> Work:
        m, _, n = sizes
        dtype = np.dtype("float32" if precision == "tf32" else precision)
        left, right = (factor.astype(dtype) for factor in factors(sizes))
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Else equal products would be found, and made once.
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        provider, chosen = "CPUExecutionProvider", {}
        if self._place[0] == "cuda":
            provider = "CUDAExecutionProvider"
            tf32 = "1" if precision == "tf32" else "0"
            chosen = {"device_id": str(self._place[1]), "use_tf32": tf32}
        session = self._ort.InferenceSession(
            self._graph(left, right, unrolled, constant=constant),
            sess_options=options,
            providers=[(provider, chosen)],
        )
        if session.get_providers()[0] != provider:
            raise RuntimeError("ONNX Runtime would compute on the CPU without a word")
        binding = session.io_binding()
        value = self._ort.OrtValue.ortvalue_from_numpy
        binding.bind_ortvalue_input("left", value(left, *self._place))
        if not constant:
            binding.bind_ortvalue_input("right", value(right, *self._place))
        for number in range(unrolled):
            out = value(np.empty((m, n), dtype), *self._place)
            binding.bind_ortvalue_output(f"out_{number}", out)

        def run(count: int) -> None:
            for _ in range(count):
                session.run_with_iobinding(binding)

        return Work(run, unrolled, self.name)

    def _graph(
        self, left: FloatArray, right: FloatArray, unrolled: int, *, constant: bool
    ) -> bytes:
        helper = self._onnx.helper
        dtype = helper.np_dtype_to_tensor_dtype(left.dtype)

        def value(name: str, shape: tuple[int, ...]) -> Any:
            return helper.make_tensor_value_info(name, dtype, shape)

        outs = [f"out_{number}" for number in range(unrolled)]
        inputs, constants = [value("left", left.shape)], []
        if constant:
            constants.append(self._onnx.numpy_helper.from_array(right, "right"))
        else:
            inputs.append(value("right", right.shape))
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["left", "right"], [out]) for out in outs],
            "products",
            inputs,
            [value(out, (len(left), right.shape[1])) for out in outs],
            constants,
        )
        # As old as the backend's own graph: for every ONNX Runtime that it runs on.
        opset = helper.make_opsetid("", onnx_graph.OPSET)
        model = helper.make_model(graph, opset_imports=[opset])
        model.ir_version = onnx_graph.IR_VERSION
        return bytes(model.SerializeToString())

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """None of its own: memory is as fast whoever asks."""
        return ()


MAKERS: tuple[tuple[tuple[str, ...], Callable[[str, int], Library]], ...] = (
    (TensorFlowLibrary.frameworks, lambda device, threads: TensorFlowLibrary(device)),
    (TorchLibrary.frameworks, lambda device, threads: TorchLibrary(device)),
    (JaxLibrary.frameworks, lambda device, threads: JaxLibrary(device)),
    (OnnxRuntimeLibrary.frameworks, OnnxRuntimeLibrary),
)
"""Which library computes for a backend, by its ``framework``; of others no products can be had."""
