"""The roofs of a case: what its device could do at best, and how near to that the case came.

Three ceilings, the best that was seen on this machine: the rate of matrix products, the bandwidth
of memory, and the chain of products that wait for one another. Each is as good as the libraries it
was measured with, so that a case above it is no error by itself: far above the rate of products it
is unreliable, and only what is past any uncertainty fails. What a process reaches depends on the
libraries in it, so what each reached is kept in a file in the user's cache folder, and the best of
all counts. ``docs/roofs.md`` explains it to users.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, cast

from platformdirs import user_cache_path

from bench.case.cases import Case
from bench.machine import devices, environment
from bench.machine.fields import Field, ResultError
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write
from bench.records.schema import Figures, RecordedReason
from bench.worker import estimate, roof_libraries
from bench.worker.disturbances import LIMITING
from bench.worker.roof_libraries import Library, RoofWork, Sizes
from lstm_impl.spec import LSTMSpec
from lstm_impl.tuning.machine import usable
from lstm_impl.workload import Workload

WELL_ABOVE = 1.5
"""Times a roof from which on a case is doubted. On one CPU the best products of two libraries
differ by more, but here each library's own are in the roof; a clock changes by a tenth or two."""

IMPOSSIBLE = 3.0
"""Times the rate of products of every library at hand: no kernel is so much better than all that
its own library, and the others, do best; half a step's work, or none, would be."""

WORDS = {"matmul": "the matrix-product rate", "bandwidth": "the memory bandwidth"}

THIS_PROCESS = "this process"
"""Where a roof comes from that no other process on this machine has exceeded."""


class AccountingError(RuntimeError):
    """A case seems to be faster than its device can possibly be; the message says by how much."""


@dataclass(frozen=True)
class Roof:
    """Seconds of one unit (an operation, a byte, a product) at the best, and who was that fast.

    origin: ``THIS_PROCESS``, or when another one on this machine saw it. here: the best of this
    process; infinite if it measured none.
    """

    seconds: float
    by: str
    origin: str = THIS_PROCESS
    here: float = math.inf


NO_ROOF = Roof(math.inf, "")


def doubts(figures: Figures) -> list[RecordedReason]:
    """Why a case is not to be trusted whose figures these are: it is well above a roof.

    Never for the chain, which a kernel that holds the weights is rightly above; for the rate of
    products only if those of every framework in the process are in it; and for the bandwidth only
    if the case's data is larger than the arrays that it was measured with.
    """
    size, whole = figures.get("bytes"), figures.get("array_bytes")
    past_caches = isinstance(size, float) and isinstance(whole, float) and size > whole
    judged = ["matmul"] * (not figures.get("matmul_without")) + ["bandwidth"] * past_caches
    return [
        RecordedReason(
            "above_roof",
            f"it would be at {part:.0%} of {WORDS[name]}, the best that was seen here "
            f"({figures[f'{name}_by']}), which was measured again",
            "measure it again on a quiet machine; if it stays, either the step does less than is "
            "counted, or the roof is too low: please report it",
        )
        for name in judged
        if isinstance(part := figures.get(f"of_{name}"), float) and part > WELL_ABOVE
    ]


def chain(spec: LSTMSpec, workload: Workload) -> dict[Sizes, float]:
    """How many products of each size must wait for one another in one step.

    Forward each timestep takes ``[batch, hidden] x [hidden, 4 hidden]``, and in training one of
    ``[batch, 4 hidden] x [4 hidden, hidden]`` backward, even where the initial state's gradient is
    not requested. Directions can run side by side. So can layers, each one timestep behind the one
    below (Appleyard, Kočiský and Blunsom 2016), unless there are two directions: the next layer
    then waits for both ends. A product counts for the part of its rows that is valid.
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
    """What a case's products may be computed in; a CPU often has to compute halves in float32."""
    compute = spec.precision.compute
    if device == "cpu":
        return (compute, "float32") if compute in ("float16", "bfloat16") else (compute,)
    return ("tf32", "float32") if spec.dtype == "tf32" else (compute,)


