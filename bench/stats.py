"""How sure a number is: intervals, ratios with their intervals, and verdicts, as pure functions.

This room knows arrays of seconds and nothing else: no files, no cases, no framework. The unit of
replication is the run (one process), because one process's median is not the truth: samples of
one process agree with one another far better than the medians of fresh processes do, and a test
that pools them finds differences that are not there (``docs/verdicts.md`` has the rates). All
intervals are closed forms over arrays, so that many cases cost little more than one; what is
named in the singular is the face for one case of the same arithmetic.

Ratios are ``time_new / time_base``: below 1, the new side is faster. Spreads are standard
deviations of log times, which for small values are relative spreads (0.035 is 3.5%).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# From 6 values on, minimum to maximum is a 95% interval of the median (1 - 2/2**6 = 0.969), and
# the t-quantile (4.77) is small enough for the interval to be of use: from here on the processes
# speak for themselves, with fewer an allowance speaks for them.
ENOUGH_PROCESSES = 6

CASE_CONFIDENCE = 0.95
# Two-sided, so that a false FASTER or SLOWER is expected in 0.5% of comparisons of equals: half of
# the 1% that is promised, which leaves room for what real spreads do that normal ones do not.
VERDICT_CONFIDENCE = 0.995
# The one-sided level of the same interval: a gate over one case fails just when the case's
# interval lies beyond the gate's threshold.
GATE_LEVEL = (1 - VERDICT_CONFIDENCE) / 2

# Two times count as the SAME where the whole interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# Allowances for the spread between processes where there are too few to show it: the largest
# spread that was seen in repeated fresh processes on two shared CPU cores, by how the two sides
# were measured. Seen were 1.3 to 3.5% between the processes' ratios from alternating blocks, 4 to
# 15% between their ratios when one side was measured after the other, and 3 to 29% between the
# medians of a case in separate processes.
ALTERNATING_ALLOWANCE = 0.035
SEQUENTIAL_ALLOWANCE = 0.15
UNPAIRED_ALLOWANCE = 0.29

# The median of three or more normal values spreads by up to this much more than their mean.
_MEDIAN_OVER_MEAN = math.sqrt(math.pi / 2)


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
        """The spread between processes (sd of logs) assumed where too few were measured."""
        return {
            Pairing.ALTERNATING: ALTERNATING_ALLOWANCE,
            Pairing.SEQUENTIAL: SEQUENTIAL_ALLOWANCE,
            Pairing.UNPAIRED: UNPAIRED_ALLOWANCE,
        }[self]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class CaseInterval(Interval):
    """A case's time over its processes.

    how says in words what the bounds stand on; allowance is the assumed spread between processes,
    None where the processes were enough to show it.
    """

    processes: int
    allowance: float | None
    how: str


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Comparison:
    """The ratio ``time_new / time_base`` with its interval, and what may be said of it.

    processes: how many stand behind it; the smaller side's number where unpaired.
    allowance: the assumed spread between processes, None where enough were measured.
    how: the same in words.
    log_ratio, standard_error, degrees: the t-interval's parts (infinite degrees: normal).
    new_logs, base_logs: each process's log median, by run.
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

    @property
    def paired(self) -> bool:
        """Whether both sides were measured in the same processes."""
        return self.pairing is not Pairing.UNPAIRED

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
    order statistics of these medians. With fewer they are log-normal: the spread between
    processes is the larger of what they show and the allowance for separate processes, and each
    process's own doubt is added in quadrature.

    Raises ValueError without a run, and for samples that are empty, not finite or not positive.
    """
    if len(runs) == 0:
        raise ValueError("a case needs at least one run")
    arrays = [_times(f"samples of run {index}", run) for index, run in enumerate(runs)]
    medians = np.array([median_interval(values).mid for values in arrays])
    count = medians.size
    if count >= ENOUGH_PROCESSES:
        found = median_interval(medians, confidence)
        how = f"{count} processes: order statistics of their medians"
        return CaseInterval(found.low, found.mid, found.high, found.confidence, count, None, how)
    from scipy import special

    logs = np.log(medians)
    spread = max(_sd(logs), UNPAIRED_ALLOWANCE)
    if count > 2:
        spread *= _MEDIAN_OVER_MEAN
    within = _mean_error(np.array([_own_error(np.log(values)) for values in arrays]))
    error = math.hypot(spread / math.sqrt(count), within)
    factor = math.exp(float(special.ndtri((1 + confidence) / 2)) * error)
    mid = median_interval(medians).mid
    how = f"{_processes(count)}: {_allowance_words(UNPAIRED_ALLOWANCE)}"
    return CaseInterval(mid / factor, mid, mid * factor, confidence, count, UNPAIRED_ALLOWANCE, how)


# The ratio of two cases


def log_ratio_within_run(
    new: npt.ArrayLike, base: npt.ArrayLike, rounds_new: npt.ArrayLike, rounds_base: npt.ArrayLike
) -> float:
    """``log(median(new) / median(base))`` over the rounds that both sides have, in one process.

    new ``[n]``, base ``[m]``: seconds per step; rounds_new ``[n]``, rounds_base ``[m]``: the
    alternating round of each sample.

    Raises ValueError where no round is shared, or for samples that are no times.
    """
    logs = _paired_logs(
        RunSamples("the run", np.asarray(new), np.asarray(rounds_new)),
        RunSamples("the run", np.asarray(base), np.asarray(rounds_base)),
    )
    if logs is None:
        raise ValueError("the two sides share no round: they were not measured in turn")
    return logs[0] - logs[1]


def compare(new: Sequence[RunSamples], base: Sequence[RunSamples]) -> Comparison:
    """The ratio ``time_new / time_base`` of two cases, with its 99.5% interval and its verdict.

    If the sides share runs, only those count, and the unit is a run's log ratio of medians: over
    the shared alternating rounds (``ALTERNATING``), or of all samples where rounds are not given
    or not shared (``SEQUENTIAL``). Else the units are each side's log medians (``UNPAIRED``).

    With 6 processes or more (on a side) their spread is taken from them: a t-interval, or Welch's
    for two sides (Welch 1947). With fewer, the spread is the larger of what they show and the
    allowance for this pairing, taken as known, and each process's own doubt is added in
    quadrature.

    Raises ValueError where a side is empty or has one run twice.
    """
    sides = {"new": _by_run("new", new), "base": _by_run("base", base)}
    shared = [run for run in sides["new"] if run in sides["base"]]
    if not shared:
        return _compare_unpaired(list(new), list(base))
    pairs = [(sides["new"][run], sides["base"][run]) for run in shared]
    logs = [_paired_logs(*pair) for pair in pairs]
    rows = [found for found in logs if found is not None]
    pairing = Pairing.ALTERNATING
    if len(rows) < len(pairs):
        pairing = Pairing.SEQUENTIAL
        rows = []
        for pair in pairs:
            (log_new, error_new), (log_base, error_base) = map(_log_median, pair)
            rows.append((log_new, log_base, math.hypot(error_new, error_base)))
    table = np.array(rows)
    ratios = table[:, 0] - table[:, 1]
    count = ratios.size
    variance, degrees = variance_of_mean(
        np.array([_sd(ratios)]),
        np.array([count]),
        np.array([_mean_error(table[:, 2])]),
        pairing.allowance,
    )
    few = count < ENOUGH_PROCESSES
    what = {
        Pairing.ALTERNATING: "alternating blocks",
        Pairing.SEQUENTIAL: "one side after the other",
    }[pairing]
    basis = _allowance_words(pairing.allowance) if few else "t-interval on their log ratios"
    return _comparison(
        float(np.mean(ratios)),
        float(np.sqrt(variance[0])),
        float(degrees[0]),
        processes=count,
        pairing=pairing,
        allowance=pairing.allowance if few else None,
        how=f"{_processes(count)}, {what}: {basis}",
        new_logs=dict(zip(shared, table[:, 0].tolist(), strict=True)),
        base_logs=dict(zip(shared, table[:, 1].tolist(), strict=True)),
    )


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
    log_ratio = float(np.mean([item.log_ratio for item in comparisons]))
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
        return _comparison(
            log_ratio,
            float(np.mean([item.standard_error for item in comparisons])),
            min(item.degrees for item in comparisons),
            processes=processes,
            pairing=pairing,
            allowance=allowance,
            how=f"{cases}, taken to err together; {_at_least(processes)}"
            + (f": {_allowance_words(allowance)}" if allowance is not None else ""),
        )
    new = {run: float(np.mean([c.new_logs[run] for c in comparisons])) for run in first.new_logs}
    base = {run: float(np.mean([c.base_logs[run] for c in comparisons])) for run in first.base_logs}
    if first.paired:
        values = [np.array([new[run] - base[run] for run in new])]
    else:
        values = [np.array(list(new.values())), np.array(list(base.values()))]
    parts = [
        variance_of_mean(
            np.array([_sd(side)]), np.array([side.size]), np.zeros(1), pairing.allowance
        )
        for side in values
    ]
    variance, degrees = parts[0] if first.paired else welch(*parts[0], *parts[1])
    return _comparison(
        log_ratio,
        float(np.sqrt(variance[0])),
        float(degrees[0]),
        processes=processes,
        pairing=pairing,
        allowance=None,
        how=f"{cases}: interval on the geometric means of {_processes(processes)}",
        new_logs=new,
        base_logs=base,
    )


# The same arithmetic over arrays of cases


def variance_of_mean(
    sd: FloatArray, count: IntArray, within: FloatArray, allowance: float
) -> tuple[FloatArray, FloatArray]:
    """The variance of each mean of logs over processes, and its degrees of freedom, ``[cases]``.

    sd: the processes' spread (0 for a single one); count: how many they are; within: the
    standard error of the mean that comes from the processes' own samples. From 6 processes on
    the spread holds all of it; with fewer the larger of spread and allowance is taken as known
    (infinite degrees of freedom) and ``within`` is added.
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


