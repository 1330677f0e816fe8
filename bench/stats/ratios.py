"""Ratios of times with their verdicts, and how far a reference case is from itself.

A reference case is a third one in the processes of both sides of a comparison. It is taken to be as
fast next to the one as next to the other, up to ``BRIDGE_APART``, and its own times over all of its
cases can say that it is not. Then every ratio over it may be off by as much, to either side: the
half width of its interval grows by that difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from bench.stats.comparison import (
    GATE_LEVEL,
    Comparison,
    Heterogeneity,
    Pairing,
    Verdict,
    loosest,
)
from bench.stats.intervals import (
    ENOUGH_PROCESSES,
    Estimates,
    Means,
    Reason,
    process_means,
)
from bench.stats.pooling import RunSamples, Sides, compare_each, difference, judged
from bench.stats.random_effects import combined, compare_on_nodes

UNEVEN, OF_PROCESSES_MEANS, OF_CASES, OF_CASES_TOGETHER = (
    *("uneven", "of_processes_means", "of_cases", "of_cases_together"),
)
"""Codes of what a mean over cases, or a comparison over an uneven bridge, stands on."""


def allowing(found: Comparison, aparts: Sequence[Heterogeneity | None]) -> Comparison:
    """A comparison over bridges, with what is known of these and, where they are uneven, with that.

    aparts: of each case that it is over. The cases are taken to be off together, by the mean of
    their bridges' differences; one without a bridge, or whose bridge is even, by nothing.
    """
    heterogeneity = most_heterogeneous(aparts)
    uneven = [each.found for each in aparts if each is not None and each.uneven]
    if heterogeneity is None or not uneven:
        return replace(found, heterogeneity=heterogeneity)
    difference = math.fsum(abs(each.log_ratio) for each in uneven) / len(aparts)
    error = math.fsum(each.standard_error for each in uneven) / len(aparts)
    bridges = Estimates.of(difference, error, min(each.degrees for each in uneven))
    basis = Reason(UNEVEN, {"of": found.basis, "by": math.expm1(difference)})
    stands_on = found.processes, found.pairing, found.allowance, basis
    (wide,) = judged(with_difference(found.estimate, bridges), [stands_on])
    return replace(
        found,
        ratio=wide.ratio,
        verdict=wide.verdict,
        standard_error=wide.standard_error,
        degrees=wide.degrees,
        basis=basis,
        heterogeneity=heterogeneity,
    )


def most_heterogeneous(aparts: Sequence[Heterogeneity | None]) -> Heterogeneity | None:
    """The one to be told of: an uneven one before others, and of these the furthest."""
    known = [each for each in aparts if each is not None]
    return max(known, key=lambda each: (each.uneven, abs(each.found.log_ratio)), default=None)


def with_difference(found: Estimates, bridges: Estimates) -> Estimates:
    """Log ratios over bridges that differ by so much (logs, not below 0), ``[cases]`` each.

    The interval is as much wider as the difference, which is no matter of chance, and holds the
    doubt of both, with the fewer degrees: by Welch's it could be narrower than before, where the
    ratio is known to few. One t distribution is left, of which interval, verdict and p-value are.
    """
    free = np.minimum(found.degrees, bridges.degrees)
    unit = Estimates(np.zeros_like(found.errors), np.ones_like(found.errors), free)
    wider = bridges.middles / unit.bounds()[1]
    return Estimates(found.middles, np.hypot(found.errors, bridges.errors) + wider, free)


# The largest spreads between processes that were seen on two shared CPU cores: of the ratio of two
# sides that were measured one after the other, and of the medians of a case. They stand in for the
# spread of *times* where processes are too few to show it.
SEQUENTIAL_ALLOWANCE = 0.15

# Samples that are judged in one go: some 100 MB of arrays.
_MOST_AT_ONCE = 1_000_000


def compare(*sides: Sequence[RunSamples]) -> Comparison:
    """The ratio ``time_new / time_base`` of two cases, with its 99.5% interval and its verdict.

    If the sides share runs, only those count, and the unit is a run's log ratio of medians: over
    the shared alternating rounds (``ALTERNATING``), or of all samples where rounds are not given
    or not shared (``SEQUENTIAL``). Else the units are each side's log medians (``UNPAIRED``); with
    a third case, the bridge, that shares runs with each, they are each side's log ratios to it
    (``BRIDGED``): what a process's luck does to both of its cases is no part of these.

    The interval is a t-interval over the processes in which bad ones count for little (see
    ``process_means``), or Welch's of two such sides (Welch 1947). With fewer than 6 processes (on a
    side) an allowance for this pairing stands in for what they cannot show, and each process's own
    doubt is added in quadrature; one process gets a verdict only beyond what one can be off by.
    Where runs name their nodes all this is of each node, and the interval is over the nodes
    (``over_nodes``).

    Raises ValueError where a side is empty or has one run twice.
    """
    return compare_all([cast("Sides", sides)])[0]


def compare_all(pairs: Sequence[Sides]) -> list[Comparison]:
    """``compare`` of many pairs of cases at once, each ``(new, base)`` or with a bridge after it.

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
    carries that luck; where they were on the same nodes it is a node's. Else the standard error is
    the mean of the cases' errors: what it is if all of them err together, and no more than that
    otherwise. What a bridge may differ by it may in all cases, so that no mean makes it less.

    Raises ValueError without a comparison.
    """
    if len(comparisons) == 0:
        raise ValueError("no ratios")
    first = comparisons[0]
    cases = len(comparisons)
    aparts = [item.heterogeneity for item in comparisons]
    if first.by_node and all(item.by_node.keys() == first.by_node.keys() for item in comparisons):
        return allowing(_mean_over_nodes(comparisons, cases), aparts)
    together = all(
        item.allowance is None
        and not item.nodes
        and item.pairing is first.pairing
        and item.new_logs.keys() == first.new_logs.keys()
        and item.base_logs.keys() == first.base_logs.keys()
        for item in comparisons
    )
    if not together:  # whose errors have it already
        return replace(_apart(comparisons, cases), heterogeneity=most_heterogeneous(aparts))
    pairing, processes = first.pairing, min(item.processes for item in comparisons)
    new = {run: float(np.mean([c.new_logs[run] for c in comparisons])) for run in first.new_logs}
    base = {run: float(np.mean([c.base_logs[run] for c in comparisons])) for run in first.base_logs}
    ordered = all(item.in_order for item in comparisons)
    if first.paired:
        parts = [_mean_of([new[run] - base[run] for run in new], pairing, ordered)]
    else:
        parts = [_mean_of(list(side.values()), pairing, ordered) for side in (new, base)]
    if pairing is Pairing.BRIDGED:
        parts = [each.over_bridge() for each in parts]
    numbers = {"cases": cases, "pairing": pairing, "processes": processes}
    how = Reason(OF_PROCESSES_MEANS, numbers)
    (found,) = judged(difference(*parts), [(processes, pairing, None, how)], parts=parts)
    return allowing(replace(found, new_logs=new, base_logs=base, in_order=ordered), aparts)


def together(comparisons: Sequence[Comparison]) -> Comparison:
    """What one or several cases say: of one its own ratio, else their geometric mean."""
    return comparisons[0] if len(comparisons) == 1 else geometric_mean(comparisons)


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
    p_values = Estimates(*numbers.T).p_slower().tolist()
    combined, start = [], 0
    for group in groups:
        p, start = p_values[start : start + len(group)], start + len(group)
        combined.append(
            bool(group)
            and all(found.verdict is Verdict.SLOWER for found in group)
            and max(p) <= GATE_LEVEL / len(p)
        )
    return combined


# Parts


def _mean_over_nodes(comparisons: Sequence[Comparison], cases: int) -> Comparison:
    """Of cases of the same nodes: a node's luck is common to them, so each has its own mean."""
    nodes = comparisons[0].by_node
    means = {node: geometric_mean([each.by_node[node] for each in comparisons]) for node in nodes}
    (whole,) = combined([means])
    return replace(whole, basis=Reason(OF_CASES, {"cases": cases, "of": whole.basis}))


