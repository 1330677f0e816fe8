"""Measure roofs with matrix products, memory traffic and empty loops of each library.

Each framework computes with its own library, so each library measures its own products here. NumPy
measures the bandwidth of a CPU's memory, and any framework that of a GPU. An LSTM's loop starts
about twenty small operators at each timestep. The launch roof is the time of a loop of operators on
small arrays that are started in the same way as the backend's: by TensorFlow's executor, by XLA or
from Python.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.machine import devices
from bench.stats.bound import FROM_PYTHON
from bench.worker import estimate
from lstm_impl.spec import FloatArray

Sizes: TypeAlias = tuple[int, int, int]
"""The sizes m, k and n of a product ``[m, k] x [k, n]``."""

UNROLLED = 8
"""The number of products in one pass of a compiled loop, so that the loop's own work is
negligible.
"""

LARGE = 2**24
"""A product with this many multiplications takes long enough (0.1 ms) to be alone in a pass."""

SHORTEST, SHORTEST_OF_THREADS = 2e-4, 2e-3
"""The least seconds of a block, and of a block that starts threads. A block takes a thousand times
as long as reading the clock, but is short enough to fit between two interruptions on a busy
machine. Starting threads takes tens of microseconds in each block.
"""


@dataclass(frozen=True)
class RoofWork:
    """Work to be timed.

    run: ``run(count)`` does the work ``count`` times and waits. amount: the products, bytes or
    operators of one time. by: the library. shortest: the least seconds of a block.
    """

    run: Callable[[int], None]
    amount: float
    by: str
    shortest: float = SHORTEST


def repeat(
    call: Callable[[], object],
    wait: Callable[[], object] = lambda: None,
    within: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Callable[[int], None]:
    """Return a function that makes calls and then waits once, within a context."""

    def run(count: int) -> None:
        with within():
            for _ in range(count):
                call()
            wait()

    return run


class Library:
    """A library that computes on a device.

    Its methods return an empty sequence, or raise whatever the library raises, for what it cannot
    do.

    frameworks: the frameworks that compute with this library. precision: ``float64``, ``float32``,
    ``tf32``, ``float16`` or ``bfloat16``.
    """

    name: str
    version: str
    frameworks: tuple[str, ...]

    def __init__(self, device: str, threads: int = 1) -> None:
        self._gpu = device != "cpu"
        self._index = devices.gpu_index(device) if self._gpu else 0
        self._threads = threads

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return matrix products that run one after another."""
        return ()

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Return reads of ``size`` bytes, or copies of this many bytes."""
        return ()

    def operators(self, by: str) -> Sequence[RoofWork]:
        """Return an empty loop of operators.

        by: what starts the operators, as the evidence of a backend names it.
        """
        return ()


def factors(sizes: Sizes) -> tuple[FloatArray, FloatArray]:
    """Return two matrices whose product can be fed back as the first one.

    The product neither grows nor becomes denormal.
    """
    m, k, n = sizes
    # Repeating a few random numbers is fast. Their number is a prime, so that the rows differ.
    numbers = np.random.default_rng(0).uniform(-1, 1, 4099).astype(np.float32)
    return np.resize(numbers, (m, k)), np.resize(numbers / np.float32(k), (k, n))


ARRAY = 128 * 2**20
"""The bytes of each array that measures bandwidth. It is larger than the last cache, except on some
servers, whose roof is then too high. Arrays for these servers would take gigabytes.
"""

MEMORY_SHARE = 1 / 16
"""The part of the free memory that such an array may take."""


def array_bytes(device: str) -> int:
    """Return the bytes of such an array, fewer if memory is short."""
    free = estimate.free(device).host_bytes if device == "cpu" else None
    return ARRAY if free is None else min(ARRAY, int(free * MEMORY_SHARE))


OPERATORS = 16
"""The number of operators in one pass of an empty loop: about as many as in the loop of an LSTM."""

PASSES = 1000
"""The number of passes in one call. Calling a graph takes as long as some hundred of its
operators.
"""

NUMBERS = 1024
"""How many numbers an operator of XLA computes, in 0.1 µs. A loop over less than a kilobyte would
become a single kernel, which starts nothing.
"""


def _kernels(text: str) -> int:
    """Return how many kernels a compiled loop starts.

    Raise RuntimeError if its text does not show the number.
    """
    from lstm_impl.backends.hlo import launches

    found = launches(text)
    if found is None or found < PASSES:
        raise RuntimeError(f"the compiled loop starts {found} kernels in {PASSES} passes")
    return found


class TensorFlowLibrary(Library):
    """Measures TensorFlow's operators and XLA's loops."""

    name = "TensorFlow"
    frameworks = ("tensorflow",)

    def __init__(self, device: str, threads: int = 1) -> None:
        super().__init__(device, threads)
        import tensorflow as tf

        self.version = str(tf.__version__)
        self._tf: Any = tf
        # Otherwise TensorFlow would silently compute on the CPU.
        if self._gpu and len(tf.config.list_logical_devices("GPU")) <= self._index:
            raise RuntimeError(f"TensorFlow does not see {device}")
        self._here = partial(tf.device, f"/{'GPU' if self._gpu else 'CPU'}:{self._index}")
        self._wait = tf.test.experimental.sync_devices

    @contextlib.contextmanager
    def _at(self, precision: str) -> Iterator[None]:
        config = self._tf.config.experimental
        before = config.tensor_float_32_execution_enabled()
        if self._gpu:
            config.enable_tensor_float_32_execution(precision == "tf32")
        try:
            with self._here():
                yield
        finally:
            if self._gpu:  # It is a setting of the process that models rely on.
                config.enable_tensor_float_32_execution(before)

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return operators that are called one by one. On a GPU, where calls take long, add XLA's
        loop.
        """
        left, right = self._factors(sizes, precision)
        call = partial(self._tf.matmul, left, right)
        works = [RoofWork(repeat(call, self._wait, partial(self._at, precision)), 1, self.name)]
        return [*works, self.compiled(sizes, precision)] if self._gpu else works

    def _factors(self, sizes: Sizes, precision: str) -> list[Any]:
        tf, dtype = self._tf, "float32" if precision == "tf32" else precision
        with self._at(precision):
            return [tf.cast(tf.constant(each), dtype) for each in factors(sizes)]

    def compiled(self, sizes: Sizes, precision: str) -> RoofWork:
        """Return a loop of products, which XLA compiles in half a second."""
        tf, unrolled = self._tf, 1 if np.prod(sizes) > LARGE else UNROLLED
        left, right = self._factors(sizes, precision)
        out = tf.matmul(left, right)

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
                self._wait()

        return RoofWork(run, unrolled, "TensorFlow with XLA")

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Return additions to an array on a GPU. NumPy measures the memory of a CPU."""
        if not self._gpu:
            return ()
        with self._here():
            add = partial(self._tf.add, self._tf.ones([size // 4]), 1.0)
        by = "adding to an array by TensorFlow"
        return (RoofWork(repeat(add, self._wait, self._here), 2 * size, by),)

    def operators(self, by: str) -> Sequence[RoofWork]:
        """Return a loop in TensorFlow's executor, or a loop that XLA compiles."""
        tf, compiled = self._tf, by == "xla"
        if by not in ("tensorflow", "xla"):
            return ()
        with self._here():
            numbers = tf.fill([NUMBERS if compiled else 1], 0.5)

        def body(number: Any, value: Any) -> Any:
            if compiled:
                return number + 1, tf.cast(number, tf.float32) - value
            for _ in range(OPERATORS):
                value = tf.tanh(value)
            return number + 1, value

        def loop(value: Any) -> Any:
            with self._here():
                return tf.while_loop(lambda number, _: number < PASSES, body, (0, value))

        function = tf.function(loop, jit_compile=compiled, autograph=False)
        if compiled:
            text = function.experimental_get_compiler_ir(numbers)(stage="optimized_hlo")
        started = _kernels(str(text)) if compiled else PASSES * OPERATORS
        by = "a loop of TensorFlow's" + " with XLA" * compiled
        return (RoofWork(repeat(partial(function, numbers), self._wait), started, by),)


