"""The roofs of a case: what its device could do at best, and how near to that the case came.

Three ceilings, the best that was seen on this machine: the rate of matrix products, the bandwidth
of memory, and the chain of products that wait for one another, timestep after timestep. Each is as
good as the libraries that it was measured with, so that a case above it is no error by itself: far
above the rate of products it is doubted, and only what is past any doubt fails.

What a process reaches depends on the libraries in it: NumPy's BLAS, PyTorch's and ONNX Runtime's
products differ by a factor of two on one processor. So that the same time is the same part of a
roof whatever else is installed, what each library reached is kept in a file in the user's cache
folder, and the best of all counts. A file that is missing, damaged or cannot be written is as good
as none. ``docs/roofs.md`` explains it to users.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from platformdirs import user_cache_path

from bench.case.cases import Case
from bench.machine import devices, environment
from bench.machine.fields import Field, ResultError
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write
from bench.records.schema import Figures, RecordedReason
from bench.worker import estimate, roof_libraries
from bench.worker.roof_libraries import Launcher, Launches, Library, RoofWork, Sizes
from lstm_impl.spec import LSTMSpec
from lstm_impl.tuning.machine import usable
from lstm_impl.workload import Workload

WELL_ABOVE = 1.5
"""Times a roof from which on a case is doubted. On one CPU the best products of two libraries
differ by more, but here each library's own are in the roof; a clock changes by a tenth or two."""

IMPOSSIBLE = 3.0
"""Times the rate of products of every library at hand: no kernel is so much better than all that
its own library, and the others, do best; half a step's work, or none, would be."""

WORDS = {
    "matmul": "the matrix-product rate",
    "bandwidth": "the memory bandwidth",
    "chain": "the serial chain of products",
}

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


def doubts(figures: Figures) -> list[RecordedReason]:
    """Why a case is not to be trusted whose figures these are: it is well above a roof.

    Never for the chain, which a kernel that holds the weights is rightly above; for the rate of
    products only if those of every framework in the process are in it; and for the bandwidth only
    if the case's data is larger than the arrays that it was measured with: what fits into caches
    is moved by them.
    """
    judged = []
    if not figures.get("matmul_without"):
        judged.append("matmul")
    size, whole = figures.get("bytes"), figures.get("array_bytes")
    if isinstance(size, float) and isinstance(whole, float) and size > whole:
        judged.append("bandwidth")
    found = []
    for name in judged:
        part = figures.get(f"of_{name}")
        if isinstance(part, float) and part > WELL_ABOVE:
            found.append(
                RecordedReason(
                    "above_roof",
                    f"it would be at {part:.0%} of {WORDS[name]}, the best that was seen here "
                    f"({figures[f'{name}_by']}), which was measured again",
                    "measure it again on a quiet machine; if it stays, either the step does less "
                    "than is counted, or the roof is too low: please report it",
                )
            )
    return found


def check_accounting(found: Figures, seconds: float) -> None:
    """Raise AccountingError for a case that is past all that is possible."""
    part = found.get("of_matmul")
    if isinstance(part, float) and part > IMPOSSIBLE:
        raise AccountingError(
            f"accounting error: {seconds:.3g} s a step would be {part:.0%} of "
            f"{WORDS['matmul']}, over {IMPOSSIBLE:.0%} of what every library here reaches "
            f"at best ({found['matmul_by']})"
        )