def _apart(comparisons: Sequence[Comparison], cases: int) -> Comparison:
    """Of cases that are taken to err together."""
    # The widest allowance, the loosest pairing and the fewest processes stand for all of them.
    pairing = loosest(item.pairing for item in comparisons)
    allowance = max((item.allowance for item in comparisons if item.allowance), default=None)
    processes = min(item.processes for item in comparisons)
    nodes = min(item.nodes for item in comparisons)
    numbers = {"cases": cases, "processes": processes, "allowance": allowance, "nodes": nodes}
    how = Reason(OF_CASES_TOGETHER, numbers)
    mean = Estimates.of(
        float(np.mean([item.log_ratio for item in comparisons])),
        float(np.mean([item.standard_error for item in comparisons])),
        min(item.degrees for item in comparisons),
    )
    (found,) = judged(mean, [(processes, pairing, allowance, how)])
    return replace(found, nodes=nodes)


def _compare_part(pairs: Sequence[Sides]) -> list[Comparison]:
    several_nodes = [any(run.node for side in sides for run in side) for sides in pairs]
    of_one = iter(
        compare_each([sides for sides, on in zip(pairs, several_nodes, strict=True) if not on])
    )
    of_all = iter(
        compare_on_nodes([sides for sides, on in zip(pairs, several_nodes, strict=True) if on])
    )
    return [next(of_all if on else of_one) for on in several_nodes]