VARIABLE = "LSTM_ROOFS"
"""The environment variable that names the file, or switches it off where it is ``off``."""

SWITCH = "LSTM_CACHE"
"""The environment variable that switches it off, too, where it is ``off``."""

NAME = "roofs.json"

SCHEMA = 1

DAYS = 30
"""After which what was seen no longer counts: a machine gets another firmware, or other clocks."""

ENOUGH = 3
"""Processes that have measured a roof with a library, none of them much better than the first: a
further one takes what they found. One alone may have had a bad moment."""

MUCH = 0.1
"""Part by which a process is much better: a clock changes by less, a busy machine by more."""

LARGEST = 4 * 2**20
"""Bytes. Ten thousand roofs take two; what is larger is no file of ours."""

Key: TypeAlias = tuple[object, ...]

Place: TypeAlias = tuple[str, str, str]
"""In the file: a machine, a roof and a library."""


@dataclass(frozen=True)
class LibraryRoof:
    """What one library reached of one roof: seconds of a unit (an operation, a byte, a product).

    machine, roof, library: whose it is. by: in words. processes: that have measured it since one
    was last much better than those before. when: seconds since 1970, of the best of them.
    """

    machine: str
    roof: str
    library: str
    seconds: float
    by: str
    processes: int
    when: float


