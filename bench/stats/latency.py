"""Percentiles of the calls of a stream: of one process, over several, and of one against another.

A percentile of one process is the call of its rank among all of its calls (nearest rank; Hyndman
and Fan 1996, definition 1), and its interval reaches from one call to another, as the binomial
distribution allows whatever the calls' own distribution is (David and Nagaraja, *Order Statistics*,
7.1). That takes calls as independent, which those in a row are not quite; so over processes the
percentiles themselves are what varies, as medians are everywhere else here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.records.schema import Measurement
from bench.records.streaming import Taken
from bench.stats.comparison import Comparison
from bench.stats.intervals import (
    CASE_CONFIDENCE,
    ENOUGH_PROCESSES,
    OF_ITS_CALLS,
    CaseInterval,
    FloatArray,
    Interval,
    Reason,
    node_intervals,
)
from bench.stats.ratios import RunSamples, compare_all
from bench.stats.trust import MINORITY

PARTS = (50.0, 90.0, 99.0, 99.9)
"""Percentiles that are reported, of what calls take."""

BEYOND, SURELY = 2, 0.99
"""A percentile is reported where so many calls or more lie beyond the true one, so surely: of fewer
it is hardly more than the slowest call, which says little of the next day's slowest. That is 64
calls for the 90th percentile, 662 for the 99th (as MLPerf's early stopping has them, its tolerance
at 0) and 6,636 for the 99.9th."""


@functools.cache
def fewest_calls(part: float) -> int:
    """How many calls a percentile needs: ``P(Binomial(n, 1 - part) < BEYOND) <= 1%``."""
    from scipy import special

    beyond = 1 - part / 100
    low, high = BEYOND - 1, 1  # too few; enough
    while special.bdtr(BEYOND - 1.0, high, beyond) > 1 - SURELY:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = special.bdtr(BEYOND - 1.0, middle, beyond) <= 1 - SURELY
        low, high = (low, middle) if enough else (middle, high)
    return high


def percentile(
    ordered: FloatArray, part: float, confidence: float = CASE_CONFIDENCE
) -> Interval | None:
    """A percentile of one process's calls ``[n]``, in order; None of too few to tell it.

    ``confidence`` of what comes back is that of the ranks that its bounds have: at least what was
    requested.
    """
    count, p = ordered.size, part / 100
    if count < fewest_calls(part):
        return None
    low, high, covered = _ranks(count, p, confidence)
    # Rounded first: 0.9 of 70 calls is 63 and a rest of rounding.
    rank = math.ceil(round(p * count, 6))
    bounds = [float(ordered[each - 1]) for each in (low, rank, high)]
    return Interval(bounds[0], bounds[1], bounds[2], covered)


@functools.lru_cache(maxsize=4096)
def _ranks(count: int, p: float, confidence: float) -> tuple[int, int, float]:
    """Ranks between whose calls the percentile lies, and how surely: equal tails at the most."""
    from scipy import special

    tail = (1 - confidence) / 2
    # Calls below the percentile are Binomial(count, p); ranks further out than this are not meant.
    spread = 10 * math.sqrt(count * p * (1 - p)) + 10
    first = max(0, math.floor(count * p - spread))
    below = np.arange(first, min(count, math.ceil(count * p + spread)) + 1, dtype=np.float64)
    covered = special.bdtr(below, count, p)  # P(at most so many are below)
    # The largest rank l with P(l or more are not below it) small: P(X <= l - 1) <= tail.
    low = max(1, first + int(np.searchsorted(covered, tail, side="right")))
    # The smallest rank u with P(X <= u - 1) >= 1 - tail.
    high = min(count, first + int(np.searchsorted(covered, 1 - tail)) + 1)
    inside = special.bdtr(high - 1.0, count, p) - special.bdtr(low - 1.0, count, p)
    return low, high, float(inside)


def over_processes(
    processes: Sequence[Mapping[float, Interval]], nodes: Sequence[str] = ()
) -> dict[float, CaseInterval]:
    """The percentiles of a case, from those of its processes that had the calls to tell them.

    It is the median of the processes' percentiles, between bounds as of medians
    (``intervals.case_interval``); of one process they are its own. None where more than a
    ``MINORITY`` could not tell: those that could are the quicker ones. nodes: of each process its
    node, where nodes are distinguished.
    """
    on = nodes or [""] * len(processes)
    found: dict[float, CaseInterval] = {}
    for part in PARTS:
        percentiles = [each[part] for each in processes if part in each]
        where = [node for each, node in zip(processes, on, strict=True) if part in each]
        if len(processes) - len(percentiles) > MINORITY * len(processes):
            continue
        if len(percentiles) == 1:
            (own,) = percentiles
            how = Reason(OF_ITS_CALLS)
            found[part] = CaseInterval(own.low, own.mid, own.high, own.confidence, 1, None, how)
        elif percentiles:
            runs = [(node, [each.mid]) for node, each in zip(where, percentiles, strict=True)]
            found[part] = node_intervals([runs])[0]
    return found


Percentiles = Mapping[str, float]
"""A percentile of each process that could tell it, by run."""


Nodes = Mapping[str, str]
"""The node of each run, empty where nodes are not distinguished."""


def compare_percentiles(
    pairs: Sequence[tuple[Percentiles, Percentiles]],
    nodes: Sequence[Nodes] = (),
    started: Sequence[Mapping[str, float]] = (),
) -> list[Comparison | None]:
    """The ratio of a percentile of two cases, each ``(new, base)``, judged as a ratio of medians.

    Where both sides took turns in the same processes the unit is a process's own ratio. None with
    fewer than six processes (on a side, if they share none): of a median an allowance can stand in
    for what so few do not show, of rare calls nobody knows one (``docs/verdicts.md``). Where nodes
    are distinguished, of each pair in ``nodes``, it takes six of them. started: of each pair, when
    the processes started, where that is known.
    """
    found: list[Comparison | None] = [None] * len(pairs)
    enough = {}
    for number, (new, base) in enumerate(pairs):
        on = nodes[number] if nodes else {}
        shared = new.keys() & base.keys()
        if min(_units(shared or new, on), _units(shared or base, on)) >= ENOUGH_PROCESSES:
            since = started[number] if started else {}
            enough[number] = _runs(new, on, since), _runs(base, on, since)
    for number, comparison in zip(enough, compare_all(list(enough.values())), strict=True):
        found[number] = comparison
    return found


def _units(runs: Iterable[str], nodes: Nodes) -> int:
    """How many nodes these are of; processes, where nodes are not distinguished."""
    return len({nodes.get(run) or f" {run}" for run in runs})


def _runs(percentiles: Percentiles, nodes: Nodes, started: Mapping[str, float]) -> list[RunSamples]:
    """As samples of one round, which each process has."""
    return [
        RunSamples(
            run,
            np.array([value]),
            np.array([0]),
            node=nodes.get(run, ""),
            started=started.get(run),
        )
        for run, value in percentiles.items()
    ]


@dataclass(frozen=True)
class StreamProcesses:
    """The calls of a streaming case in all of its processes.

    latency: percentiles, by their number (99.9), in seconds from when a call was due; service: from
    when it began. most: the longest latency. load: processes that kept a processor busy each
    meanwhile. deadline, missed: seconds, and how many calls took longer; both None where there was
    none, or not one for all. told: each process's own percentiles of latency. histograms: of
    latency, one a process, as ``results.hdr`` has them. nodes: of each process its node, empty
    where nodes are not distinguished. started: of each process when it started, in seconds since
    1970.
    to_baseline: the ratio of each percentile of latency to the
    baseline's, where there are processes enough to judge it.
    """

    calls: int
    latency: Mapping[float, CaseInterval]
    service: Mapping[float, CaseInterval]
    most: float
    load: int
    deadline: float | None
    missed: int | None
    percentiles_by_run: Mapping[float, Percentiles] = field(repr=False)
    histograms: tuple[str, ...] = field(repr=False)
    nodes: Nodes = field(repr=False)
    started: Mapping[str, float] = field(default_factory=dict, repr=False)
    to_baseline: Mapping[float, Comparison] = field(default_factory=dict)


def stream_of(measured: Sequence[Measurement], nodes: Nodes) -> StreamProcesses | None:
    """What these processes' calls are together; None of a case that is no stream."""
    found = {item.run.id: item.streaming for item in measured if item.streaming is not None}
    if not found:
        return None
    each, on = list(found.values()), [nodes.get(run, "") for run in found]
    deadlines = {calls.deadline for calls in each}
    deadline = deadlines.pop() if len(deadlines) == 1 else None
    return StreamProcesses(
        calls=sum(calls.calls for calls in each),
        latency=over_processes([_intervals(calls.latency) for calls in each], on),
        service=over_processes([_intervals(calls.service) for calls in each], on),
        most=max(calls.latency.most for calls in each),
        load=max(calls.load for calls in each),
        deadline=deadline,
        missed=None if deadline is None else sum(calls.missed for calls in each),
        percentiles_by_run=percentiles_by_run(measured),
        histograms=tuple(calls.latency.histogram for calls in each),
        nodes=nodes,
        started={item.run.id: item.run.started.timestamp() for item in measured},
    )


