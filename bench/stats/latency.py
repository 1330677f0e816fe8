"""Compute percentiles of the calls of streams, over processes and as ratios of two streams.

A percentile of one process is the call at its rank among all calls of the process (nearest rank;
Hyndman and Fan 1996, definition 1). It has a nonparametric interval from the binomial distribution
(David and Nagaraja, *Order Statistics*, 7.1). This interval assumes that calls are independent,
which successive calls are not quite. Over processes, the percentile of each process therefore
counts as one value, as medians do elsewhere.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.machine.reasons import Reason
from bench.records.schema import Measurement
from bench.stats import intervals
from bench.stats.comparison import Comparison
from bench.stats.ratios import RunSamples, compare_all
from bench.stats.trust import MINORITY

PARTS = (50.0, 90.0, 99.0, 99.9)
"""The percentiles of the latency that are reported."""

BEYOND, PROBABILITY = 2, 0.99
"""A percentile is reported if two calls lie beyond the true percentile with this probability.

With fewer calls it is hardly more than the slowest call. The 90th percentile needs 64 calls, the
99th needs 662 (as in MLPerf's early stopping with tolerance 0), and the 99.9th needs 6,636.
"""


@functools.cache
def fewest_calls(part: float) -> int:
    """Return how many calls a percentile needs: ``P(Binomial(n, 1 - part) < BEYOND) <= 1%``."""
    from scipy import special

    counts = np.arange(1, 10_000)
    few = special.bdtr(BEYOND - 1.0, counts, 1 - part / 100) > 1 - PROBABILITY
    return int(counts[few.argmin()])


def percentile(ordered: intervals.FloatArray, part: float) -> intervals.Interval | None:
    """Return a percentile of one process's calls ``[n]``, in order, or None for too few calls.

    Its confidence follows from the ranks of its bounds and is at least ``CASE_CONFIDENCE``.
    """
    count, p = ordered.size, part / 100
    if count < fewest_calls(part):
        return None
    low, high, covered = _ranks(count, p)
    # Rounding comes first, because 0.9 times 70 calls is 63 plus a rounding error.
    rank = math.ceil(round(p * count, 6))
    bounds = [float(ordered[each - 1]) for each in (low, rank, high)]
    return intervals.Interval(bounds[0], bounds[1], bounds[2], covered)


@functools.lru_cache(maxsize=4096)
def _ranks(count: int, p: float) -> tuple[int, int, float]:
    """Return the ranks of the bounds of a percentile, with at most equal tails, and their coverage.

    The number of calls below the percentile has the distribution Binomial(count, p).
    """
    from scipy import special

    tail = (1 - intervals.CASE_CONFIDENCE) / 2
    low, high = (math.ceil(special.bdtrik(each, count, p)) for each in (tail, 1 - tail))
    low, high = max(1, low), min(count, high + 1)
    inside = special.bdtr(high - 1.0, count, p) - special.bdtr(low - 1.0, count, p)
    return low, high, float(inside)


def over_processes(
    processes: Sequence[Mapping[float, intervals.Interval]], nodes: Sequence[str] = ()
) -> dict[float, intervals.CaseInterval]:
    """Return the percentiles of a case from those of its processes that have enough calls.

    Each is the median of the processes' percentiles, with bounds as for medians
    (``intervals.case_interval``). With one process, it is that of the process. A percentile is left
    out if more than a ``MINORITY`` of the processes have too few calls, because those are the
    slower ones.

    nodes: the node of each process, if nodes are distinguished.
    """
    on = nodes or [""] * len(processes)
    found: dict[float, intervals.CaseInterval] = {}
    for part in PARTS:
        percentiles = [each[part] for each in processes if part in each]
        where = [node for each, node in zip(processes, on, strict=True) if part in each]
        if len(processes) - len(percentiles) > MINORITY * len(processes):
            continue
        if len(percentiles) == 1:
            (own,) = percentiles
            how = Reason(intervals.OF_ITS_CALLS)
            found[part] = intervals.CaseInterval(
                own.low, own.mid, own.high, own.confidence, 1, None, how
            )
        elif percentiles:
            runs = [(node, [each.mid]) for node, each in zip(where, percentiles, strict=True)]
            found[part] = intervals.case_intervals([runs])[0]
    return found


@dataclass(frozen=True)
class StreamProcesses:
    """The calls of a streaming case in all of its processes.

    latency: the percentiles, by their number (99.9), in seconds from when a call was due. service:
    the same from when it began. most: the longest latency. load: how many processes kept a
    processor busy meanwhile. deadline, missed: the deadline in seconds, and how many calls took
    longer. Both are None without a common deadline. by_process: the latency percentiles of each
    process, as samples of one common round. histograms: one histogram of latency for each process.
    """

    calls: int
    latency: Mapping[float, intervals.CaseInterval]
    service: Mapping[float, intervals.CaseInterval]
    most: float
    load: int
    deadline: float | None
    missed: int | None
    by_process: Mapping[float, Sequence[RunSamples]] = field(repr=False)
    histograms: tuple[str, ...] = field(default=(), repr=False)


def combine_streams(
    measured: Sequence[Measurement], nodes: Mapping[str, str]
) -> StreamProcesses | None:
    """Return the calls of these processes together, or None if the case is not a stream.

    nodes: the node of each run, empty if nodes are not distinguished.
    """
    found = [(item.run, item.streaming) for item in measured if item.streaming is not None]
    if not found:
        return None
    each, on = [calls for _, calls in found], [nodes.get(run.id, "") for run, _ in found]
    deadlines = {calls.deadline for calls in each}
    deadline = deadlines.pop() if len(deadlines) == 1 else None
    return StreamProcesses(
        calls=sum(calls.calls for calls in each),
        latency=over_processes([calls.latency.percentiles for calls in each], on),
        service=over_processes([calls.service.percentiles for calls in each], on),
        most=max(calls.latency.most for calls in each),
        load=max(calls.load for calls in each),
        deadline=deadline,
        missed=None if deadline is None else sum(calls.missed for calls in each),
        by_process={
            part: [
                RunSamples(
                    run.id,
                    np.array([calls.latency.percentiles[part].mid]),
                    np.array([0]),
                    node=nodes.get(run.id, ""),
                    started=run.started.timestamp(),
                )
                for run, calls in found
                if part in calls.latency.percentiles
            ]
            for part in PARTS
        },
        histograms=tuple(calls.latency.histogram for calls in each),
    )


def compare_percentiles(
    pairs: Sequence[tuple[StreamProcesses, StreamProcesses]],
) -> list[dict[float, Comparison]]:
    """Return the ratios of the percentiles of each pair, a new stream and a base.

    There is no ratio with fewer than six processes (on a side, if they share none), or fewer than
    six nodes if these are distinguished. Unlike for medians, no allowance is known for percentiles
    (``docs/verdicts.md``).
    """
    enough: dict[tuple[int, float], tuple[Sequence[RunSamples], Sequence[RunSamples]]] = {}
    for number, (new, base) in enumerate(pairs):
        for part in PARTS:
            sides = new.by_process[part], base.by_process[part]
            shared = set.intersection(*({run.run for run in side} for side in sides))
            units = [
                {run.node or f" {run.run}" for run in side if run.run in shared or not shared}
                for side in sides
            ]
            if min(map(len, units)) >= intervals.ENOUGH_PROCESSES:
                enough[number, part] = sides
    found = dict(zip(enough, compare_all(list(enough.values())), strict=True))
    return [
        {part: found[number, part] for part in PARTS if (number, part) in found}
        for number in range(len(pairs))
    ]
