"""How sure a time is: the interval of a median, within one process and over several.

And what else the samples of a process say: whether they have come to rest, and their percentiles.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.process_means import ENOUGH_PROCESSES, FloatArray

IntArray = npt.NDArray[np.int64]
CASE_CONFIDENCE = 0.95
UNPAIRED_ALLOWANCE = 0.29

# A case's time over 2 to 5 processes: their spread is taken to be at least the smallest that was
# seen, since a few processes agree by chance far more often than a machine is that steady, and the
# interval to be no wider than the largest that was seen asks for: Student's t of two processes
# (12.7) would make it say nothing. Two limits may fail where one does: with 99% for the second,
# both together cover in 94.5% at that largest spread, and in 95% below it.
LEAST_SPREAD = 0.03
MOST_SPREAD = UNPAIRED_ALLOWANCE
CAP_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between its bounds, and the confidence that the bounds really have.

    ``confidence`` is below what was asked for where so few samples cannot give it (the whole
    range of n samples covers the median with 1 - 2/2**n).
    """

    low: float
    mid: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """The larger distance from the middle to a bound, relative to the middle."""
        return max(self.high - self.mid, self.mid - self.low) / self.mid


@dataclass(frozen=True, slots=True)
class CaseInterval(Interval):
    """A value over processes.

    how says in words what the bounds stand on; allowance is the spread between processes (or nodes)
    that was assumed in them, None where none was. nodes: on how many machines of one kind it was
    measured, 0 where they are not told apart, as where there is one; then between and within are
    how far these and the processes of one of them spread (standard deviations of logs), as far as
    that can be told.
    """

    processes: int
    allowance: float | None
    how: str
    nodes: int = 0
    between: float | None = None
    within: float | None = None


# One case's samples


def speed(time_ratio: float) -> float:
    """How many times as fast: a ratio of times upside down, so that above 1 is faster."""
    return 1 / time_ratio if time_ratio else math.inf


def median_interval(samples: npt.ArrayLike, confidence: float = CASE_CONFIDENCE) -> Interval:
    """The median of ``samples [n]`` with the nonparametric interval of order statistics.

    The bounds are the k-th smallest and k-th largest sample, k as large as the exact binomial
    distribution allows, so the interval covers the median at least as often as asked whatever the
    samples' distribution (David & Nagaraja, *Order Statistics*, 7.1). With fewer than 6 samples
    95% cannot be reached: the bounds are the extremes and ``confidence`` says what they give.

    Raises ValueError for samples that are empty, not finite or not positive.
    """
    values = checked_times("samples", samples)
    low, mid, high, coverage = median_intervals(values, np.array([0, values.size]), confidence)
    return Interval(float(low[0]), float(mid[0]), float(high[0]), float(coverage[0]))


