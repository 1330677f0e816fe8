"""Find change points: where the times of a machine, a backend or a case changed significantly.

Each series is tested for one change of level and for one change that was reverted later. The first
test uses the largest t statistic over all places. The second uses the largest over the arcs between
two places (circular binary segmentation: Olshen, Venkatraman, Lucito & Wigler 2004). From
``LEAST_GRADUAL`` values on, a trend is tested instead if a line explains the series better than
steps do. Permutations of the series give the distribution of these statistics without a change. All
series are tested together, so that at most 1% of the changes found are expected to be false
(Benjamini & Hochberg 1995).

A table has the log times of cases (rows) in sessions (columns), some of which are missing. The
level of each case and the effect of each session are subtracted (median polish: Tukey 1977). What
remains is a series of the machine, one of each backend and one of each case. The most significant
change becomes one event. The plain times then show which cases changed in it: the machine did not
change if the times of one backend stayed the same. The shifts of the event are subtracted from the
table, and the rest is searched again until nothing more is found.
"""

from __future__ import annotations

import enum
import functools
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.records.grouping import group_by
from bench.stats.comparison import SAME_WITHIN, Verdict
from bench.stats.intervals import VERDICT_CONFIDENCE, Estimates, Interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL = 0.01
"""The accepted share of false changes among those that are found."""

LEAST = 11
"""The fewest values of a series that is tested.

Eleven values, six before and five after a change, have 462 orders. The clearest change then has p =
2 × 2/462 by chance (two ends, two tests). Ten values would have 2 × 2/252, more than ``LEVEL``.
"""

LEAST_GRADUAL = 20
"""The fewest values that are tested for a trend. With fewer values, a trend looks like a step."""

MOST_STEPS = 4
"""The largest number of steps that a line is compared with."""

EDGE = 2
"""The fewest values on either side of a change. A single value is an outlier."""

REACH = 6.0
"""Values that are further from the median than six robust standard deviations are clipped, so that
one outlying session hides no change.
"""

KEPT = 0.8
"""The share of the differences between neighbours, the smaller ones, from which autocorrelation is
estimated.
"""

CAUTION = 0.8
"""This constant, divided by the square root of the number of values, is subtracted from an
autocorrelation.

For independent values, its standard deviation is 2 over this square root, which would often hide
changes.
"""

_MOST_CORRELATED = 0.6
_EQUAL = 1e-9  # Values that differ by no more are equal except for rounding.

SEED = 20261126
_STAGES = (99, 999, 9_999, 99_999)
# When this many permutations have reached the statistic, more permutations change nothing.
_ENOUGH = 10
_MOST_FOR_ARCS = 9_999  # There are hundreds of arcs but only tens of places.
_AT_ONCE = 200_000  # The number of values in an array that stays in a processor's cache.


@dataclass(frozen=True)
class ChangePoint:
    """A change in a series.

    series: the row of the series. at: the column of the first value after the change. until: the
    column of the first value after the change was reverted, or None. p: the p-value by permutation.
    score: the statistic, a squared t. gradual: whether the change is a trend over the series;
    ``at`` is then its last column.
    """

    series: int
    at: int
    until: int | None
    p: float
    score: float
    gradual: bool = False


@dataclass(frozen=True)
class _Series:
    """The row of a series, the columns in which it has values, and these values."""

    row: int
    columns: IntArray
    values: FloatArray