def _mean_of(values: Sequence[float], pairing: Pairing, in_order: bool) -> Means:
    return process_means(np.array([values]), pairing.allowance, in_order)


Case = tuple[str, Sequence[RunSamples], bool]
"""A backend's processes at one case, and whether it is INVALID."""


class HeterogeneityTests:
    """How far a backend is from itself in the processes of two others, over all of its cases.

    cases: of one place and device, all backends. Those that are INVALID say nothing of a bridge.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        self._processes: dict[str, set[str]] = {}
        self._cases: dict[str, list[Sequence[RunSamples]]] = {}
        self._found: dict[tuple[str, str, str], Heterogeneity | None] = {}
        for backend, runs, invalid in cases:
            self._processes.setdefault(backend, set()).update(run.run for run in runs)
            if not invalid:
                self._cases.setdefault(backend, []).append(runs)

    def between(self, bridge: str, new: str, base: str) -> Heterogeneity | None:
        """The bridge in the processes of new next to the bridge in those of base.

        None where no case of it is in processes of both that are not the same.
        """
        key = bridge, new, base
        if key not in self._found:
            found = self._apart(bridge, new, base)
            self._found[key], self._found[bridge, base, new] = found, found and found.inverse
        return self._found[key]

    def _apart(self, bridge: str, new: str, base: str) -> Heterogeneity | None:
        there, here = self._processes.get(new, set()), self._processes.get(base, set())
        cases = [
            tuple([run for run in runs if run.run in side] for side in (there - here, here - there))
            for runs in self._cases.get(bridge, ())
        ]
        sides = _in_the_same_processes([(one, other) for one, other in cases if one and other])
        if not sides:
            return None
        found = geometric_mean(compare_all(sides))
        return Heterogeneity(bridge, new, base, len(sides), found)


_Side = list[RunSamples]


def _in_the_same_processes(cases: Sequence[tuple[_Side, _Side]]) -> list[tuple[_Side, _Side]]:
    """The cases that enough processes have on both sides, and of these the processes that have all.

    A process's luck is common to its cases, so that only processes with the same cases can be held
    against one another by their means. All as they are, where too few would be left.
    """
    many = [case for case in cases if min(map(len, case)) >= ENOUGH_PROCESSES]
    if not many:
        return list(cases)
    common = [
        set.intersection(*({run.run for run in case[side]} for case in many)) for side in (0, 1)
    ]
    if min(map(len, common)) < ENOUGH_PROCESSES:
        return many
    return [
        (
            [run for run in new if run.run in common[0]],
            [run for run in base if run.run in common[1]],
        )
        for new, base in many
    ]
