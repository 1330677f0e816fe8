"""The roofs of a case: what its device could do at best, and how near to that the case came.

Three ceilings, measured in the process that measures the case: the rate of matrix products, the
bandwidth of memory, and the chain of products that wait for one another, timestep after timestep.
A case that seems to be faster than one of them was not timed, or not counted, as it should be. This
room knows cases and a clock; what computes is handed in. ``docs/roofs.md`` tells it all to a user.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench import devices, estimate, roof_libraries
from bench.cases import Case
from bench.result_schema import Figures
from bench.roof_libraries import Library, Sizes, Work
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

ROOM = 0.05
"""Part by which a case may seem to be above a roof and still counts as at it: a processor's clock
changes by some per cent from one second to the next, and a roof is no more than a measured time."""

SHORTEST = 2e-4
"""Seconds of a block: a thousand times what reading the clock takes, and short enough to fit
between two interruptions on a busy machine, since the fastest block is what counts."""

SECONDS = {"matmul": 0.06, "bandwidth": 0.06, "chain": 0.02}
"""Of measuring, for each library and size."""

AGAIN = 5
"""Times as long for a roof that a case seems to be above, before that is believed."""

SQUARES = {"cpu": (64, 256, 512, 1024), "gpu": (1024, 4096, 8192)}
"""Sizes of the square products whose rate is the roof; from the first on each is tried while the
one before takes less than ``LONG_PRODUCT``. A BLAS leaves the smallest to one thread, which on a
busy machine can be faster than threads that wait for one another."""

LARGER = {"cpu": 2048, "gpu": 12288}
"""The size that is tried as well where a case seems to be above the roof."""

LONG_PRODUCT = 0.03
"""Seconds. The next size has at least eight times the work: a quarter of a second."""

SMALLEST_ARRAY, LARGEST_ARRAY = 32 * 2**20, 128 * 2**20
"""Bytes of each of the arrays that bandwidth is measured with: four times the last caches, within
these. A server's caches can be larger than the largest, and then raise the roof; an array that is
past them would take seconds and gigabytes."""

SMALLEST_COPY = 16 * 1024
"""Bytes. Calling the copy takes longer than copying less."""

MEMORY_SHARE = 1 / 16
"""Part of the free memory that one of them may take."""

WORDS = {
    "matmul": "the matrix-product rate",
    "bandwidth": "the memory bandwidth",
    "chain": "the serial chain of products",
}


_SHIFTS = {"K": 10, "M": 20, "G": 30}

_Key: TypeAlias = tuple[object, ...]


class AccountingError(RuntimeError):
    """A case seems to be faster than its device can be; the message says by which roof."""


@dataclass(frozen=True)
class Roof:
    """Seconds of one unit (an operation, a byte, a product) at the best, and who was that fast."""

    seconds: float
    by: str


# What is counted


def chain(spec: LSTMSpec, workload: Workload) -> dict[Sizes, float]:
    """How many products of each size must wait for one another in one step.

    Forward each timestep takes ``[batch, hidden] x [hidden, 4 hidden]``, and in training one of
    ``[batch, 4 hidden] x [4 hidden, hidden]`` backward. Directions can run side by side. So can
    layers, each one timestep behind the one below (Appleyard, Kočiský and Blunsom 2016), unless
    there are two directions: the next layer then waits for both ends. Windows follow one another.
    Sequences that have ended take no part: a product counts for the part of its rows that is valid.
    """
    layers = spec.num_layers
    steps = 0
    for window in workload.windows():
        length = window.stop - window.start
        steps += length * layers if spec.bidirectional else length + layers - 1
    counted = steps * workload.valid_timesteps() / (workload.batch * workload.timesteps)
    forward = (workload.batch, spec.hidden_size, 4 * spec.hidden_size)
    backward = (workload.batch, 4 * spec.hidden_size, spec.hidden_size)
    return {forward: counted, backward: counted} if workload.training else {forward: counted}


def precisions(spec: LSTMSpec, device: str) -> tuple[str, ...]:
    """What a case's products may be computed in: the fastest makes its roof.

    A CPU may compute halves in float32, and often has to; it knows no TF32.
    """
    compute = spec.precision.compute
    if device == "cpu":
        return (compute, "float32") if compute in ("float16", "bfloat16") else (compute,)
    return ("tf32", "float32") if spec.dtype == "tf32" else (compute,)


# What is measured


def fastest(work: Work, seconds: float, now: Callable[[], float]) -> float:
    """Seconds of one unit in the fastest block.

    Blocks of ever more repetitions until they are long enough, then as many as ``seconds`` hold, at
    least one. The first repetition is not counted: what it compiles and allocates comes once.
    """
    work.run(1)
    count, best, end = 1, math.inf, now() + seconds
    while True:
        start = now()
        work.run(count)
        stop = now()
        if stop - start < SHORTEST:
            count *= 2
            continue
        best = min(best, (stop - start) / count)
        if stop >= end:
            return best / work.amount


class Roofs:
    """The roofs of this process, each measured when it is first asked for.

    libraries: what can compute on a device, given the frameworks that the process computes with
    there. now: seconds that never go back. array_bytes: of each array that bandwidth is measured
    with, by the device.
    """

    def __init__(
        self,
        libraries: Callable[[str, Collection[str]], Sequence[Library]] = roof_libraries.libraries,
        now: Callable[[], float] = time.perf_counter,
        array_bytes: Callable[[str], int] | None = None,
    ) -> None:
        self._libraries = libraries
        self._now = now
        self._array_bytes = array_bytes or _array_bytes
        self._found: dict[_Key, Roof] = {}
        self._asked: set[_Key] = set()

    def figures(
        self,
        case: Case,
        seconds: float,
        threads: int | None = None,
        frameworks: Collection[str] = (),
    ) -> Figures:
        """What is recorded of a case that takes ``seconds`` a step.

        threads: that may be used; None is all processors that are usable. frameworks: those of the
        backends that this process has started on the device.

        ``of_matmul`` and its like are the least time under a roof over the case's; figures of a
        roof that nothing here can measure are missing. A roof that the case seems to be above is
        measured once more, longer, and the faster of both counts. Raises AccountingError if the
        case is still above it, save for the chain on a GPU: a kernel that stays on the GPU from one
        timestep to the next is rightly faster than products that are started one by one.
        """
        operations = estimate.operations(case.spec, case.workload)
        size = estimate.least_bytes(case.spec, case.workload)
        counts = chain(case.spec, case.workload)
        libraries = self._libraries(case.device, frameworks)
        processors = threads or estimate.processors()

        def of_matmul(again: bool) -> tuple[float, Roof]:
            roof = self._matmul(case, libraries, again)
            return operations * roof.seconds, roof

        def of_bandwidth(again: bool) -> tuple[float, Roof]:
            roof = self._bandwidth(case.device, libraries, processors, size, again)
            return size * roof.seconds, roof

        def of_chain(again: bool) -> tuple[float, Roof]:
            roofs = {sizes: self._product(case, libraries, sizes, again) for sizes in counts}
            least = sum(count * roofs[sizes].seconds for sizes, count in counts.items())
            return least, next(iter(roofs.values()))

        found: dict[str, float | str | None] = {"operations": operations, "bytes": float(size)}
        for name, measure in (
            ("matmul", of_matmul),
            ("bandwidth", of_bandwidth),
            ("chain", of_chain),
        ):
            least, roof = measure(again=False)
            if seconds < least < math.inf:
                least, roof = measure(again=True)
            if least == math.inf:
                continue
            judged = name != "chain" or case.device == "cpu"
            part = least / seconds
            if judged and part > 1 + ROOM:
                raise AccountingError(
                    f"accounting error: {seconds:.3g} s a step is {part:.0%} of {WORDS[name]}, "
                    f"which allows {least:.3g} s at the best ({roof.by})"
                )
            if name == "chain":
                found["chain_s"] = least
            else:
                found[f"{name}_per_s"] = 1 / roof.seconds
            found[f"{name}_by"] = roof.by
            found[f"of_{name}"] = min(part, 1.0) if judged else part
        return found

    def _matmul(self, case: Case, libraries: Sequence[Library], again: bool) -> Roof:
        """Of one operation, in the fastest of the precisions that the case may be computed in."""
        kind = devices.kind(case.device)
        names = precisions(case.spec, case.device)
        for precision in names:
            key: _Key = ("matmul", case.device, precision)
            for library in self._due(key, libraries, again):
                # A library that cannot compute in this precision gives no roof for it.
                with contextlib.suppress(Exception):
                    for size in (*SQUARES[kind], *([LARGER[kind]] if again else [])):
                        works = library.products((size, size, size), precision, compiled=False)
                        words = f"{precision}, {size} x {size}"
                        taken = [
                            self._keep(key, work, 2.0 * size**3, words, again) for work in works
                        ]
                        if not taken or min(taken) > LONG_PRODUCT:
                            break
        return min((self._known("matmul", case.device, name) for name in names), key=_seconds)

    def _bandwidth(
        self, device: str, libraries: Sequence[Library], threads: int, size: int, again: bool
    ) -> Roof:
        """Of one byte; if asked again for a case that fits into caches, as they may move it."""
        whole = self._array_bytes(device)
        key: _Key = ("bandwidth", device, threads)
        cached: _Key = (*key, size)
        wanted = [(key, whole)]
        if again and size < whole:
            wanted.append((cached, max(SMALLEST_COPY, size // 2)))
        for each, length in wanted:
            for library in self._due(each, libraries, again):
                with contextlib.suppress(Exception):
                    for work in library.traffic(length, threads):
                        self._keep(each, work, 1.0, "", again)
        return min(self._known(*key), self._known(*cached), key=_seconds)

    def _product(self, case: Case, libraries: Sequence[Library], sizes: Sizes, again: bool) -> Roof:
        """Of one product of the chain.

        A compiled loop is tried where products called one by one may well be slower: on a GPU, and
        when asked again. Compiling one takes half a second.
        """
        device, names = case.device, precisions(case.spec, case.device)
        for precision in names:
            key: _Key = ("chain", device, precision, sizes)
            for library in self._due(key, libraries, again):
                for compiled in (False, True) if again or device != "cpu" else (False,):
                    with contextlib.suppress(Exception):
                        for work in library.products(sizes, precision, compiled=compiled):
                            self._keep(key, work, 1.0, precision, again)
        return min((self._known("chain", device, name, sizes) for name in names), key=_seconds)

    def _due(self, key: _Key, libraries: Sequence[Library], again: bool) -> list[Library]:
        """The libraries that a roof has not been measured with yet, or all of them again."""
        due = [each for each in libraries if again or (*key, each.name) not in self._asked]
        self._asked |= {(*key, each.name) for each in due}
        return due

    def _keep(self, key: _Key, work: Work, units: float, words: str, again: bool) -> float:
        """Time ``work``, keep it if it is the fastest yet, and return its seconds.

        units: in each unit of its own, such as operations in a product.
        """
        seconds = fastest(work, SECONDS[str(key[0])] * (AGAIN if again else 1), self._now)
        by = f"{work.by}, {words}" if words else work.by
        self._found[key] = min(self._known(*key), Roof(seconds / units, by), key=_seconds)
        return seconds

    def _known(self, *key: object) -> Roof:
        return self._found.get(key, Roof(math.inf, ""))


def _seconds(roof: Roof) -> float:
    return roof.seconds


def _array_bytes(device: str) -> int:
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
