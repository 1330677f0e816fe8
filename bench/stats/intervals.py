"""Compute intervals of medians and of means over processes, some of which may be outlying.

All functions work on arrays, so that many cases cost little more than one. A function with a name
in the singular does the same for one case.

The mean over processes uses a model in which each process is either good (normal around the true
log) or outlying (normal, but with a wider distribution). Expectation and maximization (Dempster,
Laird & Rubin 1977) estimates how likely each process is to be good, and weights it accordingly. The
spread of the good processes is shrunk towards the spread that was seen in many sessions ("moderated
t", Smyth 2004). The further it lies above that spread, the less it is shrunk. The constants were
chosen by simulation (``python -m research.verdict_study``), so that at most 1% of equal pairs are
called different, whatever the noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bench.machine.reasons import Reason
from bench.records.streaming import Interval as Interval

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# From 6 values on, the range from minimum to maximum is a 95% interval of the median (1 - 2/2**6 =
# 0.969), and the t-quantile (4.77) is small enough to be useful. With fewer values, an allowance is
# added.
ENOUGH_PROCESSES = 6

# The interval is two-sided, so 0.5% of equal pairs are expected to be called FASTER or SLOWER. That
# is half of the promised 1%, because real spreads are not normal.
VERDICT_CONFIDENCE = 0.995
CASE_CONFIDENCE = 0.95

# The expected share of outlying processes. In the noises that this must withstand, one process in
# ten is outlying, but a larger share here would take the ends of a wide normal spread for outliers.
OUTLYING_SHARE = 0.01
# The distance of an outlying process, in spreads of good processes (0.25 if those spread by 5%).
OUTLYING_REACH = 5.0
# Beyond three times this distance, any distance is equally likely: a process may also take ten
# times as long.
FAR = 3.0

# The degrees of freedom of the spread that was seen before. The squared spreads of the reference
# results' pairs vary as if each were known with 3 degrees.
DEGREES = 3.0
# The spread between good processes towards which theirs is shrunk, from 6 processes on (of log
# ratios or log medians). Half of the pairs of the reference results spread by less than 4.3%, and
# their root mean square is 5.1%.
ENOUGH_SPREAD = 0.05
# Six or more processes that agree three times as well are on a quieter machine. The weight of the
# spread seen before fades with the fourth power, so that a spread of 0.5% has an interval of its
# own.
QUIETER = 3.0

# A single process may be outlying without showing it, so its error is this much larger.
ALONE = 1.4

# The interval is at least as wide as the t-interval of the good processes at this confidence. The
# confidence is lower for few processes, since one or two show nothing.
FLOOR_CONFIDENCE = {2: 0.80, 3: 0.95, 4: 0.98, 5: 0.99}
# The standard deviation that every comparison over a reference backend allows for. The reference is
# measured in two kinds of processes. Because of the libraries loaded next to it, it may be slower
# in one kind, and no number of processes shows that.
REFERENCE_ALLOWANCE = 0.01
# Weighting by likelihood leaves out a little of every process, which makes the interval wider than
# its confidence by this share. The effect fades if there are many processes.
TOO_WIDE = 0.08
TOO_WIDE_UNTIL = 20

# Six or more processes in order may have shifted during the session. If a part of them differs
# significantly from the rest, at this confidence, it widens the interval. In simulations where one
# of two equal sides becomes 6% slower, this reduces the false verdicts from 76% to 25% for a shift
# after a quarter of 20 processes, and from 39% to 7% for a shift in the middle half. It costs a
# tenth of the power if 20 processes that spread as in the reference results are to find a
# difference of 5%. A lower confidence would find more shifts and cost more power.
PART_CONFIDENCE = 0.99
# A split leaves at least a quarter of the processes on either side. Fewer are outlying processes.
SPLIT_SHARE = 0.25
# A part between two changes has about half of the processes. Every further length that is tested
# costs power, because some part of independent processes always differs by chance.
INNER_SHARE = 0.45
# Inner parts begin and end at about this many places, which limits the work for many processes.
INNER_PLACES = 40
# Values that are further from the middle than this number of spreads count as if they were at that
# distance. The exception is that at least as many values as the smallest part has are further away.
SHIFT_CLIP = 3.0
# The correlation of successive processes counts only beyond this one-sided confidence, because that
# of 20 independent processes has a standard deviation of 0.22.
CORRELATION_CONFIDENCE = 0.95
# With a higher correlation, the few processes cannot show how far off their mean may be.
MOST_CORRELATED = 0.8

_STEPS = 12


@dataclass(frozen=True, slots=True)
class CaseInterval(Interval):
    """A value over processes.

    basis: what the bounds are based on. allowance: the spread between processes (or nodes) that was
    assumed, or None. nodes: the number of machines of one kind, 0 if they are not distinguished.
    between, within: how far nodes, and the processes of a node, spread (standard deviations of
    logs), or None if that is unknown.
    """

    processes: int
    allowance: float | None
    basis: Reason
    nodes: int = 0
    between: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Estimates:
    """The t distributions of true logs, with arrays ``[cases]``."""

    middles: FloatArray
    errors: FloatArray
    degrees: FloatArray

    @classmethod
    def of(cls, *numbers: float) -> Self:
        """Return the distribution of one case."""
        return cls(*(np.array([number]) for number in numbers))

    def minus(self, base: Estimates) -> Estimates:
        """Return the differences, by Welch's method with Satterthwaite's degrees of freedom."""
        own, others = self.errors**2, base.errors**2
        variance = own + others
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = variance**2 / (own**2 / self.degrees + others**2 / base.degrees)
        least = np.minimum(self.degrees, base.degrees)
        degrees = np.where(variance == 0, least, degrees)
        return Estimates(self.middles - base.middles, np.sqrt(variance), degrees)

    def bounds(self, confidence: float = VERDICT_CONFIDENCE) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of each interval."""
        from scipy import special

        half = special.stdtrit(self.degrees, (1 + confidence) / 2) * self.errors
        return self.middles - half, self.middles + half

    def p_slower(self, threshold: float = 0.0) -> FloatArray:
        """Return p-values of "slower by at most ``threshold``".

        Raise ValueError for -1 and less.
        """
        from scipy import special

        if not threshold > -1:
            raise ValueError(f"threshold is {threshold!r}")
        beyond = self.middles - math.log1p(threshold)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(beyond == 0, 0.0, beyond / self.errors)
        return np.asarray(special.stdtr(self.degrees, -t))


