"""Change points of many series at once: where the level of each moved, and how surely.

A series is asked for one change of level, by the largest t statistic over the places where it may
be, and for a change that was taken back, by the largest over the arcs between two places (circular
binary segmentation: Olshen, Venkatraman, Lucito & Wigler 2004). From ``LEAST_GRADUAL`` values on it
is asked for a trend in their place where a line explains it better than steps do. How large these
statistics are where nothing changed, permutations of the very series say, so that no distribution
is assumed. All series are judged together: the share of false ones among what is found is expected
to be a hundredth at the most (Benjamini & Hochberg 1995), so that where none changed one is found
in a hundredth. Pure functions over arrays.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL = 0.01
"""The share of false ones among what is found that is accepted."""

LEAST = 11
"""Values that a series must have. Of eleven, six before and five after a change, there are 462
orders, and the clearest change has p = 2 × 2/462 by chance (two ends, two questions); with ten it
would be 2 × 2/252, more than ``LEVEL``."""

LEAST_GRADUAL = 20
"""Values that a series must have to be asked for a trend: in fewer it looks like a step."""

MOST_STEPS = 4
"""Steps that a line is held against, at most."""

EDGE = 2
"""Values on either side of a change at the least: one alone is an outlier."""

REACH = 6.0
"""Values further from the median than so many robust standard deviations count as if at that
distance, so that one wild session hides no change. In the permutations, too."""

KEPT = 0.8
"""Of the differences between neighbours those that tell how alike these are: the smaller ones."""

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
class Found:
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
) -> list[Found]:
    """A change of level of each of the series ``[series, times]`` that has one, the surest first.

    A value that is not a number is one that is missing: the others close up. Rows with fewer than
    ``LEAST`` values, or whose values are all alike, have none. families: of each series; those of
    one resemble their neighbours alike. By default each is its own. arcs: whether changes that were
    taken back are looked for too, which takes time with the square of their number.
    """
    asked = []
    kinds = range(len(series)) if families is None else families
    for row, values in enumerate(np.asarray(series, dtype=np.float64)):
        columns = np.flatnonzero(np.isfinite(values))
        if columns.size >= LEAST and np.ptp(values[columns]) > _EQUAL:
            asked.append(_Series(row, columns, values[columns]))
    if not asked:
        return []
    shares = _shares(asked, kinds)
    answers = [_ask(each, shares[kinds[each.row]], _STAGES[1], arcs) for each in asked]
    sure = _discoveries(answers, level)
    # More permutations only where nothing is sure without them: they take ten times as long.
    for most in _STAGES[2:]:
        if any(sure) or not any(answer.open for answer in answers):
            break
        answers = [
            _ask(each, shares[kinds[each.row]], most, arcs) if answer.open else answer
            for each, answer in zip(asked, answers, strict=True)
        ]
        sure = _discoveries(answers, level)
    found = []
    for each, answer, told in zip(asked, answers, sure, strict=True):
        if told:
            last = answer.end == each.values.size
            until = None if last else int(each.columns[answer.end])
            at = int(each.columns[-1 if answer.gradual else answer.start])
            found.append(Found(each.row, at, until, answer.p, answer.score, answer.gradual))
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
    hundred that there is nothing. line: what is asked for in place of levels.
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
    # What only rounding tells apart has been reached.
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
    if count > _STAGES[0]:
        before = _STAGES[_STAGES.index(count) - 1]
        fresh = _drawn(n, count - before, count)
        return np.concatenate([_orders(n, before), fresh], axis=1)
    return _drawn(n, count, count)


def _drawn(n: int, count: int, stage: int) -> npt.NDArray[np.int16]:
    rng = np.random.default_rng([SEED, n, stage])
    orders = np.tile(np.arange(n, dtype=np.int16), (count, 1))
    return np.ascontiguousarray(rng.permuted(orders, axis=1).T)


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


def _shares(asked: Sequence[_Series], families: Sequence[int]) -> dict[int, float]:
    """What counts of the squared statistics of each family: (1 - r) / (1 + r).

    r: the correlation of a value with the one before, from 0 up, which is what that adds to the
    variance of a mean (of a first-order autoregression). It is seen from how much further apart
    values are two places on than one: a change of level stands in one or two of these differences,
    and hardly shows in the smaller of them. Permutations have none of it: what is taken off makes
    them say less, never more.
    """
    sums: dict[int, list[float]] = {family: [0.0, 0.0, 0.0] for family in families}
    for each in asked:
        values = each.values
        near, far = (_small(values[lag:] - values[:-lag]) for lag in (1, 2))
        if near + far > 0:
            told = (near / (near + far), far / (near + far), float(values.size))
            kept = sums[families[each.row]]
            sums[families[each.row]] = [a + b for a, b in zip(kept, told, strict=True)]
    shares = {}
    for family, (near, far, count) in sums.items():
        alike = far / near - 1 - CAUTION / math.sqrt(count) if near else 0.0
        alike = min(max(alike, 0.0), _MOST_ALIKE)
        shares[family] = (1 - alike) / (1 + alike)
    return shares


def _small(differences: FloatArray) -> float:
    squares = np.sort(differences**2)
    return float(np.mean(squares[: math.ceil(KEPT * squares.size)]))
