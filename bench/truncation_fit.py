"""What a truncation window costs, as a line: a fixed cost of each step, and one of each timestep.

The time of a training step on a window of k timesteps is taken to be ``fixed + per_timestep * k``:
the first is launch, dispatch and the update of the weights, the second what each timestep adds.
Pure functions of arrays of seconds; this room knows no files, no cases and no framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats import (
    CASE_CONFIDENCE,
    ENOUGH_PROCESSES,
    SEQUENTIAL_ALLOWANCE,
    UNPAIRED_ALLOWANCE,
    CaseInterval,
    FloatArray,
    log_intervals,
    variance_of_mean,
)

SMALL_SHARE = 0.05
"""Part of a step's time under which its fixed cost no longer matters."""

NO_LINE = 0.5
"""A line that misses a window by more than half of what it says is none: its two numbers would be
those of the noise, or of something else than a fixed cost and one of each timestep."""

FEWEST_WINDOWS = 3
"""Two windows make a line whatever they cost; the third can contradict it."""

# fixed < 5% of fixed + per_timestep * k where k > 19 * fixed / per_timestep.
_TIMES = (1 - SMALL_SHARE) / SMALL_SHARE

_MOST_ITERATIONS = 50


@dataclass(frozen=True)
class Line:
    """``fixed + per_timestep * length``, in seconds: the line through one process's times.

    covariance ``[2, 2]``: of the two for a relative error of 1 in each time. scatter: the standard
    deviation of the relative residuals.
    """

    fixed: float
    per_timestep: float
    covariance: FloatArray
    scatter: float

    def at(self, length: float) -> float:
        """Seconds for a window of so many timesteps."""
        return self.fixed + self.per_timestep * length


@dataclass(frozen=True)
class Misfit:
    """Where the line misses most: the measured time over the line's, less 1, at a window."""

    residual: float
    window: int


@dataclass(frozen=True)
class Fit:
    """The cost of a step over the processes.

    fixed: seconds of each step; per_timestep: seconds of each timestep of a window (of the whole
    batch at once); small_past: the window past which the fixed cost is under 5% of a step, in
    timesteps (0: at any window). Each with its interval over the processes, or without one (None)
    where no process measured every window and the line goes through the medians of all.
    late: what a timestep costs between the two longest windows, over per_timestep; above 1 where
    long windows cost more than the line says. None where there are only three windows.
    windows: the lengths that it stands on, rising. left_out: processes that had not all of them.
    """

    line: Line
    fixed: CaseInterval | None
    per_timestep: CaseInterval | None
    small_past: CaseInterval | None
    late: CaseInterval | None
    misfit: Misfit
    windows: tuple[int, ...]
    processes: int
    left_out: int

    @property
    def is_line(self) -> bool:
        """Whether the times are near enough to a line for its numbers to mean something."""
        return abs(self.misfit.residual) <= NO_LINE

    @property
    def small_past_mid(self) -> float:
        """The window past which the fixed cost is small, without its doubt."""
        return small_past(self.line)

    def fixed_share(self, length: float) -> float:
        """The part of a step on so many timesteps that is its fixed cost, by the line: 0 to 1."""
        whole = self.line.at(length)
        return min(max(self.line.fixed / whole, 0.0), 1.0) if whole > 0 else 1.0


def small_past(line: Line) -> float:
    """The window past which a line's fixed cost is under 5%; infinite if it never is."""
    if line.fixed <= 0:
        return 0.0
    return _TIMES * line.fixed / line.per_timestep if line.per_timestep > 0 else math.inf


def fit_line(lengths: Sequence[float] | FloatArray, times: Sequence[float] | FloatArray) -> Line:
    """The line that is nearest to ``times [n]`` (seconds) over ``lengths [n]`` (timesteps).

    Nearest in relative errors, since times span decades and their errors are alike in per cent:
    the squares of (time - line) / line are weighed, with the line of the iteration before in the
    denominator (iteratively reweighted least squares, Carroll & Ruppert 1988, chapter 2), since
    dividing by the measured time would favour those that are too short by chance.

    Raises ValueError for fewer than three different lengths, or what is no time or no length.
    """
    x = np.asarray(lengths, dtype=np.float64)
    t = np.asarray(times, dtype=np.float64)
    if x.shape != t.shape or x.ndim != 1:
        raise ValueError(f"{x.shape} lengths and {t.shape} times; expected one time for each")
    for name, values in (("lengths", x), ("times", t)):
        if not np.all(np.isfinite(values) & (values > 0)):
            raise ValueError(f"{name} are not all finite and above 0")
    if np.unique(x).size < FEWEST_WINDOWS:
        raise ValueError(
            f"a line needs {FEWEST_WINDOWS} different windows; there are {np.unique(x).size}"
        )
    # In units of their own size, so that the columns are alike and nothing is lost or overflows.
    x_unit, t_unit = float(np.max(x)), float(np.max(t))
    x, t = x / x_unit, t / t_unit
    base = t
    parts: FloatArray = np.zeros(2)
    rows: FloatArray = np.empty((x.size, 2))
    for _ in range(_MOST_ITERATIONS):
        rows = np.stack([1 / base, x / base], axis=1)
        found = np.asarray(np.linalg.lstsq(rows, t / base, rcond=None)[0], dtype=np.float64)
        done = bool(np.allclose(found, parts, rtol=1e-12, atol=1e-15))
        parts = found
        if done:
            break
        # A line that misses a time by a factor must not give it a weight without bounds.
        base = np.clip(parts[0] + parts[1] * x, t / 2, t * 2)
    residuals = (t - parts[0] - parts[1] * x) / base
    units = np.array([t_unit, t_unit / x_unit])
    inverse = np.linalg.inv(rows.T @ rows)
    covariance = np.asarray(inverse * np.outer(units, units), dtype=np.float64)
    degrees = x.size - 2
    scatter = math.sqrt(float(np.sum(residuals**2)) / degrees)
    return Line(float(parts[0] * units[0]), float(parts[1] * units[1]), covariance, scatter)