class RoofsSeen:
    """The file, and what this process adds to it.

    path: None keeps nothing. today: seconds since 1970.
    """

    def __init__(self, path: Path | None, today: Callable[[], float] = time.time) -> None:
        self._path = path
        self._today = today
        self._here: dict[Place, LibraryRoof] = {}  # what this process measured
        self._unsaved: set[Place] = set()
        self._written: set[Place] = set()
        self.read_again()

    def read_again(self) -> None:
        """Take in what other processes have written since this one began."""
        self._seen = {
            place: each
            for place, each in self._read().items()
            if 0 <= self._today() - each.when <= DAYS * 86400
        }

    def best(self, machine: str, roof: Key) -> Roof:
        """The fastest that any process saw with any library; ``NO_ROOF`` if none did."""
        place = (machine, json.dumps(roof))
        here, seen = (
            min((e for key, e in of.items() if key[:2] == place), key=_seconds, default=None)
            for of in (self._here, self._seen)
        )
        found = NO_ROOF if here is None else Roof(here.seconds, here.by, here=here.seconds)
        if seen is not None and seen.seconds < found.seconds:
            day = datetime.fromtimestamp(seen.when, UTC).date().isoformat()
            return Roof(seen.seconds, seen.by, f"this machine, {day}", found.here)
        return found

    def served(self, machine: str, roof: Key, library: str) -> bool:
        """Whether a library's products are in a roof."""
        here = (machine, json.dumps(roof), library) in self._here
        return here or self.settled(machine, roof, library)

    def settled(self, machine: str, roof: Key, library: str) -> bool:
        """Whether so many processes have measured it with this library that no more need to."""
        found = self._seen.get((machine, json.dumps(roof), library))
        return found is not None and found.processes >= ENOUGH

    def add(self, machine: str, roof: Key, library: str, seconds: float, by: str) -> None:
        """What this process has just measured; ``save`` writes it."""
        place = (machine, json.dumps(roof), library)
        before = self._here.get(place)
        if 0 < seconds < math.inf and (before is None or seconds < before.seconds):
            self._here[place] = LibraryRoof(*place, seconds, by, 1, self._today())
            self._unsaved.add(place)

    def save(self) -> None:
        """Write what is new, next to what other processes wrote meanwhile.

        The file is replaced as a whole, so that a reader never sees half of one. Of two processes
        that write in the same instant one's news may be lost: the next to measure brings them.
        """
        new, self._unsaved = self._unsaved, set()
        if not new or self._path is None:
            return
        self.read_again()
        for place in new:
            news = self._here[place]
            if (old := self._seen.get(place)) is not None:
                best = min(old, news, key=lambda each: each.seconds)
                # A process counts once, however often it measures.
                processes = old.processes + (place not in self._written)
                better = news.seconds < (1 - MUCH) * old.seconds
                news = replace(best, processes=1 if better else processes)
            self._seen[place] = news
        self._written |= new
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = [asdict(each) for each in self._seen.values()]
            write(self._path, {"schema": SCHEMA, "seen": kept})

    def _read(self) -> dict[Place, LibraryRoof]:
        """What the file holds; nothing if anything in it is damaged."""
        if self._path is None:
            return {}
        try:
            data = Field(self._path, "", parse_json(self._path, regular_bytes(self._path, LARGEST)))
            if data["schema"].integer(1) != SCHEMA:
                return {}
            found = []
            for entry in data["seen"].items():
                machine, roof, library, by = (
                    entry[name].label() for name in ("machine", "roof", "library", "by")
                )
                seconds, when = (entry[name].number(0.0) for name in ("seconds", "when"))
                processes = entry["processes"].integer(1)
                found.append(LibraryRoof(machine, roof, library, seconds, by, processes, when))
        except (ResultError, RecursionError):
            return {}
        return {(e.machine, e.roof, e.library): e for e in found if e.seconds > 0}


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where the environment says or the system keeps caches; None if off, or without a home."""
    named = environ.get(VARIABLE, "")
    if "off" in (named, environ.get(SWITCH)):
        return None
    try:
        path = Path(named) if named else user_cache_path("lstm-benchmark-suite") / NAME
        # Without a home "~" stays as it is, and would become a folder of that name.
        return path.absolute() if named or path.is_absolute() else None
    except (OSError, RuntimeError):
        return None


SECONDS = {"matmul": 0.04, "bandwidth": 0.04, "chain": 0.01, "launch": 0.02}
"""Of measuring, for each library and size."""

AGAIN = 3
"""Times as long for a roof that a case seems to be above."""

ROUNDS = {"matmul": 3, "bandwidth": 3, "chain": 1, "launch": 0}
"""Of measuring it again, at most, in a process: a busy machine is not busy at each moment. A kernel
that holds the weights is rightly faster than a chain of products that are called one by one."""

FEWEST_BLOCKS = 3
"""On a busy machine one product of microseconds can take 60 ms."""

SQUARES = {"cpu": (64, 256, 512, 1024), "gpu": (1024, 4096, 8192)}
"""Sizes of the square products whose rate is the roof; from the first on each is tried while the
one before takes less than ``LONG_PRODUCT``. A BLAS leaves the smallest to one thread, which on a
busy machine can be faster than threads that wait for one another."""

LONG_PRODUCT = 0.03
"""Seconds. The next size has at least eight times the work: a quarter of a second."""

SMALLEST_COPY = 16 * 1024
"""Bytes. Calling the copy takes longer than copying less."""

_RATES = ("matmul", "bandwidth")
"""Roofs that are recorded as so many a second; the others as a case's least seconds."""


def fastest(work: RoofWork, seconds: float, now: Callable[[], float]) -> float:
    """Seconds of one unit in the fastest block.

    Blocks of ever more repetitions until they are long enough, then as many as ``seconds`` hold, at
    least ``FEWEST_BLOCKS``. The first repetition is not counted: what it compiles and allocates
    comes once.
    """
    work.run(1)
    count, blocks, best, end = 1, 0, math.inf, now() + seconds
    while True:
        start = now()
        work.run(count)
        stop = now()
        if stop - start < work.shortest:
            count *= 2
            continue
        best = min(best, (stop - start) / count)
        blocks += 1
        if stop >= end and blocks >= FEWEST_BLOCKS:
            return best / work.amount