def _compare_unpaired(new: Sequence[RunSamples], base: Sequence[RunSamples]) -> Comparison:
    allowance = Pairing.UNPAIRED.allowance
    mids: list[FloatArray] = []
    parts: list[tuple[FloatArray, FloatArray]] = []
    for side in (new, base):
        table = np.array([_log_median(run) for run in side])
        mids.append(table[:, 0])
        parts.append(
            variance_of_mean(
                np.array([_sd(table[:, 0])]),
                np.array([len(side)]),
                np.array([_mean_error(table[:, 1])]),
                allowance,
            )
        )
    variance, degrees = welch(*parts[0], *parts[1])
    count = min(len(new), len(base))
    few = count < ENOUGH_PROCESSES
    basis = _allowance_words(allowance) if few else "Welch's interval on their log medians"
    return _comparison(
        float(np.mean(mids[0]) - np.mean(mids[1])),
        float(np.sqrt(variance[0])),
        float(degrees[0]),
        processes=count,
        pairing=Pairing.UNPAIRED,
        allowance=allowance if few else None,
        how=f"{len(new)} against {_processes(len(base))}, unpaired: {basis}",
        new_logs={run.run: float(log) for run, log in zip(new, mids[0], strict=True)},
        base_logs={run.run: float(log) for run, log in zip(base, mids[1], strict=True)},
    )


