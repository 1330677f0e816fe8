"""Simulate comparisons over several nodes, which are machines of one kind.

The studies count how often the intervals and the verdicts are right, and how often a report names a
node as outlying. The worlds have spreads of 0 to 10% between nodes, heavy tails, one outlying node
in ten, and unequal numbers of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.render.table import TextTable
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import (
    RATIO_ALLOWANCE,
    TIME_ALLOWANCE,
    Estimates,
    FloatArray,
    Means,
    means_over_nodes,
    process_means,
    time_bounds,
)
from bench.verdicts.outliers import NodeTimes, outlying_times
from research.noises import SEED
from research.rules import DIFFERENT, beside, percent, rate, table, verdicts

NODES = (2, 3, 5, 10)
PROCESSES = 6
UNBALANCED = (1, 2, 10, 6, 3)
"""The number of processes of each node. Further nodes begin again with the first number."""

TRIALS = 3_000
"""The trials behind each number. With 3,000, a rate of 1% is known to ±0.4%. Each trial draws all
nodes, so more would take long."""

REPORTS = 2_000
"""The simulated reports behind each number. In a report, every node is compared with the others."""

BACKENDS, SHAPES = 3, 4
"""The backends and the shapes of each simulated report."""


@dataclass(frozen=True)
class World:
    """How much the nodes and the processes of a simulation differ.

    Attributes
    ----------
    nodes, processes
        The standard deviations of the log times between nodes, and between the processes of a node.
    tails
        Whether both have the heavy tails of Student's t with 3 degrees of freedom.
    bad
        The fraction of nodes that have another 25% of standard deviation.
    sizes
        The number of processes of each node. Further nodes begin again with the first number.
    """

    nodes: float
    processes: float = 0.05
    tails: bool = False
    bad: float = 0.0
    sizes: Sequence[int] = (PROCESSES,)

    def size(self, node: int) -> int:
        """Return the number of processes of the given node."""
        return self.sizes[node % len(self.sizes)]


WORLDS = {
    "nodes 0%, processes 5%": World(0.0),
    "nodes 2%, processes 5%": World(0.02),
    "nodes 5%, processes 5%": World(0.05),
    "nodes 10%, processes 5%": World(0.10),
    "nodes 0%, processes 15%": World(0.0, 0.15),
    "nodes 5%, processes 15%": World(0.05, 0.15),
    "nodes 5%, heavy tails": World(0.05, tails=True),
    "nodes 2%, one in ten bad": World(0.02, bad=0.1),
    "nodes 2%, unbalanced": World(0.02, sizes=UNBALANCED),
    "nodes 5%, unbalanced": World(0.05, sizes=UNBALANCED),
    "nodes 0%, one process each": World(0.0, sizes=(1,)),
    "nodes 5%, one process each": World(0.05, sizes=(1,)),
    "nodes 5%, two processes each": World(0.05, sizes=(2,)),
}
"""The simulated worlds, by name. Each is symmetric around 0, which is the true value."""


def draw(world: World, nodes: int, trials: int, seed: int = SEED) -> list[FloatArray]:
    """Draw the log times of each node's processes, ``[trials, processes]``, around 0."""
    rng = np.random.default_rng(seed)
    found = []
    for node in range(nodes):
        effect = world.nodes * _noise(world, rng, (trials, 1))
        effect = effect + 0.25 * (rng.random((trials, 1)) < world.bad) * rng.standard_normal(
            (trials, 1)
        )
        found.append(effect + world.processes * _noise(world, rng, (trials, world.size(node))))
    return found