def chain(spec: LSTMSpec, workload: Workload) -> dict[Sizes, float]:
    """How many products of each size must wait for one another in one step.

    Forward each timestep takes ``[batch, hidden] x [hidden, 4 hidden]``, and in training one of
    ``[batch, 4 hidden] x [4 hidden, hidden]`` backward. Directions can run side by side. So can
    layers, each one timestep behind the one below (Appleyard, Kočiský and Blunsom 2016), unless
    there are two directions: the next layer then waits for both ends. Windows follow one another.
    Sequences that have ended take no part: a product counts for the part of its rows that is valid.
    That for the initial state's gradient, a window's last, is counted whether it is requested or
    not: most backends compute it in their loop.
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


@dataclass(frozen=True)
class LibraryRoof:
    """What one library reached of one roof: seconds of a unit (an operation, a byte, a product).

    machine, roof, library: whose it is. by: in words. processes: that have measured it since one
    was last much better than those before. when: seconds since 1970, of the best of them. session:
    that measured it last.
    """

    machine: str
    roof: str
    library: str
    seconds: float
    by: str
    processes: int
    when: float
    session: str = ""


class RoofsSeen:
    """The file, and what this process adds to it.

    path: None keeps nothing. today: seconds since 1970. session: of this process.
    """

    def __init__(
        self, path: Path | None, today: Callable[[], float] = time.time, session: str = ""
    ) -> None:
        self._session = session
        self._path = path
        self._today = today
        self._seen = self._read()
        self._new: dict[tuple[str, str, str], LibraryRoof] = {}
        self._told: set[tuple[str, str, str]] = set()

    def read_again(self) -> None:
        """Take in what other processes have written since this one began."""
        self._seen = self._read()

    def best(self, machine: str, roof: Key) -> LibraryRoof | None:
        """The fastest that any process saw with any library."""
        words = name_of(roof)
        found = [
            each
            for place, each in self._seen.items()
            if place[:2] == (machine, words) and self._counts(each)
        ]
        return min(found, key=lambda each: each.seconds, default=None)

    def settled(self, machine: str, roof: Key, library: str) -> bool:
        """Whether so many processes have measured it with this library that no more need to, or
        another one of this session has."""
        place = (machine, name_of(roof), library)
        found = self._seen.get(place)
        if found is None or not self._counts(found):
            return False
        ours = bool(self._session) and found.session == self._session
        return found.processes >= ENOUGH or (ours and place not in self._told)

    def add(self, machine: str, roof: Key, library: str, seconds: float, by: str) -> None:
        """What this process has just measured; ``save`` writes it."""
        if not 0 < seconds < math.inf:
            return
        place = (machine, name_of(roof), library)
        before = self._new.get(place)
        if before is None or seconds < before.seconds:
            self._new[place] = LibraryRoof(*place, seconds, by, 1, self._today(), self._session)

    def save(self) -> None:
        """Write what is new, next to what other processes wrote meanwhile.

        The file is replaced as a whole, so that a reader never sees half of one. Of two processes
        that write in the same instant one's news may be lost: the next to measure brings them.
        """
        if not self._new or self._path is None:
            self._new.clear()
            return
        self._seen = self._read()
        for place, news in self._new.items():
            old = self._seen.get(place)
            if old is not None and self._counts(old):
                best = min(old, news, key=lambda each: each.seconds)
                # A process counts once, however often it measures.
                processes = old.processes + (place not in self._told)
                better = news.seconds < (1 - MUCH) * old.seconds
                news = replace(best, processes=1 if better else processes, session=self._session)
            self._seen[place] = news
        self._told |= self._new.keys()
        self._new.clear()
        kept = [asdict(each) for each in self._seen.values() if self._counts(each)]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(self._path, {"schema": SCHEMA, "seen": kept})

    def _counts(self, seen: LibraryRoof) -> bool:
        return 0 <= self._today() - seen.when <= DAYS * 86400

    def _read(self) -> dict[tuple[str, str, str], LibraryRoof]:
        if self._path is None:
            return {}
        try:
            data = Field(self._path, "", parse_json(self._path, regular_bytes(self._path, LARGEST)))
            if data["schema"].integer(1) != SCHEMA:
                return {}
            found = [each for each in map(_whole, data["seen"].items()) if each is not None]
        except (ResultError, RecursionError):
            return {}
        return {(each.machine, each.roof, each.library): each for each in found}


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The user's own, where the environment says or where the system keeps caches.

    None where there is none: switched off, or no home.
    """
    named = environ.get(VARIABLE, "")
    if "off" in (named, environ.get(SWITCH)):
        return None
    try:
        path = Path(named) if named else user_cache_path("lstm-benchmark-suite") / NAME
        # Without a home "~" stays as it is, and would become a folder of that name.
        return path.absolute() if named or path.is_absolute() else None
    except (OSError, RuntimeError):
        return None


def name_of(roof: Key) -> str:
    """A roof's key as it stands in the file."""
    return json.dumps(roof, default=str)


