"""How sure a number is: intervals, ratios with their intervals, and verdicts, as pure functions.

This room knows arrays of seconds and nothing else: no files, no cases, no framework. The unit of
replication is the run (one process), because one process's median is not the truth: samples of
one process agree with one another far better than the medians of fresh processes do, and a test
that pools them finds differences that are not there (``docs/verdicts.md`` has the rates). All
intervals are made over arrays, so that many cases cost little more than one; what is named in the
singular is the face for one case of the same arithmetic. ``process_means`` knows bad processes.

Ratios are ``time_new / time_base``: below 1, the new side is faster. Spreads are standard
deviations of log times, which for small values are relative spreads (0.035 is 3.5%).
"""

from __future__ import annotations

import enum
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bench.process_means import ALONE, Means, process_means
from bench.process_means import ENOUGH_PROCESSES as ENOUGH_PROCESSES
from bench.process_means import VERDICT_CONFIDENCE as VERDICT_CONFIDENCE
from bench.process_means import FloatArray as FloatArray

IntArray = npt.NDArray[np.int64]

CASE_CONFIDENCE = 0.95
# The one-sided level of the same interval: a gate over one case fails just when the case's
# interval lies beyond the gate's threshold.
GATE_LEVEL = (1 - VERDICT_CONFIDENCE) / 2

# Two times count as the SAME where the whole interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# The largest spreads between processes that were seen on two shared CPU cores: of the ratio of two
# sides that were measured one after the other, and of the medians of a case. They stand in for the
# spread of *times* where processes are too few to show it.
SEQUENTIAL_ALLOWANCE = 0.15
UNPAIRED_ALLOWANCE = 0.29

# A case's time over 2 to 5 processes: their spread is taken to be at least the smallest that was
# seen, since a few processes agree by chance far more often than a machine is that steady, and the
# interval to be no wider than the largest that was seen asks for: Student's t of two processes
# (12.7) would make it say nothing. Two limits may fail where one does: with 99% for the second,
# both together cover in 94.5% at that largest spread, and in 95% below it.
LEAST_SPREAD = 0.03
MOST_SPREAD = UNPAIRED_ALLOWANCE
_CAP_CONFIDENCE = 0.99

# Processes that a person may be told to wait for: at a minute each, three hours.
MOST_NEEDED = 200

# Samples that are judged in one go: some 100 MB of arrays.
_MOST_AT_ONCE = 1_000_000


class Verdict(enum.StrEnum):
    """What may be said of the new side. SAME comes before the others: detectable, but too small."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


class Pairing(enum.StrEnum):
    """How the two sides of a comparison were measured, which decides how far noise cancels."""

    ALTERNATING = "alternating"  # blocks in turn, in the same processes
    SEQUENTIAL = "sequential"  # one after the other, in the same processes
    UNPAIRED = "unpaired"  # in different processes

    @property
    def allowance(self) -> float:
        """The spread between processes (sd of logs) that is assumed beside what too few show.

        The root mean square of the spreads of the reference results' pairs is 5.1%. Where the sides
        were not measured in turn 4 to 15% were seen, where in separate processes 3 to 29%: the
        geometric mean of the first, and more than that of the second, since there machines and
        days may differ too. A single process is given more (``process_means.ALONE``).
        """
        return {Pairing.ALTERNATING: 0.05, Pairing.SEQUENTIAL: 0.08, Pairing.UNPAIRED: 0.16}[self]


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

    how says in words what the bounds stand on; allowance is the spread between processes that was
    assumed in them, None where none was.
    """

    processes: int
    allowance: float | None
    how: str