def changes(
    series: FloatArray,
    families: Sequence[int] | None = None,
    level: float = LEVEL,
    arcs: bool = True,
) -> list[ChangePoint]:
    """Return the changes of the series ``[series, times]``, the most significant first.

    Values that are NaN are missing. Rows with fewer than ``LEAST`` values, or with equal values,
    have no change.

    families: the family of each series; the series of a family share one autocorrelation. By
    default, each series is a family of its own. arcs: whether to test reverted changes, too, which
    takes time with the square of the number of values.
    """
    series_list = []
    kinds = range(len(series)) if families is None else families
    for row, values in enumerate(np.asarray(series, dtype=np.float64)):
        columns = np.flatnonzero(np.isfinite(values))
        if columns.size >= LEAST and np.ptp(values[columns]) > _EQUAL:
            series_list.append(_Series(row, columns, values[columns]))
    if not series_list:
        return []
    from scipy.stats import false_discovery_control

    shares = _shares(series_list, kinds)
    results = [_TestResult(1.0, 0.0, 0, 0, open=True) for _ in series_list]
    for most in _STAGES[1:]:
        results = [
            _test_for_change(each, shares[kinds[each.row]], most, arcs) if result.open else result
            for each, result in zip(series_list, results, strict=True)
        ]
        significant = false_discovery_control([result.p for result in results]) <= level
        # More permutations take ten times as long, so they are used only while nothing is
        # significant.
        if significant.any() or not any(result.open for result in results):
            break
    found = []
    for each, result, there in zip(series_list, results, significant, strict=True):
        if there:
            last = result.end == each.values.size
            until = None if last else int(each.columns[result.end])
            at = int(each.columns[-1 if result.gradual else result.start])
            found.append(ChangePoint(each.row, at, until, result.p, result.score, result.gradual))
    return sorted(found, key=lambda each: (each.p, -each.score))


# One series


@dataclass(frozen=True)
class _TestResult:
    """The p-value of a series, and the places between which its level differs.

    open: whether no permutation has reached the statistic. More permutations could then lower p.
    """

    p: float
    score: float
    start: int
    end: int
    open: bool = False
    gradual: bool = False


def _test_for_change(series: _Series, share: float, most: int, arcs: bool) -> _TestResult:
    """Test with up to ``most`` permutations whether and where the level of a series changes.

    share: the part of its statistics that autocorrelation does not explain (``_shares``).
    """
    middle = np.median(series.values)
    # In standard deviations of a normal distribution.
    reach = REACH * 1.4826 * np.median(np.abs(series.values - middle))
    clipped = np.clip(series.values, middle - reach, middle + reach) if reach else series.values
    # Bonferroni's correction multiplies p by the number of tests.
    tests = 1 + arcs
    if series.values.size >= LEAST_GRADUAL:
        tests += 1
        line = series.columns - series.columns.mean()
        line = line / np.linalg.norm(line)
        if _is_line(clipped, line):
            trend = _permutation_test(clipped, "trend", share, most, line)
            return replace(trend, p=min(1.0, tests * trend.p), gradual=True)
    result = _permutation_test(clipped, "steps", share, most)
    if not result.open and arcs:
        arc = _permutation_test(clipped, "arcs", share, min(most, _MOST_FOR_ARCS))
        result = arc if arc.p < result.p else result
    return replace(result, p=min(1.0, tests * result.p))


def _is_line(values: FloatArray, line: FloatArray) -> bool:
    """Return whether a line explains values better than steps (Bayesian information criterion).

    A line has one parameter more than a level alone. Each step has two: its place and its size.

    line: has the mean 0 and the length 1.
    """
    n = values.size
    centred = values - values.mean()
    left = float(np.sum((centred - line * (line @ centred)) ** 2))

    def criterion(squares: float, parameters: int) -> float:
        return n * math.log(max(squares, n * _EQUAL**2)) + parameters * math.log(n)

    of_line = criterion(left, 1)
    return all(
        of_line < criterion(squares, 2 * steps)
        for steps, squares in enumerate(_compute_least_squares(centred))
    )


def _compute_least_squares(values: FloatArray) -> list[float]:
    """Return the least sums of squares with no step, one step and so on, by dynamic programming."""
    n = values.size
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (values, values**2))
    starts, ends = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    lengths = ends - starts
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (
            squares[None, :] - squares[:, None] - (sums[None, :] - sums[:, None]) ** 2 / lengths
        )
    within = np.where(lengths >= EDGE, within, math.inf)
    least = within[0]
    found = [float(least[n])]
    for _ in range(MOST_STEPS):
        least = np.min(least[:, None] + within, axis=0)
        found.append(float(least[n]))
    return found