def median_intervals(
    values: FloatArray, offsets: IntArray, confidence: float = CASE_CONFIDENCE
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """``median_interval`` of many cases at once: low, mid, high and confidence, each ``[cases]``.

    values ``[total]``: the samples, one case after the other; offsets ``[cases + 1]``: where each
    case begins, and the end. Values may be of either sign (log ratios have medians too).

    Raises ValueError for a case without samples or a value that is not finite.
    """
    sizes = np.diff(offsets)
    if sizes.size == 0 or np.any(sizes < 1):
        raise ValueError("a median needs at least one sample")
    if offsets[0] != 0 or offsets[-1] != values.size:
        raise ValueError(f"offsets end at {offsets[-1]}; expected {values.size}, one a sample")
    if not np.all(np.isfinite(values)):
        raise ValueError("a sample is not finite")
    if np.all(sizes == sizes[0]):
        # Alike in size, as most are: sorted as rows of one table, which is many times as fast.
        ordered = np.sort(values.reshape(sizes.size, -1), axis=1).ravel()
    else:
        segment = np.repeat(np.arange(sizes.size), sizes)
        ordered = values[np.lexsort((values, segment))]
    start = offsets[:-1]
    ranks, coverage = _order_statistics(sizes, confidence)
    below = ordered[start + (sizes - 1) // 2]
    above = ordered[start + sizes // 2]
    mid = below + (above - below) / 2  # unlike (below + above) / 2 this cannot overflow
    return ordered[start + ranks - 1], mid, ordered[start + sizes - ranks], coverage


def case_interval(
    runs: Sequence[npt.ArrayLike], confidence: float = CASE_CONFIDENCE
) -> CaseInterval:
    """The time of one case, from the samples of each of its processes (seconds per step).

    The middle is the median of the processes' medians. With 6 processes or more the bounds are
    order statistics of these medians. With 2 to 5 they are a t-interval on their logarithms, their
    spread taken to be ``LEAST_SPREAD`` at least, and never wider than ``MOST_SPREAD`` asks for: it
    covers in 94% or more over all spreads between these two. One process shows nothing of the
    others: the bounds are order statistics of its own samples, and say how well *its* median is
    known (``confidence`` says how surely: 0 with one sample).

    Raises ValueError without a run, and for samples that are empty, not finite or not positive.
    """
    return case_intervals([runs], confidence)[0]


def case_intervals(
    cases: Sequence[Sequence[npt.ArrayLike]], confidence: float = CASE_CONFIDENCE
) -> list[CaseInterval]:
    """``case_interval`` of many cases at once: ``cases[i]`` has the samples of each process.

    Raises ValueError as it does.
    """
    if not all(len(runs) for runs in cases):
        raise ValueError("a case needs at least one run")
    if len(cases) == 0:
        return []
    arrays = [
        checked_times(f"samples of run {index}", run)
        for runs in cases
        for index, run in enumerate(runs)
    ]
    counts = np.array([len(runs) for runs in cases])
    offsets = boundaries(counts)
    inside = median_intervals(
        np.concatenate(arrays), boundaries(np.array([values.size for values in arrays])), confidence
    )
    low, mid, high, coverage = median_intervals(inside[1], offsets, confidence)
    few = (counts > 1) & (counts < ENOUGH_PROCESSES)
    if np.any(few):
        half = _half_of_few(np.log(inside[1]), offsets, confidence)
        # Around the mean of the logs, from which a median is never further than this.
        middle = np.add.reduceat(np.log(inside[1]), offsets[:-1]) / counts
        with np.errstate(over="ignore", under="ignore"):
            low = np.where(few, np.exp(middle - half), low)
            high = np.where(few, np.exp(middle + half), high)
        coverage = np.where(few, confidence, coverage)
    alone = counts == 1
    if np.any(alone):
        own = offsets[:-1]
        low, high, coverage = (
            np.where(alone, inside[part][own], over)
            for part, over in ((0, low), (2, high), (3, coverage))
        )
    columns = (low.tolist(), mid.tolist(), high.tolist(), coverage.tolist(), counts.tolist())
    return [
        CaseInterval(lower, middle, upper, covered, *_case_basis(count))
        for lower, middle, upper, covered, count in zip(*columns, strict=True)
    ]


def _half_of_few(logs: FloatArray, offsets: IntArray, confidence: float) -> FloatArray:
    """How far the interval of 2 to 5 processes reaches, as a logarithm; of others no matter."""
    from scipy import special

    counts, spreads = np.diff(offsets), deviations(logs, offsets)
    quantile = special.stdtrit(np.maximum(counts - 1, 1), (1 + confidence) / 2)
    most = special.ndtri((1 + max(confidence, CAP_CONFIDENCE)) / 2)
    halves = np.minimum(
        quantile * np.maximum(spreads, LEAST_SPREAD), most * np.maximum(spreads, MOST_SPREAD)
    )
    return np.asarray(halves / np.sqrt(counts), dtype=np.float64)


@functools.cache
def _case_basis(count: int) -> tuple[int, float | None, str]:
    """What a case's interval stands on: processes, allowance, and the same in words."""
    if count >= ENOUGH_PROCESSES:
        return count, None, f"{count} processes: order statistics of their medians"
    if count == 1:
        return count, None, "1 process: order statistics of its own samples, nothing of others"
    how = (
        f"{count_words(count)}: t-interval on their log medians, which are taken to spread by "
        f"{100 * LEAST_SPREAD:g}% at least"
    )
    return count, LEAST_SPREAD, how


def _order_statistics(sizes: IntArray, confidence: float) -> tuple[IntArray, FloatArray]:
    """The rank k of the interval from the k-th smallest to the k-th largest, and its confidence.

    The largest k with ``1 - 2 P(Binomial(n, 1/2) <= k - 1)`` at least ``confidence``, found by
    bisection; 1 (the extremes) where even that is less.
    """
    from scipy import special

    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; expected a number between 0 and 1")
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
    """Where each segment of these sizes begins, and the end."""
    return np.concatenate([[0], np.cumsum(sizes)])


def deviations(values: FloatArray, offsets: IntArray) -> FloatArray:
    """The standard deviation of each segment; 0 for a single value."""
    start, sizes = offsets[:-1], np.diff(offsets)
    means = np.add.reduceat(values, start) / sizes
    squares = np.add.reduceat((values - np.repeat(means, sizes)) ** 2, start)
    return np.where(sizes > 1, np.sqrt(squares / np.maximum(sizes - 1, 1)), 0.0)


def checked_times(name: str, samples: npt.ArrayLike) -> FloatArray:
    """Times as an array; raises ValueError, naming them, unless all are above 0 and finite."""
    try:
        values = np.asarray(samples, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} are no numbers: {error}") from error
    if values.ndim != 1:
        raise ValueError(f"{name} have the shape {values.shape}; expected one row of times")
    if values.size == 0:
        raise ValueError(f"{name} are empty; expected at least one time")
    # Not a number is neither above 0 nor below infinity; what is wrong is looked for only then.
    if not (values.min() > 0 and values.max() < math.inf):
        good = np.isfinite(values) & (values > 0)
        index = int(np.argmin(good))
        raise ValueError(
            f"{name}[{index}] is {float(values[index])!r}; expected a finite time above 0"
        )
    return values


def count_words(count: int) -> str:
    """A number of processes."""
    return "1 process" if count == 1 else f"{count} processes"


def count_nodes(count: int) -> str:
    """A number of nodes."""
    return "1 node" if count == 1 else f"{count} nodes"


# Whether samples have come to rest


WARMUP_BLOCKS = 6
"""Blocks that the steady state is looked for in, during warm-up: two halves of three, which fall
apart by chance in one of ten cases, and one more round settles it."""

DRIFT = 0.05
"""Two halves of the samples that differ by less count as one: a drift that would not change an
answer is not worth refusing one for."""

FEWEST_SAMPLES = 6
"""Under 6 the median has no 95% interval: all samples lie on one side of it in 2 * 0.5**5 = 6% of
cases."""


def relative_half_width(samples: Sequence[float]) -> float:
    """How far the median's 95% interval reaches, relative to it; infinite if there is none."""
    if len(samples) < FEWEST_SAMPLES:
        return math.inf
    return median_interval(samples).half_width


def halves_agree(samples: Sequence[float]) -> bool | None:
    """Whether the earlier and the later half of ``samples`` are of one speed.

    They are if their medians differ by less than ``DRIFT``, or by no more than their noise: the
    medians' 95% intervals overlap (of the whole ranges, where a half is too short for an interval).
    None if there are fewer than ``WARMUP_BLOCKS`` samples.
    """
    if len(samples) < WARMUP_BLOCKS:
        return None
    middle = len(samples) // 2
    first, second = median_interval(samples[:middle]), median_interval(samples[middle:])
    if abs(first.mid - second.mid) <= DRIFT * min(first.mid, second.mid):
        return True
    return first.low <= second.high and second.low <= first.high


# How far single blocks of steps stray: what a service that answers within a limit reckons with


PERCENTILES = (5, 25, 75, 95)

FEWEST_BEYOND = 5
"""Samples that are expected beyond a percentile for it to be said, so 100 of them for the 5th and
the 95th and 20 for the 25th and the 75th: of fewer it is hardly more than the most extreme one."""


def percentiles(samples: Sequence[FloatArray]) -> dict[int, float]:
    """Those of ``PERCENTILES`` that these samples can say, of all processes' ``[n]`` together.

    Between two samples it is interpolated linearly (Hyndman and Fan 1996, definition 7, NumPy's).
    """
    if not samples:
        return {}
    ordered = np.sort(np.concatenate(samples))
    found = {}
    for each in PERCENTILES:
        part = each / 100
        if ordered.size * min(part, 1 - part) < FEWEST_BEYOND - 1e-9:  # 20 * 0.25 is 5
            continue
        at = part * (ordered.size - 1)
        below, rest = int(at), at % 1
        above = ordered[min(below + 1, ordered.size - 1)]
        found[each] = float(ordered[below] + rest * (above - ordered[below]))
    return found
