"""Nodes, machines of one kind: what their means and ratios say together, and how far they differ.

The model: log(time) = case + node + process, each node and each process with an effect of its own.
A node's processes share its luck, so they say less than as many processes on as many machines, and
the unit is the node. Each node is one number, the mean over its processes; the nodes count alike,
however many processes each has, and the interval is a t-interval over them. Where nodes are not
known equally well, that covers at least as often as it claims (Ibragimov and Müller, *t-Statistic
Based Correlation and Heterogeneity Robust Inference*, 2010); no node is left out of it. Two to five
nodes hardly show how far they spread, so that is drawn towards an allowance. Two cases are compared
in each node that has both, as on any machine (``pooling``); cases that share no node are compared
over a third that is on nodes of either, or by their times, and then the nodes' own effects are part
of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.records.grouping import grouped
from bench.stats import pooling
from bench.stats.comparison import Comparison, Pairing, loosest, nodes_apart_basis, nodes_basis
from bench.stats.intervals import (
    ALONE,
    CAP_CONFIDENCE,
    CASE_CONFIDENCE,
    DEGREES,
    ENOUGH_PROCESSES,
    LEAST_SPREAD,
    MOST_SPREAD,
    CaseInterval,
    Estimates,
    FloatArray,
    Means,
    Reason,
    case_intervals,
    means_of_all,
    median_intervals,
)
from bench.stats.pooling import RunSamples

ENOUGH_NODES = ENOUGH_PROCESSES
"""From here on nodes speak for themselves, as processes do."""

RATIO_ALLOWANCE = 0.03
"""The spread between nodes of a *ratio* of two backends that stands in for what fewer than 6 nodes
cannot show. What makes a node slow slows both; how far their ratio moves has not been measured on
many machines, so that is a choice: the simulated rates of ``docs/verdicts.md`` hold up to a spread
of 10%."""

TIME_ALLOWANCE = 0.10
"""The same of *times*, where two backends share no node. GPUs of one model in one data centre were
seen to differ by 8% on average (Sinha et al., *Not All GPUs Are Created Equal*, SC '22)."""


def means_over_nodes(each: Estimates, allowance: float) -> Means:
    """The mean over the nodes of each case, from what each node says, ``[cases, nodes]``.

    ``spreads`` of what comes back is the standard deviation of the nodes' means, not a number for
    one node.
    """
    cases, count = each.middles.shape
    if count > 1:
        own = np.sqrt(np.mean(np.sort(each.errors, axis=1) ** 2, axis=1))
        return means_of_all(each.middles, np.hypot(allowance, own))
    # What one node says of others: no more than one process does.
    nothing = np.zeros(cases)
    others = Estimates(nothing, np.full(cases, ALONE * allowance), np.full(cases, DEGREES))
    alone = Estimates(each.middles[:, 0], each.errors[:, 0], each.degrees[:, 0]).minus(others)
    return Means.where(alone, np.full(cases, np.nan), nothing)


def spread_between(means: FloatArray, own: float | None) -> float | None:
    """How far nodes spread beyond what their processes explain; None where it cannot be determined.

    means ``[nodes]`` of logs. own: the mean variance of these that comes from the processes. The
    unweighted sum of squares of unbalanced groups (Thomas and Hultquist 1978); not below 0.
    """
    if own is None or means.size < 2:
        return None
    return math.sqrt(max(0.0, float(np.var(np.sort(means), ddof=1)) - own))


def pooled_spread(spreads: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """Of one node, from the spreads and numbers of the processes of each; None if none has two."""
    known = [(n - 1, s) for s, n in zip(spreads, counts, strict=True) if s is not None and n > 1]
    free = sum(degrees for degrees, _ in known)
    return math.sqrt(sum(degrees * s**2 for degrees, s in known) / free) if free else None


OF_ONE_NODE, OF_NODES_MEDIANS = "of_one_node", "of_nodes_medians"
"""Codes of what a time's interval over nodes stands on."""

Runs = Sequence[tuple[str, npt.ArrayLike]]
"""The node of each process of a case (empty where nodes are not distinguished), and its samples."""


def intervals(cases: Sequence[Runs], confidence: float = CASE_CONFIDENCE) -> list[CaseInterval]:
    """``case_intervals`` of many cases, over nodes where these are distinguished.

    The middle then is the median of the nodes' medians, each of its processes' medians. With 6
    nodes or more the bounds are order statistics of these, which cover whatever their distribution
    is and however many processes each has. With 2 to 5 they are a t-interval on their logs, taken
    to spread by ``LEAST_SPREAD`` at least. One node says nothing of others.

    Raises ValueError as ``case_intervals`` does.
    """
    found = case_intervals([[samples for _, samples in runs] for runs in cases], confidence)
    for index, runs in enumerate(cases):
        nodes: dict[str, list[float]] = {}
        for node, samples in runs:
            if node:
                nodes.setdefault(node, []).append(float(np.median(np.asarray(samples))))
        if nodes:
            found[index] = _over_nodes(found[index], nodes, confidence)
    return found


def _over_nodes(
    alone: CaseInterval, nodes: Mapping[str, Sequence[float]], confidence: float
) -> CaseInterval:
    """The interval of a case from the medians of each node's processes.

    alone: of all of its processes as if they were of one node.
    """
    count = len(nodes)
    logs = [np.log(each) for each in nodes.values()]
    sizes = [each.size for each in logs]
    within = pooled_spread(
        [float(np.std(each, ddof=1)) if each.size > 1 else None for each in logs], sizes
    )
    if count == 1:
        basis = Reason(OF_ONE_NODE, {"of": alone.basis})
        return replace(alone, basis=basis, nodes=1, within=within)
    medians = np.array([np.median(each) for each in nodes.values()])
    share = float(np.mean([1 / size for size in sizes]))
    own = None if within is None else within**2 * share
    # Where no node has two processes, none shows how far they spread: as far as any did.
    known = MOST_SPREAD**2 * share if own is None else own
    low, high, covered = time_bounds(np.log(medians)[None], np.array([known]), confidence)
    middle = float(median_intervals(medians, np.array([0, count]))[1][0])
    allowance = None if count >= ENOUGH_NODES else LEAST_SPREAD
    numbers = {"nodes": count, "processes": alone.processes, "allowance": allowance}
    return CaseInterval(
        float(low[0]),
        middle,
        float(high[0]),
        float(covered[0]),
        alone.processes,
        allowance,
        Reason(OF_NODES_MEDIANS, numbers),
        nodes=count,
        between=spread_between(np.log(medians), own),
        within=within,
    )


def time_bounds(
    logs: FloatArray, own: FloatArray, confidence: float = CASE_CONFIDENCE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The bounds of a time and the confidence that they have, ``[cases]`` each.

    logs ``[cases, nodes]``: of two or more nodes' medians. own ``[cases]``: the mean variance of
    these that comes from the processes.
    """
    from scipy import special

    cases, count = logs.shape
    if count >= ENOUGH_NODES:
        offsets = count * np.arange(cases + 1)
        low, _, high, covered = median_intervals(logs.ravel(), offsets, confidence)
    else:
        ordered = np.sort(logs, axis=1)
        spread, centre = np.std(ordered, axis=1, ddof=1), np.mean(ordered, axis=1)
        quantile = special.stdtrit(count - 1, (1 + confidence) / 2)
        # No wider than the largest spread that is allowed for asks for: of nodes, and of processes.
        most = special.ndtri((1 + max(confidence, CAP_CONFIDENCE)) / 2)
        half = np.minimum(
            quantile * np.maximum(spread, LEAST_SPREAD),
            most * np.maximum(spread, np.sqrt(TIME_ALLOWANCE**2 + own)),
        ) / math.sqrt(count)
        low, high, covered = centre - half, centre + half, np.full(cases, confidence)
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(low), np.exp(high), covered


def compare_on_nodes(pairs: Sequence[pooling.Sides]) -> list[Comparison]:
    """``ratios.compare_all`` of pairs of cases whose runs all name their nodes.

    Raises ValueError as it does.
    """
    shared = [_on_each_node(sides) for sides in pairs]
    found = iter(pooling.compare_each([sides for nodes in shared for sides in nodes.values()]))
    by_node = [{node: next(found) for node in nodes} for nodes in shared]
    together = iter(combined([nodes for nodes in by_node if nodes]))
    return [
        next(together) if nodes else _apart(sides)
        for nodes, sides in zip(by_node, pairs, strict=True)
    ]


def combined(cases: Sequence[Mapping[str, Comparison]]) -> list[Comparison]:
    """The comparison over the nodes of each case, from that of each node; one node or more each."""
    found: dict[int, Comparison] = {}
    for count in {len(nodes) for nodes in cases}:
        here = [index for index, nodes in enumerate(cases) if len(nodes) == count]
        parts = [list(cases[index].values()) for index in here]
        numbers = (
            np.array([[getattr(each, name) for each in nodes] for nodes in parts])
            for name in ("log_ratio", "standard_error", "degrees")
        )
        means = means_over_nodes(Estimates(*numbers), RATIO_ALLOWANCE)
        bases = [
            nodes_basis(
                count,
                sum(each.processes for each in nodes),
                loosest(each.pairing for each in nodes),
                RATIO_ALLOWANCE,
            )
            for nodes in parts
        ]
        pooled_verdict = pooling.judged(means, bases)
        for index, comparison in zip(here, pooled_verdict, strict=True):
            found[index] = _with_nodes(comparison, cases[index])
    return [found[index] for index in range(len(cases))]


def _with_nodes(whole: Comparison, nodes: Mapping[str, Comparison]) -> Comparison:
    """With what each node says, and how far they and their processes spread."""
    parts = list(nodes.values())
    within = pooled_spread([each.spread for each in parts], [each.processes for each in parts])
    own: float | None = None
    if not all(each.paired for each in parts):
        own = float(np.mean([each.standard_error**2 for each in parts]))
    elif within is not None:
        own = within**2 * float(np.mean([1 / each.processes for each in parts]))
    return replace(
        whole,
        new_logs={run: log for each in parts for run, log in each.new_logs.items()},
        base_logs={run: log for each in parts for run, log in each.base_logs.items()},
        spread=within,
        aside=math.fsum(each.aside for each in parts),
        nodes=len(parts),
        between=spread_between(np.array([each.log_ratio for each in parts]), own),
        by_node=dict(nodes),
    )


def _by_node(side: Sequence[RunSamples]) -> dict[str, list[RunSamples]]:
    return grouped(side, lambda run: run.node)


def _on_each_node(sides: pooling.Sides) -> dict[str, pooling.Sides]:
    """The same sides on each node that has both."""
    new, base, *bridges = map(_by_node, sides)
    found: dict[str, pooling.Sides] = {}
    for node in new:
        if node in base:
            third = [bridge[node] for bridge in bridges if node in bridge]
            found[node] = (new[node], base[node], third[0]) if third else (new[node], base[node])
    return found


# Cases that share no node


def _apart(sides: pooling.Sides) -> Comparison:
    new, base, *bridges = sides
    pooling.by_run("new", new)
    pooling.by_run("base", base)
    for bridge in bridges:
        over = [_beside(side, bridge) for side in (new, base)]
        if all(over):
            return _over_bridge(over)
    parts = [_times(side) for side in (new, base)]
    return _of_sides(
        [means for means, _ in parts],
        [logs for _, logs in parts],
        (len(_by_node(new)), len(_by_node(base))),
        Pairing.UNPAIRED,
        TIME_ALLOWANCE,
    )


def _beside(side: Sequence[RunSamples], bridge: Sequence[RunSamples]) -> dict[str, Comparison]:
    """The ratio to the bridge on each node where both were in the same processes."""
    nodes = _on_each_node((side, bridge))
    found = zip(nodes, pooling.compare_each(list(nodes.values())), strict=True)
    return {node: comparison for node, comparison in found if comparison.paired}


def _over_bridge(over: Sequence[Mapping[str, Comparison]]) -> Comparison:
    whole = combined(over)
    logs = [
        {run: log - each.base_logs[run] for run, log in each.new_logs.items()} for each in whole
    ]
    parts = [_means(each).over_bridge() for each in whole]
    new, base = map(len, over)
    return _of_sides(parts, logs, (new, base), Pairing.BRIDGED, RATIO_ALLOWANCE)


def _means(found: Comparison) -> Means:
    spread = math.nan if found.spread is None else found.spread
    return Means.where(found.estimate, np.array([spread]), np.array([found.aside]))


def _times(side: Sequence[RunSamples]) -> tuple[Means, dict[str, float]]:
    """The mean over the nodes of a side of their log times, and its processes' log medians."""
    nodes = _by_node(side)
    units = pooling.medians_of(list(nodes.values()))
    each = units.means(Pairing.UNPAIRED.allowance)
    of_nodes = Estimates(each.middles[None], each.errors[None], each.degrees[None])
    means = means_over_nodes(of_nodes, TIME_ALLOWANCE)
    spreads = [None if math.isnan(spread) else spread for spread in each.spreads.tolist()]
    within = pooled_spread(spreads, [len(runs) for runs in nodes.values()])
    text = replace(
        means,
        spreads=np.array([math.nan if within is None else within]),
        aside=np.array([each.aside.sum()]),
    )
    return text, dict(zip(units.runs, units.logs.tolist(), strict=True))


def _of_sides(
    parts: Sequence[Means],
    logs: Sequence[Mapping[str, float]],
    nodes: tuple[int, int],
    pairing: Pairing,
    allowance: float,
) -> Comparison:
    """The difference of two sides that share no node; nodes: how many each has."""
    new, base = logs
    basis = nodes_apart_basis(nodes, min(len(new), len(base)), pairing, allowance)
    (found,) = pooling.judged(pooling.difference(*parts), [basis], parts=parts)
    return replace(found, new_logs=new, base_logs=base, nodes=min(nodes))
