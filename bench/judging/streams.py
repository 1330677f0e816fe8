"""What the processes of a streaming case say of its calls together, and against the baseline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.judging.comparison import Comparison
from bench.judging.intervals import CaseInterval, Interval
from bench.judging.latency import PARTS, Nodes, Told, compare_percentiles, over_processes
from bench.results.schema import Measurement
from bench.results.streaming import Bounds, Taken


@dataclass(frozen=True)
class Stream:
    """The calls of a streaming case in all of its processes.

    latency: percentiles, by their number (99.9), in seconds from when a call was due; service: from
    when it began. most: the longest latency. load: processes that kept a processor busy each
    meanwhile. deadline, missed: seconds, and how many calls took longer; both None where there was
    none, or not one for all. told: each process's own percentiles of latency. histograms: of
    latency, one a process, as ``results.hdr`` has them. nodes: of each process its node, empty
    where nodes are not told apart. to_baseline: the ratio of each percentile of latency to the
    baseline's, where there are processes enough to judge it.
    """

    calls: int
    latency: Mapping[float, CaseInterval]
    service: Mapping[float, CaseInterval]
    most: float
    load: int
    deadline: float | None
    missed: int | None
    told: Mapping[float, Told] = field(repr=False)
    histograms: tuple[str, ...] = field(repr=False)
    nodes: Nodes = field(repr=False)
    to_baseline: Mapping[float, Comparison] = field(default_factory=dict)


def of(measured: Sequence[Measurement], nodes: Nodes) -> Stream | None:
    """What these processes' calls are together; None of a case that is no stream."""
    found = {item.run.id: item.streaming for item in measured if item.streaming is not None}
    if not found:
        return None
    each, on = list(found.values()), [nodes.get(run, "") for run in found]
    deadlines = {calls.deadline for calls in each}
    deadline = deadlines.pop() if len(deadlines) == 1 else None
    return Stream(
        calls=sum(calls.calls for calls in each),
        latency=over_processes([_intervals(calls.latency) for calls in each], on),
        service=over_processes([_intervals(calls.service) for calls in each], on),
        most=max(calls.latency.most for calls in each),
        load=max(calls.load for calls in each),
        deadline=deadline,
        missed=None if deadline is None else sum(calls.missed for calls in each),
        told=told(measured),
        histograms=tuple(calls.latency.histogram for calls in each),
        nodes=nodes,
    )


def told(measured: Sequence[Measurement]) -> dict[float, Told]:
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


def compared(pairs: Sequence[tuple[Stream, Stream]]) -> list[dict[float, Comparison]]:
    """Of each pair, a new stream and a base, the ratios of the percentiles that can be judged."""
    asked = [
        (new.told.get(part, {}), base.told.get(part, {})) for new, base in pairs for part in PARTS
    ]
    nodes = [{**new.nodes, **base.nodes} for new, base in pairs for _ in PARTS]
    found = iter(compare_percentiles(asked, nodes))
    return [{part: ratio for part in PARTS if (ratio := next(found)) is not None} for _ in pairs]


def _intervals(taken: Taken) -> dict[float, Interval]:
    return {part: _interval(bounds) for part, bounds in taken.percentiles.items()}


def _interval(bounds: Bounds) -> Interval:
    return Interval(*bounds)
