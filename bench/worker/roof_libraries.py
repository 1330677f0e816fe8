"""The libraries that roofs are measured with: products one after another, and moving memory.

NumPy is always here; TensorFlow, PyTorch, JAX and ONNX Runtime are used where the process computes
with them already: a roof is not worth the seconds that one takes to start, nor the memory of a GPU,
most of which TensorFlow and JAX take for themselves. Each library hands out functions to run and to
wait for; this room has no clock and decides nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.worker import roof_work
from bench.worker.roof_frameworks import MAKERS
from bench.worker.roof_work import Library, Sizes, Work, called, factors, mebibytes
from lstm_impl.spec import FloatArray

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

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
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
            if np.prod(sizes) <= roof_work.LARGE:
                works.append(self._apart(left, right, 1))
            if parts > 1:
                works.append(self._apart(left, right, parts))
        return works

    def _shared(self, left: FloatArray, right: FloatArray) -> Work:
        stacked = _stacked(left, right)
        out = np.matmul(stacked, right)

        def run(count: int) -> None:
            for _ in range(count):
                np.matmul(stacked, right, out=out)

        return Work(run, _height(stacked), called(self.name))

    def _apart(self, left: FloatArray, right: FloatArray, parts: int) -> Work:
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
        shortest = roof_work.SHORTEST if parts == 1 else roof_work.SHORTEST_OF_THREADS
        return Work(run, _height(stacked), f"{called(self.name)} on {where}", shortest)

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
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

        works: list[Work] = []
        for parts in dict.fromkeys((1, max(1, min(threads, size // FEWEST_BYTES)))):
            slices = [slice(count * n // parts, count * (n + 1) // parts) for n in range(parts)]
            where = f"of {mebibytes(4 * count)} by NumPy on {parts} thread{'s'[: parts > 1]}"
            shortest = roof_work.SHORTEST if parts == 1 else roof_work.SHORTEST_OF_THREADS
            for work, amount, what in ((copy, 8, "copy"), (read, 4, "reading")):
                run = _on_threads([partial(work, part) for part in slices])
                works.append(Work(run, amount * count, f"{what} {where}", shortest))
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
