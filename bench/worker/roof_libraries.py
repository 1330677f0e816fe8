"""What roofs are measured with: matrix products, moved bytes and empty loops of each library.

Each framework computes with its own library, so each has its own products here; NumPy measures the
bandwidth of a CPU's memory, any framework that of a GPU's. An LSTM's loop starts some twenty small
operators at each timestep; what starting takes (the launch roof) is seen in a loop of operators on
one number, by the backend's own means: TensorFlow's executor, what XLA compiled, or a Python
program. Each operator waits for the one before, so none has to be handed to another thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.case.cases import Case
from bench.machine import devices
from bench.stats.bound import FROM_PYTHON
from bench.worker import estimate
from lstm_impl.backends.hlo import launches
from lstm_impl.backends.jax.model import wide
from lstm_impl.backends.onnx import graph as onnx_graph
from lstm_impl.spec import FloatArray

Sizes: TypeAlias = tuple[int, int, int]
"""Of a product: m, k and n of ``[m, k] x [k, n]``."""

UNROLLED = 8
"""Products in one pass of a compiled loop, so that the loop's own work does not count."""

LARGE = 2**24
"""Multiplications of a product that is long enough (0.1 ms and more) to stand alone in a loop."""

SHORTEST, SHORTEST_OF_THREADS = 2e-4, 2e-3
"""Seconds of a block: a thousand times what reading the clock takes, and short enough to fit
between two interruptions on a busy machine, since the fastest block is what counts. Threads are
started again for each block, which takes tens of microseconds."""

LIMITS = {
    "NumPy": ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
    "PyTorch": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
    "TensorFlow": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
}
"""Environment variables by which a library's products leave instructions of the CPU unused: with
one set for an older CPU, OpenBLAS computes at half its rate."""

LIMITING = tuple(dict.fromkeys(name for names in LIMITS.values() for name in names))
"""All of them."""


@dataclass(frozen=True)
class RoofWork:
    """Something to time. run(count): does it ``count`` times, one after the other, and waits.

    amount: what is done each time, in products or in bytes. by: who does it, in words. shortest:
    seconds of a block of them that is worth timing.
    """

    run: Callable[[int], None]
    amount: float
    by: str
    shortest: float = SHORTEST