def percentiles_by_run(measured: Sequence[Measurement]) -> dict[float, Percentiles]:
    """The percentiles of latency of each process that could tell them, by run."""
    found = {item.run.id: item.streaming.latency for item in measured if item.streaming is not None}
    return {
        part: {
            run: taken.percentiles[part].mid
            for run, taken in found.items()
            if part in taken.percentiles
        }
        for part in PARTS
    }


def compared(
    pairs: Sequence[tuple[StreamProcesses, StreamProcesses]],
) -> list[dict[float, Comparison]]:
    """Of each pair, a new stream and a base, the ratios of the percentiles that can be judged."""
    requested = [
        (new.percentiles_by_run.get(part, {}), base.percentiles_by_run.get(part, {}))
        for new, base in pairs
        for part in PARTS
    ]
    nodes = [{**new.nodes, **base.nodes} for new, base in pairs for _ in PARTS]
    started = [{**new.started, **base.started} for new, base in pairs for _ in PARTS]
    found = iter(compare_percentiles(requested, nodes, started))
    return [{part: ratio for part in PARTS if (ratio := next(found)) is not None} for _ in pairs]


def _intervals(taken: Taken) -> dict[float, Interval]:
    return {part: Interval(*bounds) for part, bounds in taken.percentiles.items()}