def _noise(world: World, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    if world.tails:
        return np.asarray(rng.standard_t(3, shape) / math.sqrt(3))
    return rng.standard_normal(shape)


def means(logs: Sequence[FloatArray]) -> Means:
    """Return the means ``[trials]`` of paired log ratios that are grouped by node."""
    each = [process_means(node, Pairing.ALTERNATING.allowance, in_order=True) for node in logs]
    numbers = (
        np.stack([getattr(of, name) for of in each], axis=1)
        for name in ("middles", "errors", "degrees")
    )
    return means_over_nodes(Estimates(*numbers), RATIO_ALLOWANCE)


def pool_means(logs: Sequence[FloatArray]) -> Means:
    """Return the means ``[trials]`` as if all processes had run on one machine."""
    return process_means(np.concatenate(logs, axis=1), Pairing.ALTERNATING.allowance)


def coverage_rate(logs: Sequence[FloatArray]) -> float:
    """Return how often the 95% interval of a time contains the true value."""
    medians = np.stack([np.median(node, axis=1) for node in logs], axis=1)
    free = sum(node.shape[1] - 1 for node in logs)
    share = float(np.mean([1 / node.shape[1] for node in logs]))
    if free:
        squares = [np.sum((node - node.mean(axis=1, keepdims=True)) ** 2, axis=1) for node in logs]
        own = np.sum(squares, axis=0) / free * share
    else:
        own = np.full(len(medians), 0.29**2 * share)
    low, _, high, _ = time_bounds(np.exp(medians), np.sqrt(TIME_ALLOWANCE**2 + own))
    return float(np.mean((low <= 1) & (high >= 1)))


# Tables


def coverages(trials: int) -> TextTable:
    """Tabulate how often the 95% interval of a time covers the true value."""
    rows = [
        [name, *(percent(coverage_rate(draw(world, nodes, trials))) for nodes in NODES)]
        for name, world in WORLDS.items()
    ]
    return table(["the time's 95% interval covers, nodes:", *map(str, NODES)], rows)


def false_rates(trials: int) -> TextTable:
    """Tabulate how often equals are called different, by node and (as if on one machine)."""
    rows = []
    for name, world in WORLDS.items():
        cells = []
        for nodes in NODES:
            logs = draw(world, nodes, trials)
            both = (means(logs), pool_means(logs))
            cells.append(beside(*(rate(verdicts(of), *DIFFERENT) for of in both)))
        rows.append([name, *cells])
    return table(["equals called different over nodes (processes pooled):", *map(str, NODES)], rows)


def powers(trials: int) -> TextTable:
    """Tabulate how often a true effect is found."""
    rows = []
    for name, world in WORLDS.items():
        found = [means(draw(world, nodes, trials)) for nodes in NODES]
        for effect in (0.05, 0.10, 0.20):
            rates = [rate(verdicts(of, effect=effect), Verdict.SLOWER) for of in found]
            rows.append([f"{effect:.0%} slower, {name}", *map(percent, rates)])
    return table(["SLOWER said over nodes:", *map(str, NODES)], rows)


# Outlying nodes


def report(
    world: World, nodes: int, rng: np.random.Generator, moved: float = 0.0, backend: bool = False
) -> NodeTimes:
    """Draw the times of a report's cases on each node.

    Nodes and processes have an effect on all cases, and a smaller one on each backend.

    Parameters
    ----------
    world, nodes, rng
        How the nodes differ, the number of nodes, and the generator.
    moved
        By how much the first node is slower: 0.15 is 15%.
    backend
        Whether it is slower in one backend only.
    """
    owners = np.arange(BACKENDS * SHAPES) % BACKENDS
    logs = np.empty((owners.size, nodes))
    squares = np.zeros(2)
    for node in range(nodes):
        size = world.size(node)
        shift = _noise(world, rng, (1, 1)) + 0.1 * _noise(world, rng, (BACKENDS, 1))
        shift = world.nodes * shift + 0.25 * (rng.random() < world.bad) * rng.standard_normal()
        own = _noise(world, rng, (1, size)) + 0.3 * _noise(world, rng, (BACKENDS, size))
        times = (shift + world.processes * own)[owners]
        times = times + 0.02 * rng.standard_normal(times.shape)
        if node == 0:
            times[(owners == 0) | (not backend)] += math.log1p(moved)
        logs[:, node] = np.median(times, axis=1)
        off = times - logs[:, node, None]
        mean = off.mean(axis=0)
        adjacent = [off[owners == owner].mean(axis=0) - mean for owner in range(BACKENDS)]
        squares += float(np.sum(mean**2)), float(np.sum(np.mean(np.square(adjacent), axis=0)))
    counts = np.array([world.size(node) for node in range(nodes)], dtype=np.float64)
    both, names = (float(squares[0]), float(squares[1])), [*map(str, range(nodes))]
    return NodeTimes(names, logs, [*map(str, owners)], both, counts)


EQUAL = {name: replace(WORLDS[name], bad=0.0) for name in WORLDS if "one in ten bad" not in name}


def named(trials: int) -> TextTable:
    """Tabulate how many reports on equal nodes name one of them as outlying."""
    counts = (3, 5, 10)
    rows = []
    for name, world in EQUAL.items():
        cells = []
        for nodes in counts:
            rng = np.random.default_rng(SEED)
            described = sum(bool(outlying_times(report(world, nodes, rng))) for _ in range(trials))
            cells.append(percent(described / trials))
        rows.append([name, *cells])
    return table(["reports of equal nodes that name one, nodes:", *map(str, counts)], rows)


def found(trials: int) -> TextTable:
    """Tabulate how often a slower node is named, and (how often another one is)."""
    counts = (3, 5, 10)
    rows = []
    for name in ("nodes 0%, processes 5%", "nodes 2%, processes 5%", "nodes 5%, processes 5%"):
        for backend in (False, True):
            for moved in (0.15, 0.31, 0.60):
                cells = []
                for nodes in counts:
                    rng = np.random.default_rng(SEED)
                    right = wrong = 0
                    for _ in range(trials):
                        times = report(WORLDS[name], nodes, rng, moved, backend)
                        described = {(each.node, each.backend) for each in outlying_times(times)}
                        wanted = ("0", "0" if backend else "")
                        right += wanted in described
                        wrong += bool(described - {wanted})
                    cells.append(beside(right / trials, wrong / trials))
                what = "one backend" if backend else "all"
                rows.append([f"{moved:.0%} slower in {what}, {name}", *cells])
    return table(["slow node named (another), nodes:", *map(str, counts)], rows)


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` about nodes, by title."""
    reports = min(REPORTS, trials)
    return {
        "Coverage over nodes": coverages(trials),
        "False verdicts over nodes": false_rates(trials),
        "Found effects over nodes": powers(trials),
        "Nodes named though equal": named(reports),
        "Nodes found": found(max(1, reports // 4)),
    }