@dataclass(frozen=True)
class Means(Estimates):
    """The means over the processes of each case.

    spreads: the standard deviation between the good processes, NaN for one process. excluded: how
    many processes were excluded as outlying, in fractions of processes. plain: the arithmetic mean
    of all processes. steady_errors: the errors without an allowance for the order of the processes.
    shifts: how far a part of the session is from the rest, if that widens the interval, or else 0.
    correlations: the correlation of successive processes, if that widens the interval, or else 0.
    """

    spreads: FloatArray
    excluded: FloatArray
    plain: FloatArray
    steady_errors: FloatArray
    shifts: FloatArray
    correlations: FloatArray

    @classmethod
    def where(cls, found: Estimates, spreads: FloatArray, excluded: FloatArray) -> Means:
        """Return estimates with their spreads, without an order of processes."""
        middles, errors = found.middles, found.errors
        none = np.zeros_like(middles)
        return cls(middles, errors, found.degrees, spreads, excluded, middles, errors, none, none)

    def with_own(self, errors: float | FloatArray) -> Means:
        """Add another standard error in quadrature."""
        both = (np.hypot(each, errors) for each in (self.errors, self.steady_errors))
        return replace(self, **dict(zip(("errors", "steady_errors"), both, strict=True)))

    def over_reference(self) -> Means:
        """Return the means of one side of a comparison over a reference.

        The reference itself may differ between the sides.
        """
        return self.with_own(REFERENCE_ALLOWANCE / math.sqrt(2))


@dataclass(frozen=True)
class _Model:
    """The spread that was seen before.

    few: whether there are too few processes to contradict it.
    """

    spread: FloatArray
    few: bool

    def wide(self, variance: FloatArray, squares: FloatArray) -> FloatArray:
        """Return the variance of an outlying process at each squared distance."""
        usual = variance + (OUTLYING_REACH * self.spread) ** 2
        return np.maximum(usual[:, None], squares / FAR**2)

    def share(self, variance: FloatArray) -> FloatArray:
        """Return the weight of the earlier spread next to the processes' variance.

        The weight is a number of degrees of freedom.
        """
        ratio = variance / self.spread**2
        share = DEGREES * np.minimum(1.0, 1 / ratio)
        # The result stays above 0 for equal logs, because it is a divisor.
        fade = np.clip((QUIETER**2 * ratio) ** 2, 1e-12, 1.0)
        return share if self.few else share * fade


