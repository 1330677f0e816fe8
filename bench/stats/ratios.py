"""Compute ratios of times with their verdicts from the samples of processes.

This module pairs the samples of each process, and combines processes, nodes or cases into one t
distribution. The unit of replication is the run (one process), because the samples of one process
are far more alike than the medians of fresh processes. If runs name their nodes (machines of one
kind), the unit is the node.

A reference is a third case in the processes of both sides of a comparison. It is assumed to be
equally fast next to either side, up to ``REFERENCE_ALLOWANCE``. If its own times over all of its
cases differ between the two kinds of processes, every ratio over it may be off by as much. The half
width of the interval then grows by this difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias, cast

import numpy as np

from bench.machine.reasons import Reason
from bench.records.grouping import group_by
from bench.records.schema import Measurement
from bench.stats import intervals
from bench.stats.comparison import (
    GATE_LEVEL,
    OF_NODES,
    OF_NODES_APART,
    PLAIN_MEAN_OPPOSED,
    PROCESSES_CORRELATED,
    PROCESSES_SHIFTED,
    Basis,
    Comparison,
    Heterogeneity,
    Pairing,
    Verdict,
    choose_basis,
    loosest,
    verdicts,
)
from bench.stats.intervals import BoolArray, Estimates, FloatArray, IntArray, Interval, Means

HETEROGENEOUS, OF_PROCESSES_MEANS, OF_CASES, OF_CASES_TOGETHER = (
    *("heterogeneous", "of_processes_means", "of_cases", "of_cases_together"),
)
"""The codes of what a mean over cases, or a comparison over a heterogeneous reference, is based
on.
"""

# The largest spread of a ratio of two sides measured one after the other that was seen on two
# shared CPU cores. It is assumed for *times* if there are too few processes.
SEQUENTIAL_ALLOWANCE = 0.15

# The number of samples that are compared at once: some 100 MB of arrays.
_MOST_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class RunSamples:
    """The samples of one case in one process.

    run: the id of the process. Samples of both sides with the same id share that process. samples:
    ``[n]``, in seconds per step. rounds: ``[n]``, the alternating round of each sample, or None if
    the two cases were not interleaved. Rounds of different groups of cases are unrelated. adjacent:
    whether ``run`` names two adjacent processes, each of which measured one side. node: the
    machine, if several of one kind are distinguished, or else empty. started: when the process
    started, in seconds since any moment, or None if that is unknown. The order of processes counts
    if it is known for all of them.

    Raises ValueError for samples that are not finite and positive, or rounds of another length.
    """

    run: str
    samples: FloatArray
    rounds: IntArray | None = None
    adjacent: bool = False
    node: str = ""
    started: float | None = None

    def __post_init__(self) -> None:
        intervals.check_times("samples", self.samples)
        if self.rounds is not None and self.rounds.shape != self.samples.shape:
            raise ValueError(f"rounds: shape {self.rounds.shape}")
        if self.rounds is not None and self.rounds.dtype.kind not in "iu":
            raise ValueError(f"rounds: {self.rounds.dtype}")

    @classmethod
    def of(cls, item: Measurement, node: str = "") -> RunSamples:
        """Return the samples of a measurement."""
        started = item.run.started.timestamp()
        return cls(item.run.id, item.samples, item.rounds, node=node, started=started)

    @property
    def without_rounds(self) -> RunSamples:
        """Return the same samples, for a case that was not interleaved with the other one."""
        return RunSamples(self.run, self.samples, node=self.node, started=self.started)


_Side: TypeAlias = Sequence[RunSamples]
Sides: TypeAlias = tuple[_Side, _Side] | tuple[_Side, _Side, _Side]
"""The runs of a new case, of a base and possibly of a reference."""


# Processes


def paired_logs(
    new: Sequence[RunSamples], base: Sequence[RunSamples]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the log medians of pairs of runs over shared rounds.

    Also return the errors of their differences.

    All three have the shape ``[pairs]`` and are NaN where no round is shared.
    """
    log_new, log_base, errors = (np.full(len(new), np.nan) for _ in range(3))
    times, rounds, owners = [], [], []
    for side in (new, base):
        timed = [(run.samples, run.rounds) for run in side if run.rounds is not None]
        times.append(np.concatenate([np.empty(0), *(each[0] for each in timed)]))
        rounds.append(np.concatenate([np.empty(0, np.int64), *(each[1] for each in timed)]))
        sizes = [0 if run.rounds is None else run.rounds.size for run in side]
        owners.append(np.repeat(np.arange(len(side)), sizes))
    # Each round of each pair gets a number. If a round has several samples, the first one counts.
    known, codes = np.unique(np.concatenate(rounds), return_inverse=True)
    new_codes, base_codes = np.split(codes, [rounds[0].size])
    shared, *places = np.intersect1d(
        owners[0] * known.size + new_codes, owners[1] * known.size + base_codes, return_indices=True
    )
    if shared.size == 0:
        return log_new, log_base, errors
    pairs, starts = np.unique(shared // known.size, return_index=True)
    offsets = np.append(starts, shared.size)
    in_rounds = [of[place] for of, place in zip(times, places, strict=True)]
    for logs, of in zip((log_new, log_base), in_rounds, strict=True):
        logs[pairs] = np.log(intervals.median_intervals(of, offsets)[1])
    # The difference is taken within each round, so that a drift that both sides follow cancels.
    differences = np.log(in_rounds[0]) - np.log(in_rounds[1])
    low, _, high, coverage = intervals.median_intervals(differences, offsets)
    errors[pairs] = own_errors(low, high, coverage)
    return log_new, log_base, errors


def own_errors(low: FloatArray, high: FloatArray, coverage: FloatArray) -> FloatArray:
    """Return the standard error of the median of each process's logs, for any distribution.

    The error is the half width of the order-statistics interval, divided by the normal quantile of
    its confidence. A single sample has the coverage 0 and gets the widest allowance.

    low, high, coverage: the interval of the logs.
    """
    from scipy import special

    alone = coverage == 0
    quantile = special.ndtri((1 + np.where(alone, 0.5, coverage)) / 2)
    return np.where(alone, intervals.UNPAIRED_ALLOWANCE, (high - low) / 2 / quantile)


def _log_medians(runs: Sequence[RunSamples]) -> tuple[FloatArray, FloatArray]:
    """Return the log of the median of each process's samples, and its standard error."""
    arrays = [run.samples for run in runs]
    offsets = intervals.boundaries(np.array([values.size for values in arrays]))
    low, mid, high, coverage = intervals.median_intervals(np.concatenate(arrays), offsets)
    return np.log(mid), own_errors(np.log(low), np.log(high), coverage)


@dataclass(frozen=True)
class Units:
    """The log medians of the processes of many comparisons or sides, one after the other.

    runs: the ids of the processes. logs: ``[units]``. errors: ``[units]``, the standard error of
    each. offsets: ``[comparisons + 1]``. in_order: ``[comparisons]``, whether the processes of each
    are in the order in which they started.
    """

    runs: list[str]
    logs: FloatArray
    errors: FloatArray
    offsets: IntArray
    in_order: BoolArray

    @classmethod
    def of(cls, sides: Sequence[_Side], logs: FloatArray, errors: FloatArray) -> Units:
        """Return the log medians, or log ratios, of the processes of these sides."""
        in_order = [all(run.started is not None for run in side) for side in sides]
        offsets = intervals.boundaries(np.array([len(side) for side in sides]))
        runs = [run.run for side in sides for run in side]
        return cls(runs, logs, errors, offsets, np.array(in_order))

    @classmethod
    def medians(cls, sides: Sequence[_Side]) -> Units:
        """Return the log medians of the processes of each side."""
        return cls.of(sides, *_log_medians([run for side in sides for run in side]))

    def means(self, allowance: float | FloatArray) -> Means:
        """Return the means over the processes of each.

        If there are few, add the processes' own errors.
        """
        counts = np.diff(self.offsets)
        allowances = np.broadcast_to(np.asarray(allowance, dtype=np.float64), counts.shape)
        found = np.empty((len(fields(Means)), counts.size))
        for count in np.unique(counts):
            here = np.flatnonzero(counts == count)
            logs = self.logs[self.offsets[here][:, None] + np.arange(count)]
            of = intervals.process_means(logs, allowances[here], self.in_order[here])
            found[:, here] = [getattr(of, each.name) for each in fields(Means)]
        few = counts < intervals.ENOUGH_PROCESSES
        mean = np.sqrt(np.add.reduceat(self.errors**2, self.offsets[:-1])) / counts
        return Means(*found).with_own(np.where(few, mean, 0.0))

    def by_run(self) -> list[dict[str, float]]:
        """Return the logs of each comparison or side by run."""
        values, ends = self.logs.tolist(), self.offsets.tolist()
        return [
            dict(zip(self.runs[start:end], values[start:end], strict=True))
            for start, end in itertools.pairwise(ends)
        ]


def _ratios(
    new: Sequence[Sequence[RunSamples]], base: Sequence[Sequence[RunSamples]]
) -> tuple[Units, list[Units], BoolArray]:
    """Return the processes' log ratios, their log medians, and which comparisons are interleaved.

    new, base: the same runs in the same order, ``[comparisons][processes]``.
    """
    counts = np.array([len(each) for each in new])
    news, bases = ([run for each in side for run in each] for side in (new, base))
    log_new, log_base, errors = paired_logs(news, bases)
    # A comparison is interleaved if all of its processes have shared rounds.
    alternating = np.logical_and.reduceat(np.isfinite(log_new), intervals.boundaries(counts)[:-1])
    rest = np.flatnonzero(np.repeat(~alternating, counts))
    if rest.size:
        log_new[rest], errors_new = _log_medians([news[index] for index in rest])
        log_base[rest], errors_base = _log_medians([bases[index] for index in rest])
        errors[rest] = np.hypot(errors_new, errors_base)
    ratios = Units.of(new, log_new - log_base, errors)
    return ratios, [replace(ratios, logs=logs) for logs in (log_new, log_base)], alternating


# From means to verdicts


@dataclass(frozen=True)
class LogRatios(Estimates):
    """Log ratios, and for each UNCLEAR one the reasons why it has no other verdict."""

    reasons: Sequence[tuple[Reason, ...]]


def difference(new: Means, base: Means | None = None) -> LogRatios:
    """Return the log ratios of paired means, or of two sides.

    The means allow for the order of the processes. If the arithmetic mean of all processes,
    including outlying ones, has the other sign, the interval is widened beyond 0. It then reaches
    as far as that mean or as the mirrored middle, whichever is nearer to 0. Excluded processes
    alone therefore never make a verdict.
    """
    found: Estimates = new if base is None else new.minus(base)
    steady = replace(new, errors=new.steady_errors)
    before = steady if base is None else steady.minus(replace(base, errors=base.steady_errors))
    plain = new.plain if base is None else new.plain - base.plain
    middles, shifts, correlations = found.middles, new.shifts, new.correlations
    if base is not None:
        shifts = np.maximum(shifts, base.shifts)
        correlations = np.maximum(correlations, base.correlations)
    opposed = middles * plain < 0
    beyond = np.where(opposed, np.abs(middles) + np.minimum(np.abs(middles), np.abs(plain)), 0.0)
    unit = found.bounds()[1] - middles
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(beyond > unit, found.errors * beyond / unit, found.errors)
    wide = Estimates(middles, errors, found.degrees)
    firm, steadily, finally_ = (
        verdicts(*each.bounds()) != Verdict.UNCLEAR for each in (found, before, wide)
    )
    reasons: list[tuple[Reason, ...]] = [()] * middles.size
    for index in np.flatnonzero((firm | steadily) & ~finally_).tolist():
        if firm[index]:
            reasons[index] = (Reason(PLAIN_MEAN_OPPOSED, {"ratio": math.exp(plain[index])}),)
        elif shifts[index] > 0:
            shift = math.expm1(float(shifts[index]))
            reasons[index] = (Reason(PROCESSES_SHIFTED, {"shift": shift}),)
        else:
            correlation = float(correlations[index])
            reasons[index] = (Reason(PROCESSES_CORRELATED, {"correlation": correlation}),)
    return LogRatios(middles, errors, found.degrees, reasons)


def with_verdicts(
    found: Estimates,
    bases: Sequence[Basis],
    logs: Sequence[Units] = (),
    parts: Sequence[Means] = (),
) -> list[Comparison]:
    """Return the comparison of each log ratio, with its interval and verdict.

    logs: the logs of the processes of both sides. parts: the means of the sides, if spreads and
    excluded processes are to be reported.
    """
    count, (lows, highs) = found.middles.size, found.bounds()
    with np.errstate(over="ignore", under="ignore"):
        ratios = np.exp([lows, found.middles, highs]).T.tolist()
    numbers = np.array([found.middles, found.errors, found.degrees]).T.tolist()
    found_verdicts = verdicts(lows, highs).tolist()
    new, base = [units.by_run() for units in logs] or [[{}] * count] * 2
    # A side with one process has no spread (NaN), and then the comparison has none either.
    spreads = np.max([each.spreads for each in parts] or [np.full(count, math.nan)], axis=0)
    excluded = np.sum([each.excluded for each in parts] or [np.zeros(count)], axis=0).tolist()
    in_order = logs[0].in_order.tolist() if logs else [False] * count
    reasons = found.reasons if isinstance(found, LogRatios) else [()] * count
    return [
        Comparison(
            Interval(low, mid, high, intervals.VERDICT_CONFIDENCE),
            Verdict(found_verdicts[at]),
            *bases[at],
            log,
            error,
            degrees,
            new[at],
            base[at],
            None if math.isnan(spreads[at]) else float(spreads[at]),
            excluded[at],
            in_order[at],
            reasons[at],
        )
        for at, ((low, mid, high), (log, error, degrees)) in enumerate(
            zip(ratios, numbers, strict=True)
        )
    ]


# Two cases


def compare(*sides: Sequence[RunSamples]) -> Comparison:
    """Return the ratio ``time_new / time_base`` of two cases, with its 99.5% interval and verdict.

    If the sides share runs, only these count, and the unit is the log ratio of medians of a run.
    The medians are taken over the shared alternating rounds (``ALTERNATING``), or over all samples
    if rounds are not given or not shared (``SEQUENTIAL``). Otherwise the units are the log medians
    of each side (``UNPAIRED``). With a third case, the reference, that shares runs with each side,
    they are the log ratios of each side to it (``BRIDGED``), in which the noise of a process
    cancels.

    The interval is a t-interval over the processes, in which outlying processes have little weight
    (see ``process_means``), or Welch's interval of two such sides (Welch 1947). With fewer than 6
    processes (on a side), an allowance for this pairing is assumed, and the own error of each
    process is added in quadrature. If runs name their nodes, nodes that have both sides are
    compared, and the interval is over the nodes (``means_over_nodes``). If no node has both sides,
    the interval is that of the sides' times.

    Raises ValueError if a side is empty or has one run twice.
    """
    return compare_all([cast("Sides", sides)])[0]


def compare_all(pairs: Sequence[Sides]) -> list[Comparison]:
    """Compare ``(new, base)`` or ``(new, base, reference)`` of all cases. Raise ValueError."""
    found: list[Comparison] = []
    start = size = 0
    # The work is done in parts, so that the arrays of a large store are not in memory all at once.
    for index, sides in enumerate(pairs, start=1):
        size += sum(run.samples.size for side in sides for run in side)
        if size > _MOST_AT_ONCE or index == len(pairs):
            part = pairs[start:index]
            several = [any(run.node for side in sides for run in side) for sides in part]
            compared = {
                on: iter(judge([s for s, each in zip(part, several, strict=True) if each is on]))
                for on, judge in ((False, _compare_processes), (True, _compare_nodes))
            }
            found += [next(compared[on]) for on in several]
            start, size = index, 0
    return found


def _compare_processes(pairs: Sequence[Sides]) -> list[Comparison]:
    """Compare pairs of cases of one machine, all pairs of a kind at once."""
    kinds: dict[Pairing, dict[int, tuple[list[RunSamples], ...]]] = {}
    for index, (new, base, *reference) in enumerate(pairs):
        sides = _index_runs("new", new), _index_runs("base", base)
        thirds = [{run.run: run for run in third} for third in reference]
        over = [_shared(side, third) for third in thirds for side in sides]
        if both := _shared(*sides):
            kinds.setdefault(Pairing.ALTERNATING, {})[index] = both
        elif over and all(over):
            kinds.setdefault(Pairing.BRIDGED, {})[index] = (*over[0], *over[1])
        else:
            separate = tuple(list(side.values()) for side in sides)
            kinds.setdefault(Pairing.UNPAIRED, {})[index] = separate
    found: dict[int, Comparison] = {}
    for pairing, cases in kinds.items():
        columns = [list(column) for column in zip(*cases.values(), strict=True)]
        pairings, counted = [pairing] * len(cases), columns[::2]
        if pairing is Pairing.UNPAIRED:
            units = logs = [Units.medians(side) for side in columns]
            counted = columns
        elif pairing is Pairing.BRIDGED:
            units = logs = [_ratios(*columns[:2])[0], _ratios(*columns[2:])[0]]
        else:
            ratios, logs, alternating = _ratios(*columns)
            units = [ratios]
            pairings = [
                Pairing.ADJACENT
                if any(run.adjacent for run in runs)
                else Pairing.ALTERNATING
                if interleaved
                else Pairing.SEQUENTIAL
                for runs, interleaved in zip(columns[0], alternating.tolist(), strict=True)
            ]
        parts = [side.means(np.array([each.allowance for each in pairings])) for side in units]
        if pairing is Pairing.BRIDGED:
            parts = [each.over_reference() for each in parts]
        counts = zip(*([len(runs) for runs in column] for column in counted), strict=True)
        bases = [choose_basis(each, *of) for each, of in zip(pairings, counts, strict=True)]
        found.update(zip(cases, with_verdicts(difference(*parts), bases, logs, parts), strict=True))
    return [found[index] for index in range(len(pairs))]


def _index_runs(name: str, runs: Sequence[RunSamples]) -> dict[str, RunSamples]:
    """Return runs by id, in the order of their start if known.

    Raises ValueError for no run, or for a run that occurs twice.
    """
    if len(runs) == 0:
        raise ValueError(f"{name}: no run")
    if all(run.started is not None for run in runs):
        runs = sorted(runs, key=lambda run: run.started or 0.0)
    names = [run.run for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: {max(names, key=names.count)!r} twice")
    return dict(zip(names, runs, strict=True))


def _shared(
    one: Mapping[str, RunSamples], other: Mapping[str, RunSamples]
) -> tuple[list[RunSamples], list[RunSamples]] | tuple[()]:
    """Return the runs that two cases share, for each of them, or nothing if they share none."""
    runs = [run for run in one if run in other]
    return ([one[run] for run in runs], [other[run] for run in runs]) if runs else ()


# Over nodes


def _compare_nodes(pairs: Sequence[Sides]) -> list[Comparison]:
    """Compare pairs of cases whose runs all name their nodes."""
    shared: list[dict[str, Sides]] = []
    for sides in pairs:
        new, base, *reference = [group_by(side, lambda run: run.node) for side in sides]
        both = [node for node in new if node in base]
        on_nodes = [
            [new[n], base[n], *(third[n] for third in reference if n in third)] for n in both
        ]
        shared.append({node: cast("Sides", on) for node, on in zip(both, on_nodes, strict=True)})
    found = iter(_compare_processes([sides for nodes in shared for sides in nodes.values()]))
    by_node = [{node: next(found) for node in nodes} for nodes in shared]
    together = iter(_over_nodes([nodes for nodes in by_node if nodes]))
    return [
        next(together) if nodes else _compare_other_nodes(*sides[:2])
        for nodes, sides in zip(by_node, pairs, strict=True)
    ]


def _over_nodes(cases: Sequence[Mapping[str, Comparison]]) -> list[Comparison]:
    """Return the comparison over the nodes of each case, from the comparison of each node."""
    found: dict[int, Comparison] = {}
    for count in {len(nodes) for nodes in cases}:
        here = [index for index, nodes in enumerate(cases) if len(nodes) == count]
        parts = [list(cases[index].values()) for index in here]
        numbers = (
            np.array([[getattr(each, name) for each in nodes] for nodes in parts])
            for name in ("log_ratio", "standard_error", "degrees")
        )
        used = None if count >= intervals.ENOUGH_PROCESSES else intervals.RATIO_ALLOWANCE
        bases: list[Basis] = []
        for nodes in parts:
            processes = sum(each.processes for each in nodes)
            pairing = loosest(each.pairing for each in nodes)
            values = {"nodes": count, "processes": processes, "pairing": pairing, "allowance": used}
            bases.append((processes, pairing, used, Reason(OF_NODES, values)))
        together = with_verdicts(
            intervals.means_over_nodes(Estimates(*numbers), intervals.RATIO_ALLOWANCE), bases
        )
        found.update(zip(here, map(_with_nodes, together, (cases[i] for i in here)), strict=True))
    return [found[index] for index in range(len(cases))]


def _with_nodes(found: Comparison, nodes: Mapping[str, Comparison]) -> Comparison:
    """Add the comparison of each node, and how far nodes and their processes spread."""
    parts = list(nodes.values())
    within = intervals.pooled_spread(
        [each.spread for each in parts], [each.processes for each in parts]
    )
    own: float | None = None
    if not all(each.paired for each in parts):
        own = float(np.mean([each.standard_error**2 for each in parts]))
    elif within is not None:
        own = within**2 * float(np.mean([1 / each.processes for each in parts]))
    return replace(
        found,
        new_logs={run: log for each in parts for run, log in each.new_logs.items()},
        base_logs={run: log for each in parts for run, log in each.base_logs.items()},
        spread=within,
        excluded=math.fsum(each.excluded for each in parts),
        nodes=len(parts),
        between=intervals.spread_between(np.array([each.log_ratio for each in parts]), own),
        by_node=dict(nodes),
    )


def _compare_other_nodes(*sides: Sequence[RunSamples]) -> Comparison:
    """Compare two cases that share no node, by the times of their nodes."""
    parts, logs, counts = [], [], []
    for name, side in zip(("new", "base"), sides, strict=True):
        of_side = group_by(_index_runs(name, side).values(), lambda run: run.node)
        counts.append(len(of_side))
        units = Units.medians(list(of_side.values()))
        each = units.means(Pairing.UNPAIRED.allowance)
        of_nodes = Estimates(each.middles[None], each.errors[None], each.degrees[None])
        spreads = [None if math.isnan(spread) else spread for spread in each.spreads.tolist()]
        within = intervals.pooled_spread(spreads, [len(runs) for runs in of_side.values()])
        parts.append(
            replace(
                intervals.means_over_nodes(of_nodes, intervals.TIME_ALLOWANCE),
                spreads=np.array([math.nan if within is None else within]),
                excluded=np.array([each.excluded.sum()]),
            )
        )
        logs.append(dict(zip(units.runs, units.logs.tolist(), strict=True)))
    used = None if min(counts) >= intervals.ENOUGH_PROCESSES else intervals.TIME_ALLOWANCE
    values = {"nodes": tuple(counts), "pairing": Pairing.UNPAIRED, "allowance": used}
    how = Reason(OF_NODES_APART, values)
    basis = min(map(len, logs)), Pairing.UNPAIRED, used, how
    (found,) = with_verdicts(difference(*parts), [basis], parts=parts)
    return replace(found, new_logs=logs[0], base_logs=logs[1], nodes=min(counts))


# Several cases


def geometric_mean(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the geometric mean of the ratios of several cases, with its interval and verdict.

    The cases of one process are not independent. If all cases were measured in the same 6 or more
    processes, the unit is the geometric mean of a process. If they were measured on the same nodes,
    it is that of a node. Otherwise the standard error is the mean of the cases' errors, which is
    the error of fully dependent cases and an upper limit for others. A reference may differ by the
    same amount in all cases, so taking the mean does not reduce this difference.

    Raises ValueError without a comparison.
    """
    if len(comparisons) == 0:
        raise ValueError("no ratios")
    first, cases = comparisons[0], len(comparisons)
    if cases == 1:
        return first
    tests = [item.heterogeneity for item in comparisons]
    nodes, processes = first.by_node.keys(), min(item.processes for item in comparisons)
    if nodes and all(item.by_node.keys() == nodes for item in comparisons):
        means = {n: geometric_mean([each.by_node[n] for each in comparisons]) for n in nodes}
        (found,) = _over_nodes([means])
        basis = Reason(OF_CASES, {"cases": cases, "of": found.basis})
        return allow_for(replace(found, basis=basis), tests)
    if not all(
        item.allowance is None
        and not item.nodes
        and item.pairing is first.pairing
        and item.new_logs.keys() == first.new_logs.keys()
        and item.base_logs.keys() == first.base_logs.keys()
        for item in comparisons
    ):
        # The errors include those of the references.
        found = _dependent_mean(comparisons, processes)
        return replace(found, heterogeneity=most_heterogeneous(tests))
    new, base = (
        {run: float(np.mean([logs[run] for logs in sides])) for run in sides[0]}
        for sides in zip(*((each.new_logs, each.base_logs) for each in comparisons), strict=True)
    )
    ordered = all(item.in_order for item in comparisons)
    units = [[*new.values()], [*base.values()]]
    if first.paired:
        units = [[log - base[run] for run, log in new.items()]]
    parts = [
        intervals.process_means(np.array([s]), first.pairing.allowance, ordered) for s in units
    ]
    if first.pairing is Pairing.BRIDGED:
        parts = [each.over_reference() for each in parts]
    numbers = {"cases": cases, "pairing": first.pairing, "processes": processes}
    of_means = processes, first.pairing, None, Reason(OF_PROCESSES_MEANS, numbers)
    (found,) = with_verdicts(difference(*parts), [of_means], parts=parts)
    return allow_for(replace(found, new_logs=new, base_logs=base, in_order=ordered), tests)


def _dependent_mean(comparisons: Sequence[Comparison], processes: int) -> Comparison:
    """Return the mean of cases whose errors are not known to be independent.

    It has the largest allowance, the loosest pairing and the fewest processes of all cases.
    """
    pairing = loosest(item.pairing for item in comparisons)
    allowance = max((item.allowance for item in comparisons if item.allowance), default=None)
    nodes = min(item.nodes for item in comparisons)
    numbers: dict[str, object] = {"cases": len(comparisons), "processes": processes}
    how = Reason(OF_CASES_TOGETHER, {**numbers, "allowance": allowance, "nodes": nodes})
    mean = Estimates.of(
        float(np.mean([item.log_ratio for item in comparisons])),
        float(np.mean([item.standard_error for item in comparisons])),
        min(item.degrees for item in comparisons),
    )
    (found,) = with_verdicts(mean, [(processes, pairing, allowance, how)])
    return replace(found, nodes=nodes)


def all_slower(groups: Sequence[Sequence[Comparison]]) -> list[bool]:
    """Return, for each group of comparisons with one base, whether all are SLOWER.

    The base is then the fastest.

    Each p-value must be below the level divided by the number of comparisons (Bonferroni). Holm's
    method does not correct the weakest of them. Because the first case is chosen by its median,
    this would be false in more than 1% if an equal third case is noisy. False without a comparison.
    """
    numbers = [(f.log_ratio, f.standard_error, f.degrees) for group in groups for f in group]
    p_values = iter(Estimates(*np.array(numbers).reshape(-1, 3).T).p_slower().tolist())
    most = [max([next(p_values) for _ in group], default=1.0) for group in groups]
    return [
        p <= GATE_LEVEL / max(1, len(group)) and all(f.verdict is Verdict.SLOWER for f in group)
        for p, group in zip(most, groups, strict=True)
    ]


# References


def allow_for(found: Comparison, tests: Sequence[Heterogeneity | None]) -> Comparison:
    """Return a comparison over references with an interval that allows for their differences.

    The cases are assumed to be off together, by the mean of their references' significant
    differences.

    tests: one for each of its cases, None without a reference.
    """
    heterogeneity = most_heterogeneous(tests)
    differing = [each.found for each in tests if each is not None and each.significant]
    if heterogeneity is None or not differing:
        return replace(found, heterogeneity=heterogeneity)
    difference = math.fsum(abs(each.log_ratio) for each in differing) / len(tests)
    error = math.fsum(each.standard_error for each in differing) / len(tests)
    references = Estimates.of(difference, error, min(each.degrees for each in differing))
    basis = Reason(HETEROGENEOUS, {"of": found.basis, "by": math.expm1(difference)})
    widened = found.processes, found.pairing, found.allowance, basis
    (wide,) = with_verdicts(with_difference(found.estimate, references), [widened])
    return replace(
        found,
        ratio=wide.ratio,
        verdict=wide.verdict,
        standard_error=wide.standard_error,
        degrees=wide.degrees,
        basis=basis,
        heterogeneity=heterogeneity,
    )


def most_heterogeneous(tests: Sequence[Heterogeneity | None]) -> Heterogeneity | None:
    """Return the test to report: the largest difference, with significant ones first."""
    known = [each for each in tests if each is not None]
    return max(known, key=lambda each: (each.significant, abs(each.found.log_ratio)), default=None)


def with_difference(found: Estimates, references: Estimates) -> Estimates:
    """Return log ratios over references that differ by this much (logs, at least 0), ``[cases]``.

    The difference is systematic, so the interval becomes wider by it. It has the errors of both,
    with the smaller number of degrees. With Welch's degrees it could become narrower if the ratio
    has few degrees.
    """
    free = np.minimum(found.degrees, references.degrees)
    unit = Estimates(np.zeros_like(found.errors), np.ones_like(found.errors), free)
    wider = references.middles / unit.bounds()[1]
    return Estimates(found.middles, np.hypot(found.errors, references.errors) + wider, free)


Case = tuple[str, Sequence[RunSamples], bool]
"""The processes of a backend at one case, and whether the case is INVALID."""


class HeterogeneityTests:
    """Test how far a reference differs between the processes of two backends, over all its cases.

    cases: the cases of all backends of one place and device. INVALID cases of a reference are
    excluded.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        self._processes: dict[str, set[str]] = {}
        self._cases: dict[str, list[Sequence[RunSamples]]] = {}
        self._found: dict[tuple[str, str, str], Heterogeneity | None] = {}
        for backend, runs, invalid in cases:
            self._processes.setdefault(backend, set()).update(run.run for run in runs)
            if not invalid:
                self._cases.setdefault(backend, []).append(runs)

    def between(self, reference: str, new: str, base: str) -> Heterogeneity | None:
        """Return the reference in the processes of new, compared with it in those of base.

        None if it has no case in processes of each side that are not processes of both.
        """
        key = reference, new, base
        if key not in self._found:
            found = self._test(reference, new, base)
            self._found[key], self._found[reference, base, new] = found, found and found.inverse
        return self._found[key]

    def _test(self, reference: str, new: str, base: str) -> Heterogeneity | None:
        there, here = self._processes.get(new, set()), self._processes.get(base, set())
        sides = there - here, here - there
        cases = [
            [[run for run in runs if run.run in side] for side in sides]
            for runs in self._cases.get(reference, ())
        ]
        cases = [case for case in cases if all(case)]
        if not cases:
            return None
        if many := [case for case in cases if min(map(len, case)) >= intervals.ENOUGH_PROCESSES]:
            # The cases of a process are not independent, so only means of processes with the same
            # cases can be compared, unless too few such processes are left.
            ids = [[{run.run for run in side} for side in case] for case in many]
            common = [set.intersection(*side) for side in zip(*ids, strict=True)]
            cases = many
            if min(map(len, common)) >= intervals.ENOUGH_PROCESSES:
                kept = set.union(*common)
                cases = [[[run for run in s if run.run in kept] for s in case] for case in many]
        found = geometric_mean(compare_all([(one, other) for one, other in cases]))
        return Heterogeneity(reference, new, base, len(cases), found)
