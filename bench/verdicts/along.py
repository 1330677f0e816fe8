"""Fit the fixed cost and the slope of a step along windows or timesteps.

The module also finds the cheapest windows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.grouping import group_by
from bench.records.maps import LearningMap
from bench.stats.change_points import slope
from bench.stats.intervals import (
    CASE_CONFIDENCE,
    ENOUGH_PROCESSES,
    UNPAIRED_ALLOWANCE,
    CaseInterval,
    FloatArray,
    Interval,
)
from bench.stats.ratios import SEQUENTIAL_ALLOWANCE
from bench.verdicts.case_results import CaseResult
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import KINDS, Section, ranked_backends

NO_LINE = 0.5
"""The largest accepted relative residual of a line.

With a larger residual, the times do not consist of a fixed cost and a cost for each timestep.
"""

FEWEST_WINDOWS = 3
"""Two windows always lie on a line. The third one can contradict it."""

OTHER_LINE = 0.99
"""The confidence that some of the windows have a different line.

Up to half as many parts as there are windows are compared, at either end. At 95%, a true line would
be called bent in one case of six.
"""

OTHER_TIME = 0.01
"""The other line must differ by more than this in some time.

A smaller difference changes no answer.
"""

_MOST_ITERATIONS = 50


@dataclass(frozen=True)
class FittedLine:
    """The line ``fixed + per_timestep * length``, in seconds: the mean of the processes' lines."""

    fixed: float
    per_timestep: float


@dataclass(frozen=True)
class Fit:
    """The cost of a step over the processes.

    fixed: the seconds of each step. per_timestep: the seconds of each timestep of a window (for the
    batch). The bounds of both contain the intervals over the processes, and those of every other
    line through some of the windows. Both are None if no process measured every window; the line
    then goes through the medians. bent: whether there is such another line. residual: the measured
    time divided by that of the line, minus 1, at the window ``worst``, where it is largest.
    left_out: the number of processes that lack some window.
    """

    line: FittedLine
    fixed: CaseInterval | None
    per_timestep: CaseInterval | None
    bent: bool
    residual: float
    worst: int
    processes: int
    left_out: int

    @property
    def is_line(self) -> bool:
        """Return whether the times are close enough to a line."""
        return abs(self.residual) <= NO_LINE


