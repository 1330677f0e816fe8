"""What windows cost, from a report's rows: per stream and backend, by window, and from which on.

A stream is one stretch of time that was cut into windows of several lengths; a step of its cases is
the whole stream, so that its time over its number of windows is the time of one training step.
Short windows pay the fixed cost of a step more often, and very long ones may leave a cache: of
those that were measured one is the cheapest per timestep, and around it lie those that cost hardly
more. Beside it what whole sequences cost by their length. This room knows the report's rows and
what was learned at a window; nothing of how it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bench.records.grouping import grouped
from bench.records.maps import LearningMap
from bench.stats.intervals import (
    CASE_CONFIDENCE,
    UNPAIRED_ALLOWANCE,
    CaseInterval,
    Interval,
)
from bench.stats.ratios import SEQUENTIAL_ALLOWANCE
from bench.stats.rows import KINDS, Row, Section, Table
from bench.windows.fit import Fit, fit, over_processes

NEAR_CHEAPEST = 0.05
"""A window whose timesteps cost at most this more than the cheapest one's is as good as that: it is
what differs between two machines that are called alike."""


@dataclass(frozen=True)
class Cheapest:
    """Where the cheapest windows lie.

    best: the window with the cheapest timestep. over: of each window, rising, the time of a
    timestep over the cheapest one's, with its interval over the processes.
    first, last: all windows from the one to the other are within ``NEAR_CHEAPEST`` of the best.
    first_low, first_high: the same as ``first``, if each ratio is what its interval allows at the
    least, and at the most. last_high: the last that may be within.
    """

    best: int
    over: Mapping[int, CaseInterval]
    first: int
    first_low: int
    first_high: int
    last: int
    last_high: int

    @property
    def windows(self) -> tuple[int, ...]:
        """All that were measured, rising."""
        return tuple(self.over)

    @property
    def dearer_later(self) -> tuple[int, ...]:
        """The long windows that surely cost more again."""
        return tuple(k for k in self.over if k > self.last_high)


def cheapest(times: Mapping[int, Mapping[str, float]]) -> Cheapest | None:
    """From the seconds of a timestep, by window and by process; None with fewer than two windows.

    Ratios are those inside a process, whose own speed cancels; from 6 processes on with t-intervals
    of their logarithms, with fewer by an allowance of 15% (``judging.ratios``).
    """
    windows = sorted(k for k, found in times.items() if found)
    if len(windows) < 2:
        return None
    medians = {k: float(np.median(list(times[k].values()))) for k in windows}
    best = min(windows, key=lambda k: medians[k])
    over = {k: _over(times[k], times[best], k == best) for k in windows}
    at = windows.index(best)

    def reach(steps: Sequence[int], bound: Callable[[CaseInterval], float]) -> int:
        """The furthest of these windows, from the best one on, that are all near it."""
        found = best
        for k in steps:
            if bound(over[k]) > 1 + NEAR_CHEAPEST:
                break
            found = k
        return found

    down, up = windows[:at][::-1], windows[at + 1 :]
    return Cheapest(
        best,
        over,
        reach(down, lambda each: each.mid),
        reach(down, lambda each: each.low),
        reach(down, lambda each: each.high),
        reach(up, lambda each: each.mid),
        reach(up, lambda each: each.low),
    )


def _over(mine: Mapping[str, float], best: Mapping[str, float], same: bool) -> CaseInterval:
    both = sorted(mine.keys() & best.keys())
    if both:
        logs = np.array([math.log(mine[each] / best[each]) for each in both])
        found = over_processes(logs, 0.0 if same else SEQUENTIAL_ALLOWANCE, SEQUENTIAL_ALLOWANCE)
    else:
        # No process has both: two processes differ as two times do.
        logs = np.array([math.log(np.median(list(mine.values())) / np.median(list(best.values())))])
        found = over_processes(logs, math.sqrt(2) * UNPAIRED_ALLOWANCE, UNPAIRED_ALLOWANCE)
    return replace(
        found,
        low=math.exp(found.low),
        mid=math.exp(found.mid),
        high=math.exp(found.high),
        processes=len(both),
        how=found.how.replace("over their lines", "of their ratios"),
    )


@dataclass(frozen=True)
class BackendCost:
    """What windows cost a backend. rows: of the stream, by window, those without a time too.

    cheapest: None with fewer than two windows; fit: with fewer than three. memory_slope: bytes that
    each timestep of a window adds to the peak, None with fewer than two windows whose memory was
    measured.
    """

    backend: str
    rows: tuple[Row, ...]
    cheapest: Cheapest | None
    fit: Fit | None
    memory_slope: Interval | None

    @property
    def measured(self) -> tuple[Row, ...]:
        """Those that have a time."""
        return tuple(row for row in self.rows if row.measured)

    @property
    def unreached(self) -> tuple[Row, ...]:
        """The windows that have no time, with outcome and reason."""
        return tuple(row for row in self.rows if not row.measured)


@dataclass(frozen=True)
class Stream:
    """One stream on one machine: what its windows cost each backend.

    learned: what was learned at these windows, where that was measured; learned_from: in words.
    """

    section: Section
    table: Table
    learned: LearningMap | None = field(default=None, compare=False)
    learned_from: str = ""

    @cached_property
    def backends(self) -> tuple[BackendCost, ...]:
        """Those measured here by their ranks, then those that were not measured at all."""
        names = dict.fromkeys((*self.ranked, *(row.case.backend for row in self.table.rows)))
        return tuple(cost(name, self.table.rows) for name in names)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The measured backends, by how well they rank over the windows."""
        ranks: dict[str, list[int]] = {}
        for row in self.table.rows:
            if row.rank is not None:
                ranks.setdefault(row.case.backend, []).append(row.rank)
        return tuple(sorted(ranks, key=lambda name: (sum(ranks[name]) / len(ranks[name]), name)))

    @property
    def windows(self) -> tuple[int, ...]:
        """The windows that any backend was measured at, rising."""
        return tuple(sorted({window(row) for row in self.table.rows if row.measured}))

    def learnable(self, length: int) -> int | None:
        """The distance that was learned at a window; None if none or if it was not measured."""
        return None if self.learned is None else self.learned.learnable_distance(length)

    def short_of_updates(self, length: int) -> bool:
        """Whether a shorter window learned a longer distance.

        No window forbids what a shorter one allows: of the same timesteps it makes fewer updates,
        and these ran out.
        """
        own = self.learnable(length)
        shorter = (self.learnable(k) or 0 for k in self.windows if k < length)
        return own is not None and max(shorter, default=0) > own