class Roofs:
    """The roofs of this machine, each measured when it is first requested, if it is not known.

    libraries: what can compute on a device, given the frameworks that the process computes with
    there, and the threads. now: seconds that never go back. array_bytes: of each array that
    bandwidth is measured with, by the device. seen: what other processes saw; None asks nobody.
    """

    def __init__(
        self,
        libraries: Callable[[str, Collection[str], int], Sequence[Library]] = (
            roof_libraries.libraries
        ),
        now: Callable[[], float] = time.perf_counter,
        array_bytes: Callable[[str], int] | None = None,
        seen: RoofsSeen | None = None,
    ) -> None:
        self._libraries = libraries
        self._now = now
        self._array_bytes = array_bytes or roof_libraries.array_bytes
        self._seen = seen or RoofsSeen(None)
        self._machine = functools.cache(environment.device_name)
        self._tried: set[tuple[Key, str]] = set()
        self._rounds: Counter[Key] = Counter()

    @classmethod
    def of_machine(cls, shared: Path | None = None) -> Roofs:
        """With what other processes of this user saw on this machine.

        shared: a folder of the session, which is used where nothing is kept for others.
        """
        return cls(seen=RoofsSeen(default_path() or (None if shared is None else shared / NAME)))

    def read_again(self) -> None:
        """Take in what other processes have seen since this one began."""
        self._seen.read_again()

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

        ``of_matmul`` and its like are the least time under a roof over the case's, however far
        above 1; figures of a roof that nothing here can measure are missing. ``matmul_per_s`` is
        the roof, ``matmul_by`` whose it is, ``matmul_from`` where it was seen, ``matmul_here`` what
        this process measured of it. ``matmul_without`` names frameworks in this process whose
        products are not in it. A roof that the case seems to be above is measured again, longer,
        and the fastest counts.

        Raises AccountingError if the case is still ``IMPOSSIBLE`` times above the rate of products,
        and every framework of the process has its products in that.
        """
        device, processors = case.device, threads or usable()
        operations = estimate.operations(case.spec, case.workload)
        size = estimate.least_bytes(case.spec, case.workload)
        whole = self._array_bytes(device)
        libraries = self._libraries(device, frameworks, processors)
        precise = precisions(case.spec, device)
        products: list[Key] = [("matmul", device, each, processors) for each in precise]
        moved: list[Key] = [("bandwidth", device, processors, whole)]
        if size < whole:  # the caches may hold it; measured only if the case is above the memory's
            moved.append(("bandwidth", device, processors, size // 2))
        chained: list[tuple[float, list[Key]]] = [
            (count, [("chain", device, each, sizes, processors) for each in precise])
            for sizes, count in chain(case.spec, case.workload).items()
        ]
        found: dict[str, float | str | None] = {
            "operations": operations,
            "bytes": float(size),
            "array_bytes": float(whole),
        }
        if limits := [f"{name}={os.environ[name]}" for name in LIMITING if os.environ.get(name)]:
            found["limits"] = ", ".join(limits)
        for parts in ([(operations, products)], [(float(size), moved)], chained):
            found |= self._of_roof(parts, libraries, seconds)
        self._seen.save()
        served = {
            framework
            for library in libraries
            if any(self._seen.served(*self._place(key, library)) for key in products)
            for framework in library.frameworks
        }
        if missing := sorted(set(frameworks) - served):
            found["matmul_without"] = ", ".join(missing)
        elif isinstance(part := found.get("of_matmul"), float) and part > IMPOSSIBLE:
            raise AccountingError(
                f"accounting error: {seconds:.3g} s a step would be {part:.0%} of "
                f"{WORDS['matmul']}, over {IMPOSSIBLE:.0%} of what every library here reaches "
                f"at best ({found['matmul_by']})"
            )
        return found

    def of_launches(
        self, case: Case, framework: str, evidence: Mapping[str, object], seconds: float
    ) -> Figures:
        """The figures of an empty loop of as many operators as a step starts one by one.

        None where a backend's evidence does not say how many, or its library has no such loop.
        """
        count, by = evidence.get("launches"), evidence.get("launched_by")
        if not isinstance(count, int | float) or not isinstance(by, str) or count <= 0:
            return {}
        libraries = self._libraries(case.device, {framework}, 1)
        own = [each for each in libraries if framework in each.frameworks]
        key: Key = ("launch", case.device, by, framework)
        found = self._of_roof([(float(count), [key])], own, seconds)
        self._seen.save()
        return {"launches": float(count), **found} if found else {}

    def _of_roof(
        self,
        parts: Sequence[tuple[float, Sequence[Key]]],
        libraries: Sequence[Library],
        seconds: float,
    ) -> dict[str, float | str | None]:
        """The figures of one roof, measured again while the case seems to be above it.

        parts: so many units of each of these, which ever of the keys is the fastest.
        """
        name = str(parts[0][1][0][0])
        self._measure(parts, libraries, again=False)
        least = self._least(parts)
        enough = seconds
        while enough < least < math.inf and self._measure(parts, libraries, again=True):
            least, enough = self._least(parts), WELL_ABOVE * seconds
        if least == math.inf:
            return {}
        total = sum(count for count, _ in parts) if name in _RATES else 0.0
        here = sum(count * self._best(keys).here for count, keys in parts)
        roof = self._best(parts[0][1])
        found: dict[str, float | str | None] = (
            {f"{name}_per_s": total / least} if total else {f"{name}_s": least}
        )
        if here < math.inf:
            found[f"{name}_here"] = total / here if total else here
        found |= {f"{name}_by": roof.by, f"{name}_from": roof.origin}
        return found | {f"of_{name}": least / seconds}

    def _least(self, parts: Sequence[tuple[float, Sequence[Key]]]) -> float:
        return sum(count * self._best(keys).seconds for count, keys in parts)

    def _measure(
        self,
        parts: Sequence[tuple[float, Sequence[Key]]],
        libraries: Sequence[Library],
        *,
        again: bool,
    ) -> bool:
        """Measure what is not known of these roofs yet, or all of them again, longer.

        Returns whether any was measured again.
        """
        keys = [key for _, alternatives in parts for key in alternatives]
        if again:
            keys = [key for key in keys if self._rounds[key] < ROUNDS[str(key[0])]]
            self._rounds.update(keys)
        for key in keys:
            if key[0] == "bandwidth" and key != keys[0] and not again:
                continue  # of what the caches may hold
            for library in libraries:
                place = self._place(key, library)
                if again or not ((key, place[-1]) in self._tried or self._seen.settled(*place)):
                    self._tried.add((key, place[-1]))
                    with contextlib.suppress(Exception):
                        self._take(key, library, AGAIN if again else 1)
        return bool(keys)

    def _take(self, key: Key, library: Library, times: int) -> None:
        """Measure one roof with one library, which may not be able to."""
        for works, units, words in _works(key, library):
            taken = [fastest(work, times * SECONDS[str(key[0])], self._now) for work in works]
            for work, seconds in zip(works, taken, strict=True):
                by = f"{work.by}, {words}" if words else work.by
                self._seen.add(*self._place(key, library), seconds / units, by)
            if not taken or min(taken) > LONG_PRODUCT:
                break

    def _place(self, key: Key, library: Library) -> tuple[str, Key, str]:
        return self._machine(str(key[1])), key, f"{library.name} {library.version}"

    def _best(self, keys: Sequence[Key]) -> Roof:
        """The best of these roofs, of this process and of the others on this machine."""
        found = [self._seen.best(self._machine(str(key[1])), key) for key in keys]
        return replace(min(found, key=_seconds), here=min(each.here for each in found))


def _works(key: Key, library: Library) -> Iterator[tuple[Sequence[RoofWork], float, str]]:
    """What a roof is measured with, each with its units in one of the work's, and in words."""
    name, device, first, *rest = key
    if name == "bandwidth":
        threads, size = int(str(first)), int(str(rest[0]))
        yield library.traffic(max(SMALLEST_COPY, size), threads), 1.0, ""
    elif name == "launch":
        yield library.operators(str(first)), 1.0, ""
    elif name == "chain":
        yield library.products(cast("Sizes", rest[0]), str(first)), 1.0, str(first)
    else:
        for size in SQUARES[devices.kind(str(device))]:
            works = library.products((size, size, size), str(first))
            yield works, 2.0 * size**3, f"{first}, {size} x {size}"


def _seconds(roof: Roof | LibraryRoof) -> float:
    return roof.seconds