def fit(
    times: Mapping[int, Mapping[str, float]], lengths: Mapping[int, float] | None = None
) -> Fit | None:
    """Return the cost of a step from the times of processes, or None with too few windows.

    times: the seconds of a step on one window, by the length of the window and by process. lengths:
    the mean length of the windows of a sequence whose last window is shorter.

    Each process that measured every window has a line. From 6 such processes on, the intervals are
    t-intervals over the processes. With fewer, the spread is the larger one of theirs and an
    allowance, and is assumed to be known exactly. The allowance is 29% of each time, and 15% for a
    ratio of two times of one process (see ``stats.ratios``).

    The same is done for only the shortest and only the longest windows, from half of them on. If
    such a line differs significantly (``OTHER_LINE``, ``OTHER_TIME``), the bounds also contain its
    interval. The reason is that a bend is the same in all processes, so an interval over processes
    does not show it. With fewer than 6 processes, a bend cannot be distinguished from noise, and
    the bounds contain each such line.
    """
    windows = sorted(times)
    x = np.array([lengths[each] if lengths else each for each in windows], dtype=np.float64)
    if np.unique(x).size < FEWEST_WINDOWS:
        return None
    every = sorted({process for found in times.values() for process in found})
    complete = [process for process in every if all(process in times[each] for each in windows)]
    if complete:
        table = np.array([[times[each][process] for each in windows] for process in complete])
    else:
        table = np.array([[float(np.median(list(times[each].values()))) for each in windows]])
    lines = _Lines.through(x, table)
    typical, fitted = np.median(table, axis=0), lines.at(x)
    # If the line is below 0, the residual is relative to the time itself.
    residuals = (typical - fitted) / np.where(fitted > 0, fitted, typical)
    worst = int(np.argmax(np.abs(residuals)))
    miss = float(residuals[worst]), windows[worst]
    line = FittedLine(*lines.mean.tolist())
    if not complete:
        return Fit(line, None, None, False, *miss, 0, len(every))
    bounds, bent = lines.intervals(), False
    # This covers the shortest and the longest windows, from half of them up to all but one.
    count = len(windows)
    sizes = range(max(2, -(-count // 2)), count)
    for some in (end for size in sizes for end in (slice(0, size), slice(count - size, count))):
        if np.unique(x[some]).size < 2:
            continue
        part = _Lines.through(x[some], table[:, some])
        if part.differ_from(lines, x):
            bent = True
            bounds = [
                replace(each, low=min(each.low, other.low), high=max(each.high, other.high))
                for each, other in zip(bounds, part.intervals(), strict=True)
            ]
        elif len(complete) < ENOUGH_PROCESSES:
            bounds = [
                replace(each, low=min(each.low, value), high=max(each.high, value))
                for each, value in zip(bounds, part.mean.tolist(), strict=True)
            ]
    return Fit(line, bounds[0], bounds[1], bent, *miss, len(complete), len(every) - len(complete))


@dataclass(frozen=True)
class _Lines:
    """The lines of processes.

    values: ``[processes, 2]``, the fixed cost and the slope. errors: ``[2]``, the errors of both
    for a relative error of 1 in each time. scatter: the standard deviation of the relative
    residuals.
    """

    values: FloatArray
    errors: FloatArray
    scatter: float

    @classmethod
    def through(cls, x: FloatArray, table: FloatArray) -> _Lines:
        """Fit lines through times ``table [processes, n]`` over lengths ``x [n]``.

        The fit minimizes relative errors, because times span decades: the squares of (time - line)
        / line. The denominator is the line of the previous iteration (iteratively reweighted least
        squares, Carroll & Ruppert 1988, chapter 2). Dividing by the measured time instead would
        favour times that are too short by chance.
        """
        # Scaling prevents loss of precision and overflow.
        x_unit, t_unit = float(np.max(x)), np.max(table, axis=1, keepdims=True)
        x, t = x / x_unit, table / t_unit
        base = t
        fixed = slope = np.zeros((len(t), 1))
        for _ in range(_MOST_ITERATIONS):
            weight = base**-2.0
            total = weight.sum(axis=1, keepdims=True)
            x_mid = (weight * x).sum(axis=1, keepdims=True) / total
            t_mid = (weight * t).sum(axis=1, keepdims=True) / total
            spread = (weight * (x - x_mid) ** 2).sum(axis=1, keepdims=True)
            before = fixed, slope
            slope = (weight * (x - x_mid) * (t - t_mid)).sum(axis=1, keepdims=True) / spread
            fixed = t_mid - slope * x_mid
            if np.allclose((fixed, slope), before, rtol=1e-12, atol=1e-15):
                break
            # The weight of a time that is far from the line is limited.
            base = np.clip(fixed + slope * x, t / 2, t * 2)
        residuals = (t - fixed - slope * x) / base
        degrees = x.size - 2
        scatters = np.sqrt((residuals**2).sum(axis=1) / degrees) if degrees else np.zeros(len(t))
        units = np.concatenate([t_unit, t_unit / x_unit], axis=1)
        variances = np.concatenate([1 / total + x_mid**2 / spread, 1 / spread], axis=1) * units**2
        return cls(
            np.concatenate([fixed, slope], axis=1) * units,
            np.sqrt(variances.mean(axis=0)),
            float(scatters.mean()),
        )

    @property
    def mean(self) -> FloatArray:
        """Return the mean fixed cost and slope of the processes."""
        return np.asarray(self.values.mean(axis=0))

    def at(self, x: FloatArray) -> FloatArray:
        """Return the seconds of windows.

        x: the lengths of the windows in timesteps.
        """
        return np.asarray(self.mean[0] + self.mean[1] * x)

    def intervals(self) -> list[CaseInterval]:
        """Return the intervals of fixed cost and slope over the processes."""
        allowances = max(UNPAIRED_ALLOWANCE, self.scatter) * np.maximum(
            np.abs(self.mean), self.errors
        )
        return [
            over_processes(self.values[:, each], float(allowances[each]), UNPAIRED_ALLOWANCE)
            for each in (0, 1)
        ]

    def differ_from(self, others: _Lines, x: FloatArray) -> bool:
        """Return whether two fits differ significantly and by a relevant amount.

        The fits differ if their times differ by more than ``OTHER_TIME`` at one of the lengths, and
        if the interval of the difference of their constants or of their slopes excludes 0.

        others: the lines of another fit for the same processes. x: lengths in timesteps.
        """
        theirs = others.at(x)
        if np.all(np.abs(self.at(x) - theirs) <= OTHER_TIME * np.abs(theirs)):
            return False
        # The noise of a process is in both of its lines, so it cancels.
        differences = self.values - others.values
        allowances = max(SEQUENTIAL_ALLOWANCE, others.scatter) * self.errors
        found = [
            over_processes(
                differences[:, each], float(allowances[each]), SEQUENTIAL_ALLOWANCE, OTHER_LINE
            )
            for each in (0, 1)
        ]
        return any(each.low > 0 or each.high < 0 for each in found)


def over_processes(
    values: FloatArray, allowance: float, named: float, confidence: float = CASE_CONFIDENCE
) -> CaseInterval:
    """Return the mean of the processes' values, with its interval.

    allowance: the spread that is assumed with too few processes, in the unit of the values. named:
    the same as a fraction of a time, as it is reported.
    """
    from scipy import special

    count = values.size
    few = count < ENOUGH_PROCESSES
    spread = float(np.std(values, ddof=1)) if count > 1 else 0.0
    # With few values, the spread is assumed to be known, so the interval is normal.
    assumed = max(spread, allowance if few else 0.0)
    tail = (1 + confidence) / 2
    quantile = special.ndtri(tail) if few else special.stdtrit(count - 1.0, tail)
    mid, half = float(np.mean(values)), float(quantile) * assumed / math.sqrt(count)
    basis = Reason("of_lines", {"processes": count, "allowance": named if few else None})
    return CaseInterval(
        mid - half, mid, mid + half, confidence, count, named if few else None, basis
    )


NEAR_CHEAPEST = 0.05
"""A value of the axis is close to the cheapest if its unit costs at most this much more.

Two machines of the same name differ by as much.
"""

AXES = ("window", "timesteps", "batch")
"""The axes of series: the window into which a sequence is cut, its timesteps, and the batch."""


@dataclass(frozen=True)
class Cheapest:
    """The value of an axis at which a timestep (or along the batch, a sequence) is cheapest.

    best: this value. over: for each value in ascending order, the time of a unit divided by that of
    the cheapest, with its interval over the processes. first, last: all values between these two
    are within ``NEAR_CHEAPEST`` of the best. first_low, first_high: the same as ``first`` by the
    lower, and by the upper bounds of the ratios. last_high: the last value that may be within.
    """

    best: int
    over: Mapping[int, CaseInterval]
    first: int
    first_low: int
    first_high: int
    last: int
    last_high: int

    @property
    def values(self) -> tuple[int, ...]:
        """Return the measured values in ascending order."""
        return tuple(self.over)

    @property
    def slower_later(self) -> tuple[int, ...]:
        """Return the values beyond the cheapest that cost significantly more."""
        return tuple(k for k in self.over if k > self.last_high)


def cheapest(times: Mapping[int, Mapping[str, float]]) -> Cheapest | None:
    """Find the cheapest values from the seconds of a unit, by value and by process.

    Ratios are formed within a process. From 6 processes on, they have t-intervals of their
    logarithms, and with fewer an allowance of 15% (``stats.ratios``). Returns None with fewer than
    two values.
    """
    values = sorted(k for k, found in times.items() if found)
    if len(values) < 2:
        return None
    best = min(values, key=lambda k: float(np.median(list(times[k].values()))))
    over = {k: _over(times[k], times[best], k == best) for k in values}
    at = values.index(best)

    def reach(steps: Sequence[int], end: str) -> int:
        """Return the last of these values before the first one that is not close to the best."""
        most = 1 + NEAR_CHEAPEST
        return [best, *itertools.takewhile(lambda k: getattr(over[k], end) <= most, steps)][-1]

    down, up = values[:at][::-1], values[at + 1 :]
    first, first_low, first_high = (reach(down, end) for end in ("mid", "low", "high"))
    return Cheapest(best, over, first, first_low, first_high, reach(up, "mid"), reach(up, "low"))


def _over(mine: Mapping[str, float], best: Mapping[str, float], same: bool) -> CaseInterval:
    both = sorted(mine.keys() & best.keys())
    if both:
        logs = np.array([math.log(mine[each] / best[each]) for each in both])
        found = over_processes(logs, 0.0 if same else SEQUENTIAL_ALLOWANCE, SEQUENTIAL_ALLOWANCE)
    else:
        # No process has both values.
        logs = np.array([math.log(np.median(list(mine.values())) / np.median(list(best.values())))])
        found = over_processes(logs, math.sqrt(2) * UNPAIRED_ALLOWANCE, UNPAIRED_ALLOWANCE)
    low, mid, high = (math.exp(each) for each in (found.low, found.mid, found.high))
    return replace(found, low=low, mid=mid, high=high, processes=len(both))


@dataclass(frozen=True)
class BackendCost:
    """The costs of one backend along an axis.

    rows: by value, including those without a time. cheapest: None with fewer than two values. fit:
    None with fewer than three. memory_slope: the bytes that each unit of the axis adds to the peak,
    or None with fewer than two values with a memory.
    """

    backend: str
    axis: str
    rows: tuple[RankedRow, ...]
    cheapest: Cheapest | None
    fit: Fit | None
    memory_slope: Interval | None

    @property
    def measured(self) -> tuple[RankedRow, ...]:
        """Return the rows with a time."""
        return tuple(row for row in self.rows if row.result.measured)

    @property
    def unreached(self) -> tuple[RankedRow, ...]:
        """Return the rows without a time. They have an outcome and a reason."""
        return tuple(row for row in self.rows if not row.result.measured)


@dataclass(frozen=True)
class AxisSeries:
    """The same work on one machine at several values of an axis.

    learned: the map of distances, if there is one.
    """

    section: Section
    axis: str
    rows: tuple[RankedRow, ...]
    learned: LearningMap | None = field(default=None, compare=False)

    @cached_property
    def backends(self) -> tuple[BackendCost, ...]:
        """Return the measured backends by their ranks, then those that were not measured."""
        every = (*ranked_backends(self.rows, ""), *(row.case.backend for row in self.rows))
        return tuple(cost(name, self.rows, self.axis) for name in dict.fromkeys(every))

    @property
    def values(self) -> tuple[int, ...]:
        """Return the values at which any backend was measured, in ascending order."""
        return tuple(
            sorted({value(row.case, self.axis) for row in self.rows if row.result.measured})
        )

    def learnable(self, length: int) -> int | None:
        """Return the distance that was learned with a window, or None if none is known."""
        return None if self.learned is None else self.learned.learnable_distance(length)


def series(
    sections: Iterable[Section], axis: str = "window", learned: LearningMap | None = None
) -> tuple[AxisSeries, ...]:
    """Return every series in these sections, including those without any time.

    Along timesteps and batch, only complete, unpadded sequences count, and only work with more than
    one value.
    """

    def fits(row: RankedRow) -> bool:
        if axis == "window":
            return row.case.kind == KINDS[1]
        work = row.case.workload
        return row.case.kind == KINDS[0] and work.min_length is None and not work.reset_rate

    def same_work(row: RankedRow) -> str:
        anywhere = replace(row.case.workload, **{axis: 1})  # type: ignore[arg-type]
        return replace(row.case, workload=anywhere).group

    return tuple(
        AxisSeries(section, axis, tuple(rows), learned)
        for section in sections
        for rows in group_by(filter(fits, section.rows), same_work).values()
        if axis == "window" or len({value(row.case, axis) for row in rows}) > 1
    )


def cost(backend: str, rows: Iterable[RankedRow], axis: str = "window") -> BackendCost:
    """Return what one backend costs along an axis, from the rows of one series."""
    own = sorted(
        (row for row in rows if row.case.backend == backend), key=lambda row: value(row.case, axis)
    )
    measured = {value(row.case, axis): row.result for row in own if row.result.measured}
    times = {place: _medians(each, steps(each.case)) for place, each in measured.items()}
    # The last window may be shorter. The average time of a step is a line in the mean length.
    means = {
        place: each.case.workload.timesteps / steps(each.case) for place, each in measured.items()
    }
    peaks = {
        place: each.memory["peak_bytes"]
        for place, each in measured.items()
        if "peak_bytes" in each.memory
    }
    units_of = {place: _medians(each, units(each.case, axis)) for place, each in measured.items()}
    return BackendCost(
        backend,
        axis,
        tuple(own),
        cheapest(units_of),
        fit(times, means if axis == "window" else None),
        bytes_per_unit(peaks),
    )


def value(case: Case, axis: str) -> int:
    """Return the value that a case has on an axis."""
    if axis == "window":
        return window(case)
    found: int = getattr(case.workload, axis)
    return found


def units(case: Case, axis: str) -> int:
    """Return the number of units in a case's time: sequences along the batch, or else timesteps."""
    return case.workload.batch if axis == "batch" else case.workload.timesteps


def window(case: Case) -> int:
    """Return the timesteps of a case's windows. Without a window these are all timesteps."""
    return case.workload.window or case.workload.timesteps


def steps(case: Case) -> int:
    """Return the number of training steps in a case's time, one for each of its windows."""
    return -(-case.workload.timesteps // window(case))


def step_interval(result: CaseResult) -> Interval | None:
    """Return the seconds of one step, on a window."""
    return _divide(result, steps(result.case))


def unit_interval(result: CaseResult, axis: str = "window") -> Interval | None:
    """Return the seconds of one timestep of the batch, or along the batch, of one sequence."""
    return _divide(result, units(result.case, axis))


def _divide(result: CaseResult, by: int) -> Interval | None:
    found = result.interval
    return found and Interval(found.low / by, found.mid / by, found.high / by, found.confidence)


def _medians(result: CaseResult, by: int) -> dict[str, float]:
    """Return the seconds of each process, divided by ``by``."""
    return {run.run: float(np.median(run.samples)) / by for run in result.runs}


def bytes_per_unit(peaks: Mapping[int, float]) -> Interval | None:
    """Return the slope of ``peaks`` (bytes) over the values of an axis, by least squares.

    The error of a peak (pages, arenas of the allocator) is the same at every value, as least
    squares assumes. The bounds are the t-interval of the slope with n - 2 degrees of freedom. With
    two values, they are the slope itself, with the confidence 0.

    Returns None with fewer than two values. A slope may be negative or 0 if the memory of building
    and compiling hides that of the work.
    """
    if len(peaks) < 2:
        return None
    found = slope(np.array(list(peaks), dtype=np.float64), np.array(list(peaks.values())))
    middle = float(found.middles[0])
    if len(peaks) == 2:
        return Interval(middle, middle, middle, 0.0)
    low, high = found.bounds(CASE_CONFIDENCE)
    return Interval(float(low[0]), middle, float(high[0]), CASE_CONFIDENCE)