def process_means(
    logs: FloatArray, allowance: float | FloatArray, in_order: bool | BoolArray = False
) -> Means:
    """Return the mean of ``logs [cases, processes]``.

    allowance: a number or ``[cases]``, the spread between processes that stands for what fewer than
    6 processes cannot show. in_order: one value or ``[cases]``, whether the processes are in the
    order in which they ran. A shift of a part of them, and the correlation of successive processes,
    then widen the interval.
    """
    cases, count = logs.shape
    spread = np.broadcast_to(np.asarray(allowance, dtype=np.float64), (cases,))
    if count == 1:
        alone = Estimates(logs[:, 0].copy(), ALONE * spread, np.full(cases, DEGREES))
        return Means.where(alone, np.full(cases, np.nan), np.zeros(cases))
    few = count < ENOUGH_PROCESSES
    model = _Model(spread if few else np.full(cases, ENOUGH_SPREAD), few)
    separate, centre = _around_median(logs)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        some_outlying, all_good = _some_outlying(separate, model), _all_good(separate, model)
        # The likelihoods are NaN if all processes are too far off. All are then taken as good.
        first = some_outlying.likelihood >= all_good.likelihood
        likelier = _Fit(
            *(
                np.where(first[:, None] if one.ndim == 2 else first, one, other)
                for one, other in zip(some_outlying, all_good, strict=True)
            )
        )
        means = _with_errors(separate, centre, likelier, model)
    if few:
        return means
    errors = means.errors * (1 - TOO_WIDE * min(1.0, TOO_WIDE_UNTIL / count))
    return _allow_for_order(replace(means, errors=errors, steady_errors=errors), logs, in_order)


def _allow_for_order(means: Means, logs: FloatArray, in_order: bool | BoolArray) -> Means:
    """Widen intervals if a part of the processes shifted, or if successive ones are correlated."""
    from scipy import special

    ordered = np.broadcast_to(np.asarray(in_order, dtype=np.bool_), means.middles.shape)
    if not ordered.any():
        return means
    values = logs - means.middles[:, None]
    # A part that shifted far on a quiet machine is not an outlier, although the mean excludes it.
    furthest = np.sort(np.abs(values), axis=1)[:, -_fewest_shifted(logs.shape[1]), None]
    reach = np.maximum(SHIFT_CLIP * means.spreads[:, None], furthest)
    values = np.clip(values, -reach, reach)
    values = values - values.mean(axis=1, keepdims=True)
    quantile = special.stdtrit(means.degrees, (1 + VERDICT_CONFIDENCE) / 2)
    steady = quantile * means.errors
    shifted, shifts = _shifted_parts(values)
    correlations = _correlations(values)
    correlated = steady * _mean_error_factors(correlations, logs.shape[1])
    wide = np.maximum(shifted, correlated)
    wider = ordered & (wide > steady)
    # A shift also makes successive processes alike, and is then the reason to report.
    by_shift = shifted > steady
    return replace(
        means,
        errors=np.where(wider, wide / quantile, means.errors),
        shifts=np.where(wider & by_shift, shifts, 0.0),
        correlations=np.where(wider & ~by_shift, correlations, 0.0),
    )


