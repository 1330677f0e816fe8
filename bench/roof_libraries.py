"""The libraries that roofs are measured with: products one after another, and moving memory.

NumPy is always here; TensorFlow, PyTorch and JAX are used where the process computes with them
already: a roof is not worth the seconds that one takes to start, nor the memory of a GPU, most of
which TensorFlow and JAX take for themselves. Each library hands out functions to run and to wait
for; this room has no clock and decides nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from bench import devices
from lstm_impl.spec import FloatArray

Sizes: TypeAlias = tuple[int, int, int]
"""Of a product: m, k and n of ``[m, k] x [k, n]``."""

SMALL_STACK = 32 * 1024
"""Bytes of the results of the products that NumPy makes in one call: they stay in the first cache,
as the result of a timestep does."""

MOST_STACKED = 64
"""Products in one call: the call itself, half a microsecond, is then a hundredth of each."""

UNROLLED = 8
"""Products in one pass of a compiled loop, so that the loop's own work does not count."""

UNTHREADED = 4 * 65536, 4 * 2304
"""Multiplications of a product, and of one with a vector, up to which OpenBLAS keeps to one thread
(GEMM_MULTITHREAD_THRESHOLD, in its interface/gemm.c and interface/gemv.c). Waking and joining
threads takes longer than many a timestep's product, above all where there are many of them."""

FEWEST_COLUMNS = 8
"""Of a product in such pieces: narrower ones keep a processor's vectors half empty."""

LARGE = 2**24
"""Multiplications of a product that is long enough (0.1 ms and more) to stand alone in a loop."""


@dataclass(frozen=True)
class Work:
    """Something to time. run(count): does it ``count`` times, one after the other, and waits.

    amount: what is done each time, in products or in bytes. by: who does it, in words.
    """

    run: Callable[[int], None]
    amount: float
    by: str