@dataclass(frozen=True, slots=True)
class RunSamples:
    """What one process measured of one case.

    run: the process's id; samples of both sides with the same id share that process.
    samples ``[n]`` in seconds per step.
    rounds ``[n]``: the alternating round of each sample, or None where the case was not measured
        in turn with the other one (numbers from different groups of cases mean nothing together).

    Raises ValueError for samples that are not finite and positive, or rounds of another length.
    """

    run: str
    samples: FloatArray
    rounds: IntArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _times("samples", self.samples))
        if self.rounds is not None:
            rounds = _rounds("rounds", self.rounds, self.samples)
            object.__setattr__(self, "rounds", rounds)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio ``time_new / time_base`` with its interval, and what may be said of it.

    processes: how many stand behind it; the smaller side's number where unpaired.
    allowance: the spread between processes that was assumed beside what they show, None where
        enough were measured.
    how: the same in words.
    log_ratio, standard_error, degrees: of the t distribution that interval, verdict and p-value
        are of.
    new_logs, base_logs: each process's log median, by run.
    spread: the standard deviation between the good processes, of their log ratios or, unpaired, of
        the log medians of the side where it is larger; None where a side has one process, or for a
        mean over cases of different processes.
    aside: how many processes were left out as bad, in parts of processes (both sides together).
    """

    ratio: Interval
    verdict: Verdict
    processes: int
    pairing: Pairing
    allowance: float | None
    how: str
    log_ratio: float
    standard_error: float
    degrees: float
    new_logs: Mapping[str, float] = field(default_factory=dict, repr=False)
    base_logs: Mapping[str, float] = field(default_factory=dict, repr=False)
    spread: float | None = None
    aside: float = 0.0

    @property
    def paired(self) -> bool:
        """Whether both sides were measured in the same processes."""
        return self.pairing is not Pairing.UNPAIRED

    @property
    def inverse(self) -> Comparison:
        """The same comparison with its sides exchanged."""
        ratio, turned = self.ratio, {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        low, mid, high = (
            math.inf if each == 0 else 1 / each for each in (ratio.high, ratio.mid, ratio.low)
        )
        return replace(
            self,
            ratio=Interval(low, mid, high, ratio.confidence),
            verdict=turned.get(self.verdict, self.verdict),
            log_ratio=-self.log_ratio,
            new_logs=self.base_logs,
            base_logs=self.new_logs,
        )

    def p_slower(self, threshold: float = 0.0) -> float:
        """The one-sided p-value of "slower by at most ``threshold``" (0.05 is 5%)."""
        logs = np.array([self.log_ratio])
        errors = np.array([self.standard_error])
        return float(p_slower(logs, errors, np.array([self.degrees]), threshold)[0])


# One case's samples


def median_interval(
    samples: npt.ArrayLike, confidence: float = CASE_CONFIDENCE, *, name: str = "samples"
) -> Interval:
    """The median of ``samples [n]`` with the nonparametric interval of order statistics.

    The bounds are the k-th smallest and k-th largest sample, k as large as the exact binomial
    distribution allows, so the interval covers the median at least as often as asked whatever the
    samples' distribution (David & Nagaraja, *Order Statistics*, 7.1). With fewer than 6 samples
    95% cannot be reached: the bounds are the extremes and ``confidence`` says what they give.

    Raises ValueError for samples that are empty, not finite or not positive.
    """
    values = _times(name, samples)
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
        _times(f"samples of run {index}", run) for runs in cases for index, run in enumerate(runs)
    ]
    counts = np.array([len(runs) for runs in cases])
    offsets = _offsets(counts)
    inside = median_intervals(
        np.concatenate(arrays), _offsets(np.array([values.size for values in arrays])), confidence
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

    counts, spreads = np.diff(offsets), _sds(logs, offsets)
    quantile = special.stdtrit(np.maximum(counts - 1, 1), (1 + confidence) / 2)
    most = special.ndtri((1 + max(confidence, _CAP_CONFIDENCE)) / 2)
    halves = np.minimum(
        quantile * np.maximum(spreads, LEAST_SPREAD), most * np.maximum(spreads, MOST_SPREAD)
    )
    return np.asarray(halves / np.sqrt(counts), dtype=np.float64)


# The ratio of two cases


def log_ratio_within_run(
    new: npt.ArrayLike, base: npt.ArrayLike, rounds_new: npt.ArrayLike, rounds_base: npt.ArrayLike
) -> float:
    """``log(median(new) / median(base))`` over the rounds that both sides have, in one process.

    new ``[n]``, base ``[m]``: seconds per step; rounds_new ``[n]``, rounds_base ``[m]``: the
    alternating round of each sample.

    Raises ValueError where no round is shared, or for samples that are no times.
    """
    log_new, log_base, _ = _paired_logs(
        [RunSamples("the run", np.asarray(new), np.asarray(rounds_new))],
        [RunSamples("the run", np.asarray(base), np.asarray(rounds_base))],
    )
    if np.isnan(log_new[0]):
        raise ValueError("the two sides share no round: they were not measured in turn")
    return float(log_new[0] - log_base[0])


def compare(new: Sequence[RunSamples], base: Sequence[RunSamples]) -> Comparison:
    """The ratio ``time_new / time_base`` of two cases, with its 99.5% interval and its verdict.

    If the sides share runs, only those count, and the unit is a run's log ratio of medians: over
    the shared alternating rounds (``ALTERNATING``), or of all samples where rounds are not given
    or not shared (``SEQUENTIAL``). Else the units are each side's log medians (``UNPAIRED``).

    The interval is a t-interval over the processes in which bad ones count for little (see
    ``process_means``), or Welch's of two such sides (Welch 1947). With fewer than 6 processes (on a
    side) an allowance for this pairing stands in for what they cannot show, and each process's own
    doubt is added in quadrature; one process gets a verdict only beyond what one can be off by.

    Raises ValueError where a side is empty or has one run twice.
    """
    return compare_all([(new, base)])[0]


def compare_all(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    """``compare`` of many pairs of cases at once, each ``(new, base)``.

    Raises ValueError as it does.
    """
    found: list[Comparison] = []
    start = size = 0
    # A part at a time, so that the arrays of a large store do not stand in memory all at once.
    for index, sides in enumerate(pairs, start=1):
        size += sum(run.samples.size for side in sides for run in side)
        if size > _MOST_AT_ONCE or index == len(pairs):
            found.extend(_compare_part(pairs[start:index]))
            start, size = index, 0
    return found


def geometric_mean(comparisons: Sequence[Comparison]) -> Comparison:
    """The geometric mean of the ratios of several cases, with its interval and its verdict.

    The cases of one process share its luck, so they are not independent. Where all cases were
    measured in the same 6 processes or more, the unit is a process's own geometric mean, which
    carries that luck. Else the standard error is the mean of the cases' errors: what it is if all
    of them err together, and no more than that otherwise.

    Raises ValueError without a comparison.
    """
    if len(comparisons) == 0:
        raise ValueError("a geometric mean needs at least one ratio")
    first = comparisons[0]
    # The widest allowance, the loosest pairing and the fewest processes stand for all of them.
    order = list(Pairing)
    pairing = max((item.pairing for item in comparisons), key=order.index)
    allowance = max((item.allowance for item in comparisons if item.allowance), default=None)
    processes = min(item.processes for item in comparisons)
    cases = f"{len(comparisons)} case{'s' if len(comparisons) > 1 else ''}"
    together = allowance is None and all(
        item.pairing is first.pairing
        and item.new_logs.keys() == first.new_logs.keys()
        and item.base_logs.keys() == first.base_logs.keys()
        for item in comparisons
    )
    if not together:
        how = f"{cases}, taken to err together; {_at_least(processes)}"
        if allowance is not None:
            how += f": {_allowance_words(allowance)}"
        return _comparisons(
            np.array([np.mean([item.log_ratio for item in comparisons])]),
            np.array([np.mean([item.standard_error for item in comparisons])]),
            np.array([min(item.degrees for item in comparisons)]),
            [(processes, pairing, allowance, how)],
        )[0]
    new = {run: float(np.mean([c.new_logs[run] for c in comparisons])) for run in first.new_logs}
    base = {run: float(np.mean([c.base_logs[run] for c in comparisons])) for run in first.base_logs}
    if first.paired:
        parts = [_mean_of([new[run] - base[run] for run in new], pairing)]
    else:
        parts = [_mean_of(list(side.values()), pairing) for side in (new, base)]
    how = f"{cases}: {_words(pairing)} the geometric means of {_processes(processes)}{_SET_ASIDE}"
    found = _comparisons(*_difference(*parts), [(processes, pairing, None, how)], parts=parts)[0]
    return replace(found, new_logs=new, base_logs=base)


def all_slower(groups: Sequence[Sequence[Comparison]]) -> list[bool]:
    """Of each group of comparisons with one base, whether all are SLOWER: it is the fastest.

    They are judged together: each p-value must stand at the level over their number (Bonferroni).
    Holm's method is no help where all must stand: it would leave the weakest, which is the one that
    errs, without any correction, and with the choice of the first by its median that errs in more
    than 1% where an equal third is noisy. A single comparison is judged as by its verdict. False
    where there is none.
    """
    every = [found for group in groups for found in group]
    if not every:
        return [False] * len(groups)
    numbers = np.array([(each.log_ratio, each.standard_error, each.degrees) for each in every])
    p_values = p_slower(numbers[:, 0], numbers[:, 1], numbers[:, 2]).tolist()
    told, start = [], 0
    for group in groups:
        p, start = p_values[start : start + len(group)], start + len(group)
        told.append(
            bool(group)
            and all(found.verdict is Verdict.SLOWER for found in group)
            and max(p) <= GATE_LEVEL / len(p)
        )
    return told


def processes_needed(spread: float, effect: float, power: float = 0.9) -> int | None:
    """How many processes find a true ``effect`` (0.05 is 5%) with this probability.

    spread: of the processes' ratios (sd of logs), as in ``Comparison.spread``. By the noncentral
    t-distribution, for paired processes; ``ENOUGH_PROCESSES`` at least, None past
    ``MOST_NEEDED``. It is no plan for single verdicts, whose spread is known by the few processes
    there were, but says whether more of them can help at all.
    """
    from scipy import special

    counts = np.arange(ENOUGH_PROCESSES, MOST_NEEDED + 1)
    if spread <= 0:
        return ENOUGH_PROCESSES
    critical = special.stdtrit(counts - 1, (1 + VERDICT_CONFIDENCE) / 2)
    found = special.nctdtr(counts - 1, math.log1p(effect) / spread * np.sqrt(counts), critical)
    enough = np.flatnonzero(found <= 1 - power)
    return int(counts[enough[0]]) if enough.size else None


# The same arithmetic over arrays of cases


def variance_of_mean(
    sd: FloatArray, count: IntArray, within: FloatArray, allowance: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The variance of each mean of logs over processes, and its degrees of freedom, ``[cases]``.

    sd: the processes' spread (0 for a single one); count: how many they are; within: the
    standard error of the mean that comes from the processes' own samples. From 6 processes on
    the spread holds all of it; with fewer the larger of spread and allowance is taken as known
    (infinite degrees of freedom) and ``within`` is added. No process is left out: this is for times
    and what is made of them, not for ratios (``process_means``).
    """
    few = count < ENOUGH_PROCESSES
    assumed = np.maximum(sd, allowance) ** 2 / count + within**2
    return np.where(few, assumed, sd**2 / count), np.where(few, np.inf, count - 1.0)


