"""Choose how to batch sequences of different lengths, and the backend that makes it cheapest.

A batch is padded to one number of timesteps T and takes ``fixed + per_timestep * T``; each T that
was not seen before costs a tracing and a compiling. Buckets are ranges of lengths, each padded to
its upper edge; the best edges are found exactly, by dynamic programming. The costs come from cases
measured at three lengths or more of a near shape; how much more than the best policy the chosen one
can cost, anywhere in the bounds of these costs, is given next to it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.along import Fit, by_backend, line, questions
from bench.stats.recommend import Difference, are_near, differences, distance
from bench.stats.rows import Row, Section
from lstm_impl.registry import get_backend
from lstm_impl.spec import UnsupportedError

Lengths = npt.NDArray[np.int64]

MOST_EDGES = 1_000
"""Lengths that are tried as edges. Of more different ones every so-many-th is: each edge is then
too high by a thousandth of the sequences at most, and finding them takes a tenth of a second."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BatchCost:
    """Seconds of a batch of T timesteps: ``fixed + per_timestep * T``. shape: of each new T."""

    fixed: float
    per_timestep: float
    shape: float = 0.0

    def __post_init__(self) -> None:
        if min(self.fixed, self.per_timestep, self.shape) < 0 or not np.isfinite(
            self.fixed + self.per_timestep + self.shape
        ):
            raise ValueError(f"{self}: negative or infinite")


@dataclass(frozen=True)
class BatchPlan:
    """The batches of one policy.

    policy: ``longest``, ``batch`` (the batch's longest), or of buckets ``equal`` counts or
    ``optimal`` edges. batches: how many there are of each number of timesteps. batch: sequences in
    one. valid: timesteps of all sequences together that are not padding. edges: of its buckets.
    """

    policy: str
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

    def steady(self, line: BatchCost) -> float:
        """Seconds of all batches, every shape having been seen."""
        steps = sum(steps * count for steps, count in self.batches.items())
        return line.fixed * self.count + line.per_timestep * steps

    def cost(self, line: BatchCost, passes: int = 1) -> float:
        """Seconds of so many passes over all sequences, from the first, new shapes counted in."""
        return passes * self.steady(line) + line.shape * self.shapes


def _checked(lengths: Lengths, batch: int) -> Lengths:
    if lengths.ndim != 1 or lengths.size == 0 or lengths.min() < 1 or batch < 1:
        raise ValueError("length below 1")
    return lengths