def _permutation_test(
    values: FloatArray, kind: str, share: float, most: int, line: FloatArray | None = None
) -> _TestResult:
    """Return the p-value of the largest statistic, and its places.

    Permutations stop when enough of them have reached the statistic (Besag & Clifford 1991). For
    most series this happens within the first hundred.

    line: if given, it is tested instead of levels.
    """
    n = values.size
    starts, ends = _places(n, kind)
    if starts.size == 0:
        return _TestResult(1.0, 0.0, EDGE, n)

    def explained(columns: FloatArray) -> FloatArray:
        if line is not None:
            return np.asarray((line @ columns)[None, :] ** 2)
        return _between(columns, starts, ends)

    centred = values - values.mean()
    squares = float(np.sum(centred**2))
    between = explained(centred[:, None])[:, 0]
    best = int(between.argmax())
    (own,) = _squared_t(between[[best]], squares, n).tolist()
    # A difference within rounding counts as reached.
    reached = share * own * (1 - 1e-9)
    most_at_once = max(1, _AT_ONCE // starts.size)
    beyond = done = 0
    for stage in _STAGES:
        if stage > most:
            break
        orders = _orders(n, stage)
        for first in range(done, stage, most_at_once):
            permuted = centred[orders[:, first : min(stage, first + most_at_once)]]
            largest = explained(permuted).max(axis=0)
            beyond += int(np.sum(_squared_t(largest, squares, n) >= reached))
        done = stage
        if beyond >= _ENOUGH:
            break
    p, score = (beyond + 1) / (done + 1), share * own
    return _TestResult(p, score, int(starts[best]), int(ends[best]), open=beyond == 0)


@functools.lru_cache(maxsize=64)
def _places(n: int, kind: str) -> tuple[IntArray, IntArray]:
    """Return the places between which a level may differ: up to the end, or over an arc inside."""
    if kind == "trend":
        return np.array([0]), np.array([n])
    if kind == "steps":
        starts = np.arange(EDGE, n - EDGE + 1)
        return starts, np.full(starts.size, n)
    starts, ends = np.triu_indices(n - EDGE + 1, EDGE)
    inside = starts >= EDGE
    return starts[inside], ends[inside]


@functools.lru_cache(maxsize=16)
def _orders(n: int, count: int) -> npt.NDArray[np.int16]:
    """Return permutations ``[n, count]``, which are the same for every series of this length."""
    number = _STAGES.index(count)
    before = _STAGES[number - 1] if number else 0
    rng = np.random.default_rng([SEED, n, count])
    orders = np.tile(np.arange(n, dtype=np.int16), (count - before, 1))
    fresh = np.ascontiguousarray(rng.permuted(orders, axis=1).T)
    return np.concatenate([_orders(n, before), fresh], axis=1) if number else fresh


def _between(centred: FloatArray, starts: IntArray, ends: IntArray) -> FloatArray:
    """Return the sums of squares between two levels ``[places, columns]`` of centred columns."""
    n = len(centred)
    sums = np.zeros((n + 1, centred.shape[1]))
    np.cumsum(centred, axis=0, out=sums[1:])
    inside = ends - starts
    between: FloatArray = sums[ends]
    between -= sums[starts]
    between *= between
    between *= (n / (inside * (n - inside)))[:, None]
    return between


def _squared_t(between: FloatArray, squares: float, n: int) -> FloatArray:
    """Return the squared t statistics of sums of squares between levels.

    squares: the sum of squares of all ``n`` values.
    """
    # The divisor keeps the result finite if there is no noise.
    found: FloatArray = (n - 2) * between / np.maximum(squares - between, 1e-12)
    return found


# Autocorrelation


def _shares(series_list: Sequence[_Series], families: Sequence[int]) -> dict[int, float]:
    """Return the part of each family's squared statistics that counts: (1 - r) / (1 + r).

    r is the correlation of successive values, at least 0. It increases the variance of a mean by
    the inverse of this part (first-order autoregression). The estimate compares the differences of
    values two places apart with those one place apart. A change of level affects only one or two of
    these differences, and hardly affects the smaller ones.
    """
    sums: dict[int, list[float]] = {family: [0.0, 0.0, 0.0] for family in families}
    for each in series_list:
        values = each.values
        squares = [np.sort((values[lag:] - values[:-lag]) ** 2) for lag in (1, 2)]
        near, far = (float(np.mean(each[: math.ceil(KEPT * each.size)])) for each in squares)
        if near + far > 0:
            own = (near / (near + far), far / (near + far), float(values.size))
            kept = sums[families[each.row]]
            sums[families[each.row]] = [a + b for a, b in zip(kept, own, strict=True)]
    shares = {}
    for family, (near, far, count) in sums.items():
        correlation = far / near - 1 - CAUTION / math.sqrt(count) if near else 0.0
        correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
        shares[family] = (1 - correlation) / (1 + correlation)
    return shares


NEAR = 2
"""Changes that are at most two sessions apart are one change, because places are not found more
precisely.
"""

STAYED = 1 / 4
"""A backend has not changed if it changed by at most this part of what the others did."""

TOGETHER = 3 / 4
"""The part of the cases that must have changed by at least half as much in a change of all."""

MOST = 20
"""The largest number of events in a history."""

LONGEST = 100
"""The number of last sessions in which steps are searched for, because the work grows with the
square of this number.

Trends are searched for in all sessions.
"""

_POLISHING = 20  # In sweeps. Most tables need three.


class Scope(enum.StrEnum):
    """What changed."""

    # Every backend changed, so the cause is the machine, or a library that all of them use.
    ALL = "all"
    BACKENDS = "backends"
    CASES = "cases"


@dataclass(frozen=True)
class ChangeEvent:
    """One change.

    before, at: the last column before the change, and the first column after it. rows: the cases
    that changed. ratio: the time after the change over the time before it, with its interval. If
    there are cases that did not change, the ratio is relative to them. reverted: the column from
    which most of the change is gone, or None if it lasts. gradual: whether the change is a trend;
    ``before`` and ``at`` are then its first and last columns, and the ratio is that of the times at
    these columns.
    """

    scope: Scope
    before: int
    at: int
    rows: tuple[int, ...]
    ratio: Interval
    reverted: int | None = None
    gradual: bool = False

    @property
    def unreliable(self) -> bool:
        """Whether the change is a trend that is not significant over all cases that changed."""
        return self.gradual and self.ratio.low <= 1 <= self.ratio.high

    @property
    def verdict(self) -> Verdict:
        """Return FASTER or SLOWER, or SAME if the interval is within 2%."""
        edge = 1 + SAME_WITHIN
        if 1 / edge <= self.ratio.low and self.ratio.high <= edge:
            return Verdict.SAME
        return Verdict.SLOWER if self.ratio.mid > 1 else Verdict.FASTER


def enough(logs: FloatArray) -> bool:
    """Return whether any case ``[cases, sessions]`` has enough times for a test."""
    return logs.size > 0 and int(np.isfinite(logs).sum(axis=1).max()) >= LEAST


def change_events(logs: FloatArray, backends: Sequence[str]) -> list[ChangeEvent]:
    """Return the changes in ``logs [cases, sessions]``, in the order of time.

    logs: the log time of each case in each session, NaN if it was not measured. backends: the
    backend of each case.
    """
    rest = np.array(logs, dtype=np.float64)
    found: list[_Part] = []
    start = max(0, rest.shape[1] - LONGEST) if rest.ndim == 2 else 0
    if start and enough(rest):
        # Steps are searched for below, only in the last sessions.
        found = [part for part in _parts(rest, backends, arcs=False) if part.gradual]
        for part in found:
            part.subtract_from(rest)
    recent = rest[:, start:]
    steps = _parts(recent, backends) if enough(recent) else []
    for part in steps:
        part.subtract_from(recent)
    moved = (replace(part, first=part.first + start, at=part.at + start) for part in steps)
    found = _joined([*found, *moved])
    found.sort(key=lambda part: (part.first, part.at, list(Scope).index(part.scope)))
    events = [_event(part, found, rest) for part in found]
    events = [
        replace(each, reverted=_find_reversal(each, events[number + 1 :]))
        for number, each in enumerate(events)
    ]
    return [each for each in events if each.verdict is not Verdict.SAME and not each.unreliable]


def _parts(logs: FloatArray, backends: Sequence[str], arcs: bool = True) -> list[_Part]:
    """Return the shifts in a table, the most significant first."""
    rest = np.array(logs)
    found: list[_Part] = []
    for _ in range(MOST):
        part = _next_part(rest, backends, found, arcs)
        if part is None:
            break
        found.append(part)
        part.subtract_from(rest)
    return found


@dataclass(frozen=True)
class _Part:
    """A common shift of cases.

    first, at: the columns between which the shift is a line if it is gradual; otherwise both are
    the first shifted column. rows: the shifted cases. shifts: the size of the shift of each case.
    """

    scope: Scope
    first: int
    at: int
    rows: tuple[int, ...]
    shifts: tuple[float, ...]
    gradual: bool = False

    def path(self, columns: int) -> FloatArray:
        """Return the shift of each of its rows in each column, ``[rows, columns]``."""
        if self.gradual:
            way = np.clip((np.arange(columns) - self.first) / (self.at - self.first), 0.0, 1.0)
        else:
            way = (np.arange(columns) >= self.at).astype(np.float64)
        return np.asarray(np.array(self.shifts)[:, None] * way)

    def subtract_from(self, logs: FloatArray) -> None:
        """Subtract the shift from a table, in place."""
        logs[list(self.rows)] -= self.path(logs.shape[1])


def _joined(parts: Iterable[_Part]) -> list[_Part]:
    """Return each event once, even if it was found in several parts."""
    found: list[_Part] = []
    for part in parts:
        for number, known in enumerate(found):
            near = abs(known.at - part.at) <= NEAR and abs(known.first - part.first) <= NEAR
            if known.rows == part.rows and known.gradual == part.gradual and near:
                shifts = tuple(a + b for a, b in zip(known.shifts, part.shifts, strict=True))
                found[number] = replace(known, shifts=shifts)
                break
        else:
            found.append(part)
    return found


# The next event


def _next_part(
    logs: FloatArray, backends: Sequence[str], known: Sequence[_Part], arcs: bool
) -> _Part | None:
    """Return the most significant shift, or None.

    known: the shifts that were found before and are subtracted already.
    """
    series_list = _series(logs, backends)
    # The series of the machine has an autocorrelation of its own.
    families = [int(scope is not Scope.ALL) for scope, _, _ in series_list]
    found = changes(np.array([values for _, _, values in series_list]), families, arcs=arcs)
    if not found:
        return None
    gradual = found[0].gradual
    found = [each for each in found if each.gradual is gradual]
    if gradual:
        first, at = 0, logs.shape[1] - 1
        shifted = [_rise(values) for values in logs]
    else:
        found = [each for each in found if abs(each.at - found[0].at) <= NEAR]
        # Take the most common place. Among equally common places, take the most significant one,
        # which comes first.
        ((first, _),) = Counter(each.at for each in found).most_common(1)
        at, until = first, next(each.until for each in found if each.at == first)
        shifted = [_shift(values, row, at, until, known) for row, values in enumerate(logs)]
    evidence = [series_list[each.series][:2] for each in found]
    # If two kinds of changes coincide, the second is found after the first has been subtracted.
    scope, shifts = _changed_cases(np.array(shifted), backends, evidence)
    if not shifts:
        return None
    return _Part(scope, first, at, tuple(shifts), tuple(shifts.values()), gradual)


def _rise(values: FloatArray) -> float:
    """Return how far a line through the values rises from the first column to the last."""
    columns = np.flatnonzero(np.isfinite(values))
    if columns.size < LEAST:
        return math.nan
    return float(slope(columns, values[columns]).middles[0]) * (values.size - 1)


def _series(logs: FloatArray, backends: Sequence[str]) -> list[tuple[Scope, int, FloatArray]]:
    """Return the series to test, with their scope and the first of their cases."""
    levels, shared = _polish_medians(logs)
    found: list[tuple[Scope, int, FloatArray]] = [(Scope.ALL, 0, shared)]
    rest = logs - levels[:, None] - shared
    alone: set[int] = set()
    by_backend = group_by(range(len(backends)), lambda row: backends[row])
    if len(by_backend) > 1:
        for rows in by_backend.values():
            found.append((Scope.BACKENDS, rows[0], _medians(rest[rows], axis=0)))
            # The series of such a case is that of its backend.
            alone.update(rows if len(rows) == 1 else ())
    if len(logs) > 1:
        found += [(Scope.CASES, row, values) for row, values in enumerate(rest) if row not in alone]
    return found


def _shift(
    values: FloatArray, row: int, at: int, until: int | None, known: Sequence[_Part]
) -> float:
    """Return the log time of a case after a place minus that before it, or NaN if one is missing.

    Only times between earlier shifts of this case count, because those shifts are not exact.
    """
    own = [part.at for part in known if row in part.rows and not part.gradual]
    start = max((place for place in own if place < at - NEAR), default=0)
    ends = [place for place in own if place > at + NEAR]
    end = min(ends if until is None else [*ends, until], default=None)
    sides = values[start:at], values[at:end]
    before, after = (side[np.isfinite(side)] for side in sides)
    return float(np.median(after) - np.median(before)) if before.size and after.size else math.nan


# The cases that changed


def _changed_cases(
    shifted: FloatArray, backends: Sequence[str], evidence: Sequence[tuple[Scope, int]]
) -> tuple[Scope, dict[int, float]]:
    """Return the scope of a change, and the shifts of the cases that changed.

    shifted ``[cases]``: the log time after the place minus that before it, NaN if one is missing.
    evidence: the series that changed at this place.
    """
    by_backend = {
        name: there
        for name, rows in group_by(range(len(backends)), lambda row: backends[row]).items()
        if (there := [row for row in rows if math.isfinite(shifted[row])])
    }
    shifts = {name: _least_median(shifted[rows]) for name, rows in by_backend.items()}
    scopes = {scope for scope, _ in evidence}
    if not scopes & {Scope.ALL, Scope.BACKENDS}:
        single = [row for _, row in evidence if math.isfinite(shifted[row])]
        return Scope.CASES, _largest({r: float(shifted[r]) - shifts[backends[r]] for r in single})
    near = STAYED * max(map(abs, shifts.values()), default=0.0)
    shared = _shared_shift(list(shifts.values()), near)
    if shared and Scope.ALL in scopes:
        return _all_changed(shifted, by_backend, shared, near)
    unchanged = [each for each in shifts.values() if abs(each - shared) <= near]
    base = _least_median(np.array(unchanged)) if unchanged else 0.0
    changed = _largest({rows[0]: shifts[name] - base for name, rows in by_backend.items()})
    every = [row for rows in by_backend.values() if rows[0] in changed for row in rows]
    return Scope.BACKENDS, {row: float(shifted[row]) - base for row in every}


def _all_changed(
    shifted: FloatArray, by_backend: Mapping[str, Sequence[int]], shared: float, near: float
) -> tuple[Scope, dict[int, float]]:
    """Return the shifts of all cases. Backends that changed differently get the shared shift.

    If there is only one backend and most of its cases did not change, return only the cases that
    did.
    """
    found = {
        row: float(shifted[row]) if abs(_least_median(shifted[rows]) - shared) <= near else shared
        for rows in by_backend.values()
        for row in rows
    }
    changed = [row for row in found if shifted[row] * math.copysign(1, shared) >= abs(shared) / 2]
    if len(by_backend) > 1 or len(changed) >= TOGETHER * len(found):
        return Scope.ALL, found
    base = _least_median(shifted[[row for row in found if row not in changed]])
    return Scope.CASES, {row: float(shifted[row]) - base for row in changed}


def _largest(shifts: Mapping[int, float]) -> dict[int, float]:
    """Return the largest shift, and those in the same direction that are not much smaller."""
    most = max(shifts.values(), key=abs, default=0.0)
    return {
        row: each
        for row, each in shifts.items()
        if each * most > 0 and abs(each) > STAYED * abs(most)
    }


def _shared_shift(shifts: Sequence[float], near: float) -> float:
    """Return the shift of all backends: 0 if any did not change, or else the most common shift."""
    if any(abs(shift) <= near for shift in shifts):
        return 0.0
    counts = [sum(abs(other - shift) <= near for other in shifts) for shift in shifts]
    most = max(counts)
    return min((s for s, others in zip(shifts, counts, strict=True) if others == most), key=abs)


# The size of a change


def _event(part: _Part, every: Sequence[_Part], rest: FloatArray) -> ChangeEvent:
    """Return a shift with its size.

    The size is estimated from the remaining times with the shift added again.
    """
    rows, at = list(part.rows), part.at
    level = rest - _medians(rest, axis=1)[:, None]
    with warnings.catch_warnings():
        # The result is NaN where there is no value.
        warnings.simplefilter("ignore", RuntimeWarning)
        path = np.nanmean(level[rows] + part.path(rest.shape[1]), axis=0)
    changed = {row for each in every if each.scope is not Scope.ALL for row in each.rows}
    others = [row for row in range(len(rest)) if row not in changed]
    if part.scope is not Scope.ALL and others:
        others_level = _medians(level[others], axis=0)
        path = np.where(np.isfinite(others_level), path - others_level, path)
    seen = np.flatnonzero(np.isfinite(path))
    if part.gradual:
        seen = seen[(seen >= part.first) & (seen <= at)]
        ends = int(seen[0]), int(seen[-1])
        way = (seen - seen[0]) / (seen[-1] - seen[0])
    else:
        way = (seen >= at).astype(np.float64)
        ends = (
            int(max((each for each in seen if each < at), default=at)),
            int(min((each for each in seen if each >= at), default=at)),
        )
    size = _ratio(way, path[seen])
    return ChangeEvent(part.scope, *ends, tuple(sorted(rows)), size, gradual=part.gradual)


def slope(x: npt.NDArray[np.float64 | np.int64], y: FloatArray) -> Estimates:
    """Return the slope of the least-squares line through these points, as one case.

    If ``x`` consists of zeros and ones, the slope is the difference of two means with a common
    variance.
    """
    x, y = x - x.mean(), y - y.mean()  # Centring keeps large numbers from cancelling.
    squares = float(np.sum(x**2))
    found = float(x @ y) / squares
    free = max(y.size - 2, 1)
    error = math.sqrt(float(np.sum((y - found * x) ** 2)) / free / squares)
    return Estimates.of(found, error, float(free))


def _ratio(way: FloatArray, logs: FloatArray) -> Interval:
    """Return the ratio by which logs change on a way from 0 to 1, with its t-interval.

    The interval is slightly too narrow, because the place of the change was chosen from the same
    data.
    """
    if np.unique(way).size < 2:
        return Interval(0.0, 1.0, math.inf, VERDICT_CONFIDENCE)
    found = slope(way, logs)
    low, high = found.bounds()
    with np.errstate(over="ignore", under="ignore"):
        bounds = [float(np.exp(each[0])) for each in (low, found.middles, high)]
    return Interval(bounds[0], bounds[1], bounds[2], VERDICT_CONFIDENCE)


def _find_reversal(each: ChangeEvent, later: Iterable[ChangeEvent]) -> int | None:
    """Return the place from which later events have reverted more than half of an event.

    The result is None if there is no such place.
    """
    size = math.log(each.ratio.mid)
    left = size
    for other in later:
        shared = len(set(other.rows) & set(each.rows))
        if other.at > each.at and 2 * shared >= len(each.rows):
            left += math.log(other.ratio.mid)
        if abs(left) < abs(size) / 2 or left * size < 0:
            return other.at
    return None


# Medians without missing values


def _polish_medians(logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the level of each case and the effect of each session by median polish."""
    levels, shared = _medians(logs, axis=1), np.zeros(logs.shape[1])
    for _ in range(_POLISHING):
        before = shared
        shared = _medians(logs - levels[:, None], axis=0)
        levels = _medians(logs - shared, axis=1)
        if np.allclose(before, shared, atol=1e-12, equal_nan=True):
            break
    return levels, shared


def _medians(values: FloatArray, axis: int) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=axis))


def _least_median(values: FloatArray) -> float:
    """Return a median.

    For an even number of values, return the value nearest to 0 between the middle two.
    """
    ordered = np.sort(values)
    low, high = float(ordered[(ordered.size - 1) // 2]), float(ordered[ordered.size // 2])
    return 0.0 if low < 0 < high else min(low, high, key=abs)