class Library(Protocol):
    """What computes on a device; name: its own, unlike any other's.

    precision: ``float64``, ``float32``, ``tf32``, ``float16`` or ``bfloat16``. Any method may raise
    whatever its library raises for what it cannot do; an empty sequence says the same.
    """

    name: str

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Products one after another; compiled: by a loop that takes its time to be compiled."""

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """Reading ``size`` bytes, or reading them and writing as many."""


def _factors(sizes: Sizes) -> tuple[FloatArray, FloatArray]:
    """Two matrices whose product, fed back into the first, neither grows nor becomes denormal."""
    m, k, n = sizes
    # Few random numbers over and over, never in the same place of two rows: quick to make.
    numbers = np.random.default_rng(0).uniform(-1, 1, 4099).astype(np.float32)
    left = np.resize(numbers, (m, k))
    right = np.resize(numbers / np.float32(k), (k, n))
    return left, right


def _unrolled(sizes: Sizes) -> int:
    return 1 if sizes[0] * sizes[1] * sizes[2] > LARGE else UNROLLED


class NumPyLibrary:
    """NumPy, which calls a BLAS for each product."""

    name = "NumPy"

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """A stack of products is one call, whose loop over the stack is NumPy's, in C."""
        if precision not in ("float32", "float64") or compiled:
            return ()  # NumPy's product of halves is no BLAS's, and many times slower
        left, right = (factor.astype(precision) for factor in _factors(sizes))
        works = [self._stacked(left, right)]
        m, k, n = sizes
        columns = UNTHREADED[m == 1] // (m * k)
        columns = max((each for each in range(1, columns + 1) if n % each == 0), default=0)
        if FEWEST_COLUMNS <= columns < n:
            works.append(self._in_pieces(left, right, columns))
        return works

    def _stacked(self, left: FloatArray, right: FloatArray) -> Work:
        stack = max(1, min(MOST_STACKED, SMALL_STACK // (len(left) * right.shape[1] * 8)))
        stacked = np.broadcast_to(left, (stack, *left.shape)) if stack > 1 else left
        out = np.matmul(stacked, right)

        def run(count: int) -> None:
            for _ in range(count):
                np.matmul(stacked, right, out=out)

        return Work(run, stack, "NumPy")

    def _in_pieces(self, left: FloatArray, right: FloatArray, columns: int) -> Work:
        """One product a call, in pieces of so few columns that a thread does all of it."""
        pieces = np.ascontiguousarray(right.reshape(len(right), -1, columns).transpose(1, 0, 2))
        out = np.matmul(left, pieces)

        def run(count: int) -> None:
            for _ in range(count):
                np.matmul(left, pieces, out=out)

        return Work(run, 1, "NumPy on one thread")

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        """Copying, and reading alone: a copy may read what it is going to overwrite.

        Both on several threads: one processor does not fill the memory's channels.
        """
        count = max(1, size // 4)
        source, target = np.ones(count, np.float32), np.ones(count, np.float32)
        parts = [
            slice(count * part // threads, count * (part + 1) // threads)
            for part in range(min(threads, count))
        ]
        pool = ThreadPoolExecutor(len(parts))

        def copy(part: slice) -> None:
            np.copyto(target[part], source[part])

        def read(part: slice) -> None:
            source[part].max(initial=0.0)

        def each(work: Callable[[slice], None]) -> Callable[[int], None]:
            def run(times: int) -> None:
                for _ in range(times):
                    if len(parts) == 1:
                        work(parts[0])
                    else:
                        list(pool.map(work, parts))

            return run

        where = f"of {_mib(4 * count)} by NumPy on {len(parts)} thread{'s'[: len(parts) > 1]}"
        return (
            Work(each(copy), 8 * count, f"copy {where}"),
            Work(each(read), 4 * count, f"reading {where}"),
        )


class TensorFlowLibrary:
    """TensorFlow's operators, and XLA's loop."""

    name = "TensorFlow"

    def __init__(self, device: str) -> None:
        import tensorflow as tf

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
        unrolled = _unrolled(sizes)
        with self._at(precision):
            left, right = (tf.cast(tf.constant(each), dtype) for each in _factors(sizes))
            out = tf.matmul(left, right)

        def call(count: int) -> None:
            with self._at(precision):
                for _ in range(count):
                    tf.matmul(left, right)
                tf.test.experimental.sync_devices()

        if not compiled:
            return (Work(call, 1, "TensorFlow"),)

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

        return (Work(run, 2 * size, f"adding to {_mib(size)} by TensorFlow"),)


class TorchLibrary:
    """PyTorch's operators."""

    name = "PyTorch"

    def __init__(self, device: str) -> None:
        import torch

        self._torch: Any = torch
        self._gpu = device != "cpu"
        self._device = f"cuda:{devices.gpu_index(device)}" if self._gpu else "cpu"

    def _wait(self) -> None:
        if self._gpu:
            self._torch.cuda.synchronize(self._device)

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Operators called one by one."""
        if compiled:
            return ()
        torch = self._torch
        dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        left, right = (torch.tensor(each).to(self._device, dtype) for each in _factors(sizes))
        out = left @ right

        def run(count: int) -> None:
            if self._gpu:
                from lstm_impl.backends.torch_model import allow_tf32

                allow_tf32(precision == "tf32")  # PyTorch's models set it anew for each call
            with torch.inference_mode():
                for _ in range(count):
                    torch.mm(left, right, out=out)
                self._wait()

        return (Work(run, 1, "PyTorch"),)

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

        return (Work(run, 2 * size, f"copy of {_mib(size)} by PyTorch"),)


class JaxLibrary:
    """JAX's operators, and XLA's loop."""

    name = "JAX"

    def __init__(self, device: str) -> None:
        import jax

        self._jax: Any = jax
        self._gpu = device != "cpu"
        kind, index = ("gpu", devices.gpu_index(device)) if self._gpu else ("cpu", 0)
        self._device = jax.devices(kind)[index]

    def _at(self, precision: str) -> contextlib.AbstractContextManager[Any]:
        if precision != "float64":
            return contextlib.nullcontext()
        if hasattr(self._jax, "enable_x64"):
            return self._jax.enable_x64(True)  # type: ignore[no-any-return]
        from jax.experimental import enable_x64  # where it was before JAX 0.8

        return enable_x64()  # type: ignore[no-any-return]

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Operators called one by one, or a loop that XLA compiles."""
        jax = self._jax
        exact: str | None = None
        if self._gpu and precision in ("float32", "tf32"):
            exact = "highest" if precision == "float32" else "tensorfloat32"
        dtype = "float32" if precision == "tf32" else precision
        unrolled = _unrolled(sizes)
        product = jax.jit(lambda left, right: jax.numpy.matmul(left, right, precision=exact))
        with self._at(precision):
            left, right = (
                jax.device_put(jax.numpy.asarray(each, dtype), self._device)
                for each in _factors(sizes)
            )
            out = product(left, right)

        def call(count: int) -> None:
            with self._at(precision):
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
            with self._at(precision):
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

        return (Work(run, 2 * size, f"adding to {_mib(size)} by JAX"),)


_BY_FRAMEWORK: dict[str, Callable[[str], Library]] = {
    "tensorflow": TensorFlowLibrary,
    "torch": TorchLibrary,
    "flashrnn": TorchLibrary,
    "jax": JaxLibrary,
    "flax": JaxLibrary,
}
"""Which library computes for a backend, by its ``framework``; of others no products can be had."""


def libraries(device: str, frameworks: Iterable[str]) -> list[Library]:
    """Those that serve ``device`` in a process that computes with these frameworks there."""
    found: list[Library] = [NumPyLibrary()] if device == "cpu" else []
    makers = dict.fromkeys(_BY_FRAMEWORK[each] for each in frameworks if each in _BY_FRAMEWORK)
    for make in makers:
        # Whatever it raises, a library that cannot use the device gives no roof for it.
        with contextlib.suppress(Exception):
            found.append(make(device))
    return found


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
