"""Which batches a policy makes of sequences whose lengths differ, and what they cost.

A batch of B sequences is padded to one number of timesteps T and takes
``fixed + per_timestep * T``; each T that was not seen before costs a tracing and a compiling.
Buckets are ranges of lengths, each padded to its upper edge; the edges that make the least cost are
found exactly, by dynamic programming. Pure functions of arrays; this room knows no
results and no framework.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.batching.lengths import Lengths

MOST_EDGES = 1_000
"""Lengths that are tried as edges. Of more different ones every so-many-th is: each edge is then
too high by a thousandth of the sequences at most, and finding them takes a tenth of a second."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """Seconds of a batch of T timesteps: ``fixed + per_timestep * T``. shape: of each new T."""

    fixed: float
    per_timestep: float
    shape: float = 0.0

    def __post_init__(self) -> None:
        if min(self.fixed, self.per_timestep, self.shape) < 0 or not np.isfinite(
            self.fixed + self.per_timestep + self.shape
        ):
            raise ValueError(f"{self} has a cost that is no finite number of at least 0")


@dataclass(frozen=True)
class Plan:
    """The batches of one policy.

    name: in words. batches: how many there are of each number of timesteps. batch: sequences in
    one. valid: timesteps of all sequences together that are not padding. edges: of its buckets.
    """

    name: str
    batches: Mapping[int, int]
    batch: int
    valid: int
    edges: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Batches."""
        return sum(self.batches.values())

    @property
    def shapes(self) -> int:
        """Different numbers of timesteps."""
        return len(self.batches)

    @property
    def computed(self) -> int:
        """Timesteps of all rows together that are computed, padding and empty rows among them."""
        return self.batch * sum(steps * count for steps, count in self.batches.items())

    @property
    def padding(self) -> float:
        """The part of what is computed that is padding."""
        return 1.0 - self.valid / self.computed

    def steady(self, line: Line) -> float:
        """Seconds of all batches, every shape having been seen."""
        steps = sum(steps * count for steps, count in self.batches.items())
        return line.fixed * self.count + line.per_timestep * steps

    def cost(self, line: Line, passes: int = 1) -> float:
        """Seconds of so many passes over all sequences, from the first, new shapes counted in."""
        return passes * self.steady(line) + line.shape * self.shapes


def _checked(lengths: Lengths, batch: int) -> Lengths:
    if lengths.ndim != 1 or lengths.size == 0 or lengths.min() < 1 or batch < 1:
        raise ValueError("expected lengths of at least 1, and a batch of at least 1")
    return lengths