class Library(Protocol):
    """What computes on a device. frameworks: the backends' whose products are this library's.

    name: unlike any other's. version: of what is installed. precision: ``float64``, ``float32``,
    ``tf32``, ``float16`` or ``bfloat16``. Any method may raise whatever its library raises for what
    it cannot do; an empty sequence says the same.
    """

    name: str
    version: str
    frameworks: tuple[str, ...]

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
        """Products one after another; compiled: by a loop that takes its time to be compiled."""

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Reading ``size`` bytes, or reading them and writing as many."""


def factors(sizes: Sizes) -> tuple[FloatArray, FloatArray]:
    """Two matrices whose product, fed back into the first, neither grows nor becomes denormal."""
    m, k, n = sizes
    # Few random numbers over and over, never in the same place of two rows: quick to make.
    numbers = np.random.default_rng(0).uniform(-1, 1, 4099).astype(np.float32)
    left = np.resize(numbers, (m, k))
    right = np.resize(numbers / np.float32(k), (k, n))
    return left, right


def unrolls(sizes: Sizes) -> int:
    """How many products are called in a row: fewer of large ones."""
    return 1 if sizes[0] * sizes[1] * sizes[2] > LARGE else UNROLLED


def limited() -> dict[str, str]:
    """Which of ``LIMITING`` are set, with their values."""
    return {name: os.environ[name] for name in LIMITING if os.environ.get(name)}


def called(name: str) -> str:
    """A library, with what is set to slow it down."""
    found = [f"{key}={os.environ[key]}" for key in LIMITS.get(name, ()) if os.environ.get(key)]
    return f"{name} with {', '.join(found)}" if found else name


def mebibytes(size: int) -> str:
    """A size in bytes, in words."""
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


SMALLEST_ARRAY, LARGEST_ARRAY = 32 * 2**20, 128 * 2**20
"""Bytes of each of the arrays that bandwidth is measured with: four times the last caches, within
these. A server's caches can be larger than the largest, and then raise the roof; an array that is
past them would take seconds and gigabytes."""

MEMORY_SHARE = 1 / 16
"""Part of the free memory that one of them may take."""

_SHIFTS = {"K": 10, "M": 20, "G": 30}


def array_bytes(device: str) -> int:
    """Of arrays well past the last cache, as far as there is memory for them."""
    if device != "cpu":
        return LARGEST_ARRAY  # the caches of GPUs are smaller, and their memory is fast
    size = min(LARGEST_ARRAY, max(SMALLEST_ARRAY, 4 * last_caches()))
    free = estimate.free(device).host_bytes
    return size if free is None else min(size, int(free * MEMORY_SHARE))


def last_caches(root: Path = Path("/sys/devices/system/cpu")) -> int:
    """Bytes of the last level of this machine's caches, all of them together; 0 if not known."""
    found: dict[tuple[int, str], int] = {}
    for cache in root.glob("cpu[0-9]*/cache/index[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            level = int((cache / "level").read_text())
            shared = (cache / "shared_cpu_list").read_text().strip()
            size = (cache / "size").read_text().strip()  # "32768K"
            found[level, shared] = int(size.rstrip("KMG")) << _SHIFTS.get(size[-1:], 0)
    last = max((level for level, _ in found), default=0)
    return sum(size for (level, _), size in found.items() if level == last)


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

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
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
            return (RoofWork(call, 1, called(self.name)),)

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

        return (RoofWork(run, unrolled, "TensorFlow with XLA"),)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
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

        return (RoofWork(run, 2 * size, f"adding to {mebibytes(size)} by TensorFlow"),)


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

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
        """Operators called one by one: its BLAS's, and on a CPU those of oneDNN, as its LSTM's."""
        if compiled:
            return ()
        torch = self._torch
        dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        left, right = (torch.tensor(each).to(self._device, dtype) for each in factors(sizes))
        out = left @ right

        def run(count: int) -> None:
            if self._gpu:
                from lstm_impl.backends.torch.model import allow_tf32

                allow_tf32(precision == "tf32")  # PyTorch's models set it again for each call
            with torch.inference_mode():
                for _ in range(count):
                    torch.mm(left, right, out=out)
                self._wait()

        works = [RoofWork(run, 1, called(self.name))]
        if not self._gpu:
            with contextlib.suppress(Exception):  # not built with oneDNN, or not for this precision
                works.append(self._of_onednn(left, right))
        return works

    def _of_onednn(self, left: Any, right: Any) -> RoofWork:
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

        return RoofWork(run, 1, f"{called(self.name)} with oneDNN")

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """On a GPU: a copy."""
        if not self._gpu:
            return ()
        source = self._torch.ones(size // 4, device=self._device)
        target = self._torch.empty_like(source)

        def run(count: int) -> None:
            for _ in range(count):
                target.copy_(source)
            self._wait()

        return (RoofWork(run, 2 * size, f"copy of {mebibytes(size)} by PyTorch"),)


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

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
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
            return (RoofWork(call, 1, "JAX"),)

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

        return (RoofWork(run, unrolled, "JAX with XLA"),)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
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

        return (RoofWork(run, 2 * size, f"adding to {mebibytes(size)} by JAX"),)


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

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
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

    def _session(self, sizes: Sizes, precision: str, unrolled: int, *, constant: bool) -> RoofWork:
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

        return RoofWork(run, unrolled, self.name)

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

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """None of its own: memory is as fast whoever asks."""
        return ()


MAKERS: tuple[tuple[tuple[str, ...], Callable[[str, int], Library]], ...] = (
    (TensorFlowLibrary.frameworks, lambda device, threads: TensorFlowLibrary(device)),
    (TorchLibrary.frameworks, lambda device, threads: TorchLibrary(device)),
    (JaxLibrary.frameworks, lambda device, threads: JaxLibrary(device)),
    (OnnxRuntimeLibrary.frameworks, OnnxRuntimeLibrary),
)
"""Which library computes for a backend, by its ``framework``; of others no products can be had."""


SMALL_STACK = 32 * 1024
"""Bytes of the results of the products that NumPy makes in one call: they stay in the first cache,
as the result of a timestep does."""

MOST_STACKED = 64
"""Products in one call: the call itself, half a microsecond, is then a hundredth of each."""

FEWEST_COLUMNS = 8
"""Of a thread's share of a product: fewer keep a processor's vectors half empty."""

FEWEST_BYTES = 64 * 1024
"""Of a thread's share of a copy: less is copied sooner than several threads have begun."""


class NumPyLibrary:
    """NumPy, which calls a BLAS for each product. threads: that it may use."""

    name = "NumPy"
    version = np.__version__
    frameworks: tuple[str, ...] = ("numpy",)

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._blas = ThreadpoolController().select(user_api="blas")

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[RoofWork]:
        """As the BLAS shares it among its threads; on one; and each thread with its own columns.

        BLAS's threads wait for one another at each product, which takes longer than many a
        timestep's, and more so on a busy machine. With its own columns, each thread's part of the
        weights stays in its processor's second cache.
        """
        if precision not in ("float32", "float64") or compiled:
            return ()  # NumPy's product of halves is no BLAS's, and many times slower
        left, right = (factor.astype(precision) for factor in factors(sizes))
        works = [self._shared(left, right)]
        parts = min(self._threads, sizes[2] // FEWEST_COLUMNS)
        if self._blas.lib_controllers and self._threads > 1:
            if np.prod(sizes) <= LARGE:
                works.append(self._apart(left, right, 1))
            if parts > 1:
                works.append(self._apart(left, right, parts))
        return works

    def _shared(self, left: FloatArray, right: FloatArray) -> RoofWork:
        stacked = _stacked(left, right)
        out = np.matmul(stacked, right)

        def run(count: int) -> None:
            for _ in range(count):
                np.matmul(stacked, right, out=out)

        return RoofWork(run, _height(stacked), called(self.name))

    def _apart(self, left: FloatArray, right: FloatArray, parts: int) -> RoofWork:
        """So many threads, each of which makes its columns of all products and waits for none."""
        shares = [np.ascontiguousarray(each) for each in np.array_split(right, parts, axis=1)]
        stacked = _stacked(left, right)
        outs = [np.matmul(stacked, share) for share in shares]

        def one(share: FloatArray, out: FloatArray, count: int) -> None:
            for _ in range(count):
                np.matmul(stacked, share, out=out)

        each = _on_threads([partial(one, *pair) for pair in zip(shares, outs, strict=True)])

        def run(count: int) -> None:
            with self._blas.limit(limits=1):
                each(count)

        where = "one thread" if parts == 1 else f"{parts} threads, each with its own columns"
        shortest = SHORTEST if parts == 1 else SHORTEST_OF_THREADS
        return RoofWork(run, _height(stacked), f"{called(self.name)} on {where}", shortest)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Copying, and reading alone: a copy may read what it is going to overwrite.

        Both on one thread, and on all: one processor may not fill the memory's channels.
        """
        count = max(1, size // 4)
        source, target = np.ones(count, np.float32), np.ones(count, np.float32)

        def copy(part: slice, times: int) -> None:
            for _ in range(times):
                np.copyto(target[part], source[part])

        def read(part: slice, times: int) -> None:
            for _ in range(times):
                source[part].max(initial=0.0)

        works: list[RoofWork] = []
        for parts in dict.fromkeys((1, max(1, min(threads, size // FEWEST_BYTES)))):
            slices = [slice(count * n // parts, count * (n + 1) // parts) for n in range(parts)]
            where = f"of {mebibytes(4 * count)} by NumPy on {parts} thread{'s'[: parts > 1]}"
            shortest = SHORTEST if parts == 1 else SHORTEST_OF_THREADS
            for work, amount, what in ((copy, 8, "copy"), (read, 4, "reading")):
                run = _on_threads([partial(work, part) for part in slices])
                works.append(RoofWork(run, amount * count, f"{what} {where}", shortest))
        return works


def _stacked(left: FloatArray, right: FloatArray) -> FloatArray:
    """The left factor as often as one call of NumPy's is to make the product."""
    stack = max(1, min(MOST_STACKED, SMALL_STACK // (len(left) * right.shape[1] * 8)))
    return np.broadcast_to(left, (stack, *left.shape)) if stack > 1 else left


def _height(stacked: FloatArray) -> int:
    return len(stacked) if stacked.ndim > 2 else 1


def _on_threads(tasks: Sequence[Callable[[int], None]]) -> Callable[[int], None]:
    """All tasks side by side, each told how often; one alone needs no thread of its own."""
    if len(tasks) == 1:
        return tasks[0]
    pool = ThreadPoolExecutor(len(tasks))

    def run(count: int) -> None:
        for done in [pool.submit(task, count) for task in tasks]:
            done.result()

    return run


def libraries(device: str, frameworks: Collection[str], threads: int = 1) -> list[Library]:
    """Those that serve ``device`` in a process that computes with these frameworks there.

    threads: that products and copies on a CPU may use.
    """
    found: list[Library] = [NumPyLibrary(threads)] if device == "cpu" else []
    for served, make in MAKERS:
        if not set(served).isdisjoint(frameworks):
            # Whatever it raises, a library that cannot use the device gives no roof for it.
            with contextlib.suppress(Exception):
                found.append(make(device, threads))
    return found


OPERATORS = 16
"""In a turn of the loop, so that the turn's own work is shared by about as many as in an LSTM's."""

TURNS = 1000
"""Of one call: calling a graph takes as long as some hundred of its operators."""

NUMBERS = 1024
"""That an operator of XLA's computes: a loop over less than a kilobyte it makes into one kernel,
which starts nothing. A tenth of a microsecond at the most."""


@dataclass(frozen=True)
class Launches:
    """What a case's step starts: so many operators, by one of ``LAUNCHERS``, of a framework."""

    count: float
    by: str
    framework: str


@dataclass(frozen=True)
class Launcher:
    """An empty loop. library: whose it is, with its version."""

    library: str
    work: RoofWork


def counted(evidence: Mapping[str, Any], framework: str) -> Launches | None:
    """What a backend's evidence says that one step starts; None where it does not."""
    count, by = evidence.get("launches"), evidence.get("launched_by")
    if not isinstance(count, int | float) or not isinstance(by, str) or count <= 0:
        return None
    return Launches(float(count), by, framework)


def launcher(case: Case, requested: Launches) -> Launcher | None:
    """The empty loop that a case's launches are held against; None where there is none."""
    make = _MAKERS.get((requested.by, _SAME.get(requested.framework, requested.framework)))
    return None if make is None else make(case.device)


def _tensorflow(device: str) -> Launcher:
    import tensorflow as tf

    place = _place(device)
    with tf.device(place):
        number = tf.constant([0.5])

    def body(turn: Any, value: Any) -> Any:
        for _ in range(OPERATORS):
            value = tf.tanh(value)
        return turn + 1, value

    def loop(turns: Any, value: Any) -> Any:
        with tf.device(place):
            return tf.while_loop(lambda turn, _: turn < turns, body, (0, value))

    function = tf.function(loop, autograph=False)

    def run(count: int) -> None:
        function(tf.constant(count * TURNS), number)
        tf.test.experimental.sync_devices()

    work = RoofWork(run, TURNS * OPERATORS, "a loop of TensorFlow's")
    return Launcher(f"TensorFlow {tf.__version__}", work)


def _tensorflow_compiled(device: str) -> Launcher:
    import tensorflow as tf

    place = _place(device)
    with tf.device(place):
        numbers = tf.fill([NUMBERS], 0.5)

    def body(turn: Any, value: Any) -> Any:
        return turn + 1, tf.cast(turn, tf.float32) - value

    def loop(value: Any) -> Any:
        with tf.device(place):
            return tf.while_loop(lambda turn, _: turn < TURNS, body, (0, value))

    function = tf.function(loop, jit_compile=True, autograph=False)
    started = _started(str(function.experimental_get_compiler_ir(numbers)(stage="optimized_hlo")))

    def run(count: int) -> None:
        for _ in range(count):
            function(numbers)
        tf.test.experimental.sync_devices()

    work = RoofWork(run, started, "a loop of TensorFlow's with XLA")
    return Launcher(f"TensorFlow {tf.__version__}", work)


def _place(device: str) -> str:
    return "/CPU:0" if device == "cpu" else f"/GPU:{devices.gpu_index(device)}"


def _started(text: str) -> int:
    """Kernels of a compiled loop, which decides itself what it fuses.

    Raises RuntimeError where that is not told, or a turn starts none.
    """
    found = launches(text)
    if found is None or found < TURNS:
        raise RuntimeError(f"the compiled loop starts {found} kernels in {TURNS} turns")
    return found


def _jax(device: str) -> Launcher:
    import jax

    kind, index = ("cpu", 0) if device == "cpu" else ("gpu", devices.gpu_index(device))
    numbers = jax.device_put(np.full(NUMBERS, 0.5, np.float32), jax.devices(kind)[index])

    def body(turn: Any, value: Any) -> Any:
        return turn - value

    loop = jax.jit(lambda value: jax.lax.fori_loop(0, TURNS, body, value)).lower(numbers).compile()
    started = _started(loop.as_text())

    def run(count: int) -> None:
        for _ in range(count):
            last = loop(numbers)
        jax.block_until_ready(last)

    return Launcher(f"JAX {jax.__version__}", RoofWork(run, started, "a loop of JAX's with XLA"))


def _torch(device: str) -> Launcher:
    import torch

    place = "cpu" if device == "cpu" else f"cuda:{devices.gpu_index(device)}"
    number = torch.full((1,), 0.5, device=place)

    def run(count: int) -> None:
        with torch.inference_mode():
            value = number
            for _ in range(count * OPERATORS):
                value = torch.tanh(value)
            if place != "cpu":
                torch.cuda.synchronize(place)

    by = f"operators of PyTorch {FROM_PYTHON}"
    return Launcher(f"PyTorch {torch.__version__}", RoofWork(run, OPERATORS, by))


def _numpy(device: str) -> Launcher:
    number = np.full(1, 0.5, np.float32)

    def run(count: int) -> None:
        value = number
        for _ in range(count * OPERATORS):
            value = np.tanh(value)

    by = f"operators of NumPy {FROM_PYTHON}"
    return Launcher(f"NumPy {np.__version__}", RoofWork(run, OPERATORS, by))


_MAKERS: dict[tuple[str, str], Callable[[str], Launcher]] = {
    ("tensorflow", "tensorflow"): _tensorflow,
    ("xla", "tensorflow"): _tensorflow_compiled,
    ("xla", "jax"): _jax,
    ("python", "torch"): _torch,
    ("python", "numpy"): _numpy,
}

_SAME = {"flax": "jax", "flashrnn": "torch"}
"""Frameworks that compute with another's operators."""