def fit(
    times: Mapping[int, Mapping[str, float]], lengths: Mapping[int, float] | None = None
) -> Fit | None:
    """The cost of a step from every process's time at every window, or None if there are too few.

    times: seconds of a step on one window, by the window's length and by process; lengths: the
    mean length of the windows that a stream is really cut into, where the last is shorter.

    A line for each process that measured every window; from 6 of them on the intervals are
    t-intervals over the processes. With fewer the spread is the larger of what they show and an
    allowance, taken as known: 29% in each time where it is a time, 15% where it is a ratio of times
    of one process (see ``bench.stats``), carried through to the line.

    Raises ValueError for what is no time.
    """
    windows = sorted(times)
    if len(windows) < FEWEST_WINDOWS:
        return None
    x = np.array([lengths[each] if lengths else each for each in windows], dtype=np.float64)
    if np.unique(x).size < FEWEST_WINDOWS:
        return None
    every = sorted({process for found in times.values() for process in found})
    whole = [process for process in every if all(process in times[each] for each in windows)]
    medians = np.array([float(np.median(list(times[each].values()))) for each in windows])
    lines = [fit_line(x, [times[each][process] for each in windows]) for process in whole]
    if not lines:
        line = fit_line(x, medians)
        misfit = _misfit(line, x, medians, windows)
        return Fit(line, None, None, None, None, misfit, tuple(windows), 0, len(every))
    line = Line(
        float(np.mean([each.fixed for each in lines])),
        float(np.mean([each.per_timestep for each in lines])),
        np.mean([each.covariance for each in lines], axis=0),
        float(np.mean([each.scatter for each in lines])),
    )
    fixed = np.array([each.fixed for each in lines])
    slope = np.array([each.per_timestep for each in lines])
    errors = np.sqrt(np.diag(line.covariance))
    own = max(UNPAIRED_ALLOWANCE, line.scatter)
    late = None
    table = np.array([[times[each][process] for each in windows] for process in whole])
    if len(windows) > FEWEST_WINDOWS and line.per_timestep > 0:
        growth = (table[:, -1] - table[:, -2]) / (x[-1] - x[-2]) / slope
        # The error of a difference is that of the larger time, which is of the whole of it.
        reach = float(medians[-1] / (x[-1] - x[-2]) / line.per_timestep)
        own_part = max(SEQUENTIAL_ALLOWANCE, line.scatter)
        late = _over_processes(growth, own_part * reach, SEQUENTIAL_ALLOWANCE)
    return Fit(
        line,
        _over_processes(fixed, own * max(abs(line.fixed), float(errors[0]))),
        _over_processes(slope, own * max(abs(line.per_timestep), float(errors[1]))),
        _small_past(line, fixed, slope),
        late,
        _misfit(line, x, np.median(table, axis=0), windows),
        tuple(windows),
        len(whole),
        len(every) - len(whole),
    )


def _small_past(line: Line, fixed: FloatArray, slope: FloatArray) -> CaseInterval | None:
    if line.per_timestep <= 0 or np.any(slope <= 0):
        return None
    # What makes a whole process slow makes both parts slow, and cancels in each one's own ratio.
    ratios = fixed / slope
    ratio = float(np.mean(ratios))
    toward = np.array([1.0, -ratio]) / line.per_timestep
    own = max(SEQUENTIAL_ALLOWANCE, line.scatter)
    allowance = own * math.sqrt(max(0.0, float(toward @ line.covariance @ toward)))
    found = _over_processes(_TIMES * ratios, _TIMES * allowance, SEQUENTIAL_ALLOWANCE)
    return CaseInterval(
        max(0.0, found.low),
        max(0.0, found.mid),
        max(0.0, found.high),
        found.confidence,
        found.processes,
        found.allowance,
        found.how,
    )


def _over_processes(
    values: FloatArray, allowance: float, named: float = UNPAIRED_ALLOWANCE
) -> CaseInterval:
    """The mean of the processes' values, with its interval; allowance in the values' own unit."""
    count = values.size
    few = count < ENOUGH_PROCESSES
    spread = float(np.std(values, ddof=1)) if count > 1 else 0.0
    variance, degrees = variance_of_mean(
        np.array([spread]), np.array([count]), np.zeros(1), allowance
    )
    mid = float(np.mean(values))
    low, high = log_intervals(np.array([mid]), np.sqrt(variance), degrees, CASE_CONFIDENCE)
    number = "1 process" if count == 1 else f"{count} processes"
    how = f"{number}: t-interval over their lines"
    if few:
        how = f"{number}: allowance of {100 * named:g}% for the spread between processes added"
    return CaseInterval(
        float(low[0]), mid, float(high[0]), CASE_CONFIDENCE, count, named if few else None, how
    )


def _misfit(line: Line, x: FloatArray, times: FloatArray, windows: Sequence[int]) -> Misfit:
    told = np.array([line.at(float(each)) for each in x])
    # Where a bad line passes below 0 the miss has no measure; the time itself stands in.
    residuals = (times - told) / np.where(told > 0, told, times)
    worst = int(np.argmax(np.abs(residuals)))
    return Misfit(float(residuals[worst]), windows[worst])