def longest(lengths: Lengths, batch: int) -> BatchPlan:
    """Every batch is padded to the longest sequence of all: one shape."""
    count = -(-_checked(lengths, batch).size // batch)
    return BatchPlan("longest", {int(lengths.max()): count}, batch, int(lengths.sum()))


def per_batch(lengths: Lengths, batch: int) -> BatchPlan:
    """Each batch, as the sequences come, is padded to its own longest."""
    starts = np.arange(0, _checked(lengths, batch).size, batch)
    found = Counter(np.maximum.reduceat(lengths, starts).tolist())
    return BatchPlan("batch", dict(sorted(found.items())), batch, int(lengths.sum()))


@dataclass(frozen=True)
class PaddedBatch:
    """One padded batch: timesteps, and the numbers of its sequences, the rest of its rows empty."""

    timesteps: int
    sequences: tuple[int, ...]


def arranged(lengths: Lengths, plan: BatchPlan) -> list[PaddedBatch]:
    """The batches of a plan in the order in which they are full, as the sequences come.

    With buckets each sequence waits in its own until that has a batch; what is left at the end
    makes smaller ones.
    """
    edges = plan.edges or (int(lengths.max()),)
    waiting: dict[int, list[int]] = {edge: [] for edge in edges}
    own = not plan.edges and plan.shapes > 1
    found: list[PaddedBatch] = []

    def leave(edge: int) -> None:
        rows = tuple(waiting[edge])
        waiting[edge].clear()
        found.append(PaddedBatch(int(lengths[list(rows)].max()) if own else edge, rows))

    places = np.searchsorted(np.asarray(edges), lengths)
    for number, place in enumerate(places.tolist()):
        waiting[edges[place]].append(number)
        if len(waiting[edges[place]]) == plan.batch:
            leave(edges[place])
    for edge in edges:
        if waiting[edge]:
            leave(edge)
    return found


def bucketed(lengths: Lengths, batch: int, edges: Sequence[int], policy: str) -> BatchPlan:
    """Batches of sequences of one bucket, padded to its edge; the last of a bucket may be small.

    edges: rising, the last no less than the longest sequence. policy: how they were chosen.
    """
    if list(edges) != sorted(set(edges)) or not edges or edges[-1] < _checked(lengths, batch).max():
        raise ValueError(f"wrong edges {list(edges)}")
    places = np.searchsorted(np.asarray(edges), lengths)
    counts = np.bincount(places, minlength=len(edges))
    batches = {
        int(edge): -(-int(count) // batch)
        for edge, count in zip(edges, counts, strict=True)
        if count
    }
    return BatchPlan(policy, batches, batch, int(lengths.sum()), tuple(batches))


EQUAL, OPTIMAL = "equal", "optimal"


def equal_edges(lengths: Lengths, buckets: int) -> tuple[int, ...]:
    """Edges of at most so many buckets with as nearly as many sequences each as there can be."""
    ordered = np.sort(lengths)
    places = np.ceil(np.arange(1, buckets + 1) * ordered.size / buckets).astype(np.int64) - 1
    return tuple(np.unique(ordered[places]).tolist())


def optimal_edges(
    lengths: Lengths, batch: int, line: BatchCost, most: int
) -> dict[int, tuple[int, ...]]:
    """For each number of buckets up to ``most``, the edges of the least ``BatchPlan.steady``.

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


def fixed(lengths: Lengths, batch: int, most: int) -> list[BatchPlan]:
    """The policies that ask no cost: both ways of padding, and up to ``most`` equal buckets."""
    found = [longest(lengths, batch), per_batch(lengths, batch)]
    ordered = np.sort(lengths)
    for buckets in range(2, most + 1):
        found.append(bucketed(lengths, batch, equal_edges(ordered, buckets), EQUAL))
    return list({(each.policy, tuple(each.batches.items())): each for each in found}.values())


def optimal(lengths: Lengths, batch: int, line: BatchCost, most: int) -> list[BatchPlan]:
    """Buckets with the edges that are optimal for a line, up to ``most``."""
    return [
        bucketed(lengths, batch, edges, OPTIMAL)
        for edges in optimal_edges(lengths, batch, line, most).values()
        if len(edges) > 1
    ]


# -- advice from measured cases

BEYOND = 2.0
"""Sequences may be so many times as long as the longest that was measured: a line holds about as
far as it is from where it was seen."""

MOST_BUCKETS = 16
"""Buckets that are tried: past them padding is a few per cent whatever the lengths."""


SIMPLER = 0.02
"""Of the policies that cost at most this more than the cheapest, the one with the fewest shapes is
taken: less to compile and to keep, for what no verdict would find."""


@dataclass(frozen=True)
class BatchingQuery:
    """Sequences of these lengths, in this order, in batches of ``batch``.

    input_size: None if any that was measured will do. passes: over all sequences, from the first
    call of a fresh process on.
    """

    lengths: Lengths
    batch: int
    hidden_size: int
    input_size: int | None = None
    device: str = "cpu"
    mode: str = "training"
    dtype: str = "float32"
    num_layers: int = 1
    passes: int = 1
    most: int = MOST_BUCKETS


@dataclass(frozen=True)
class BackendCosts:
    """What is known of one backend. low, high: bounds of the line's numbers, None without any.

    again: whether each number of timesteps is traced or compiled again.
    """

    backend: str
    rows: tuple[Row, ...]
    fit: Fit
    line: BatchCost
    low: BatchCost | None
    high: BatchCost | None
    anew: bool

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The lengths that were measured."""
        return tuple(row.case.workload.timesteps for row in self.rows)


@dataclass(frozen=True)
class Advised:
    """A backend's policies: the one to take (``SIMPLER``), then the others, the cheapest first.

    regret: by what part more than the best policy of this backend the first can cost; None without
    bounds.
    """

    recorded: BackendCosts
    plans: tuple[BatchPlan, ...]
    regret: float | None

    @property
    def best(self) -> BatchPlan:
        """The one to take."""
        return self.plans[0]


@dataclass(frozen=True)
class Advice:
    """The answer: backends by the cost of their best policy.

    section: where their times are from.
    """

    question: BatchingQuery
    section: Section
    backends: tuple[Advised, ...]


@dataclass(frozen=True)
class NoAdvice:
    """Why nothing can be said: no shape is near, or these sequences are too long for it.

    longest: timesteps of the longest sequence, None where no shape is near.
    """

    longest: int | None = None


def advise(question: BatchingQuery, sections: Iterable[Section]) -> Advice | NoAdvice:
    """The cheapest policy and backend, from a near shape that was measured at three lengths."""
    near: list[tuple[float, int, int, Section, list[BackendCosts]]] = []
    too_long = False
    longest = int(question.lengths.max())
    for number, section in enumerate(sections):
        for rows in questions(section.rows):
            away = how_far(question, rows[0])
            if away is None or not (known := recorded(rows)):
                continue
            known = [each for each in known if BEYOND * max(each.timesteps) >= longest]
            if known:
                # The nearest shape, then the most backends, then the newest results.
                near.append((away, -len(known), number, section, known))
            else:
                too_long = True
    if not near:
        return NoAdvice(longest if too_long else None)
    *_, section, known = min(near, key=lambda each: each[:3])
    static = fixed(question.lengths, question.batch, question.most)
    found = [_advised(question, each, static) for each in known]
    found.sort(key=lambda each: each.best.cost(each.recorded.line, question.passes))
    return Advice(question, section, tuple(found))


def how_far(question: BatchingQuery, row: Row) -> float | None:
    """How far a measured shape is from the one requested, in factors; None if it is not near."""
    spec, work = row.case.spec, row.case.workload
    same = (row.case.device, work.mode, spec.dtype, spec.num_layers, spec.bidirectional) == (
        question.device,
        question.mode,
        question.dtype,
        question.num_layers,
        False,
    )
    other = other_sizes(question, row)
    return distance(other) if same and are_near(other) else None


def other_sizes(question: BatchingQuery, row: Row) -> list[Difference]:
    """What of a measured shape is not what was requested."""
    sizes_wanted = question.batch, question.hidden_size, question.input_size
    return differences(row.case, *sizes_wanted)


def recorded(rows: Sequence[Row]) -> list[BackendCosts]:
    """The backends of one question that a line can be drawn for."""
    found = []
    for backend, own in by_backend(rows).items():
        fitted = line(own)
        if fitted is None or not fitted.is_line:
            continue
        retraces = each_length_anew(backend)
        once = sorted(_once(row) for row in own) if retraces else [0.0]
        middle = once[len(once) // 2]
        low = high = None
        if fitted.fixed is not None and fitted.per_timestep is not None:
            low = _line(fitted.fixed.low, fitted.per_timestep.low, once[0])
            high = _line(fitted.fixed.high, fitted.per_timestep.high, once[-1])
        middle_line = _line(fitted.line.fixed, fitted.line.per_timestep, middle)
        found.append(BackendCosts(backend, tuple(own), fitted, middle_line, low, high, retraces))
    return found


def _line(fixed: float, per_timestep: float, shape: float) -> BatchCost:
    # A fit may say less than nothing where a cost is too small to be seen.
    return BatchCost(max(fixed, 0.0), max(per_timestep, 0.0), shape)


def _once(row: Row) -> float:
    """Seconds of tracing and compiling a case."""
    setup = row.setup or {}
    return sum(max(setup.get(key) or 0.0, 0.0) for key in ("trace_s", "compile_s"))


def each_length_anew(backend: str) -> bool:
    """As the backend says; of one that is not known here, the worse is taken."""
    try:
        return get_backend(backend).each_length_anew
    except UnsupportedError:
        return True


def _advised(question: BatchingQuery, known: BackendCosts, static: Sequence[BatchPlan]) -> Advised:
    def cost(plan: BatchPlan) -> float:
        return plan.cost(known.line, question.passes)

    bucketed = optimal(question.lengths, question.batch, known.line, question.most)
    found = sorted([*static, *bucketed], key=lambda plan: (cost(plan), plan.shapes))
    enough = (1 + SIMPLER) * cost(found[0])
    simple = min((plan for plan in found if cost(plan) <= enough), key=lambda plan: plan.shapes)
    found.remove(simple)
    found.insert(0, simple)
    bound = None
    if known.low is not None and known.high is not None:
        bound = regret(found[0], question, known.low, known.high, static)
    return Advised(known, tuple(found), bound)


def regret(
    chosen: BatchPlan,
    question: BatchingQuery,
    low: BatchCost,
    high: BatchCost,
    static: Sequence[BatchPlan],
) -> float:
    """By what part more than the best policy a plan can cost, wherever the line is in its bounds.

    The ratio of two costs is linear over linear in each number of the line, so that it is largest
    in a corner of the bounds; the best policy of each corner is found again. static: the policies
    that depend on no cost.
    """
    worst = 0.0
    for fixed, per_timestep in itertools.product(
        (low.fixed, high.fixed), (low.per_timestep, high.per_timestep)
    ):
        base = BatchCost(fixed, per_timestep)
        bucketed = optimal(question.lengths, question.batch, base, question.most)
        others = [*static, *bucketed]
        for shape in (low.shape, high.shape):
            corner = BatchCost(fixed, per_timestep, shape)
            ours = chosen.cost(corner, question.passes)
            best = min(ours, *(each.cost(corner, question.passes) for each in others))
            if ours > best:
                worst = max(worst, ours / best - 1.0 if best > 0 else math.inf)
    return worst