def _shifted_parts(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the half width that shifted parts require, and the shift of the clearest part.

    Each part of the session is compared with the rest. If a part differs significantly, the next
    session may have the level of the part or that of the rest, so the interval must contain both.
    A part differs significantly if two levels explain the processes better than one level: the sum
    of squares then falls by more than the critical value of a likelihood-ratio test.

    values: ``[cases, processes]``, around 0.
    """
    from scipy import special

    count = values.shape[1]
    starts, ends = _parts(count)
    inside = ends - starts
    outside = count - inside
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    distances = np.abs(sums[:, ends] - sums[:, starts]) * (count / (inside * outside))
    between = distances**2 * (inside * outside / count)
    squares = np.sum(values**2, axis=1, keepdims=True)
    critical = special.stdtrit(count - 2.0, (1 + PART_CONFIDENCE) / 2) ** 2
    excess = between - critical * np.maximum(squares - between, 0.0) / (count - 2)
    beyond = np.sqrt(np.maximum(excess, 0.0))
    halves = np.maximum(
        outside / count * distances + beyond / np.sqrt(inside),
        inside / count * distances + beyond / np.sqrt(outside),
    )
    halves = np.where(excess > 0, halves, 0.0)
    clearest = np.argmax(between, axis=1)[:, None]
    return halves.max(axis=1), np.take_along_axis(distances, clearest, axis=1)[:, 0]


def _fewest_shifted(count: int) -> int:
    """Return how many processes the smallest part has. A single process would be an outlier."""
    return max(2, round(SPLIT_SHARE * count))


@functools.cache
def _parts(count: int) -> tuple[IntArray, IntArray]:
    """Return the first process of each part that may have shifted, and the first one after it.

    There are parts from the first process on, whose rest is a part up to the last one, and inner
    parts.
    """
    least = _fewest_shifted(count)
    parts = [(0, end) for end in range(least, count - least + 1)]
    shortest, step = max(2, round(INNER_SHARE * count)), max(1, count // INNER_PLACES)
    parts += [
        (start, start + length)
        for length in range(shortest, count - shortest + 1, step)
        for start in range(1, count - length, step)
    ]
    starts, ends = np.array(parts).T
    return starts, ends


def _correlations(values: FloatArray) -> FloatArray:
    """Return the correlation of successive values ``[cases, processes]`` around 0, if significant.

    It is 0 otherwise. For independent values, the mean of the estimate is -1/n.
    """
    from scipy import special

    count = values.shape[1]
    squares = np.sum(values**2, axis=1)
    products = np.sum(values[:, 1:] * values[:, :-1], axis=1)
    found = products / np.where(squares > 0, squares, 1.0) + 1 / count
    least = special.ndtri(CORRELATION_CONFIDENCE) / math.sqrt(count)
    return np.where(found > least, np.minimum(found, MOST_CORRELATED), 0.0)


def _mean_error_factors(correlations: FloatArray, count: int) -> FloatArray:
    """Return by how much correlation increases the standard error of a mean of ``count`` values.

    The values are taken to be a first-order autoregression, in which values at a distance of ``k``
    have the correlation r**k.
    """
    lags = np.arange(1, count)
    powers = correlations[:, None] ** lags
    return np.asarray(np.sqrt(1 + 2 * np.sum((1 - lags / count) * powers, axis=1)))


def _around_median(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the values of each case minus their median, and these medians."""
    # Sorting makes the result independent of the order, even in the last digit.
    ordered = np.sort(values, axis=1)
    centre = _median(ordered)
    return ordered - centre[:, None], centre


class _Fit(NamedTuple):
    """Hold a fit of each case.

    It has the middle, the variance of the good processes, the probability of each process to be
    good, and the likelihood.
    """

    middle: FloatArray
    variance: FloatArray
    good: FloatArray  # Has the shape [cases, processes], with values from 0 to 1.
    likelihood: FloatArray


def _some_outlying(separate: FloatArray, model: _Model) -> _Fit:
    # The iteration starts from the median and the spread of the inner half, which outliers hardly
    # change.
    count = separate.shape[1]
    middle = np.zeros(len(separate))
    # This is the sd of a normal distribution.
    inner = 1.4826 * _median(np.sort(np.abs(separate), axis=1))
    variance = (DEGREES * model.spread**2 + (count - 1) * inner**2) / (DEGREES + count - 1)
    good = np.ones_like(separate)
    for _ in range(_STEPS):
        squares = (separate - middle[:, None]) ** 2
        wide = model.wide(variance, squares)
        # This is how likely each process is to be good, given its squared distance from the middle.
        narrow = variance[:, None]
        odds = OUTLYING_SHARE / (1 - OUTLYING_SHARE) * np.sqrt(narrow / wide)
        good = 1 / (1 + odds * np.exp(squares * (1 / narrow - 1 / wide) / 2))
        weights = good / variance[:, None] + (1 - good) / wide
        middle = np.sum(weights * separate, axis=1) / np.sum(weights, axis=1)
        squares = good * (separate - middle[:, None]) ** 2
        variance = _drawn(np.sum(squares, axis=1), np.sum(good, axis=1), model)[0]
    squares = (separate - middle[:, None]) ** 2
    wide = model.wide(variance, squares)
    deviation = np.sqrt(variance)[:, None]
    near = (1 - OUTLYING_SHARE) * np.exp(-squares / variance[:, None] / 2) / deviation
    far = OUTLYING_SHARE * np.exp(-squares / wide / 2) / np.sqrt(wide)
    return _Fit(middle, variance, good, np.sum(np.log(near + far), axis=1))


def _all_good(separate: FloatArray, model: _Model) -> _Fit:
    count = separate.shape[1]
    middle = np.mean(separate, axis=1)
    squares = np.sum((separate - middle[:, None]) ** 2, axis=1)
    variance = _drawn(squares, np.full(len(separate), float(count)), model)[0]
    likelihood = -(count * np.log(variance) + squares / variance) / 2
    return _Fit(middle, variance, np.ones_like(separate), likelihood)


def _with_errors(separate: FloatArray, centre: FloatArray, found: _Fit, model: _Model) -> Means:
    from scipy import special

    count = separate.shape[1]
    distances = (separate - found.middle[:, None]) ** 2
    wide = model.wide(found.variance, distances)
    weights = found.good / found.variance[:, None] + (1 - found.good) / wide
    squares = np.sum(found.good * distances, axis=1)
    kept = np.sum(found.good, axis=1)
    free = np.maximum(kept - 1, 0.5)
    own = np.sqrt(squares / free)
    degrees = _drawn(squares, kept, model)[1]
    errors = 1 / np.sqrt(np.sum(weights, axis=1))
    plain = own / np.sqrt(kept)
    floor = FLOOR_CONFIDENCE.get(count, VERDICT_CONFIDENCE)
    verdict_quantile = special.stdtrit(degrees, (1 + VERDICT_CONFIDENCE) / 2)
    least = plain * special.stdtrit(free, (1 + floor) / 2) / verdict_quantile
    if count < ENOUGH_PROCESSES:
        errors = np.maximum(errors, least)
    else:
        # In this case it is the plain t-interval with its own tails, on which stricter levels
        # depend.
        floored = least > errors
        errors, degrees = np.where(floored, plain, errors), np.where(floored, free, degrees)
    means = Means.where(Estimates(centre + found.middle, errors, degrees), own, count - kept)
    return replace(means, plain=centre + np.mean(separate, axis=1))


def _drawn(squares: FloatArray, kept: FloatArray, model: _Model) -> tuple[FloatArray, FloatArray]:
    """Return the variance of ``kept`` squares and the degrees of freedom.

    The variance is shrunk towards that of the model.
    """
    free = np.maximum(kept - 1, 0.0)
    share = np.where(free > 0.3, model.share(squares / np.maximum(free, 1e-9)), DEGREES)
    degrees = share + free
    return (share * model.spread**2 + squares) / degrees, degrees


def _median(ordered: FloatArray) -> FloatArray:
    count = ordered.shape[1]
    below, above = ordered[:, (count - 1) // 2], ordered[:, count // 2]
    return np.asarray(below + (above - below) / 2)


UNPAIRED_ALLOWANCE = 0.29
# For the time of a case over 2 to 5 processes. Their spread is taken to be at least the smallest
# spread that was seen, because few processes often agree by chance. The interval is at most as wide
# as the largest spread that was seen requires, because Student's t of two processes (12.7) would
# make it useless. With 99% for the second limit, the interval covers in 94.5% at this largest
# spread, and in 95% below it.
LEAST_SPREAD = 0.03
MOST_SPREAD = UNPAIRED_ALLOWANCE
CAP_CONFIDENCE = 0.99


# One case's samples


def speed(time_ratio: float) -> float:
    """Return the inverse of a ratio of times, so that above 1 means faster."""
    return 1 / time_ratio if time_ratio else math.inf


def median_interval(samples: npt.ArrayLike, confidence: float = CASE_CONFIDENCE) -> Interval:
    """Return the median of ``samples [n]`` with the nonparametric interval of order statistics.

    The bounds are the k-th smallest and the k-th largest sample, with the largest k that the exact
    binomial distribution allows. The interval therefore covers the median at least as often as
    requested, whatever the distribution of the samples (David & Nagaraja, *Order Statistics*, 7.1).
    With fewer than 6 samples, 95% cannot be reached: the bounds are then the extremes, and
    ``confidence`` is what they achieve.

    Raises ValueError for samples that are empty, not finite or not positive.
    """
    values = check_times("samples", samples)
    low, mid, high, coverage = median_intervals(values, np.array([0, values.size]), confidence)
    return Interval(float(low[0]), float(mid[0]), float(high[0]), float(coverage[0]))


def median_intervals(
    values: FloatArray, offsets: IntArray, confidence: float = CASE_CONFIDENCE
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return low, mid, high and confidence, ``[cases]`` each, of many cases at once.

    values: ``[total]``, the samples of any sign, one case after the other. offsets: ``[cases +
    1]``, where each case begins, and the end.
    """
    sizes = np.diff(offsets)
    if sizes.size == 0 or np.any(sizes < 1):
        raise ValueError("no samples")
    if offsets[0] != 0 or offsets[-1] != values.size:
        raise ValueError(f"offsets end at {offsets[-1]}")
    if not np.all(np.isfinite(values)):
        raise ValueError("sample not finite")
    if np.all(sizes == sizes[0]):
        # Sorting the rows of one table is many times as fast.
        ordered = np.sort(values.reshape(sizes.size, -1), axis=1).ravel()
    else:
        segment = np.repeat(np.arange(sizes.size), sizes)
        ordered = values[np.lexsort((values, segment))]
    start = offsets[:-1]
    ranks, coverage = _order_statistics(sizes, confidence)
    below = ordered[start + (sizes - 1) // 2]
    above = ordered[start + sizes // 2]
    mid = below + (above - below) / 2  # Unlike (below + above) / 2, this cannot overflow.
    return ordered[start + ranks - 1], mid, ordered[start + sizes - ranks], coverage


Runs = Sequence[tuple[str, npt.ArrayLike]]
"""The node of each process of a case (empty if nodes are not distinguished), and its samples."""


def case_interval(runs: Sequence[npt.ArrayLike]) -> CaseInterval:
    """Return the time of one case from the samples of each of its processes (seconds per step).

    The middle is the median of the processes' medians. With 6 or more processes, the bounds are
    order statistics of these medians. With 2 to 5 processes, they are a t-interval on their
    logarithms. Its spread is taken to be at least ``LEAST_SPREAD``, and the interval is never wider
    than ``MOST_SPREAD`` requires. It covers in 94% or more for all spreads between these two. A
    single process shows nothing about others: the bounds are order statistics of its own samples,
    and ``confidence`` is that of its own median (0 with one sample).

    Raises ValueError without a run, and for samples that are empty, not finite or not positive.
    """
    return case_intervals([[("", samples) for samples in runs]])[0]


def case_intervals(cases: Sequence[Runs]) -> list[CaseInterval]:
    """Return ``case_interval`` of many cases at once, over nodes if these are distinguished.

    With nodes, the middle is the median over the nodes of the median over their processes. The
    bounds are computed as over this number of processes. A single node says nothing about others.
    """
    if not all(len(runs) for runs in cases):
        raise ValueError("no runs")
    if len(cases) == 0:
        return []
    arrays = [
        check_times(f"run {index} samples", samples)
        for runs in cases
        for index, (_, samples) in enumerate(runs)
    ]
    sizes = boundaries(np.array([values.size for values in arrays]))
    inside = np.array(median_intervals(np.concatenate(arrays), sizes))
    counts = np.array([len(runs) for runs in cases])
    starts = boundaries(counts)
    found = np.empty((4, len(cases)))
    for count in np.unique(counts).tolist():
        here = np.flatnonzero(counts == count)
        rows = starts[here][:, None] + np.arange(count)
        alone = count == 1
        found[:, here] = inside[:, rows[:, 0]] if alone else time_bounds(inside[1, rows])
    intervals = []
    for at, runs in enumerate(cases):
        nodes: dict[str, list[float]] = {}
        for (node, _), median in zip(runs, inside[1, starts[at] :], strict=False):
            if node:
                nodes.setdefault(node, []).append(float(median))
        low, mid, high, covered = found[:, at].tolist()
        own = CaseInterval(low, mid, high, covered, *_case_basis(len(runs)))
        intervals.append(_over_nodes(own, list(nodes.values())) if nodes else own)
    return intervals


def time_bounds(
    times: FloatArray, widest: float = MOST_SPREAD
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return low, middle, high and confidence of times ``[cases, units]`` of two or more units.

    widest: the spread beyond which the spread of 2 to 5 units no longer widens the interval.
    """
    from scipy import special

    cases, count = times.shape
    offsets = count * np.arange(cases + 1)
    low, mid, high, covered = median_intervals(times.ravel(), offsets)
    if count >= ENOUGH_PROCESSES:
        return low, mid, high, covered
    logs = np.sort(np.log(times), axis=1)
    # Around the mean of the logs, since a median is never further from it than this.
    centre, spread = np.mean(logs, axis=1), np.std(logs, axis=1, ddof=1)
    quantile = special.stdtrit(count - 1.0, (1 + CASE_CONFIDENCE) / 2)
    most = special.ndtri((1 + CAP_CONFIDENCE) / 2)
    half = np.minimum(
        quantile * np.maximum(spread, LEAST_SPREAD), most * np.maximum(spread, widest)
    ) / math.sqrt(count)
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(centre - half), mid, np.exp(centre + half), np.full(cases, CASE_CONFIDENCE)


OF_MEDIANS, OF_ITS_SAMPLES, OF_ITS_CALLS = "of_medians", "of_its_samples", "of_its_calls"
"""The codes of what the interval of a time is based on: several processes, or one."""


@functools.cache
def _case_basis(count: int) -> tuple[int, float | None, Reason]:
    """Return the number of processes, the allowance, and the reason that contains both."""
    if count == 1:
        return count, None, Reason(OF_ITS_SAMPLES)
    allowance = None if count >= ENOUGH_PROCESSES else LEAST_SPREAD
    return count, allowance, Reason(OF_MEDIANS, {"processes": count, "allowance": allowance})


# Nodes are machines of one kind.

# The model is log(time) = case + node + process, with an effect of each node and of each process.
# The processes of a node are not independent, so the unit is the node: one number, the mean over
# its processes. Nodes have equal weights, however many processes each has, and the interval is a
# t-interval over the nodes. If nodes are not known equally well, it covers at least as often as it
# claims (Ibragimov and Müller, *t-Statistic Based Correlation and Heterogeneity Robust Inference*,
# 2010). No node is excluded. The spread of two to five nodes is shrunk towards an allowance.

RATIO_ALLOWANCE = 0.03
"""The spread between nodes of a *ratio* of two backends that is assumed with fewer than 6 nodes.

It has not been measured on many machines, so it is a choice. The simulated rates in
``docs/verdicts.md`` hold up to a spread of 10%.
"""

TIME_ALLOWANCE = 0.10
"""The same for *times*, if two backends share no node.

GPUs of one model in one data centre were seen to differ by 8% on average (Sinha et al., *Not All
GPUs Are Created Equal*, SC '22).
"""


def means_over_nodes(each: Estimates, allowance: float) -> Means:
    """Return the mean over the nodes of each case, from the estimates of nodes ``[cases, nodes]``.

    ``spreads`` is the standard deviation of the nodes' means, NaN for one node.
    """
    cases, count = each.middles.shape
    if count > 1:
        own = np.sqrt(np.mean(np.sort(each.errors, axis=1) ** 2, axis=1))
        # The spread of nodes is shrunk towards the allowance, however many nodes there are. From 6
        # nodes on, the interval is never narrower than the plain t-interval.
        model = _Model(np.hypot(allowance, own), count < ENOUGH_PROCESSES)
        separate, centre = _around_median(each.middles)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            return _with_errors(separate, centre, _all_good(separate, model), model)
    # One node says no more about other nodes than one process about other processes.
    nothing = np.zeros(cases)
    others = Estimates(nothing, np.full(cases, ALONE * allowance), np.full(cases, DEGREES))
    alone = Estimates(each.middles[:, 0], each.errors[:, 0], each.degrees[:, 0]).minus(others)
    return Means.where(alone, np.full(cases, np.nan), nothing)


def spread_between(means: FloatArray, own: float | None) -> float | None:
    """Return how far nodes spread beyond what their processes explain, or None if that is unknown.

    The result comes from the unweighted sum of squares of unbalanced groups (Thomas and Hultquist
    1978), and is at least 0.

    means: ``[nodes]``, in logs. own: the mean variance of these means that comes from the
    processes.
    """
    if own is None or means.size < 2:
        return None
    return math.sqrt(max(0.0, float(np.var(np.sort(means), ddof=1)) - own))


def pooled_spread(spreads: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """Return the spread within nodes, from the spreads of their processes.

    None if no node has two processes.
    """
    known = [(n - 1, s) for s, n in zip(spreads, counts, strict=True) if s is not None and n > 1]
    free = sum(degrees for degrees, _ in known)
    return math.sqrt(sum(degrees * s**2 for degrees, s in known) / free) if free else None


OF_ONE_NODE, OF_NODES_MEDIANS = "of_one_node", "of_nodes_medians"
"""The codes of what the interval of a time over nodes is based on."""


def _over_nodes(alone: CaseInterval, nodes: Sequence[Sequence[float]]) -> CaseInterval:
    """Return the interval of a case over the medians of nodes.

    alone: the interval over all processes as if they were of one node.
    """
    count, sizes = len(nodes), [len(each) for each in nodes]
    spreads = [float(np.std(np.log(each), ddof=1)) if len(each) > 1 else None for each in nodes]
    within = pooled_spread(spreads, sizes)
    if count == 1:
        basis = Reason(OF_ONE_NODE, {"of": alone.basis})
        return replace(alone, basis=basis, nodes=1, within=within)
    medians = np.array([np.median(each) for each in nodes])
    share = float(np.mean([1 / size for size in sizes]))
    own = None if within is None else within**2 * share
    # If no node has two processes, their spread is taken to be the largest that was seen.
    widest = math.sqrt(TIME_ALLOWANCE**2 + (MOST_SPREAD**2 * share if own is None else own))
    low, middle, high, covered = (float(each[0]) for each in time_bounds(medians[None], widest))
    allowance = None if count >= ENOUGH_PROCESSES else LEAST_SPREAD
    numbers = {"nodes": count, "processes": alone.processes, "allowance": allowance}
    return CaseInterval(
        *(low, middle, high, covered, alone.processes, allowance),
        Reason(OF_NODES_MEDIANS, numbers),
        nodes=count,
        between=spread_between(np.log(medians), own),
        within=within,
    )


def _order_statistics(sizes: IntArray, confidence: float) -> tuple[IntArray, FloatArray]:
    """Return the rank k of the interval from k-th smallest to k-th largest, and its confidence.

    This is the largest k for which ``1 - 2 P(Binomial(n, 1/2) <= k - 1)`` is at least
    ``confidence``, found by bisection. It is 1 (the extremes) if even these do not reach the
    confidence.
    """
    from scipy import special

    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}")
    counts, where = np.unique(sizes, return_inverse=True)
    tail = (1 - confidence) / 2
    good, bad = np.ones_like(counts), counts // 2 + 1
    while np.any(bad - good > 1):
        middle = (good + bad) // 2
        fits = special.bdtr(middle - 1.0, counts, 0.5) <= tail
        good, bad = np.where(fits, middle, good), np.where(fits, bad, middle)
    coverage = 1 - 2 * special.bdtr(good - 1.0, counts, 0.5)
    # Rounding must not make the confidence of a single sample (0) negative.
    coverage = np.maximum(coverage, 0.0)
    return good[where], np.asarray(coverage[where], dtype=np.float64)


def boundaries(sizes: IntArray) -> IntArray:
    """Return where each segment of these sizes begins, and the end."""
    return np.concatenate([[0], np.cumsum(sizes)])


def check_times(name: str, samples: npt.ArrayLike) -> FloatArray:
    """Return times as an array. Raise ValueError unless all are above 0 and finite."""
    try:
        values = np.asarray(samples, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not numbers") from error
    if values.ndim != 1:
        raise ValueError(f"{name}: shape {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name}: empty")
    # The comparisons are false for NaN.
    if not (values.min() > 0 and values.max() < math.inf):
        good = np.isfinite(values) & (values > 0)
        index = int(np.argmin(good))
        raise ValueError(f"{name}[{index}] is {float(values[index])!r}")
    return values


# Steady states and percentiles of samples


WARMUP_BLOCKS = 6
"""The number of blocks in which a steady state is looked for during warm-up.

Two halves of three blocks differ by chance in one of ten cases, and then one more round settles it.
"""

DRIFT = 0.05
"""Two halves of the samples that differ by less are equal. Such a drift changes no answer."""

FEWEST_SAMPLES = 6
"""Fewer samples have no 95% interval of the median: all 5 lie on one side of it in 2 * 0.5**5 =
6%.
"""


def relative_half_width(samples: Sequence[float]) -> float:
    """Return the relative half width of the median's 95% interval, infinite if there is none."""
    if len(samples) < FEWEST_SAMPLES:
        return math.inf
    return median_interval(samples).half_width


def halves_agree(samples: Sequence[float]) -> bool | None:
    """Return whether the earlier and the later half of ``samples`` have the same speed.

    They do if their medians differ by less than ``DRIFT``, or if the 95% intervals of the medians
    overlap. If a half is too short for an interval, its range counts. Returns None with fewer than
    ``WARMUP_BLOCKS`` samples.
    """
    if len(samples) < WARMUP_BLOCKS:
        return None
    middle = len(samples) // 2
    first, second = median_interval(samples[:middle]), median_interval(samples[middle:])
    if abs(first.mid - second.mid) <= DRIFT * min(first.mid, second.mid):
        return True
    return first.low <= second.high and second.low <= first.high


PERCENTILES = (5, 25, 75, 95)

FEWEST_BEYOND = 5
"""The expected number of samples beyond a reported percentile: the 5th and the 95th need 100
samples, the 25th and the 75th need 20.

With fewer, a percentile is hardly more than the most extreme sample.
"""


def percentiles(samples: Sequence[FloatArray]) -> dict[int, float]:
    """Return those of ``PERCENTILES`` that the samples ``[n]`` of all processes together can show.

    They are interpolated linearly (Hyndman and Fan 1996, definition 7, NumPy's default).
    """
    if not samples:
        return {}
    together = np.concatenate(samples)
    beyond = {each: together.size * min(each, 100 - each) / 100 for each in PERCENTILES}
    known = [each for each, number in beyond.items() if number >= FEWEST_BEYOND]
    return dict(zip(known, np.percentile(together, known).tolist(), strict=True))
