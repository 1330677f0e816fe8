"""What roofs are measured with: products one after another and moving memory, as pieces of work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

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

FEWEST_COLUMNS = 8
"""Of a thread's share of a product: fewer keep a processor's vectors half empty."""

FEWEST_BYTES = 64 * 1024
"""Of a thread's share of a copy: less is copied sooner than several threads have begun."""

LARGE = 2**24
"""Multiplications of a product that is long enough (0.1 ms and more) to stand alone in a loop."""

SHORTEST, SHORTEST_OF_THREADS = 2e-4, 2e-3
"""Seconds of a block: a thousand times what reading the clock takes, and short enough to fit
between two interruptions on a busy machine, since the fastest block is what counts. Threads are
started anew for each block, which takes tens of microseconds."""

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
class Work:
    """Something to time. run(count): does it ``count`` times, one after the other, and waits.

    amount: what is done each time, in products or in bytes. by: who does it, in words. shortest:
    seconds of a block of them that is worth timing.
    """

    run: Callable[[int], None]
    amount: float
    by: str
    shortest: float = SHORTEST


class Named(Protocol):
    """A library, by a name unlike any other's."""

    @property
    def name(self) -> str:
        """Its own name."""

    @property
    def version(self) -> str:
        """Of what is installed."""


class Library(Named, Protocol):
    """What computes on a device. frameworks: the backends' whose products are this library's.

    precision: ``float64``, ``float32``, ``tf32``, ``float16`` or ``bfloat16``. Any method may raise
    whatever its library raises for what it cannot do; an empty sequence says the same.
    """

    frameworks: tuple[str, ...]

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        """Products one after another; compiled: by a loop that takes its time to be compiled."""

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
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