def _whole(entry: Field) -> LibraryRoof | None:
    """What an entry says; None for one that is not whole, which is passed over."""
    with contextlib.suppress(ResultError, TypeError):  # TypeError: it has other keys, too
        for name, kind in LibraryRoof.__annotations__.items():
            if name != "session" or (entry[name].given and entry[name].value):
                entry[name].annotated(kind)
        found = LibraryRoof(**cast("dict[str, Any]", entry.mapping()))
        return found if found.seconds > 0 else None
    return None


SECONDS = {"matmul": 0.04, "bandwidth": 0.04, "chain": 0.01, "launch": 0.02}
"""Of measuring, for each library and size."""

AGAIN = 3
"""Times as long for a roof that a case seems to be above."""

ROUNDS = 3
"""Of measuring it again, at most, in a process: a busy machine is not busy at each moment."""

FEWEST_BLOCKS = 3
"""On a busy machine one product of microseconds can take 60 ms."""

SQUARES = {"cpu": (64, 256, 512, 1024), "gpu": (1024, 4096, 8192)}
"""Sizes of the square products whose rate is the roof; from the first on each is tried while the
one before takes less than ``LONG_PRODUCT``. A BLAS leaves the smallest to one thread, which on a
busy machine can be faster than threads that wait for one another."""

LARGER = {"cpu": 2048, "gpu": 12288}
"""The size that is tried as well where a case seems to be above the roof."""

LONG_PRODUCT = 0.03
"""Seconds. The next size has at least eight times the work: a quarter of a second."""

SMALLEST_COPY = 16 * 1024
"""Bytes. Calling the copy takes longer than copying less."""

