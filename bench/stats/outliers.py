"""A node that is not like the others of its kind: slower or faster in all, or in one backend.

Each node is held against the others, whose spread is drawn towards what nodes may differ by: the
externally studentized residual (Grubbs, *Sample Criteria for Testing Outlying Observations*, 1950),
with a moderated variance (Smyth 2004) and at a level over the number of tests (Bonferroni), so that
of a hundred reports of equal nodes hardly one names a node. The cases of a node share its luck, so
they are one number and no independent tests. Two outlying nodes among few hide one another: the
rule is for one. What is named stays in every interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.intervals import DEGREES, RATIO_ALLOWANCE, FloatArray
from bench.stats.rows import Row

FEWEST_NODES = 3
"""Of two that differ nobody can say which is the odd one."""

LEVEL = 0.005
"""Half of the 1% that is promised for a report of equal nodes, as for verdicts."""

LEAST = 0.05
"""What is apart by less need not be looked at, however surely it is."""

LUCK = 0.10
"""The spread of a process that is assumed where no node has two, so that none shows it: the middle
of the 3 to 29% that were seen."""


@dataclass(frozen=True)
class Outlier:
    """A node that is apart from the others.

    node: its id. device: where. backend: the one that is apart, empty if all are together. factor:
    its time over that of the others. others: how many these are. beyond, cases: in how many, of how
    many that all of these nodes measured, it is on that side of every other node. processes: of the
    node.
    """

    node: str
    device: str
    backend: str
    factor: float
    others: int
    beyond: int
    cases: int
    processes: int


@dataclass(frozen=True)
class NodeTimes:
    """Times of cases that all of some nodes measured.

    logs ``[cases, nodes]``: of each node's median. backends: of each case. luck: the variance of a
    process's mean over all cases, and of one backend's next to the others. counts ``[nodes]``: the
    processes of each node.
    """

    logs: FloatArray
    backends: Sequence[str]
    luck: tuple[float, float]
    counts: FloatArray

    @classmethod
    def of(
        cls,
        logs: FloatArray,
        backends: Sequence[str],
        squares: tuple[float, float],
        counts: FloatArray,
    ) -> NodeTimes:
        """With the luck that these sums of squares over all processes show.

        squares: of the mean of each process's distances from its node, over all cases, and over one
        backend's next to that.
        """
        free = float(np.sum(counts - 1))
        if not free:
            return cls(logs, backends, (LUCK**2, RATIO_ALLOWANCE**2), counts)
        return cls(logs, backends, (squares[0] / free, squares[1] / free), counts)


def outliers(rows: Sequence[Row]) -> list[Outlier]:
    """The nodes that are apart, on each device; rows: of one section."""
    devices = dict.fromkeys(row.case.device for row in rows if row.measured)
    found: list[Outlier] = []
    for device in devices:
        medians = {
            row.case.id: (row.case.backend, _medians(row))
            for row in rows
            if row.measured and row.case.device == device
        }
        nodes, cases = _common({case: by_node for case, (_, by_node) in medians.items()})
        if len(nodes) >= FEWEST_NODES:
            of = _table(nodes, [medians[case] for case in cases])
            for place, backend, factor, others, beyond, shared in outlying_times(
                of, LEVEL / len(devices)
            ):
                count = int(of.counts[place])
                found.append(
                    Outlier(nodes[place], device, backend, factor, others, beyond, shared, count)
                )
    return found


_Medians = Mapping[str, Mapping[str, float]]
"""Of a case by node and process: the log of the median."""


def _medians(row: Row) -> _Medians:
    found: dict[str, dict[str, float]] = {}
    for run in row.runs:
        found.setdefault(run.node, {})[run.run] = math.log(float(np.median(run.samples)))
    return found


def _common(cases: Mapping[str, _Medians]) -> tuple[list[str], list[str]]:
    """Nodes, and the cases that all of them have: who has the fewest goes until there are some."""
    nodes = list(dict.fromkeys(node for by_node in cases.values() for node in by_node))
    while len(nodes) >= FEWEST_NODES:
        shared = [case for case, by_node in cases.items() if all(node in by_node for node in nodes)]
        if shared:
            return nodes, shared
        nodes.remove(min(nodes, key=lambda node: sum(node in each for each in cases.values())))
    return [], []


def _table(nodes: Sequence[str], cases: Sequence[tuple[str, _Medians]]) -> NodeTimes:
    logs = np.array(
        [[np.median([*by_node[node].values()]) for node in nodes] for _, by_node in cases]
    )
    backends = [backend for backend, _ in cases]
    # Of each process how far it is from its node: over all its cases, and a backend's next to that.
    strays: list[dict[str, list[tuple[str, float]]]] = [{} for _ in nodes]
    for row, (backend, by_node) in enumerate(cases):
        for place, node in enumerate(nodes):
            for run, log in by_node[node].items():
                off = log - float(logs[row, place])
                strays[place].setdefault(run, []).append((backend, off))
    of_all = of_one = 0.0
    for runs in strays:
        for offsets in runs.values():
            whole = float(np.mean([off for _, off in offsets]))
            names = {backend for backend, _ in offsets}
            relative = [
                float(np.mean([off for name, off in offsets if name == backend])) - whole
                for backend in names
            ]
            of_all += whole**2
            of_one += float(np.mean(np.square(relative)))
    counts = np.array([len(runs) for runs in strays], dtype=np.float64)
    return NodeTimes.of(logs, backends, (of_all, of_one), counts)


OutlyingTimes = tuple[int, str, float, int, int, int]
"""The place of a node, and from ``backend`` to ``cases`` what ``Outlier`` has."""


def outlying_times(table: NodeTimes, level: float = LEVEL) -> list[OutlyingTimes]:
    """Which nodes of a table are apart, at this level for all of it; those in all cases first."""
    logs, count = table.logs, table.logs.shape[1]
    names = list(dict.fromkeys(table.backends))
    owners = np.array([names.index(backend) for backend in table.backends])
    centred = logs - logs.mean(axis=1, keepdims=True)
    by_backend = np.array([centred[owners == owner].mean(axis=0) for owner in range(len(names))])
    # Where one backend of three or more is apart, the middle one is not.
    machine = np.median(by_backend, axis=0)
    own = table.luck[0] / table.counts
    surely = p_apart(machine, own) <= level / 2 / count
    found = [
        (place, "", *_far(logs, machine, place))
        for place in np.flatnonzero(surely).tolist()
        if abs(_effect(machine, place)) >= math.log1p(LEAST)
    ]
    if len(names) < 2:
        return found
    relative = by_backend - machine
    own = table.luck[1] / table.counts
    p_values = np.array([p_apart(each, own) for each in relative])
    # Of two backends both are as far from their middle: it is that which itself moved further.
    whole = np.array([[abs(_effect(each, place)) for place in range(count)] for each in by_backend])
    outlying_places = {place for place, *_ in found}
    for place in range(count):
        least = np.round(np.log(np.maximum(p_values[:, place], 1e-300)), 6)
        owner = min(range(len(names)), key=lambda each: (least[each], -whole[each, place]))
        sure = p_values[owner, place] <= level / 2 / p_values.size
        if sure and place not in outlying_places and whole[owner, place] >= math.log1p(LEAST):
            part = logs[owners == owner]
            found.append((place, names[owner], *_far(part, by_backend[owner], place)))
    return found


def _effect(values: FloatArray, place: int) -> float:
    """How far one is from the mean of the others."""
    return float(values[place] - np.mean(np.delete(values, place)))


def _far(logs: FloatArray, values: FloatArray, place: int) -> tuple[float, int, int, int]:
    """From ``factor`` to ``cases`` what ``Outlier`` has."""
    effect, others = _effect(values, place), np.delete(logs, place, axis=1)
    own = logs[:, place]
    beyond = own > others.max(axis=1) if effect > 0 else own < others.min(axis=1)
    return math.exp(effect), others.shape[1], int(beyond.sum()), len(logs)


def p_apart(values: FloatArray, own: FloatArray, allowance: float = RATIO_ALLOWANCE) -> FloatArray:
    """Two-sided p-values ``[..., nodes]`` of "this node is of the same distribution as the others".

    values ``[..., nodes]``: logs, three nodes or more. own ``[nodes]``: the variance of each that
    comes from its processes. allowance: the spread between nodes that theirs is drawn towards.
    """
    from scipy import special

    count = values.shape[-1]
    found = np.empty(values.shape)
    for place in range(count):
        others, theirs = np.delete(values, place, axis=-1), np.delete(own, place)
        free = count - 2
        variance = np.var(others, axis=-1, ddof=1)
        prior = allowance**2 + float(np.mean(theirs))
        with np.errstate(divide="ignore"):
            share = DEGREES * np.minimum(1.0, prior / variance)
        degrees = share + free
        drawn = (share * prior + free * variance) / degrees
        # A node of fewer processes than the others strays further.
        more = max(0.0, float(own[place] - np.mean(theirs)))
        t = (values[..., place] - np.mean(others, axis=-1)) / np.sqrt(
            drawn * (1 + 1 / (count - 1)) + more
        )
        found[..., place] = 2 * special.stdtr(degrees, -np.abs(t))
    return found