def longest(lengths: Lengths, batch: int) -> Plan:
    """Every batch is padded to the longest sequence of all: one shape."""
    count = -(-_checked(lengths, batch).size // batch)
    name = "padded to the longest of all"
    return Plan(name, {int(lengths.max()): count}, batch, int(lengths.sum()))


def per_batch(lengths: Lengths, batch: int) -> Plan:
    """Each batch, as the sequences come, is padded to its own longest."""
    starts = np.arange(0, _checked(lengths, batch).size, batch)
    found = Counter(np.maximum.reduceat(lengths, starts).tolist())
    name = "padded to the batch's longest"
    return Plan(name, dict(sorted(found.items())), batch, int(lengths.sum()))


@dataclass(frozen=True)
class Batch:
    """One padded batch: timesteps, and the numbers of its sequences, the rest of its rows empty."""

    timesteps: int
    sequences: tuple[int, ...]


def arranged(lengths: Lengths, plan: Plan) -> list[Batch]:
    """The batches of a plan in the order in which they are full, as the sequences come.

    With buckets each sequence waits in its own until that has a batch; what is left at the end
    makes smaller ones.
    """
    edges = plan.edges or (int(lengths.max()),)
    waiting: dict[int, list[int]] = {edge: [] for edge in edges}
    own = not plan.edges and plan.shapes > 1
    found: list[Batch] = []

    def leave(edge: int) -> None:
        rows = tuple(waiting[edge])
        waiting[edge].clear()
        found.append(Batch(int(lengths[list(rows)].max()) if own else edge, rows))

    places = np.searchsorted(np.asarray(edges), lengths)
    for number, place in enumerate(places.tolist()):
        waiting[edges[place]].append(number)
        if len(waiting[edges[place]]) == plan.batch:
            leave(edges[place])
    for edge in edges:
        if waiting[edge]:
            leave(edge)
    return found


def bucketed(lengths: Lengths, batch: int, edges: Sequence[int], how: str) -> Plan:
    """Batches of sequences of one bucket, padded to its edge; the last of a bucket may be small.

    edges: rising, the last one no less than the longest sequence. how: the edges were chosen.
    """
    if list(edges) != sorted(set(edges)) or not edges or edges[-1] < _checked(lengths, batch).max():
        raise ValueError(f"edges {list(edges)} do not rise to the longest sequence")
    places = np.searchsorted(np.asarray(edges), lengths)
    counts = np.bincount(places, minlength=len(edges))
    batches = {
        int(edge): -(-int(count) // batch)
        for edge, count in zip(edges, counts, strict=True)
        if count
    }
    name = f"{len(batches)} bucket{'' if len(batches) == 1 else 's'}, {how}"
    return Plan(name, batches, batch, int(lengths.sum()), tuple(batches))


EQUAL, OPTIMAL = "equal counts", "optimal edges"


def equal_edges(lengths: Lengths, buckets: int) -> tuple[int, ...]:
    """Edges of at most so many buckets with as nearly as many sequences each as there can be."""
    ordered = np.sort(lengths)
    places = np.ceil(np.arange(1, buckets + 1) * ordered.size / buckets).astype(np.int64) - 1
    return tuple(np.unique(ordered[places]).tolist())


def optimal_edges(
    lengths: Lengths, batch: int, line: Line, most: int
) -> dict[int, tuple[int, ...]]:
    """For each number of buckets up to ``most``, the edges of the least ``Plan.steady``.

    Dynamic programming over the different lengths: the last bucket of the best division of the
    shortest j lengths into k begins where the best division into k - 1 ends (Bellman 1961). Exact
    up to ``MOST_EDGES`` different lengths. A number of buckets that costs no less than fewer is
    left out. Costs only have to be right relative to each other: of a line of zeros all are alike.
    """
    candidates, below = _candidates(_checked(lengths, batch))
    size = candidates.size
    per_batch_cost = line.fixed + line.per_timestep * candidates
    best = np.full(size + 1, np.inf)
    best[0] = 0.0
    found: dict[int, tuple[int, ...]] = {}
    cuts: list[Whole] = []
    least = np.inf
    for buckets in range(1, min(most, size) + 1):
        nearer = np.full(size + 1, np.inf)
        cut = np.zeros(size + 1, np.int64)
        for end in range(1, size + 1):
            sequences = below[end] - below[:end]
            totals = best[:end] - (-sequences // batch) * per_batch_cost[end - 1]
            cut[end] = int(np.argmin(totals))
            nearer[end] = totals[cut[end]]
        cuts.append(cut)
        best = nearer
        if best[size] < least:
            least = float(best[size])
            found[buckets] = _edges(candidates, cuts)
    return found


def _candidates(lengths: Lengths) -> tuple[Whole, Whole]:
    """The lengths that may be edges, rising, and how many sequences lie up to each, from 0."""
    different, counts = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    if different.size > MOST_EDGES:
        wanted = np.linspace(0, lengths.size, MOST_EDGES + 1)[1:]
        kept = np.unique(np.searchsorted(below[1:], wanted))
        return different[kept], np.concatenate([[0], below[1:][kept]])
    return different, below


def _edges(candidates: Whole, cuts: Sequence[Whole]) -> tuple[int, ...]:
    end, edges = candidates.size, []
    for cut in reversed(cuts):
        edges.append(int(candidates[end - 1]))
        end = int(cut[end])
    return tuple(reversed(edges))


def fixed(lengths: Lengths, batch: int, most: int) -> list[Plan]:
    """The policies that ask no cost: both ways of padding, and up to ``most`` equal buckets."""
    found = [longest(lengths, batch), per_batch(lengths, batch)]
    ordered = np.sort(lengths)
    for buckets in range(2, most + 1):
        found.append(bucketed(lengths, batch, equal_edges(ordered, buckets), EQUAL))
    return list({(each.name, tuple(each.batches.items())): each for each in found}.values())


def optimal(lengths: Lengths, batch: int, line: Line, most: int) -> list[Plan]:
    """Buckets with the edges that are optimal for a line, up to ``most``."""
    return [
        bucketed(lengths, batch, edges, OPTIMAL)
        for edges in optimal_edges(lengths, batch, line, most).values()
        if len(edges) > 1
    ]
