"""Find outlying nodes: machines that differ from the others of their kind, in all or one backend.

Each node is compared with the others by its externally studentized residual (Grubbs, *Sample
Criteria for Testing Outlying Observations*, 1950), with a moderated variance (Smyth 2004). The
level is divided by the number of tests (Bonferroni), so that at most one in a hundred reports of
equal nodes names one. The cases of a node are not independent, so together they count as one value.
The test is for a single outlying node: two outlying nodes among few hide each other. Outlying nodes
stay in every interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.records.grouping import group_by
from bench.stats.intervals import DEGREES, RATIO_ALLOWANCE, FloatArray
from bench.verdicts.case_results import CaseResult

FEWEST_NODES = 3
"""If only two nodes differ, either may be the outlying one."""

LEVEL = 0.005
"""Half of the 1% that is promised for a report of equal nodes, as for verdicts."""

LEAST = 0.05
"""Smaller differences are not reported, however significant they are."""

PROCESS_SPREAD = 0.10
"""The spread of processes that is assumed if no node has two. It is the middle of what was seen."""


@dataclass(frozen=True)
class Outlier:
    """A node that differs from the others.

    node: its id. backend: the backend that differs, or empty if all do. factor: its time over that
    of the others. others: the number of the others. beyond, cases: in how many of the common cases
    it is beyond every other node.
    """

    node: str
    backend: str
    factor: float
    others: int
    beyond: int
    cases: int
    device: str = ""


@dataclass(frozen=True)
class NodeTimes:
    """The times of cases that all of some nodes measured.

    nodes: their ids. logs: ``[cases, nodes]``, the log of each node's median. backends: the backend
    of each case. squares: two sums over all processes. The first is of the squared mean distances
    of a process from its node over all cases. The second is of the squared distances of one backend
    from that mean. counts: ``[nodes]``, the number of processes of each node.
    """

    nodes: Sequence[str]
    logs: FloatArray
    backends: Sequence[str]
    squares: tuple[float, float]
    counts: FloatArray

    @property
    def variances(self) -> tuple[float, float]:
        """Return the variance of a process's mean, and of a backend's distance from it.

        The mean is over all cases.
        """
        free = float(np.sum(self.counts - 1))
        if not free:
            return PROCESS_SPREAD**2, RATIO_ALLOWANCE**2
        return self.squares[0] / free, self.squares[1] / free


def outliers(results: Sequence[CaseResult]) -> list[Outlier]:
    """Return the outlying nodes on each device.

    results: the results of one section.
    """
    devices = group_by((each for each in results if each.measured), lambda each: each.case.device)
    return [
        replace(each, device=device)
        for device, here in devices.items()
        if (times := _node_times(here)) is not None
        for each in outlying_times(times, LEVEL / len(devices))
    ]


def _node_times(results: Sequence[CaseResult]) -> NodeTimes | None:
    """Return the times of the cases that all nodes measured, or None with fewer than three nodes.

    The node with the fewest cases is left out until the others have a common case.
    """
    medians: dict[str, dict[str, dict[str, float]]] = {}  # Log times, by case, node and process.
    for result in results:
        by_node = medians.setdefault(result.case.id, {})
        for run in result.runs:
            by_node.setdefault(run.node, {})[run.run] = math.log(float(np.median(run.samples)))
    nodes = list(dict.fromkeys(node for by_node in medians.values() for node in by_node))
    while not (
        cases := [result for result in results if medians[result.case.id].keys() >= set(nodes)]
    ):
        nodes.remove(min(nodes, key=lambda node: sum(node in each for each in medians.values())))
    if len(nodes) < FEWEST_NODES:
        return None
    logs = np.array(
        [
            [np.median([*medians[result.case.id][node].values()]) for node in nodes]
            for result in cases
        ]
    )
    of_all = of_one = 0.0
    counts = []
    for place, node in enumerate(nodes):
        # These are the distances of each process from its node in each case, by backend.
        distances: dict[str, dict[str, list[float]]] = {}
        for result, log in zip(cases, logs[:, place].tolist(), strict=True):
            for process, own in medians[result.case.id][node].items():
                by_backend = distances.setdefault(process, {})
                by_backend.setdefault(result.case.backend, []).append(own - log)
        for by_backend in distances.values():
            mean = float(np.mean(np.concatenate([*by_backend.values()])))
            of_all += mean**2
            means = np.array([np.mean(each) for each in by_backend.values()])
            of_one += float(np.mean((means - mean) ** 2))
        counts.append(float(len(distances)))
    backends = [result.case.backend for result in cases]
    return NodeTimes(nodes, logs, backends, (of_all, of_one), np.array(counts))


def outlying_times(table: NodeTimes, level: float = LEVEL) -> list[Outlier]:
    """Return the outlying nodes of a table at this level.

    Nodes that are outlying in all cases come first.
    """
    logs, count = table.logs, len(table.nodes)
    names = list(dict.fromkeys(table.backends))
    owners = np.array([names.index(backend) for backend in table.backends])
    centred = logs - logs.mean(axis=1, keepdims=True)
    by_backend = np.array([centred[owners == owner].mean(axis=0) for owner in range(len(names))])
    # One differing backend does not change the median of three or more backends.
    machine = np.median(by_backend, axis=0)
    significant = p_outlying(machine, table.variances[0] / table.counts) <= level / 2 / count
    found = {
        place: _outlier(table.nodes[place], "", machine, logs, place)
        for place in np.flatnonzero(significant).tolist()
        if abs(_effect(machine, place)) >= math.log1p(LEAST)
    }
    if len(names) > 1:
        own = table.variances[1] / table.counts
        p_values = np.array([p_outlying(each, own) for each in by_backend - machine])
        for place in [each for each in range(count) if each not in found]:
            # Two backends are equally far from their median, so the one with the larger effect is
            # named.
            least = np.round(np.log(np.maximum(p_values[:, place], 1e-300)), 6)
            effects = [abs(_effect(each, place)) for each in by_backend]
            owner = min(range(len(names)), key=lambda each: (least[each], -effects[each]))
            significant_here = p_values[owner, place] <= level / 2 / p_values.size
            if significant_here and effects[owner] >= math.log1p(LEAST):
                part, values = logs[owners == owner], by_backend[owner]
                found[place] = _outlier(table.nodes[place], names[owner], values, part, place)
    return list(found.values())


def _effect(values: FloatArray, place: int) -> float:
    """Return how far one node is from the mean of the others."""
    return float(values[place] - np.mean(np.delete(values, place)))


def _outlier(node: str, backend: str, values: FloatArray, logs: FloatArray, place: int) -> Outlier:
    effect, others = _effect(values, place), np.delete(logs, place, axis=1)
    own = logs[:, place]
    beyond = own > others.max(axis=1) if effect > 0 else own < others.min(axis=1)
    return Outlier(node, backend, math.exp(effect), others.shape[1], int(beyond.sum()), len(logs))


def p_outlying(values: FloatArray, own: FloatArray) -> FloatArray:
    """Return two-sided p-values ``[nodes]`` of "this node has the distribution of the others".

    values: ``[nodes]``, the logs of three or more nodes. own: ``[nodes]``, the variance of each
    that comes from its processes.
    """
    from scipy import special

    count = values.size
    found = np.empty(count)
    for place in range(count):
        others, theirs = np.delete(values, place), np.delete(own, place)
        free = count - 2
        variance = np.var(others, ddof=1)
        prior = RATIO_ALLOWANCE**2 + float(np.mean(theirs))
        with np.errstate(divide="ignore"):
            share = DEGREES * np.minimum(1.0, prior / variance)
        degrees = share + free
        drawn = (share * prior + free * variance) / degrees
        # A node with fewer processes than the others has a larger variance.
        more = max(0.0, float(own[place] - np.mean(theirs)))
        t = (values[place] - np.mean(others)) / np.sqrt(drawn * (1 + 1 / (count - 1)) + more)
        found[place] = 2 * special.stdtr(degrees, -np.abs(t))
    return found
