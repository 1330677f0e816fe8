"""How large the arrays are that the bandwidth of memory is measured with: past every cache."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.measuring import estimate

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
