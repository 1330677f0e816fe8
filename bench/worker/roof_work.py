"""What roofs are measured with: products one after another, and moving arrays past every cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from bench.worker import estimate
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


class Library(Protocol):
    """What computes on a device. frameworks: the backends' whose products are this library's.

    name: unlike any other's. version: of what is installed. precision: ``float64``, ``float32``,
    ``tf32``, ``float16`` or ``bfloat16``. Any method may raise whatever its library raises for what
    it cannot do; an empty sequence says the same.
    """

    name: str
    version: str
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