def welch(
    variance_new: FloatArray,
    degrees_new: FloatArray,
    variance_base: FloatArray,
    degrees_base: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The variance of a difference of means and Satterthwaite's degrees of freedom, ``[cases]``.

    A side with infinite degrees has a known variance and takes none of them.
    """
    variance = variance_new + variance_base
    doubt = variance_new**2 / degrees_new + variance_base**2 / degrees_base
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = variance**2 / doubt
    none = np.minimum(degrees_new, degrees_base)
    return variance, np.where(variance == 0, none, degrees)


def log_intervals(
    log_ratio: FloatArray,
    standard_error: FloatArray,
    degrees: FloatArray,
    confidence: float = VERDICT_CONFIDENCE,
) -> tuple[FloatArray, FloatArray]:
    """The bounds of each log ratio, ``[cases]`` each; infinite degrees of freedom: normal."""
    from scipy import special

    p = (1 + confidence) / 2
    finite = np.isfinite(degrees)
    quantile = np.where(
        finite, special.stdtrit(np.where(finite, degrees, 1.0), p), special.ndtri(p)
    )
    half = quantile * standard_error
    return log_ratio - half, log_ratio + half


def verdicts(low: FloatArray, high: FloatArray) -> npt.NDArray[np.str_]:
    """The verdict of each interval of *log* ratios, ``[cases]``.

    SAME where it lies within ±2% (between 1/1.02 and 1.02, so that it does not matter which side
    is called new), else FASTER below 0, SLOWER above 0, and UNCLEAR where it holds 0.
    """
    edge = math.log1p(SAME_WITHIN)
    return np.select(
        [(low >= -edge) & (high <= edge), high < 0, low > 0],
        [Verdict.SAME.value, Verdict.FASTER.value, Verdict.SLOWER.value],
        Verdict.UNCLEAR.value,
    )


def p_slower(
    log_ratio: FloatArray,
    standard_error: FloatArray,
    degrees: FloatArray,
    threshold: float = 0.0,
) -> FloatArray:
    """One-sided p-values ``[cases]`` of "slower by at most ``threshold``" (0.05 is 5%).

    Raises ValueError for a threshold of -1 or less.
    """
    from scipy import special

    if not threshold > -1:
        raise ValueError(
            f"threshold is {threshold!r}; expected more than -1 (a time stays above 0)"
        )
    beyond = log_ratio - math.log1p(threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(beyond == 0, 0.0, beyond / standard_error)
    finite = np.isfinite(degrees)
    tail = np.where(finite, special.stdtr(np.where(finite, degrees, 1.0), -t), special.ndtr(-t))
    return np.asarray(tail, dtype=np.float64)


def holm(p_values: npt.ArrayLike, level: float = GATE_LEVEL) -> npt.NDArray[np.bool_]:
    """Which hypotheses ``[n]`` are rejected at a family-wise ``level`` (Holm 1979).

    The chance that any true one is among them is at most ``level``, however they depend on one
    another.

    Raises ValueError for a p-value outside 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values must be a list of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / np.arange(p.size, 0, -1)
    rejected = np.zeros(p.size, dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


# Parts


@dataclass(frozen=True)
class _Units:
    """The log medians of the processes of many comparisons or sides, one after the other.

    runs: the processes' ids; logs ``[units]``; errors ``[units]``: each one's own standard error;
    offsets ``[comparisons + 1]``.
    """

    runs: list[str]
    logs: FloatArray
    errors: FloatArray
    offsets: IntArray

    def means(self, allowance: float | FloatArray) -> Means:
        """Over the processes of each comparison or side; with their own doubt, if few."""
        counts = np.diff(self.offsets)
        allowances = np.broadcast_to(np.asarray(allowance, dtype=np.float64), counts.shape)
        found = np.empty((5, counts.size))
        for count in np.unique(counts):
            here = np.flatnonzero(counts == count)
            logs = self.logs[self.offsets[here][:, None] + np.arange(count)]
            of = process_means(logs, allowances[here])
            found[:, here] = (of.middles, of.errors, of.degrees, of.spreads, of.aside)
        few = counts < ENOUGH_PROCESSES
        own = np.where(few, _mean_errors(self.errors, self.offsets), 0.0)
        return Means(found[0], np.hypot(found[1], own), found[2], found[3], found[4])


def _compare_part(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    paired: list[int] = []
    unpaired: list[int] = []
    shared: list[tuple[list[RunSamples], list[RunSamples]]] = []
    for index, (new, base) in enumerate(pairs):
        sides = _by_run("new", new), _by_run("base", base)
        runs = [run for run in sides[0] if run in sides[1]]
        if runs:
            paired.append(index)
            shared.append(([sides[0][run] for run in runs], [sides[1][run] for run in runs]))
        else:
            unpaired.append(index)
    found: dict[int, Comparison] = {}
    if paired:
        found.update(zip(paired, _compare_paired(shared), strict=True))
    if unpaired:
        apart = [pairs[index] for index in unpaired]
        found.update(zip(unpaired, _compare_unpaired(apart), strict=True))
    return [found[index] for index in range(len(pairs))]


def _compare_paired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    """The two sides of each pair are of the same runs, in the same order."""
    new, base = ([run for pair in pairs for run in pair[side]] for side in (0, 1))
    counts = np.array([len(pair[0]) for pair in pairs])
    offsets = _offsets(counts)
    log_new, log_base, errors = _paired_logs(new, base)
    # One process without a shared round, and the comparison is not of alternating blocks.
    alternating = np.logical_and.reduceat(np.isfinite(log_new), offsets[:-1])
    rest = np.flatnonzero(np.repeat(~alternating, counts))
    if rest.size:
        mids_new, errors_new = _medians_and_errors([new[index].samples for index in rest])
        mids_base, errors_base = _medians_and_errors([base[index].samples for index in rest])
        log_new[rest], log_base[rest] = np.log(mids_new), np.log(mids_base)
        errors[rest] = np.hypot(errors_new, errors_base)
    runs = [run.run for run in new]
    units = _Units(runs, log_new - log_base, errors, offsets)
    allowance = np.where(alternating, Pairing.ALTERNATING.allowance, Pairing.SEQUENTIAL.allowance)
    means = units.means(allowance)
    bases = [
        _paired_basis(count, Pairing.ALTERNATING if each else Pairing.SEQUENTIAL)
        for count, each in zip(counts.tolist(), alternating.tolist(), strict=True)
    ]
    logs = (
        _Units(runs, log_new, errors, offsets),
        _Units([run.run for run in base], log_base, errors, offsets),
    )
    return _comparisons(*_difference(means), bases, logs, [means])


def _compare_unpaired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    sides: list[_Units] = []
    for side in (0, 1):
        runs = [run for pair in pairs for run in pair[side]]
        mids, errors = _medians_and_errors([run.samples for run in runs])
        offsets = _offsets(np.array([len(pair[side]) for pair in pairs]))
        sides.append(_Units([run.run for run in runs], np.log(mids), errors, offsets))
    parts = [side.means(Pairing.UNPAIRED.allowance) for side in sides]
    bases = [_unpaired_basis(len(new), len(base)) for new, base in pairs]
    return _comparisons(*_difference(*parts), bases, (sides[0], sides[1]), parts)


def _difference(new: Means, base: Means | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The middles, errors and degrees of ratios: of paired means as they are, or of two sides."""
    if base is None:
        return new.middles, new.errors, new.degrees
    variance, degrees = welch(new.errors**2, new.degrees, base.errors**2, base.degrees)
    return new.middles - base.middles, np.sqrt(variance), degrees


def _mean_of(values: Sequence[float], pairing: Pairing) -> Means:
    return process_means(np.array([values]), pairing.allowance)


_Basis = tuple[int, Pairing, float | None, str]
"""What a comparison stands on: processes, pairing, allowance, and the same in words."""

_SET_ASIDE = ", bad processes left out"


def _words(pairing: Pairing) -> str:
    return "Welch's interval on" if pairing is Pairing.UNPAIRED else "t-interval on"


@functools.cache
def _paired_basis(count: int, pairing: Pairing) -> _Basis:
    what = {
        Pairing.ALTERNATING: "alternating blocks",
        Pairing.SEQUENTIAL: "one side after the other",
    }[pairing]
    allowance, basis = _allowed(count, pairing)
    basis = basis or f"{_words(pairing)} their log ratios{_SET_ASIDE}"
    return count, pairing, allowance, f"{_processes(count)}, {what}: {basis}"


@functools.cache
def _unpaired_basis(new: int, base: int) -> _Basis:
    pairing = Pairing.UNPAIRED
    allowance, basis = _allowed(min(new, base), pairing)
    basis = basis or f"{_words(pairing)} their log medians{_SET_ASIDE}"
    return (
        min(new, base),
        pairing,
        allowance,
        f"{new} against {_processes(base)}, unpaired: {basis}",
    )


def _allowed(count: int, pairing: Pairing) -> tuple[float | None, str]:
    """The allowance for so few processes, and what it does; None and nothing where they suffice."""
    if count >= ENOUGH_PROCESSES:
        return None, ""
    if count > 1:
        return pairing.allowance, _allowance_words(pairing.allowance)
    alone = ALONE * pairing.allowance
    return alone, f"allowance of {_percent(alone)} for what one process can be off by"


@functools.cache
def _case_basis(count: int) -> tuple[int, float | None, str]:
    """What a case's interval stands on: processes, allowance, and the same in words."""
    if count >= ENOUGH_PROCESSES:
        return count, None, f"{count} processes: order statistics of their medians"
    if count == 1:
        return count, None, "1 process: order statistics of its own samples, nothing of others"
    how = (
        f"{_processes(count)}: t-interval on their log medians, which are taken to spread by "
        f"{100 * LEAST_SPREAD:g}% at least"
    )
    return count, LEAST_SPREAD, how


def _comparisons(
    log_ratios: FloatArray,
    standard_errors: FloatArray,
    degrees: FloatArray,
    bases: Sequence[_Basis],
    logs: tuple[_Units, _Units] | None = None,
    parts: Sequence[Means] = (),
) -> list[Comparison]:
    lows, highs = log_intervals(log_ratios, standard_errors, degrees)
    with np.errstate(over="ignore", under="ignore"):
        bounds = [np.exp(each).tolist() for each in (lows, log_ratios, highs)]
    names = verdicts(lows, highs).tolist()
    by_run: list[list[dict[str, float]]] = [[], []]
    for units, found in zip(logs or (), by_run, strict=False):
        values, ends = units.logs.tolist(), units.offsets.tolist()
        found.extend(
            dict(zip(units.runs[start:end], values[start:end], strict=True))
            for start, end in itertools.pairwise(ends)
        )
    if parts:
        # A side of one process has no spread (not a number), and then neither has the comparison.
        widest = functools.reduce(np.maximum, [part.spreads for part in parts])
        spreads = [None if math.isnan(each) else each for each in widest.tolist()]
        aside = functools.reduce(np.add, [part.aside for part in parts]).tolist()
    else:
        spreads, aside = [None] * len(names), [0.0] * len(names)
    return [
        Comparison(
            Interval(low, mid, high, VERDICT_CONFIDENCE),
            _VERDICTS[name],
            *basis,
            *numbers,
            *each,
            *shown,
        )
        for low, mid, high, name, basis, *numbers, each, shown in zip(
            *bounds,
            names,
            bases,
            log_ratios.tolist(),
            standard_errors.tolist(),
            degrees.tolist(),
            zip(*by_run, strict=True) if logs else [({}, {})] * len(names),
            zip(spreads, aside, strict=True),
            strict=True,
        )
    ]


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _paired_logs(
    new: Sequence[RunSamples], base: Sequence[RunSamples]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each pair of runs: log medians over the shared rounds, and their difference's error.

    All three ``[pairs]`` are not a number where no round is shared.
    """
    values, rounds, owners = [], [], []
    for side in (new, base):
        with_rounds = [(run.samples, run.rounds) for run in side if run.rounds is not None]
        values.append(np.concatenate([np.empty(0), *(each[0] for each in with_rounds)]))
        rounds.append(np.concatenate([np.empty(0, np.int64), *(each[1] for each in with_rounds)]))
        sizes = [0 if run.rounds is None else run.rounds.size for run in side]
        owners.append(np.repeat(np.arange(len(side)), sizes))
    log_new, log_base, errors = (np.full(len(new), np.nan) for _ in range(3))
    # A number for each round of each pair, so that all of them are matched by one sorting.
    codes = np.concatenate(rounds)
    first, last = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if (last - first + 1) * len(new) < 2**62:
        codes, span = codes - first, last - first + 1
    else:
        known, codes = np.unique(codes, return_inverse=True)
        span = known.size
    keys = [
        owner * span + code
        for owner, code in zip(owners, np.split(codes, [rounds[0].size]), strict=True)
    ]
    if not (keys[0].size and keys[1].size):
        return log_new, log_base, errors
    # Stable, since what is sorted already, as most is, then costs no sorting.
    distinct = [_runs_of_equals(np.sort(key, kind="stable"))[0] for key in keys]
    shared = distinct[0][_among(*distinct)]
    if shared.size == 0:
        return log_new, log_base, errors
    places, offsets = _runs_of_equals(shared // span)
    by_round: list[FloatArray] = []
    for times, key, logs in zip(values, keys, (log_new, log_base), strict=True):
        order = np.argsort(key, kind="stable")
        order = order[_among(key[order], shared)]
        times, key = times[order], key[order]
        logs[places] = np.log(median_intervals(times, _runs_of_equals(key // span)[1])[1])
        # A round may hold several samples of a side: its median stands for them.
        by_round.append(median_intervals(np.log(times), _runs_of_equals(key)[1])[1])
    # The difference within each round, so that a drift that both sides follow cancels.
    low, _, high, coverage = median_intervals(by_round[0] - by_round[1], offsets)
    errors[places] = _own_errors(low, high, coverage)
    return log_new, log_base, errors


def _among(values: IntArray, known: IntArray) -> npt.NDArray[np.bool_]:
    """Which of the values are among the known ones, which are sorted."""
    place = np.minimum(np.searchsorted(known, values), known.size - 1)
    return np.asarray(known[place] == values)


def _runs_of_equals(ordered: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct values of an ordered, non-empty array, and where each begins, and the end."""
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    return ordered[starts], np.append(starts, ordered.size)


def _medians_and_errors(arrays: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The median of each process's samples, and the standard error of its logarithm."""
    offsets = _offsets(np.array([values.size for values in arrays]))
    low, mid, high, coverage = median_intervals(np.concatenate(arrays), offsets)
    return mid, _own_errors(np.log(low), np.log(high), coverage)


def _own_errors(low: FloatArray, high: FloatArray, coverage: FloatArray) -> FloatArray:
    """The standard error of the median of each process's logs, without a normal assumption.

    low, high, coverage: of the order-statistics interval of the logs. It is the half width over
    the normal quantile of the confidence that the interval really has: stragglers widen it only
    where they reach the middle. A single sample shows nothing of its own spread (its coverage is
    0); the widest allowance stands in.
    """
    from scipy import special

    alone = coverage == 0
    quantile = special.ndtri((1 + np.where(alone, 0.5, coverage)) / 2)
    return np.where(alone, UNPAIRED_ALLOWANCE, (high - low) / 2 / quantile)


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


def _offsets(sizes: IntArray) -> IntArray:
    """Where each segment of these sizes begins, and the end."""
    return np.concatenate([[0], np.cumsum(sizes)])


def _sds(values: FloatArray, offsets: IntArray) -> FloatArray:
    """The standard deviation of each segment; 0 for a single value."""
    start, sizes = offsets[:-1], np.diff(offsets)
    means = np.add.reduceat(values, start) / sizes
    squares = np.add.reduceat((values - np.repeat(means, sizes)) ** 2, start)
    return np.where(sizes > 1, np.sqrt(squares / np.maximum(sizes - 1, 1)), 0.0)


def _mean_errors(errors: FloatArray, offsets: IntArray) -> FloatArray:
    """The standard error of the mean of each segment of values with these standard errors."""
    sums = np.add.reduceat(errors**2, offsets[:-1])
    return np.asarray(np.sqrt(sums) / np.diff(offsets), dtype=np.float64)


def _by_run(name: str, runs: Sequence[RunSamples]) -> dict[str, RunSamples]:
    if len(runs) == 0:
        raise ValueError(f"the {name} side of the comparison has no run")
    found: dict[str, RunSamples] = {}
    for run in runs:
        if run.run in found:
            raise ValueError(
                f"run {run.run!r} stands twice on the {name} side; "
                "one process is one replicate, however often it is given"
            )
        found[run.run] = run
    return found


def _times(name: str, samples: npt.ArrayLike) -> FloatArray:
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


def _rounds(name: str, rounds: npt.ArrayLike, samples: FloatArray) -> IntArray:
    values = np.asarray(rounds)
    if values.shape != samples.shape:
        raise ValueError(
            f"{name} have the shape {values.shape}; expected {samples.shape}, one a sample"
        )
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} are of type {values.dtype}; expected whole numbers")
    return np.asarray(values, dtype=np.int64)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _at_least(count: int) -> str:
    return f"{_processes(count)} or more each"


def _allowance_words(allowance: float) -> str:
    return f"allowance of {_percent(allowance)} for the spread between processes added"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%"