_UNITS = {"matmul": "matmul_per_s", "bandwidth": "bandwidth_per_s", "chain": "chain_s"}


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
        libraries: Callable[
            [str, Collection[str], int], Sequence[Library]
        ] = roof_libraries.libraries,
        now: Callable[[], float] = time.perf_counter,
        array_bytes: Callable[[str], int] | None = None,
        seen: RoofsSeen | None = None,
        launcher: Callable[[Case, Launches], Launcher | None] = roof_libraries.launcher,
    ) -> None:
        self._libraries = libraries
        self._now = now
        self._array_bytes = array_bytes or roof_libraries.array_bytes
        self._seen = seen or RoofsSeen(None)
        self._launcher = launcher
        self._machines: dict[str, str] = {}
        self._found: dict[Key, Roof] = {}
        self._asked: set[Key] = set()
        self._served: dict[Key, set[str]] = {}
        self._rounds: Counter[Key] = Counter()

    @classmethod
    def of_machine(cls, session: str = "", shared: Path | None = None) -> Roofs:
        """With what other processes of this user saw on this machine, for which they are kept.

        session: whose processes measure a roof once. shared: their folder, for what they saw where
        nothing is kept for others.
        """
        path = default_path() or (None if shared is None else shared / NAME)
        return cls(seen=RoofsSeen(path, session=session))

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
        operations = estimate.operations(case.spec, case.workload)
        size = estimate.least_bytes(case.spec, case.workload)
        processors = threads or usable()
        libraries = self._libraries(case.device, frameworks, processors)
        whole = self._array_bytes(case.device)
        precise = precisions(case.spec, case.device)
        products: list[Key] = [("matmul", case.device, each, processors) for each in precise]
        counts = chain(case.spec, case.workload)
        chained: dict[Sizes, list[Key]] = {
            sizes: [("chain", case.device, each, sizes, processors) for each in precise]
            for sizes in counts
        }
        measures: dict[str, Callable[[float | None], tuple[float, Roof]]] = {
            "matmul": partial(self._matmul, products, libraries, operations),
            "bandwidth": partial(self._bandwidth, case.device, libraries, processors, size, whole),
            "chain": partial(self._chain, counts, chained, libraries),
        }
        found: dict[str, float | str | None] = {"operations": operations, "bytes": float(size)}
        found["array_bytes"] = float(whole)
        if limits := roof_libraries.limited():
            found["limits"] = ", ".join(f"{name}={value}" for name, value in limits.items())
        for name, measure in measures.items():
            found |= self._of_roof(name, measure, seconds, products)
        self._seen.save()
        if missing := sorted(set(frameworks) - self._frameworks(products, libraries)):
            found["matmul_without"] = ", ".join(missing)
        if not missing:
            check_accounting(found, seconds)
        return found

    def _of_roof(
        self,
        name: str,
        measure: Callable[[float | None], tuple[float, Roof]],
        seconds: float,
        products: list[Key],
    ) -> dict[str, float | str | None]:
        """The figures of one roof, measured again while the case seems to be above it.

        measure: the least time of the case under it, and the roof; told a time, it tries to reach
        that.
        """
        least, roof = measure(None)
        if seconds < least < math.inf:
            least, roof = measure(seconds)
            while least > WELL_ABOVE * seconds and name == "matmul" and self._may(products):
                least, roof = measure(WELL_ABOVE * seconds)
        if least == math.inf:
            return {}
        inverse = name != "chain"
        found: dict[str, float | str | None] = {
            _UNITS[name]: 1 / roof.seconds if inverse else least
        }
        if roof.here < math.inf:
            found[f"{name}_here"] = 1 / roof.here if inverse else roof.here
        found[f"{name}_by"] = roof.by
        found[f"{name}_from"] = roof.origin
        found[f"of_{name}"] = least / seconds
        return found

    def of_launches(self, case: Case, launches: Launches, seconds: float) -> Figures:
        """The figures of an empty loop of as many operators; none where nobody has such a loop."""
        key: Key = ("launch", case.device, launches.by, launches.framework)
        if key not in self._asked:
            self._asked.add(key)
            # A framework that cannot make such a loop gives no roof.
            with contextlib.suppress(Exception):
                made = self._launcher(case, launches)
                if made is not None and not self._settled(key, made.library):
                    self._keep(key, made.library, made.work, 1.0, "", again=False)
                    self._seen.save()
        roof = self._best([key])
        if roof.seconds == math.inf:
            return {}
        least = launches.count * roof.seconds
        found: dict[str, float | str | None] = {"launches": launches.count, "launch_s": least}
        if roof.here < math.inf:
            found["launch_here"] = launches.count * roof.here
        by = {"launch_by": roof.by, "launch_from": roof.origin}
        return found | by | {"of_launch": least / seconds}

    def _chain(
        self,
        counts: Mapping[Sizes, float],
        keys: Mapping[Sizes, Sequence[Key]],
        libraries: Sequence[Library],
        enough: float | None,
    ) -> tuple[float, Roof]:
        """The least time of so many products of each size, one after the other."""
        again = enough is not None
        roofs = {sizes: self._product(keys[sizes], libraries, again=again) for sizes in counts}
        least = sum(count * roofs[sizes].seconds for sizes, count in counts.items())
        here = sum(count * roofs[sizes].here for sizes, count in counts.items())
        return least, replace(next(iter(roofs.values())), here=here)

    def _matmul(
        self,
        keys: Sequence[Key],
        libraries: Sequence[Library],
        operations: float,
        enough: float | None,
    ) -> tuple[float, Roof]:
        """The least time of so many operations, in the fastest of these precisions.

        enough: measure it again, until it is so many seconds or fewer.
        """
        again = enough is not None
        if not again or self._may(keys):
            self._rounds.update(keys if again else ())
            for key in keys:
                for library in self._due(key, libraries, again):
                    # A library that cannot compute in this precision gives no roof for it.
                    with contextlib.suppress(Exception):
                        self._squares(key, library, again)
                    if enough is not None and self._known(key).seconds <= enough / operations:
                        return self._least(keys, operations)
        return self._least(keys, operations)

    def _squares(self, key: Key, library: Library, again: bool) -> None:
        kind, precision = devices.kind(str(key[1])), str(key[2])
        for size in (*SQUARES[kind], *([LARGER[kind]] if again else [])):
            works = library.products((size, size, size), precision, compiled=False)
            label, words = _label(library), f"{precision}, {size} x {size}"
            taken = [self._keep(key, label, work, 2.0 * size**3, words, again) for work in works]
            if not taken or min(taken) > LONG_PRODUCT:
                break

    def _bandwidth(
        self,
        device: str,
        libraries: Sequence[Library],
        threads: int,
        size: int,
        whole: int,
        enough: float | None,
    ) -> tuple[float, Roof]:
        """Of a case's bytes; if asked again for one that fits into caches, as they may move it."""
        again = enough is not None
        keys: list[Key] = [("bandwidth", device, threads, whole)]
        if size < whole and (again or self._known(("bandwidth", device, threads, size)).by):
            keys.append(("bandwidth", device, threads, size))
        for key, length in zip(keys, (whole, max(SMALLEST_COPY, size // 2)), strict=False):
            if again and not self._may([key]):
                continue
            self._rounds.update([key] if again else ())
            for library in self._due(key, libraries, again):
                with contextlib.suppress(Exception):
                    for work in library.traffic(length, threads):
                        self._keep(key, _label(library), work, 1.0, "", again)
        return self._least(keys, size)

    def _product(self, keys: Sequence[Key], libraries: Sequence[Library], *, again: bool) -> Roof:
        """Of one product of the chain.

        A compiled loop is tried where products called one by one may well be slower: on a GPU, and
        when asked again. Compiling one takes half a second. It is asked again once only: a kernel
        that holds the weights is rightly faster than products that are called one by one.
        """
        for key in keys:
            _, device, precision, sizes, _ = key
            assert isinstance(sizes, tuple)
            if again and self._rounds[key]:
                continue
            self._rounds.update([key] if again else ())
            due = self._due(key, libraries, again)
            if again:
                due = [each for each in due if not self._settled(key, _label(each))]
            for library in due:
                for compiled in (False, True) if again or device != "cpu" else (False,):
                    with contextlib.suppress(Exception):
                        for work in library.products(sizes, str(precision), compiled=compiled):
                            self._keep(key, _label(library), work, 1.0, str(precision), again)
        return self._best(keys)

    def _may(self, keys: Sequence[Key]) -> bool:
        """Whether these may be measured again once more."""
        return all(self._rounds[key] < ROUNDS for key in keys)

    def _due(self, key: Key, libraries: Sequence[Library], again: bool) -> list[Library]:
        """The libraries that a roof is not known of yet, or all of them again."""
        if again:
            return list(libraries)
        due = [each for each in libraries if (*key, each.name) not in self._asked]
        self._asked |= {(*key, each.name) for each in due}
        return [each for each in due if not self._settled(key, _label(each))]

    def _settled(self, key: Key, library: str) -> bool:
        return self._seen.settled(self._machine(key), key, library)

    def _frameworks(self, keys: Sequence[Key], libraries: Sequence[Library]) -> set[str]:
        """Those whose products are in one of these roofs."""
        return {
            framework
            for library in libraries
            for key in keys
            if (label := _label(library)) in self._served.get(key, ()) or self._settled(key, label)
            for framework in library.frameworks
        }

    def _keep(
        self, key: Key, library: str, work: RoofWork, units: float, words: str, again: bool
    ) -> float:
        """Time ``work``, keep it if it is the fastest yet, and return its seconds.

        library: as roofs are remembered by it. units: in each unit of its own, such as operations
        in a product.
        """
        seconds = fastest(work, SECONDS[str(key[0])] * (AGAIN if again else 1), self._now)
        by = f"{work.by}, {words}" if words else work.by
        here = seconds / units
        if here < self._found.get(key, Roof(math.inf, "")).seconds:
            self._found[key] = Roof(here, by, here=here)
        self._served.setdefault(key, set()).add(library)
        self._seen.add(self._machine(key), key, library, here, by)
        return seconds

    def _known(self, key: Key) -> Roof:
        """The best of this process and of the others on this machine."""
        here = self._found.get(key, Roof(math.inf, ""))
        seen = self._seen.best(self._machine(key), key)
        if seen is None or seen.seconds >= here.seconds:
            return here
        day = datetime.fromtimestamp(seen.when, UTC).date().isoformat()
        return Roof(seen.seconds, seen.by, f"this machine, {day}", here.seconds)

    def _least(self, keys: Sequence[Key], units: float) -> tuple[float, Roof]:
        """The least time of so many units under the best of these roofs, and that."""
        roof = self._best(keys)
        return units * roof.seconds, roof

    def _best(self, keys: Sequence[Key]) -> Roof:
        known = [self._known(key) for key in keys]
        best = min(known, key=lambda each: each.seconds)
        return replace(best, here=min(each.here for each in known))

    def _machine(self, key: Key) -> str:
        device = str(key[1])
        if device not in self._machines:
            self._machines[device] = environment.device_name(device)
        return self._machines[device]


def _label(library: Library) -> str:
    """A library as roofs are remembered by it."""
    return f"{library.name} {library.version}"