class TorchLibrary(Library):
    """Measures PyTorch's operators."""

    name = "PyTorch"
    frameworks = ("torch",)

    def __init__(self, device: str, threads: int = 1) -> None:
        super().__init__(device, threads)
        import torch

        self.version = str(torch.__version__)
        self._torch: Any = torch
        self._device = f"cuda:{self._index}" if self._gpu else "cpu"

    def _wait(self) -> None:
        if self._gpu:
            self._torch.cuda.synchronize(self._device)

    @contextlib.contextmanager
    def _at(self, precision: str) -> Iterator[None]:
        if self._gpu:
            from lstm_impl.backends.torch.model import set_products

            set_products(precision, self._device)  # PyTorch's models set it again for each call.
        with self._torch.inference_mode():
            yield

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return operators that are called one by one, from PyTorch's BLAS and on a CPU also from
        oneDNN.
        """
        torch, within = self._torch, partial(self._at, precision)
        dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        left, right = (torch.tensor(each).to(self._device, dtype) for each in factors(sizes))
        call = partial(torch.mm, left, right, out=left @ right)
        works = [RoofWork(repeat(call, self._wait, within), 1, self.name)]
        if not self._gpu:
            with contextlib.suppress(Exception), within():
                # PyTorch's compiler uses this operator for a linear layer. The operator may be
                # missing, or may not know the precision.
                onednn = torch.ops.mkldnn
                columns = onednn._reorder_linear_weight(right.t().contiguous(), len(left))
                call = partial(onednn._linear_pointwise, left, columns, None, "none", [], "")
                call()
                works.append(RoofWork(repeat(call, within=within), 1, "PyTorch with oneDNN"))
        return works

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Return a copy on a GPU."""
        if not self._gpu:
            return ()
        source = self._torch.ones(size // 4, device=self._device)
        copy = partial(self._torch.empty_like(source).copy_, source)
        return (RoofWork(repeat(copy, self._wait), 2 * size, "copy of an array by PyTorch"),)

    def operators(self, by: str) -> Sequence[RoofWork]:
        """Return operators that are called from Python."""
        if by != "python":
            return ()
        call = partial(self._torch.tanh, self._torch.full((1,), 0.5, device=self._device))
        run = repeat(call, self._wait, self._torch.inference_mode)
        return (RoofWork(run, 1, f"operators of PyTorch {FROM_PYTHON}"),)


class JaxLibrary(Library):
    """Measures JAX's operators. TensorFlow measures the loops of products that XLA compiles."""

    name = "JAX"
    frameworks = ("jax", "flax")

    def __init__(self, device: str, threads: int = 1) -> None:
        super().__init__(device, threads)
        import jax

        self.version = str(jax.__version__)
        self._jax: Any = jax
        self._device = jax.devices("gpu" if self._gpu else "cpu")[self._index]

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return operators that are called one by one."""
        from lstm_impl.backends.jax.model import wide

        jax, dtype, exact = self._jax, precision, None
        if self._gpu:
            exact = {"float32": "highest", "tf32": "tensorfloat32"}.get(precision)
            dtype = "float32" if precision == "tf32" else precision
        product = jax.jit(partial(jax.numpy.matmul, precision=exact))
        with wide(precision):
            left, right = (
                jax.device_put(jax.numpy.asarray(each, dtype), self._device)
                for each in factors(sizes)
            )

        # The call waits each time, because JAX may run independent products at once.
        def call() -> None:
            jax.block_until_ready(product(left, right))

        return [RoofWork(repeat(call, within=partial(wide, precision)), 1, "JAX")]

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Return additions to an array on a GPU."""
        if not self._gpu:
            return ()
        jax = self._jax
        source = jax.device_put(np.ones(size // 4, np.float32), self._device)
        add = partial(jax.jit(lambda array: array + 1), source)
        return (RoofWork(self._calls(add), 2 * size, "adding to an array by JAX"),)

    def _calls(self, call: Callable[[], object]) -> Callable[[int], None]:
        """Return a function that makes calls and waits for the last one."""

        def run(count: int) -> None:
            for _ in range(count):
                last = call()
            self._jax.block_until_ready(last)

        return run

    def operators(self, by: str) -> Sequence[RoofWork]:
        """Return a loop that XLA compiles."""
        if by != "xla":
            return ()
        jax = self._jax
        numbers = jax.device_put(np.full(NUMBERS, 0.5, np.float32), self._device)
        function = jax.jit(
            lambda value: jax.lax.fori_loop(0, PASSES, lambda number, value: number - value, value)
        )
        loop = function.lower(numbers).compile()
        run = self._calls(partial(loop, numbers))
        return (RoofWork(run, _kernels(loop.as_text()), "a loop of JAX's with XLA"),)


class OnnxRuntimeLibrary(Library):
    """Measures ONNX Runtime's MatMul.

    threads: the number of threads of each session.
    """

    name = "ONNX Runtime"
    frameworks = ("onnxruntime",)

    def __init__(self, device: str, threads: int = 1) -> None:
        super().__init__(device, threads)
        import onnx
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        self._onnx: Any = onnx
        self._ort: Any = onnxruntime
        self._place = ("cuda" if self._gpu else "cpu", self._index)

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return one product per call, with constant weights that ONNX Runtime may reorder."""
        from lstm_impl.backends.onnx import graph as onnx_graph

        if precision == "bfloat16":
            return ()
        dtype = np.dtype("float32" if precision == "tf32" else precision)
        left, right = (factor.astype(dtype) for factor in factors(sizes))
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        provider, chosen = "CPUExecutionProvider", {}
        if self._gpu:
            provider = "CUDAExecutionProvider"
            tf32 = "1" if precision == "tf32" else "0"
            chosen = {"device_id": str(self._place[1]), "use_tf32": tf32}
        helper = self._onnx.helper
        value = partial(
            helper.make_tensor_value_info, elem_type=helper.np_dtype_to_tensor_dtype(dtype)
        )
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["left", "right"], ["out"])],
            "product",
            [value("left", shape=left.shape)],
            [value("out", shape=(sizes[0], sizes[2]))],
            [self._onnx.numpy_helper.from_array(right, "right")],
        )
        # The version is as old as that of the backend's own graph, so every ONNX Runtime that runs
        # the backend runs this product, too.
        opset = helper.make_opsetid("", onnx_graph.OPSET)
        model = helper.make_model(graph, opset_imports=[opset])
        model.ir_version = onnx_graph.IR_VERSION
        session = self._ort.InferenceSession(
            bytes(model.SerializeToString()), options, [(provider, chosen)]
        )
        if session.get_providers()[0] != provider:
            raise RuntimeError("ONNX Runtime would silently compute on the CPU")
        binding = session.io_binding()
        on_device = self._ort.OrtValue.ortvalue_from_numpy
        binding.bind_ortvalue_input("left", on_device(left, *self._place))
        out = on_device(np.empty((sizes[0], sizes[2]), dtype), *self._place)
        binding.bind_ortvalue_output("out", out)
        call = partial(session.run_with_iobinding, binding)
        return [RoofWork(repeat(call), 1, self.name)]


SMALL_STACK = 32 * 1024
"""The bytes of the results of one call of NumPy. Like those of a timestep, they stay in the
first-level cache.
"""

MOST_STACKED = 64
"""The largest number of products in one call. The call itself takes half a microsecond, a hundredth
of each product.
"""

FEWEST_COLUMNS = 8
"""The least number of columns of a thread. Fewer do not fill the vectors of a processor."""

FEWEST_BYTES = 64 * 1024
"""The least number of bytes in a thread's part of a copy. Fewer are copied before several threads
have started.
"""


class NumPyLibrary(Library):
    """Measures NumPy, which calls a BLAS for each product."""

    name = "NumPy"
    version = np.__version__
    frameworks = ("numpy",)

    def __init__(self, device: str, threads: int = 1) -> None:
        super().__init__(device, threads)
        self._blas = ThreadpoolController().select(user_api="blas")

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        """Return products on the BLAS's threads, on one thread, and on threads with columns of
        their own.

        The threads of a BLAS wait for one another at each product, for longer than a small product
        takes. If each thread has columns of its own, its part of the weights stays in its
        second-level cache.
        """
        if precision not in ("float32", "float64"):
            # NumPy multiplies half-precision numbers without a BLAS, which is many times slower.
            return ()
        works = [self._product(sizes, precision, 0)]
        if self._blas.lib_controllers and self._threads > 1:
            parts = min(self._threads, sizes[2] // FEWEST_COLUMNS)
            if np.prod(sizes) <= LARGE:
                works.append(self._product(sizes, precision, 1))
            if parts > 1:
                works.append(self._product(sizes, precision, parts))
        return works

    def _product(self, sizes: Sizes, precision: str, parts: int) -> RoofWork:
        """Return as many products per call as fit into the first-level cache.

        parts: the number of threads, each with its own columns of all products; 0 leaves threads to
        the BLAS.
        """
        left, right = (factor.astype(precision) for factor in factors(sizes))
        stack = max(1, min(MOST_STACKED, SMALL_STACK // (sizes[0] * sizes[2] * 8)))
        stacked = np.broadcast_to(left, (stack, *left.shape)) if stack > 1 else left
        shares = [np.ascontiguousarray(e) for e in np.array_split(right, max(1, parts), axis=1)]
        each = _parallelize(
            [
                repeat(partial(np.matmul, stacked, share, out=np.matmul(stacked, share)))
                for share in shares
            ]
        )
        if parts == 0:
            return RoofWork(each, stack, self.name)

        def run(count: int) -> None:
            with self._blas.limit(limits=1):
                each(count)

        where = "one thread" if parts == 1 else f"{parts} threads, each with its own columns"
        shortest = SHORTEST if parts == 1 else SHORTEST_OF_THREADS
        return RoofWork(run, stack, f"{self.name} on {where}", shortest)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        """Return copies, and reads alone, because a copy may first read what it overwrites.

        Both run on one thread and on all threads, because one processor may not use all channels of
        the memory.
        """
        count = max(1, size // 4)
        source, target = np.ones(count, np.float32), np.ones(count, np.float32)
        works: list[RoofWork] = []
        for parts in dict.fromkeys((1, max(1, min(threads, size // FEWEST_BYTES)))):
            pairs = [
                *zip(np.array_split(source, parts), np.array_split(target, parts), strict=True)
            ]
            copies = [repeat(partial(np.copyto, there, here)) for here, there in pairs]
            reads = [repeat(partial(here.max, initial=0.0)) for here, _ in pairs]
            where = f"of an array by NumPy on {parts} thread{'s'[: parts > 1]}"
            shortest = SHORTEST if parts == 1 else SHORTEST_OF_THREADS
            works += [
                RoofWork(_parallelize(copies), 8 * count, f"copy {where}", shortest),
                RoofWork(_parallelize(reads), 4 * count, f"reading {where}", shortest),
            ]
        return works


def _parallelize(tasks: Sequence[Callable[[int], None]]) -> Callable[[int], None]:
    """Return a function that runs all tasks in parallel.

    Its argument is how often each task runs.
    """
    if len(tasks) == 1:
        return tasks[0]
    pool = ThreadPoolExecutor(len(tasks))

    def run(count: int) -> None:
        for done in [pool.submit(task, count) for task in tasks]:
            done.result()

    return run


LIBRARIES: tuple[type[Library], ...] = (
    *(NumPyLibrary, TensorFlowLibrary, TorchLibrary, JaxLibrary, OnnxRuntimeLibrary),
)
"""The libraries that can measure products. Other frameworks have none here."""


def libraries(device: str, frameworks: Collection[str], threads: int = 1) -> list[Library]:
    """Return the libraries for ``device`` in a process that uses these frameworks there."""
    found: list[Library] = []
    for make in LIBRARIES:
        everywhere = make is NumPyLibrary and device == "cpu"
        if everywhere or not set(make.frameworks).isdisjoint(frameworks):
            # If a library cannot use the device, whatever error it raises, it has no roof there.
            with contextlib.suppress(Exception):
                found.append(make(device, threads))
    return found
