"""Change points: where the times of a machine, a backend or a case moved, and how significantly.

In each series one change of level is looked for, by the largest t statistic over the places where
it may be, and a change that was taken back, by the largest over the arcs between two places
(circular binary segmentation: Olshen, Venkatraman, Lucito & Wigler 2004). From ``LEAST_GRADUAL``
values on it is a trend in their place where a line explains the series better than steps do.
Permutations of the series say how large these statistics are where nothing changed, so that no
distribution is assumed. All series are judged together: the expected share of false ones among what
is found is a hundredth at most (Benjamini & Hochberg 1995).

A table has log times of cases (rows) over sessions (columns), some missing. Each case's own level
and what all cases of a session share are taken out of it (median polish: Tukey 1977), so that there
are a series of the machine, one of each backend and one of each case. Of what is found the most
significant is one event, and what moved in it is read from the plain times: a backend whose times
stayed is a sign that the machine did not change. What moved is then taken out of the table, and
the rest is searched again, until nothing is found.
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

from bench.records.grouping import grouped
from bench.stats.comparison import SAME_WITHIN, Verdict
from bench.stats.intervals import VERDICT_CONFIDENCE, Estimates, Interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL = 0.01
"""The share of false ones among what is found that is accepted."""

LEAST = 11
"""Values that a series must have. Of eleven, six before and five after a change, there are 462
orders, and the clearest change has p = 2 × 2/462 by chance (two ends, two questions); with ten it
would be 2 × 2/252, more than ``LEVEL``."""

LEAST_GRADUAL = 20
"""Values that a series must have to be requested a trend: in fewer it looks like a step."""

MOST_STEPS = 4
"""Steps that a line is held against, at most."""

EDGE = 2
"""Values on either side of a change at the least: one alone is an outlier."""

REACH = 6.0
"""Values further from the median than so many robust standard deviations count as if at that
distance, so that one wild session hides no change. In the permutations, too."""

KEPT = 0.8
"""Of the differences between neighbours the smaller ones, which show how much these resemble each
other."""

CAUTION = 0.8
"""Of a resemblance so much over the root of the number of values is not believed: of independent
values it has a standard deviation of 2 over that root, and half of the time would hide changes."""

_MOST_ALIKE = 0.6
_EQUAL = 1e-9  # values that differ by no more are equal but for rounding

SEED = 20261126
_STAGES = (99, 999, 9_999, 99_999)
_ENOUGH = 10  # permutations that reach the statistic, and more of them would not change the answer
_MOST_FOR_ARCS = 9_999  # there are hundreds of arcs where there are tens of places
_AT_ONCE = 200_000  # numbers in an array, which stays in a processor's cache


@dataclass(frozen=True)
class ChangePoint:
    """A change in a series.

    series: its row. at: the column of the first value after it; until: of the first after it was
    taken back, None if it was not. p: by permutation. score: the statistic, a squared t. gradual:
    whether it is a trend over the whole series; then ``at`` is its last column.
    """

    series: int
    at: int
    until: int | None
    p: float
    score: float
    gradual: bool = False


@dataclass(frozen=True)
class _Series:
    """What there is of a series: its row, the columns where it has values, and those values."""

    row: int
    columns: IntArray
    values: FloatArray


def changes(
    series: FloatArray,
    families: Sequence[int] | None = None,
    level: float = LEVEL,
    arcs: bool = True,
) -> list[ChangePoint]:
    """A change of level of each of the series ``[series, times]`` that has one, the most
    significant first.

    A value that is not a number is one that is missing: the others close up. Rows with fewer than
    ``LEAST`` values, or whose values are all equal, have none. families: of each series; those of
    one resemble their neighbours equally. By default each is its own. arcs: whether changes
    that were taken back are looked for too, which takes time with the square of their number.
    """
    series_list = []
    kinds = range(len(series)) if families is None else families
    for row, values in enumerate(np.asarray(series, dtype=np.float64)):
        columns = np.flatnonzero(np.isfinite(values))
        if columns.size >= LEAST and np.ptp(values[columns]) > _EQUAL:
            series_list.append(_Series(row, columns, values[columns]))
    if not series_list:
        return []
    shares = _shares(series_list, kinds)
    answers = [_ask(each, shares[kinds[each.row]], _STAGES[1], arcs) for each in series_list]
    significant = _discoveries(answers, level)
    # More permutations only where nothing is significant without them: they take ten times as long.
    for most in _STAGES[2:]:
        if any(significant) or not any(answer.open for answer in answers):
            break
        answers = [
            _ask(each, shares[kinds[each.row]], most, arcs) if answer.open else answer
            for each, answer in zip(series_list, answers, strict=True)
        ]
        significant = _discoveries(answers, level)
    found = []
    for each, answer, there in zip(series_list, answers, significant, strict=True):
        if there:
            last = answer.end == each.values.size
            until = None if last else int(each.columns[answer.end])
            at = int(each.columns[-1 if answer.gradual else answer.start])
            found.append(ChangePoint(each.row, at, until, answer.p, answer.score, answer.gradual))
    return sorted(found, key=lambda each: (each.p, -each.score))


def _discoveries(answers: Sequence[_Answer], level: float) -> list[bool]:
    from scipy.stats import false_discovery_control

    found: list[bool] = (false_discovery_control([each.p for each in answers]) <= level).tolist()
    return found


# One series


@dataclass(frozen=True)
class _Answer:
    """The p-value of a series, and between which places its level is another, if it is.

    open: whether no permutation came as far, so that more of them could make it smaller.
    """

    p: float
    score: float
    start: int
    end: int
    open: bool = False
    gradual: bool = False


def _ask(series: _Series, share: float, most: int, arcs: bool) -> _Answer:
    """Whether and where a series has another level, by so many permutations at the most.

    share: what counts of its statistics, of which resemblance makes large ones (``_shares``).
    """
    clipped = _clipped(series.values)
    # Each p-value counts as often as there are questions (Bonferroni).
    questions = 1 + arcs
    if series.values.size >= LEAST_GRADUAL:
        questions += 1
        line = _line(series.columns)
        if _is_line(clipped, line):
            trend = _judged(clipped, "trend", share, most, line)
            return replace(trend, p=min(1.0, questions * trend.p), gradual=True)
    answer = _judged(clipped, "steps", share, most)
    if not answer.open and arcs:
        arc = _judged(clipped, "arcs", share, min(most, _MOST_FOR_ARCS))
        answer = arc if arc.p < answer.p else answer
    return replace(answer, p=min(1.0, questions * answer.p))


def _line(columns: IntArray) -> FloatArray:
    """A line over these columns, around 0 and of length 1."""
    centred = columns - columns.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _is_line(values: FloatArray, line: FloatArray) -> bool:
    """Whether a line explains values better than steps do, by the Bayesian information criterion.

    A line has one parameter more than a level alone, and each step two: its place and its size.
    """
    n = values.size
    centred = values - values.mean()
    left = float(np.sum((centred - line * (line @ centred)) ** 2))

    def criterion(squares: float, parameters: int) -> float:
        return n * math.log(max(squares, n * _EQUAL**2)) + parameters * math.log(n)

    of_line = criterion(left, 1)
    return all(
        of_line < criterion(squares, 2 * steps) for steps, squares in enumerate(_by_steps(centred))
    )


def _by_steps(values: FloatArray) -> list[float]:
    """The least sum of squares that is left by no step, by one, and so on: exact, by dynamic
    programming over the places of the last step."""
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


def _clipped(values: FloatArray) -> FloatArray:
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))  # the sd of a normal distribution
    if spread == 0:
        return values
    return np.asarray(np.clip(values, middle - REACH * spread, middle + REACH * spread))


def _judged(
    values: FloatArray, kind: str, share: float, most: int, line: FloatArray | None = None
) -> _Answer:
    """The p-value of the largest statistic, and between which places it is.

    As many permutations as it takes (Besag & Clifford 1991): most series show with the first
    hundred that there is nothing. line: what is requested in place of levels.
    """
    n = values.size
    starts, ends = _places(n, kind)
    if starts.size == 0:
        return _Answer(1.0, 0.0, EDGE, n)

    def explained(columns: FloatArray) -> FloatArray:
        if line is not None:
            return np.asarray((line @ columns)[None, :] ** 2)
        return _between(columns, starts, ends)

    centred = values - values.mean()
    squares = float(np.sum(centred**2))
    between = explained(centred[:, None])[:, 0]
    best = int(between.argmax())
    (own,) = _squared_t(between[[best]], squares, n).tolist()
    # What only rounding distinguishes has been reached.
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
    return _Answer(p, score, int(starts[best]), int(ends[best]), open=beyond == 0)


@functools.lru_cache(maxsize=64)
def _places(n: int, kind: str) -> tuple[IntArray, IntArray]:
    """From where to where a level may be another: to the end, or over an arc within."""
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
    """Orders ``[n, count]``, the same for every series of that length; the first ones stay."""
    number = _STAGES.index(count)
    before = _STAGES[number - 1] if number else 0
    rng = np.random.default_rng([SEED, n, count])
    orders = np.tile(np.arange(n, dtype=np.int16), (count - before, 1))
    fresh = np.ascontiguousarray(rng.permuted(orders, axis=1).T)
    return np.concatenate([_orders(n, before), fresh], axis=1) if number else fresh


def _between(centred: FloatArray, starts: IntArray, ends: IntArray) -> FloatArray:
    """Sums of squares between two levels ``[places, columns]``, a column of numbers around 0 each.

    Place by place over all columns: whole rows are what NumPy is fast with.
    """
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
    """The squared t statistics of sums of squares between two levels. squares: of all ``n``."""
    # Levels without any noise stay finite.
    found: FloatArray = (n - 2) * between / np.maximum(squares - between, 1e-12)
    return found


# Neighbours that resemble each other


def _shares(series_list: Sequence[_Series], families: Sequence[int]) -> dict[int, float]:
    """What counts of the squared statistics of each family: (1 - r) / (1 + r).

    r: the correlation of a value with the one before, from 0 up, which is what that adds to the
    variance of a mean (of a first-order autoregression). It is seen from how much more values
    differ two places on than one: a change of level stands in one or two of these differences,
    and hardly shows in the smaller of them. Permutations have none of it: what is taken off makes
    them say less, never more.
    """
    sums: dict[int, list[float]] = {family: [0.0, 0.0, 0.0] for family in families}
    for each in series_list:
        values = each.values
        near, far = (_small(values[lag:] - values[:-lag]) for lag in (1, 2))
        if near + far > 0:
            line_weights = (near / (near + far), far / (near + far), float(values.size))
            kept = sums[families[each.row]]
            sums[families[each.row]] = [a + b for a, b in zip(kept, line_weights, strict=True)]
    shares = {}
    for family, (near, far, count) in sums.items():
        resemblance = far / near - 1 - CAUTION / math.sqrt(count) if near else 0.0
        resemblance = min(max(resemblance, 0.0), _MOST_ALIKE)
        shares[family] = (1 - resemblance) / (1 + resemblance)
    return shares


def _small(differences: FloatArray) -> float:
    squares = np.sort(differences**2)
    return float(np.mean(squares[: math.ceil(KEPT * squares.size)]))


NEAR = 2
"""Sessions between two changes that are taken for one: a place is found no more exactly."""

STAYED = 1 / 4
"""A backend that moved by no more than this part of what the others did has stayed."""

TOGETHER = 3 / 4
"""Of the cases so many must have gone along, by half as much at the least, if all are to have."""

MOST = 20
"""Events that are looked for: no history has more."""

LONGEST = 100
"""Sessions in which steps are looked for, the last: the work grows with their square, and
nobody will act on a step of a hundred nights ago. Trends are looked for in all sessions."""

_POLISHING = 20  # sweeps; most tables are settled after three


class Scope(enum.StrEnum):
    """Of what there is one change."""

    ALL = "all"  # every backend: the machine, or what they share
    BACKENDS = "backends"
    CASES = "cases"


@dataclass(frozen=True)
class Movement:
    """One change.

    before, at: columns, the last before it and the first after it. rows: the cases that moved.
    ratio: time after it over time before it, with its interval; next to the cases that stayed, if
    there are any. taken_back: the column from which on most of it was gone again, None if it lasts.
    gradual: whether it is a trend, a little in each session; then ``before`` and ``at`` are the
    first and the last column, and ratio is that of the times at these.
    """

    scope: Scope
    before: int
    at: int
    rows: tuple[int, ...]
    ratio: Interval
    taken_back: int | None = None
    gradual: bool = False

    @property
    def unreliable(self) -> bool:
        """Whether it is a trend that, seen over all that moved, may be none."""
        return self.gradual and self.ratio.low <= 1 <= self.ratio.high

    @property
    def verdict(self) -> Verdict:
        """FASTER or SLOWER, as found; SAME where it is within 2% for certain."""
        edge = 1 + SAME_WITHIN
        if 1 / edge <= self.ratio.low and self.ratio.high <= edge:
            return Verdict.SAME
        return Verdict.SLOWER if self.ratio.mid > 1 else Verdict.FASTER


def enough(logs: FloatArray) -> bool:
    """Whether any case ``[cases, sessions]`` has been measured often enough to be judged."""
    return logs.size > 0 and int(np.isfinite(logs).sum(axis=1).max()) >= LEAST


def movements(logs: FloatArray, backends: Sequence[str], level: float = LEVEL) -> list[Movement]:
    """What changed in ``logs [cases, sessions]``, in the order of time.

    logs: of the time of each case in each session, not a number where it was not measured.
    backends: of each case.
    """
    rest = np.array(logs, dtype=np.float64)
    found: list[_Part] = []
    start = max(0, rest.shape[1] - LONGEST) if rest.ndim == 2 else 0
    if start and enough(rest):
        # What moved in steps is found below, by its last sessions alone.
        found = [part for part in _parts(rest, backends, level, arcs=False) if part.gradual]
        for part in found:
            part.take_out(rest)
    recent = rest[:, start:]
    steps = _parts(recent, backends, level) if enough(recent) else []
    for part in steps:
        part.take_out(recent)
    found = [
        *found,
        *(replace(part, first=part.first + start, at=part.at + start) for part in steps),
    ]
    found = _joined(found)
    found.sort(key=lambda part: (part.first, part.at, list(Scope).index(part.scope)))
    moved = [_movement(part, found, rest) for part in found]
    ended = [
        replace(each, taken_back=_taken_back(each, moved[number + 1 :]))
        for number, each in enumerate(moved)
    ]
    return [each for each in ended if each.verdict is not Verdict.SAME and not each.unreliable]


def _parts(
    logs: FloatArray, backends: Sequence[str], level: float, arcs: bool = True
) -> list[_Part]:
    """What moved in a table, the most significant first; each is taken out before the next."""
    rest = np.array(logs)
    found: list[_Part] = []
    for _ in range(MOST):
        part = _next_part(rest, backends, found, level, arcs)
        if part is None:
            break
        found.append(part)
        part.take_out(rest)
    return found


@dataclass(frozen=True)
class _Part:
    """Cases that moved together. at: from which column on; shifts: by how much each.

    gradual: whether from ``first`` to ``at`` a little in each column; else both are the same.
    """

    scope: Scope
    first: int
    at: int
    rows: tuple[int, ...]
    shifts: tuple[float, ...]
    gradual: bool = False

    def path(self, columns: int) -> FloatArray:
        """Return how far each of its rows has moved in each column, ``[rows, columns]``."""
        if self.gradual:
            way = np.clip((np.arange(columns) - self.first) / (self.at - self.first), 0.0, 1.0)
        else:
            way = (np.arange(columns) >= self.at).astype(np.float64)
        return np.asarray(np.array(self.shifts)[:, None] * way)

    def take_out(self, logs: FloatArray) -> None:
        """Take it out of a table, in place."""
        logs[list(self.rows)] -= self.path(logs.shape[1])


def _joined(parts: Iterable[_Part]) -> list[_Part]:
    """Each event once, also where it was found in several goes, a part of it at a time."""
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
    logs: FloatArray,
    backends: Sequence[str],
    known: Sequence[_Part],
    level: float,
    arcs: bool,
) -> _Part | None:
    """What moved in the most significant event that a table holds; None if it holds none.

    known: what was found before and is taken out.
    """
    series_list = _series(logs, backends)
    # What the machine does from night to night is its own; the others resemble each other.
    families = [int(scope is not Scope.ALL) for scope, _, _ in series_list]
    found = changes(np.array([values for _, _, values in series_list]), families, level, arcs)
    if not found:
        return None
    if found[0].gradual:
        evidence = [series_list[each.series][:2] for each in found if each.gradual]
        lines = np.array([_rise(values) for values in logs])
        scope, shifts = _who_moved(lines, backends, evidence)
        last = logs.shape[1] - 1
        moved = tuple(shifts), tuple(shifts.values())
        return _Part(scope, 0, last, *moved, gradual=True) if shifts else None
    found = [each for each in found if not each.gradual]
    near = [each for each in found if abs(each.at - found[0].at) <= NEAR]
    # Of places that as many name, the most significant, which comes first.
    ((at, _),) = Counter(each.at for each in near).most_common(1)
    until = next(each.until for each in near if each.at == at)
    evidence = [series_list[each.series][:2] for each in near]
    shifted = np.array([_shift(values, row, at, until, known) for row, values in enumerate(logs)])
    scope, shifts = _who_moved(shifted, backends, evidence)
    # Of a change of two kinds at one place, the second is found when the first is taken out.
    moved = tuple(shifts), tuple(shifts.values())
    return _Part(scope, at, at, *moved) if shifts else None


def _rise(values: FloatArray) -> float:
    """How far a line through the values rises from the first column to the last."""
    columns = np.flatnonzero(np.isfinite(values))
    if columns.size < LEAST:
        return math.nan
    return float(slope(columns, values[columns]).middles[0]) * (values.size - 1)


def _series(logs: FloatArray, backends: Sequence[str]) -> list[tuple[Scope, int, FloatArray]]:
    """What is requested changes, and of which backend, by its first case, or case it is."""
    levels, shared = _polished(logs)
    found: list[tuple[Scope, int, FloatArray]] = [(Scope.ALL, 0, shared)]
    rest = logs - levels[:, None] - shared
    alone: set[int] = set()
    by_backend = _rows_by(backends)
    if len(by_backend) > 1:
        for rows in by_backend.values():
            found.append((Scope.BACKENDS, rows[0], _medians(rest[rows], axis=0)))
            alone.update(rows if len(rows) == 1 else ())  # it is its backend's own series
    if len(logs) > 1:
        found += [(Scope.CASES, row, values) for row, values in enumerate(rest) if row not in alone]
    return found


def _rows_by(backends: Sequence[str]) -> dict[str, list[int]]:
    return grouped(range(len(backends)), lambda row: backends[row])


def _shift(
    values: FloatArray, row: int, at: int, until: int | None, known: Sequence[_Part]
) -> float:
    """The log time of a case after a place over that before it; not a number if one is missing.

    Between the places where the case itself has moved: what was taken out of it there may have been
    too much or too little. Of others it is from all there is, since a level that was taken from few
    sessions and given to many would be a change.
    """
    own = [part.at for part in known if row in part.rows and not part.gradual]
    start = max((place for place in own if place < at - NEAR), default=0)
    ends = [place for place in own if place > at + NEAR]
    end = min(ends if until is None else [*ends, until], default=None)
    sides = values[start:at], values[at:end]
    before, after = (side[np.isfinite(side)] for side in sides)
    return float(np.median(after) - np.median(before)) if before.size and after.size else math.nan


# What moved


def _who_moved(
    shifted: FloatArray, backends: Sequence[str], evidence: Sequence[tuple[Scope, int]]
) -> tuple[Scope, dict[int, float]]:
    """The cases that moved for one reason, and by how much each.

    shifted ``[cases]``: log time after the place over that before, NaN where one is missing.
    evidence: which series changed there.
    """
    by_backend = {
        name: there
        for name, rows in _rows_by(backends).items()
        if (there := [row for row in rows if math.isfinite(shifted[row])])
    }
    shifts = {name: _least_median(shifted[rows]) for name, rows in by_backend.items()}
    scopes = {scope for scope, _ in evidence}
    if not scopes & {Scope.ALL, Scope.BACKENDS}:
        single = [row for _, row in evidence if math.isfinite(shifted[row])]
        moved = {row: float(shifted[row]) - shifts[backends[row]] for row in single}
        return Scope.CASES, _farthest(moved)
    near = STAYED * max(map(abs, shifts.values()), default=0.0)
    shared = _shared_shift(list(shifts.values()), near)
    if shared and Scope.ALL in scopes:
        return _all(shifted, by_backend, shared, near)
    stayed = [each for each in shifts.values() if abs(each - shared) <= near]
    base = _least_median(np.array(stayed)) if stayed else 0.0
    moved = _farthest({rows[0]: shifts[name] - base for name, rows in by_backend.items()})
    every = [row for rows in by_backend.values() if rows[0] in moved for row in rows]
    return Scope.BACKENDS, {row: float(shifted[row]) - base for row in every}


def _all(
    shifted: FloatArray, by_backend: Mapping[str, Sequence[int]], shared: float, near: float
) -> tuple[Scope, dict[int, float]]:
    """All cases, each by its own shift, but those of a backend that moved otherwise by the others'.

    Of an only backend, of which most cases stayed, those that did not.
    """
    found = {
        row: float(shifted[row]) if abs(_least_median(shifted[rows]) - shared) <= near else shared
        for rows in by_backend.values()
        for row in rows
    }
    along = [row for row in found if shifted[row] * math.copysign(1, shared) >= abs(shared) / 2]
    if len(by_backend) > 1 or len(along) >= TOGETHER * len(found):
        return Scope.ALL, found
    stayed = _least_median(shifted[[row for row in found if row not in along]])
    return Scope.CASES, {row: float(shifted[row]) - stayed for row in along}


def _farthest(shifts: Mapping[int, float]) -> dict[int, float]:
    """Those that went farthest, and those that went the same way, if not nearly as far."""
    most = max(shifts.values(), key=abs, default=0.0)
    return {
        row: each
        for row, each in shifts.items()
        if each * most > 0 and abs(each) > STAYED * abs(most)
    }


def _shared_shift(shifts: Sequence[float], near: float) -> float:
    """By how much all moved: not at all where any stayed, else where most of them are."""
    if any(abs(shift) <= near for shift in shifts):
        return 0.0
    company = [sum(abs(other - shift) <= near for other in shifts) for shift in shifts]
    most = max(company)
    return min((s for s, others in zip(shifts, company, strict=True) if others == most), key=abs)


# How far


def _movement(part: _Part, every: Sequence[_Part], rest: FloatArray) -> Movement:
    """A part, and how far it went: in what is left of the times, with its shift put back."""
    rows, at = list(part.rows), part.at
    level = rest - _medians(rest, axis=1)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # not a number where there is none
        path = np.nanmean(level[rows] + part.path(rest.shape[1]), axis=0)
    moved = {row for each in every if each.scope is not Scope.ALL for row in each.rows}
    others = [row for row in range(len(rest)) if row not in moved]
    if part.scope is not Scope.ALL and others:
        others_level = _medians(level[others], axis=0)
        path = np.where(np.isfinite(others_level), path - others_level, path)
    seen = np.flatnonzero(np.isfinite(path))
    if part.gradual:
        seen = seen[(seen >= part.first) & (seen <= at)]
        ends = int(seen[0]), int(seen[-1])
        found = slope(seen, path[seen])
        span = float(seen[-1] - seen[0])
        size = _as_ratio(replace(found, middles=span * found.middles, errors=span * found.errors))
    else:
        ends = (
            int(max((each for each in seen if each < at), default=at)),
            int(min((each for each in seen if each >= at), default=at)),
        )
        size = _size(path[:at], path[at:])
    return Movement(
        part.scope,
        *ends,
        tuple(sorted(rows)),
        size,
        gradual=part.gradual,
    )


def slope(x: npt.NDArray[np.float64 | np.int64], y: FloatArray) -> Estimates:
    """Return the slope of the least-squares line through these points, of one case."""
    x, y = x - x.mean(), y - y.mean()  # so that large numbers do not cancel
    squares = float(np.sum(x**2))
    found = float(x @ y) / squares
    free = max(y.size - 2, 1)
    error = math.sqrt(float(np.sum((y - found * x) ** 2)) / free / squares)
    return Estimates.of(found, error, float(free))


def _size(before: FloatArray, after: FloatArray) -> Interval:
    """The ratio of two stretches of logs with a t-interval over sessions, of one spread in both.

    Of sessions on either side of a place that was chosen since they differ there, it is a little
    narrow.
    """
    sides = [values[np.isfinite(values)] for values in (before, after)]
    counts = [values.size for values in sides]
    if min(counts) == 0:
        return Interval(0.0, 1.0, math.inf, VERDICT_CONFIDENCE)
    middle = float(np.mean(sides[1]) - np.mean(sides[0]))
    free = max(sum(counts) - 2, 1)
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in sides)
    error = math.sqrt(squares / free * sum(1 / count for count in counts))
    return _as_ratio(Estimates.of(middle, error, float(free)))


def _as_ratio(found: Estimates) -> Interval:
    low, high = found.bounds()
    with np.errstate(over="ignore", under="ignore"):
        bounds = [float(np.exp(each[0])) for each in (low, found.middles, high)]
    return Interval(bounds[0], bounds[1], bounds[2], VERDICT_CONFIDENCE)


def _taken_back(each: Movement, later: Iterable[Movement]) -> int | None:
    """The place from which on later ones had taken more than half of it back."""
    size = math.log(each.ratio.mid)
    left = size
    for other in later:
        shared = len(set(other.rows) & set(each.rows))
        if other.at > each.at and 2 * shared >= len(each.rows):
            left += math.log(other.ratio.mid)
        if abs(left) < abs(size) / 2 or left * size < 0:
            return other.at
    return None


# Medians of what is there


def _polished(logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The level of each case and what the cases of each session share, in the median."""
    levels, shared = _medians(logs, axis=1), np.zeros(logs.shape[1])
    for _ in range(_POLISHING):
        before = shared
        shared = _medians(logs - levels[:, None], axis=0)
        levels = _medians(logs - shared, axis=1)
        if np.allclose(before, shared, atol=1e-12, equal_nan=True):
            break
    return levels, shared


def _medians(values: FloatArray, axis: int) -> FloatArray:
    """Of numbers; not a number where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=axis))


def _least_median(values: FloatArray) -> float:
    """A median; of an even number, what lies nearest to 0 between the middle two."""
    ordered = np.sort(values)
    low, high = float(ordered[(ordered.size - 1) // 2]), float(ordered[ordered.size // 2])
    return 0.0 if low < 0 < high else min(low, high, key=abs)