def _comparison(
    log_ratio: float,
    standard_error: float,
    degrees: float,
    *,
    processes: int,
    pairing: Pairing,
    allowance: float | None,
    how: str,
    new_logs: Mapping[str, float] | None = None,
    base_logs: Mapping[str, float] | None = None,
) -> Comparison:
    lows, highs = log_intervals(
        np.array([log_ratio]), np.array([standard_error]), np.array([degrees])
    )
    with np.errstate(over="ignore", under="ignore"):
        low, mid, high = (float(np.exp(value)) for value in (lows[0], log_ratio, highs[0]))
    return Comparison(
        Interval(low, mid, high, VERDICT_CONFIDENCE),
        Verdict(str(verdicts(lows, highs)[0])),
        processes,
        pairing,
        allowance,
        how,
        log_ratio,
        standard_error,
        degrees,
        new_logs or {},
        base_logs or {},
    )


def _paired_logs(new: RunSamples, base: RunSamples) -> tuple[float, float, float] | None:
    """Log medians over the shared rounds and the error of their difference, or None."""
    if new.rounds is None or base.rounds is None:
        return None
    shared = np.intersect1d(new.rounds, base.rounds)
    if shared.size == 0:
        return None
    logs: list[float] = []
    by_round: list[FloatArray] = []
    for side in (new, base):
        assert side.rounds is not None
        keep = np.isin(side.rounds, shared)
        values = np.log(side.samples[keep])
        logs.append(math.log(median_interval(side.samples[keep]).mid))
        # A round may hold several samples of a side: its median stands for them.
        order = np.argsort(side.rounds[keep], kind="stable")
        sizes = np.unique(side.rounds[keep], return_counts=True)[1]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        by_round.append(median_intervals(values[order], offsets)[1])
    # The difference within each round, so that a drift that both sides follow cancels.
    return logs[0], logs[1], _own_error(by_round[0] - by_round[1])


def _log_median(run: RunSamples) -> tuple[float, float]:
    """A process's log median, and its standard error."""
    return math.log(median_interval(run.samples).mid), _own_error(np.log(run.samples))


def _own_error(logs: FloatArray) -> float:
    """The standard error of the median of one process's ``logs``, without a normal assumption.

    The half width of the order-statistics interval over the normal quantile of the confidence it
    really has: stragglers widen it only where they reach the middle. A single sample shows
    nothing of its own spread; the widest allowance stands in.
    """
    from scipy import special

    if logs.size == 1:
        return UNPAIRED_ALLOWANCE
    low, _, high, coverage = median_intervals(logs, np.array([0, logs.size]))
    quantile = float(special.ndtri((1 + coverage[0]) / 2))
    return float(high[0] - low[0]) / 2 / quantile


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


def _sd(values: FloatArray) -> float:
    return float(np.std(values, ddof=1)) if values.size > 1 else 0.0


def _mean_error(errors: FloatArray) -> float:
    """The standard error of a mean of values with these standard errors."""
    return float(np.sqrt(np.sum(errors**2)) / errors.size)


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
    good = np.isfinite(values) & (values > 0)
    if not np.all(good):
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
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} are of type {values.dtype}; expected whole numbers")
    return values.astype(np.int64)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _at_least(count: int) -> str:
    return f"{_processes(count)} or more each"


def _allowance_words(allowance: float) -> str:
    return f"allowance of {100 * allowance:g}% for the spread between processes added"
