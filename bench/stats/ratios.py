"""How sure a ratio is: paired and unpaired, over processes, as pure functions of samples.

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

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from bench.stats.apart import allowing, most_apart
from bench.stats.basis import SET_ASIDE, Pairing, allowance_words, loosest, pairing_words
from bench.stats.comparison import Comparison
from bench.stats.intervals import count_words
from bench.stats.over_nodes import combined, compare_on_nodes
from bench.stats.over_processes import Sides, compare_each, difference, judged
from bench.stats.process_means import Estimates, Means, process_means
from bench.stats.verdict import GATE_LEVEL, Verdict
from bench.stats.within import RunSamples

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
        raise ValueError("a geometric mean needs at least one ratio")
    first = comparisons[0]
    cases = f"{len(comparisons)} case{'s' if len(comparisons) > 1 else ''}"
    aparts = [item.apart for item in comparisons]
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
        return replace(_apart(comparisons, cases), apart=most_apart(aparts))
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
    means = f"the geometric means of {count_words(processes)}{SET_ASIDE}"
    how = f"{cases}: {pairing_words(pairing)} {means}"
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
    told, start = [], 0
    for group in groups:
        p, start = p_values[start : start + len(group)], start + len(group)
        told.append(
            bool(group)
            and all(found.verdict is Verdict.SLOWER for found in group)
            and max(p) <= GATE_LEVEL / len(p)
        )
    return told


# Parts


def _mean_over_nodes(comparisons: Sequence[Comparison], cases: str) -> Comparison:
    """Of cases of the same nodes: a node's luck is common to them, so each has its own mean."""
    nodes = comparisons[0].by_node
    means = {node: geometric_mean([each.by_node[node] for each in comparisons]) for node in nodes}
    (whole,) = combined([means])
    return replace(whole, how=f"{cases}: {whole.how}")


def _apart(comparisons: Sequence[Comparison], cases: str) -> Comparison:
    """Of cases that are taken to err together."""
    # The widest allowance, the loosest pairing and the fewest processes stand for all of them.
    pairing = loosest(item.pairing for item in comparisons)
    allowance = max((item.allowance for item in comparisons if item.allowance), default=None)
    processes = min(item.processes for item in comparisons)
    nodes = min(item.nodes for item in comparisons)
    how = f"{cases}, taken to err together; {count_words(processes)} or more each"
    if allowance is not None:
        how += f": {allowance_words(allowance, bool(nodes))}"
    mean = Estimates.of(
        float(np.mean([item.log_ratio for item in comparisons])),
        float(np.mean([item.standard_error for item in comparisons])),
        min(item.degrees for item in comparisons),
    )
    (found,) = judged(mean, [(processes, pairing, allowance, how)])
    return replace(found, nodes=nodes)


def _compare_part(pairs: Sequence[Sides]) -> list[Comparison]:
    apart = [any(run.node for side in sides for run in side) for sides in pairs]
    of_one = iter(compare_each([sides for sides, on in zip(pairs, apart, strict=True) if not on]))
    of_all = iter(compare_on_nodes([sides for sides, on in zip(pairs, apart, strict=True) if on]))
    return [next(of_all if on else of_one) for on in apart]


def _mean_of(values: Sequence[float], pairing: Pairing, in_order: bool) -> Means:
    return process_means(np.array([values]), pairing.allowance, in_order)
