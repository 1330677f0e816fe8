"""Ratios over nodes: what each node says, put together (``between`` has the model).

Two cases are compared in each node that has both, as on any machine (``over_processes``): paired by
round and process where they can be. What a node does to both of its backends is no part of that.
The nodes' ratios are the units of the interval. Cases that share no node are compared over a third
that is on nodes of either, or by their times, and then the nodes' own luck is part of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.records.grouping import grouped
from bench.stats import between, over_processes
from bench.stats.basis import Pairing, loosest, nodes_apart_basis, nodes_basis
from bench.stats.comparison import Comparison
from bench.stats.process_means import Estimates, Means
from bench.stats.within import RunSamples


def compare_on_nodes(pairs: Sequence[over_processes.Sides]) -> list[Comparison]:
    """``ratios.compare_all`` of pairs of cases whose runs all name their nodes.

    Raises ValueError as it does.
    """
    shared = [_on_each_node(sides) for sides in pairs]
    found = iter(
        over_processes.compare_each([sides for nodes in shared for sides in nodes.values()])
    )
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
        means = between.means_over_nodes(Estimates(*numbers), between.RATIO_ALLOWANCE)
        bases = [
            nodes_basis(
                count,
                sum(each.processes for each in nodes),
                loosest(each.pairing for each in nodes),
                between.RATIO_ALLOWANCE,
            )
            for nodes in parts
        ]
        told = over_processes.judged(means, bases)
        for index, comparison in zip(here, told, strict=True):
            found[index] = _with_nodes(comparison, cases[index])
    return [found[index] for index in range(len(cases))]


def _with_nodes(whole: Comparison, nodes: Mapping[str, Comparison]) -> Comparison:
    """With what each node says, and how far they and their processes spread."""
    parts = list(nodes.values())
    within = between.pooled_spread(
        [each.spread for each in parts], [each.processes for each in parts]
    )
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
        between=between.spread_between(np.array([each.log_ratio for each in parts]), own),
        by_node=dict(nodes),
    )


def _by_node(side: Sequence[RunSamples]) -> dict[str, list[RunSamples]]:
    return grouped(side, lambda run: run.node)


def _on_each_node(sides: over_processes.Sides) -> dict[str, over_processes.Sides]:
    """The same sides on each node that has both."""
    new, base, *bridges = map(_by_node, sides)
    found: dict[str, over_processes.Sides] = {}
    for node in new:
        if node in base:
            third = [bridge[node] for bridge in bridges if node in bridge]
            found[node] = (new[node], base[node], third[0]) if third else (new[node], base[node])
    return found


# Cases that share no node


def _apart(sides: over_processes.Sides) -> Comparison:
    new, base, *bridges = sides
    over_processes.by_run("new", new)
    over_processes.by_run("base", base)
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
        between.TIME_ALLOWANCE,
    )


def _beside(side: Sequence[RunSamples], bridge: Sequence[RunSamples]) -> dict[str, Comparison]:
    """The ratio to the bridge on each node where both were in the same processes."""
    nodes = _on_each_node((side, bridge))
    found = zip(nodes, over_processes.compare_each(list(nodes.values())), strict=True)
    return {node: comparison for node, comparison in found if comparison.paired}


def _over_bridge(over: Sequence[Mapping[str, Comparison]]) -> Comparison:
    whole = combined(over)
    logs = [
        {run: log - each.base_logs[run] for run, log in each.new_logs.items()} for each in whole
    ]
    parts = [_means(each).over_bridge() for each in whole]
    new, base = map(len, over)
    return _of_sides(parts, logs, (new, base), Pairing.BRIDGED, between.RATIO_ALLOWANCE)


def _means(found: Comparison) -> Means:
    spread = math.nan if found.spread is None else found.spread
    return Means.where(found.estimate, np.array([spread]), np.array([found.aside]))


def _times(side: Sequence[RunSamples]) -> tuple[Means, dict[str, float]]:
    """The mean over the nodes of a side of their log times, and its processes' log medians."""
    nodes = _by_node(side)
    units = over_processes.medians_of(list(nodes.values()))
    each = units.means(Pairing.UNPAIRED.allowance)
    of_nodes = Estimates(each.middles[None], each.errors[None], each.degrees[None])
    means = between.means_over_nodes(of_nodes, between.TIME_ALLOWANCE)
    spreads = [None if math.isnan(spread) else spread for spread in each.spreads.tolist()]
    within = between.pooled_spread(spreads, [len(runs) for runs in nodes.values()])
    told = replace(
        means,
        spreads=np.array([math.nan if within is None else within]),
        aside=np.array([each.aside.sum()]),
    )
    return told, dict(zip(units.runs, units.logs.tolist(), strict=True))


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
    (found,) = over_processes.judged(over_processes.difference(*parts), [basis], parts=parts)
    return replace(found, new_logs=new, base_logs=base, nodes=min(nodes))
