"""Measure the roofs of a device, and how close a case comes to them.

A roof is the best that was seen on this machine: the rate of matrix products, the bandwidth of the
memory, the chain of products that wait for one another, and the launch of operators. A roof is only
as good as the libraries that measured it, so a case above a roof is not an error by itself. A case
far above the rate of products is INVALID, and a case beyond any uncertainty fails. A file in the
user's cache folder keeps what each library reached in any process. ``docs/roofs.md`` explains roofs
to users.
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
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, cast

from platformdirs import user_cache_path

from bench.case.cases import Case
from bench.machine import devices, environment
from bench.machine.fields import Field, ResultError
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.reasons import Reason, ReasonedError
from bench.machine.writing import write
from bench.records.schema import Figures
from bench.worker import estimate, roof_libraries
from bench.worker.disturbances import LIMITING
from bench.worker.roof_libraries import Library, RoofWork, Sizes
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags
from lstm_impl.processors import count_usable_cpus
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

WELL_ABOVE = 1.5
"""A case is INVALID if it exceeds a roof by this factor. The best products of two libraries differ
by more than that on one CPU, but the roof includes each library's own products. A clock changes by
10% or 20%.
"""

IMPOSSIBLE = 3.0
"""A case fails if it exceeds the best rate of products of all libraries by this factor. No kernel
is so much better, but a step that does half of its work or none would be.
"""

UNMEASURED = 10.0
"""The factor is this many times as large for a framework whose own products were not measured. A
good library may be several times as fast as another one, but not thirty times as fast as the best
one.
"""

COARSER = 32.0
"""The factor is this many times as large for a backend that quantizes. In one cycle, AMX makes 32
times as many int8 products as AVX-512 makes float32 products.
"""

WORDS = {"matmul": "matrix-product rate", "bandwidth": "memory bandwidth"}

THIS_PROCESS = "this process"
"""The origin of a roof that no other process on this machine has exceeded."""


class AccountingError(ReasonedError):
    """A case seems to be faster than its device can be."""


@dataclass(frozen=True)
class Roof:
    """Hold the fewest seconds of one unit, and the library that took them.

    A unit is an operation, a byte or a product.

    origin: ``THIS_PROCESS``, or the day on which another process measured it.
    """

    seconds: float
    by: str
    origin: str = THIS_PROCESS


NO_ROOF = Roof(math.inf, "")
_seconds = attrgetter("seconds")


def above_roofs(figures: Figures) -> list[Reason]:
    """Return why a case with these figures is INVALID: it is well above a roof.

    The chain never makes a case INVALID, since a kernel that keeps the weights may exceed it. The
    rate of products does so only if it includes the products of every framework in the process. The
    bandwidth does so only if the data of the case is larger than the arrays that measured it.
    """
    size, array = figures.get("bytes"), figures.get("array_bytes")
    past_caches = isinstance(size, float) and isinstance(array, float) and size > array
    judged = ["matmul"] * (not figures.get("matmul_without")) + ["bandwidth"] * past_caches
    return [
        Reason("above_roof", {"part": part, "roof": WORDS[name], "by": figures[f"{name}_by"]})
        for name in judged
        if isinstance(part := figures.get(f"of_{name}"), float) and part > WELL_ABOVE
    ]


def chain(spec: LSTMSpec, workload: Workload) -> dict[Sizes, float]:
    """Return how many products of each size must wait for one another in one step.

    With G gates, each timestep computes one product, ``[batch, hidden] x [hidden, G * hidden]``. A
    training step computes another one backward, ``[batch, G * hidden] x [G * hidden, hidden]``.
    Directions can run in parallel. So can layers, each one timestep behind the layer below
    (Appleyard, Kočiský and Blunsom 2016). With two directions they cannot, because the next layer
    waits for both ends. A product counts for the part of its rows that is valid.
    """
    layers = spec.num_layers
    steps = 0
    for window in workload.windows():
        length = window.stop - window.start
        steps += length * layers if spec.bidirectional else length + layers - 1
    counted = steps * workload.valid_timesteps() / (workload.batch * workload.timesteps)
    forward = (workload.batch, spec.hidden_size, spec.gate_columns)
    backward = (workload.batch, spec.gate_columns, spec.hidden_size)
    return {forward: counted, backward: counted} if workload.training else {forward: counted}


AMX = "amx_bf16"
"""The flag of a CPU whose tiles multiply bfloat16 many times as fast as its float units multiply
float32."""


def precisions(spec: LSTMSpec, device: str, flags: Collection[str] = ()) -> dict[str, float]:
    """Return the precisions of a case's products, and how many products replace one of the case.

    A CPU often computes half precision in float32. It computes ``bf32`` in bfloat16. With AMX, it
    may also compute a product of float32 as six products of bfloat16 parts, and ``bf16x3`` as
    three.

    flags: what the CPU has, as in ``/proc/cpuinfo``.
    """
    compute = spec.precision.compute
    if device != "cpu":
        return dict.fromkeys(("tf32", "float32") if spec.dtype == "tf32" else (compute,), 1.0)
    if compute in ("float16", "bfloat16"):
        return {compute: 1.0, "float32": 1.0}
    if spec.dtype == "bf32":
        return {"bfloat16": 1.0, "float32": 1.0}
    if compute == "float32" and AMX in flags:
        return {"float32": 1.0, "bfloat16": 3.0 if spec.dtype == "bf16x3" else 6.0}
    return {compute: 1.0}


VARIABLE = "LSTM_ROOFS"
"""The environment variable with the path of the file, or ``off``."""

SWITCH = "LSTM_CACHE"
"""The environment variable that also switches the file off if it is ``off``."""

NAME = "roofs.json"

SCHEMA = 1

DAYS = 30
"""The age in days from which a roof no longer counts, because firmware and clocks change."""

ENOUGH = 3
"""After this many processes have measured a roof with a library, other processes use what they
found. A single process may have had a busy moment.
"""

LARGEST = 4 * 2**20
"""The largest file, in bytes. Ten thousand roofs take two MiB."""

Key: TypeAlias = tuple[object, ...]

Alternatives: TypeAlias = dict[Key, float]
"""Roofs of which the fastest counts, each with the number of its units that replace one unit of the
case."""

Place: TypeAlias = tuple[str, str, str]
"""A machine, a roof and a library in the file."""


@dataclass(frozen=True)
class LibraryRoof:
    """The fewest seconds of a unit (an operation, a byte or a product) that one library reached.

    by: a description. processes: how many processes have measured it. when: the time of the best
    measurement, in seconds since 1970.
    """

    machine: str
    roof: str
    library: str
    seconds: float
    by: str
    processes: int
    when: float


class RoofFile:
    """The file of roofs, and what this process adds to it.

    path: the file, or None without one. today: returns the current time in seconds since 1970.
    session: a file with what the processes of this session measured, which measure each roof once,
    and how often they repeated it. It is the only file if ``path`` is None.
    """

    def __init__(
        self,
        path: Path | None,
        today: Callable[[], float] = time.time,
        session: Path | None = None,
    ) -> None:
        self._path = session if path is None else path
        self._session = session
        self._today = today
        self._here: dict[Place, LibraryRoof] = {}  # What this process measured.
        self._saved: dict[Place, LibraryRoof] = {}
        # How often roofs were repeated: by this process since ``save``, and in the session before.
        self._repeated_here: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self.reload()

    def reload(self) -> None:
        """Read what other processes have written since this process began."""
        self._seen = {
            place: each
            for place, each in self._read(self._path).items()
            if 0 <= self._today() - each.when <= DAYS * 86400
        }
        self._of_session = self._read(self._session)
        self._repeated = self._read_repeated()

    def best(self, machine: str, roof: str) -> Roof:
        """Return the fastest result of any process with any library, or ``NO_ROOF``."""
        place = (machine, roof)
        here, seen = (
            min((e for key, e in of.items() if key[:2] == place), key=_seconds, default=None)
            for of in (self._here, self._seen)
        )
        if seen is not None and (here is None or seen.seconds < here.seconds):
            day = datetime.fromtimestamp(seen.when, UTC).date().isoformat()
            return Roof(seen.seconds, seen.by, f"this machine, {day}")
        return NO_ROOF if here is None else Roof(here.seconds, here.by)

    def includes(self, place: Place) -> bool:
        """Return whether a roof includes what a library reaches."""
        return place in self._here or self.is_settled(place)

    def is_settled(self, place: Place) -> bool:
        """Return whether a roof needs no more measurements with this library.

        That is so if enough processes have measured it, or one process of this session. A roof that
        a process of the session measured at a busy moment is too low. Cases that exceed it are then
        the reason to measure it again for longer.
        """
        found = self._seen.get(place)
        return place in self._of_session or (found is not None and found.processes >= ENOUGH)

    def add(self, place: Place, seconds: float, by: str) -> None:
        """Add what this process has just measured. ``save`` writes it."""
        before = self._here.get(place)
        if 0 < seconds < math.inf and (before is None or seconds < before.seconds):
            self._here[place] = LibraryRoof(*place, seconds, by, 1, self._today())

    def repetitions(self, roof: str) -> int:
        """Return how often the processes of the session have measured a roof again."""
        return self._repeated[roof] + self._repeated_here[roof]

    def add_repetition(self, roof: str) -> None:
        """Count that a roof is measured again. ``save`` writes it."""
        self._repeated_here[roof] += 1

    def save(self) -> None:
        """Write what is new, together with what other processes wrote in the meantime.

        If two processes write at the same instant, the news of one may be lost. The next process
        measures it again.
        """
        new = {place: e for place, e in self._here.items() if self._saved.get(place) is not e}
        # Without a session, no file keeps how often roofs were repeated.
        repeated = self._repeated_here if self._session is not None else Counter[str]()
        if self._path is None or not (new or repeated):
            return
        self.reload()
        self._repeated.update(repeated)
        repeated.clear()
        for place, mine in new.items():
            best = mine
            if (old := self._seen.get(place)) is not None:
                # A process counts once, however often it measures.
                processes = old.processes + (place not in self._saved)
                best = replace(min(old, mine, key=_seconds), processes=processes)
            self._seen[place] = best
        self._saved |= new
        if self._session is not None and self._session != self._path:
            self._of_session |= new
            _write(self._session, self._of_session, self._repeated)
            _write(self._path, self._seen)
        else:
            _write(self._path, self._seen, self._repeated)

    def _read(self, path: Path | None) -> dict[Place, LibraryRoof]:
        """Return the content of a file, or nothing if any part of it is damaged."""
        if path is None:
            return {}
        try:
            data = Field(path, "", parse_json(path, regular_bytes(path, LARGEST)))
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

    def _read_repeated(self) -> Counter[str]:
        """Return how often the session repeated each roof, or nothing if the file is damaged."""
        if self._session is None:
            return Counter()
        path = self._session
        try:
            counts = Field(path, "", parse_json(path, regular_bytes(path, LARGEST)))["repeated"]
            return Counter({name: counts[name].integer(0) for name in counts.mapping()})
        except (ResultError, RecursionError):
            return Counter()


def _write(
    path: Path,
    roofs: Mapping[Place, LibraryRoof],
    repeated: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Write roofs, and how often they were repeated, to a file, if it can be written."""
    data: dict[str, object] = {"schema": SCHEMA, "seen": [asdict(each) for each in roofs.values()]}
    if repeated:
        data["repeated"] = dict(repeated)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the path of the file, or None if it is switched off or the user has no home folder."""
    named = environ.get(VARIABLE, "")
    if "off" in (named, environ.get(SWITCH)):
        return None
    try:
        path = Path(named) if named else user_cache_path("lstm-benchmark-suite") / NAME
        # Without a home folder, "~" is not expanded and would be the name of a folder.
        return path.absolute() if named or path.is_absolute() else None
    except (OSError, RuntimeError):
        return None


SECONDS = {"matmul": 0.04, "bandwidth": 0.04, "chain": 0.01, "launch": 0.02}
"""The seconds of measuring for each library and size."""

AGAIN = 3
"""The factor by which measuring takes longer if a case seems to be above the roof."""

ROUNDS = {"matmul": 3, "bandwidth": 3, "chain": 1, "launch": 0}
"""The largest number of repetitions if a case seems to be above the roof: in a process for products
and for the memory, in a session for the others. The chain is repeated once, because a kernel that
keeps the weights is rightly faster than the chain.
"""

FEWEST_BLOCKS = 3
"""The least number of blocks. On a busy machine, one product of microseconds can take 60 ms."""

SQUARES = {"cpu": (64, 256, 512, 1024), "gpu": (1024, 4096, 8192)}
"""The sizes of the square products whose rate is the roof. A size is tried if the previous one
takes less than ``LONG_PRODUCT``. A BLAS runs the smallest on one thread, which on a busy machine
can be faster than threads that wait for one another.
"""

LONG_PRODUCT = 0.03
"""A product that takes this many seconds is the last one that is measured. The next size has at
least eight times the work, and would take a quarter of a second."""

SMALLEST_COPY = 16 * 1024
"""The fewest bytes that are copied. With fewer, calling the copy takes longer than copying."""

_RATES = ("matmul", "bandwidth")
"""The roofs that are recorded as rates. The others are recorded as the least seconds of a case."""


def fastest(work: RoofWork, seconds: float, now: Callable[[], float]) -> float:
    """Return the seconds of one unit in the fastest block.

    The number of repetitions is doubled until a block is long enough. Then as many blocks run as
    fit into ``seconds``, at least ``FEWEST_BLOCKS``. The first repetition, which compiles, does not
    count.
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
    """The roofs of this machine. Each roof that is not known is measured at its first request.

    libraries: returns the libraries for a device, the frameworks that the process uses there, and
    the threads. array_bytes: returns the size of the arrays that measure the bandwidth of a device.
    seen: what other processes measured. flags: returns the flags of the CPU.
    """

    def __init__(
        self,
        libraries: Callable[[str, Collection[str], int], Sequence[Library]] = (
            roof_libraries.libraries
        ),
        now: Callable[[], float] = time.perf_counter,
        array_bytes: Callable[[str], int] | None = None,
        seen: RoofFile | None = None,
        flags: Callable[[], Collection[str]] = cpu_flags,
    ) -> None:
        self._libraries = libraries
        self._now = now
        self._array_bytes = array_bytes or roof_libraries.array_bytes
        self._seen = seen or RoofFile(None)
        self._flags = functools.cache(flags)
        self._machine = functools.cache(environment.device_name)
        self._tried: set[tuple[Key, str]] = set()
        self._rounds: Counter[Key] = Counter()

    @classmethod
    def of_machine(cls, shared: Path | None = None) -> Roofs:
        """Return roofs that include this user's other processes, by their file, and the session's.

        shared: the folder that the processes of the session share.
        """
        session = None if shared is None else shared / NAME
        return cls(seen=RoofFile(default_path(), session=session))

    def reload(self) -> None:
        """Read what other processes have measured since this process began."""
        self._seen.reload()

    def figures(
        self,
        case: Case,
        seconds: float,
        threads: int | None = None,
        frameworks: Collection[str] = (),
        times: float = 1.0,
    ) -> Figures:
        """Return what is recorded about a case that takes ``seconds`` per step.

        ``of_matmul`` is the least time under the roof divided by the time of the case.
        ``matmul_per_s`` is the roof, ``matmul_by`` its library and ``matmul_from`` its origin. The
        other roofs have the same figures, and a roof that nothing measured has none.
        ``matmul_without`` names the frameworks whose products are not in the roof. A roof that the
        case seems to exceed is measured again for longer.

        threads: how many may be used; None means all usable processors. frameworks: those that this
        process has started on the device. times: by which factor the products of the case may be
        faster than those of the roof.

        Raises AccountingError if the case still exceeds the rate of products by ``IMPOSSIBLE``. If
        the rate does not include every framework of the process, the limit is ``UNMEASURED`` times
        as high.
        """
        device, processors = case.device, threads or count_usable_cpus()
        operations = estimate.operations(case.spec, case.workload)
        size = estimate.least_bytes(case.spec, case.workload)
        array = self._array_bytes(device)
        libraries = self._libraries(device, frameworks, processors)
        precise = precisions(case.spec, device, self._flags())
        products: Alternatives = {
            ("matmul", device, each, processors): count for each, count in precise.items()
        }
        moved: Alternatives = {("bandwidth", device, processors, array): 1.0}
        # Caches may hold the data. This is measured only if the case is above the roof of the
        # memory.
        if size < array:
            moved["bandwidth", device, processors, size // 2] = 1.0
        chained: list[tuple[float, Alternatives]] = [
            (
                count,
                {
                    ("chain", device, each, sizes, processors): products_of_one
                    for each, products_of_one in precise.items()
                },
            )
            for sizes, count in chain(case.spec, case.workload).items()
        ]
        found: dict[str, float | str | None] = {
            "operations": operations,
            "bytes": float(size),
            "array_bytes": float(array),
        }
        if limits := [f"{name}={os.environ[name]}" for name in LIMITING if os.environ.get(name)]:
            found["limits"] = ", ".join(limits)
        for parts in ([(operations, products)], [(float(size), moved)], chained):
            found |= self._measure_roof(parts, libraries, seconds)
        self._seen.save()
        includes = {
            framework
            for library in libraries
            if any(self._seen.includes(self._place(key, library)) for key in products)
            for framework in library.frameworks
        }
        if missing := sorted(set(frameworks) - includes):
            found["matmul_without"] = ", ".join(missing)
        limit = times * IMPOSSIBLE * (UNMEASURED if missing else 1.0)
        if isinstance(part := found.get("of_matmul"), float) and part > limit:
            values = {"seconds": seconds, "part": part, "limit": limit}
            raise AccountingError(
                "impossible", **values, roof=WORDS["matmul"], by=found["matmul_by"]
            )
        return found

    def launch_figures(
        self, case: Case, framework: str, evidence: Mapping[str, object], seconds: float
    ) -> Figures:
        """Return the figures of an empty loop with as many operators as a step starts.

        Returns no figures if the evidence does not give the number, or the library has no such
        loop.
        """
        count, by = evidence.get("launches"), evidence.get("launched_by")
        if not isinstance(count, int | float) or not isinstance(by, str) or count <= 0:
            return {}
        libraries = self._libraries(case.device, {framework}, 1)
        own = [each for each in libraries if framework in each.frameworks]
        key: Key = ("launch", case.device, by, framework)
        found = self._measure_roof([(float(count), {key: 1.0})], own, seconds)
        self._seen.save()
        return {"launches": float(count), **found} if found else {}

    def _measure_roof(
        self,
        parts: Sequence[tuple[float, Alternatives]],
        libraries: Sequence[Library],
        seconds: float,
    ) -> dict[str, float | str | None]:
        """Return the figures of one roof.

        The roof is measured again while the case seems to exceed it.

        parts: numbers of units, each with alternative roofs of which the fastest counts.
        """
        name = str(next(iter(parts[0][1]))[0])
        self._measure(parts, libraries, again=False)
        least = self._least(parts)
        enough = seconds
        while enough < least < math.inf and self._measure(parts, libraries, again=True):
            least, enough = self._least(parts), WELL_ABOVE * seconds
        if least == math.inf:
            return {}
        total = sum(count for count, _ in parts) if name in _RATES else 0.0
        roof = self._best(parts[0][1])
        found: dict[str, float | str | None] = (
            {f"{name}_per_s": total / least} if total else {f"{name}_s": least}
        )
        found |= {f"{name}_by": roof.by, f"{name}_from": roof.origin}
        return found | {f"of_{name}": least / seconds}

    def _least(self, parts: Sequence[tuple[float, Alternatives]]) -> float:
        return sum(count * self._best(keys).seconds for count, keys in parts)

    def _measure(
        self,
        parts: Sequence[tuple[float, Alternatives]],
        libraries: Sequence[Library],
        *,
        again: bool,
    ) -> bool:
        """Measure the unknown roofs, or measure all again and longer.

        Returns whether any roof was measured.
        """
        keys = [key for _, alternatives in parts for key in alternatives]
        if again:
            keys = [key for key in keys if self._repetitions(key) < ROUNDS[str(key[0])]]
            self._rounds.update(keys)
            for key in keys:
                self._seen.add_repetition(json.dumps(key))
        for key in keys:
            if key[0] == "bandwidth" and key != keys[0] and not again:
                continue  # This is for data that caches may hold.
            for library in libraries:
                place = self._place(key, library)
                if again or not ((key, place[-1]) in self._tried or self._seen.is_settled(place)):
                    self._tried.add((key, place[-1]))
                    with contextlib.suppress(Exception):
                        self._take(key, library, AGAIN if again else 1)
        return bool(keys)

    def _repetitions(self, key: Key) -> int:
        """Return how often a roof was measured again.

        Only this process counts for a roof that can make a case INVALID: the rate of products and
        the bandwidth of the memory. The others are repeated by all processes of a session together.
        """
        memory = ("bandwidth", self._array_bytes(str(key[1])))
        if key[0] == "matmul" or (key[0], key[-1]) == memory:
            return self._rounds[key]
        return max(self._rounds[key], self._seen.repetitions(json.dumps(key)))

    def _take(self, key: Key, library: Library, times: int) -> None:
        """Measure one roof with one library. Errors of the library are raised."""
        for works, units, words in _works(key, library):
            taken = [fastest(work, times * SECONDS[str(key[0])], self._now) for work in works]
            for work, seconds in zip(works, taken, strict=True):
                by = f"{work.by}, {words}" if words else work.by
                self._seen.add(self._place(key, library), seconds / units, by)
            if not taken or min(taken) > LONG_PRODUCT:
                break

    def _place(self, key: Key, library: Library) -> Place:
        machine = self._machine(str(key[1]))
        return machine, json.dumps(key), f"{library.name} {library.version}"

    def _best(self, keys: Alternatives) -> Roof:
        """Return the roof with the fewest seconds for what replaces one unit of the case."""
        found = []
        for key, count in keys.items():
            roof = self._seen.best(self._machine(str(key[1])), json.dumps(key))
            found.append(replace(roof, seconds=count * roof.seconds))
        return min(found, key=_seconds)


def _works(key: Key, library: Library) -> Iterator[tuple[Sequence[RoofWork], float, str]]:
    """Yield what measures a roof, with the roof's units per unit of work, and a description."""
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