def streams(
    sections: Iterable[Section], learned: LearningMap | None = None, learned_from: str = ""
) -> tuple[Stream, ...]:
    """Every stream in these sections, those that have no time at any window too."""
    return tuple(
        Stream(section, table, learned, learned_from)
        for section in sections
        for table in section.tables
        if table.kind == KINDS[1]
    )


def cost(backend: str, rows: Iterable[Row]) -> BackendCost:
    """What windows cost one backend, from rows of one stream."""
    own = sorted((row for row in rows if row.case.backend == backend), key=window)
    measured = [row for row in own if row.measured]
    sized = [row for row in measured if "peak_bytes" in row.memory]
    return BackendCost(
        backend,
        tuple(own),
        cheapest({window(row): _medians(row, row.case.workload.timesteps) for row in measured}),
        _fit(measured),
        bytes_per_timestep([window(row) for row in sized], [peak_bytes(row) for row in sized]),
    )


def window(row: Row) -> int:
    """Timesteps of its windows: of what is not cut, all of them."""
    return row.case.workload.window or row.case.workload.timesteps


def steps(row: Row) -> int:
    """Training steps in a stream: its windows."""
    return -(-row.case.workload.timesteps // window(row))


def step_interval(row: Row) -> Interval | None:
    """Seconds of one training step: of a stream over its windows."""
    return _divided(row, steps(row))


def timestep_interval(row: Row) -> Interval | None:
    """Seconds of one timestep of the whole batch."""
    return _divided(row, row.case.workload.timesteps)


def peak_bytes(row: Row) -> float:
    """The peak of memory. Raises KeyError where none was measured."""
    return row.memory["peak_bytes"]


def _divided(row: Row, by: int) -> Interval | None:
    found = row.interval
    if found is None:
        return None
    return Interval(found.low / by, found.mid / by, found.high / by, found.confidence)


def _fit(rows: Sequence[Row]) -> Fit | None:
    times = {window(row): _medians(row, steps(row)) for row in rows}
    # The last window may be shorter: what a step does on average is a line in the mean length.
    lengths = {window(row): row.case.workload.timesteps / steps(row) for row in rows}
    return fit(times, lengths)


def _medians(row: Row, by: int) -> dict[str, float]:
    """Seconds of each process, over so many parts of a stream."""
    return {run.run: float(np.median(run.samples)) / by for run in row.runs}


def bytes_per_timestep(windows: Sequence[int], peaks: Sequence[float]) -> Interval | None:
    """The slope of ``peaks`` (bytes) over ``windows`` (timesteps), by least squares.

    The error of a peak is that of a process (its pages, its allocator's arenas), the same at every
    window, so that least squares is the right estimate, and the long windows, which tell most of
    the slope, weigh most. The bounds are the t-interval of the slope with n - 2 degrees of freedom,
    for three windows or more; two fix a line but not how sure it is, so that its bounds are the
    slope itself and its confidence is 0. Several peaks of one window count as so many points.

    None with fewer than two different windows. A slope may be negative or 0 where the memory of
    building and compiling hides that of the window.
    """
    if len(set(windows)) < 2:
        return None
    x = np.asarray(windows, dtype=np.float64)
    y = np.asarray(peaks, dtype=np.float64)
    # Around their means, so that large numbers do not cancel.
    x, y = x - np.mean(x), y - np.mean(y)
    square = float(np.sum(x * x))
    slope = float(np.sum(x * y)) / square
    degrees = len(x) - 2
    if degrees == 0:
        return Interval(slope, slope, slope, 0.0)
    from scipy import special  # 0.3 s, which whoever reads no memory need not spend

    error = math.sqrt(float(np.sum((y - slope * x) ** 2)) / degrees / square)
    reach = float(special.stdtrit(float(degrees), (1 + CASE_CONFIDENCE) / 2)) * error
    return Interval(slope - reach, slope, slope + reach, CASE_CONFIDENCE)


# -- whole sequences


def questions(rows: Iterable[Row]) -> list[list[Row]]:
    """The measured rows of whole, unpadded sequences: apart where more differs than backend and
    timesteps; each by timesteps, rising."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        work = row.case.workload
        if row.measured and row.case.kind == KINDS[0] and work.min_length is None:
            any_length = replace(row.case, workload=replace(work, timesteps=1))
            found.setdefault(any_length.group, []).append(row)
    return [sorted(each, key=lambda row: row.case.workload.timesteps) for each in found.values()]


def by_backend(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of one question, by backend."""
    return grouped(rows, lambda row: row.case.backend)


def line(rows: Sequence[Row]) -> Fit | None:
    """The line through one backend's rows of a question; None with fewer than three lengths."""
    times: dict[int, Mapping[str, float]] = {
        row.case.workload.timesteps: {run.run: float(np.median(run.samples)) for run in row.runs}
        for row in rows
    }
    return fit(times)
