"""Which window, which backend, at what cost: the answer to a person's question, from results.

Only what was measured is told: the same shape, or one that is near (each size within a factor of
``NEAR``) and then named as such; nothing is scaled or extrapolated. This room knows the report's
rows, what windows cost and what they learned; nothing of how an answer is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.report_rows import KINDS, Row, Section
from bench.stats import Comparison, Interval, RunSamples, Verdict, compare
from bench.truncation_cost import Learned, step_interval, timestep_interval, window

NEAR = 1.5
"""Factor within which batch, hidden and input size are near: within it a step's work differs by
some two times at most, and what bounds its time (launches, the recurrence, memory) mostly not."""

LITTLE = 0.05
"""A longer window is worth a word if it saves more than this of the time per timestep."""

CLOSE = 0.02
"""Of the longer windows the shortest is told that takes at most this more than the cheapest."""


@dataclass(frozen=True)
class Question:
    """What a person wants to train. dependency: how far back in time what matters lies, timesteps.

    input_size: None if any that was measured will do.
    """

    dependency: int
    batch: int
    hidden_size: int
    device: str = "cpu"
    input_size: int | None = None
    num_layers: int = 1
    dtype: str = "float32"


@dataclass(frozen=True)
class Need:
    """The window that the dependency needs at least, and why.

    learned: whether a map of what was learned says so; else it is the rule that a gradient must
    reach back over the dependency, which is an assumption. why: in words.
    """

    window: int
    learned: bool
    why: str


@dataclass(frozen=True)
class Place:
    """Training of one shape in one session on one machine: its rows by window.

    own: not from the reference results. kind: ``truncation``, or ``throughput`` where whole
    sequences were trained on, whose step on so many timesteps is the work of a window's as long.
    """

    section: Section
    kind: str
    own: bool
    groups: tuple[tuple[Row, ...], ...]

    @property
    def first(self) -> Row:
        """Any row: all have its shape."""
        return self.groups[0][0]

    @cached_property
    def by_window(self) -> dict[int, tuple[Row, ...]]:
        """The rows that have a time, by window, rising."""
        found: dict[int, tuple[Row, ...]] = {}
        for rows in self.groups:
            measured = tuple(row for row in rows if row.measured)
            if measured:
                found[window(measured[0])] = measured
        return dict(sorted(found.items()))

    def differences(self, question: Question) -> list[tuple[str, int, int]]:
        """What of the shape is not what was asked for: its name, measured, asked."""
        spec, work = self.first.case.spec, self.first.case.workload
        sizes = [
            ("batch", work.batch, question.batch),
            ("hidden", spec.hidden_size, question.hidden_size),
        ]
        if question.input_size is not None:
            sizes.append(("input", spec.input_size, question.input_size))
        return [each for each in sizes if each[1] != each[2]]


@dataclass(frozen=True)
class Rival:
    """A backend that may be as fast: its row, and its time over the fastest's."""

    row: Row
    ratio: Comparison


@dataclass(frozen=True)
class Longer:
    """A longer window that costs less per timestep: its fastest row, and the part that it saves."""

    row: Row
    saves: float


@dataclass(frozen=True)
class Answer:
    """What was found.

    best: the row with the shortest time at the window. ahead: the next one's time over its own,
    None without a next one. rivals: those that are not surely slower. sure: whether no rival is
    left and the numbers are to be trusted. longer: None where longer windows save little.
    others: further places that could have answered.
    """

    need: Need
    place: Place
    window: int
    best: Row
    ahead: Rival | None
    rivals: tuple[Rival, ...]
    differences: tuple[tuple[str, int, int], ...]
    longer: Longer | None
    others: int

    @property
    def exact(self) -> bool:
        """Whether the shape is the one that was asked for."""
        return not self.differences

    @property
    def sure(self) -> bool:
        """Whether the backend is surely the fastest of those measured."""
        return self.ahead is not None and not self.rivals and not self.best.invalid

    @property
    def step(self) -> Interval:
        """Seconds of a training step on one window."""
        return _known(step_interval(self.best))

    @property
    def timestep(self) -> Interval:
        """Seconds of a timestep of the whole batch."""
        return _known(timestep_interval(self.best))


@dataclass(frozen=True)
class NoAnswer:
    """Why there is none: in words, one a line."""

    need: Need
    why: tuple[str, ...]


def need(question: Question, learned: Learned | None) -> Need:
    """The shortest window for a dependency: what was learned, or else the rule, as assumption."""
    rule = question.dependency + 1
    if learned is None:
        why = "no map of what windows learn is at hand"
    else:
        found = learned.smallest_window(question.dependency)
        if found is not None:
            return Need(
                found,
                True,
                "the smallest measured window at which every seed learned a dependency of "
                f"{question.dependency} timesteps or more, the state carried",
            )
        why = f"no measured window was seen to learn {question.dependency} timesteps"
    return Need(
        rule,
        False,
        f"{why}; assumed is that a gradient has to reach back: the dependency and one timestep",
    )


def places(sections: Iterable[Section], reference: Iterable[str] = ()) -> list[Place]:
    """Where training was measured, whatever its shape. reference: ids of runs that are not own."""
    foreign = set(reference)
    found = []
    for section in sections:
        own = not all(run.id in foreign for run in section.runs)
        for table in section.tables:
            if table.mode != "training":
                continue
            shapes: dict[object, list[tuple[Row, ...]]] = {}
            for rows in table.groups:
                case = rows[0].case
                work = case.workload
                if work.min_length is not None or work.dropout or case.spec.bidirectional:
                    continue
                # Of a stream its length is part of the shape; of whole sequences it is the window.
                if table.kind == KINDS[0]:
                    work = replace(work, timesteps=1)
                shapes.setdefault((case.spec, replace(work, window=None)), []).append(rows)
            found += [Place(section, table.kind, own, tuple(groups)) for groups in shapes.values()]
    return found


def answer(
    question: Question, found: Sequence[Place], learned: Learned | None = None
) -> Answer | NoAnswer:
    """The answer from the best of these places, or why there is none.

    One's own results come before the reference's, then the exact shape before a near one, streams
    in windows before whole sequences, the nearer shape and the newer session.
    """
    needed = need(question, learned)
    fitting = [place for place in found if _near(question, place)]
    if not fitting:
        return NoAnswer(needed, tuple(_what_is_there(question, found)))
    reaching = [
        place for place in fitting if any(each >= needed.window for each in place.by_window)
    ]
    if not reaching:
        longest = max(max(place.by_window) for place in fitting)
        return NoAnswer(
            needed,
            (
                f"the longest window that was measured near this shape is {longest}; "
                f"{needed.window} are needed",
            ),
        )
    reaching.sort(key=lambda place: place.section.started, reverse=True)
    place = min(
        reaching,
        key=lambda place: (
            not place.own,
            bool(place.differences(question)),
            KINDS.index(place.kind) == 0,
            _distance(question, place),
        ),
    )
    length = min(each for each in place.by_window if each >= needed.window)
    best, *rest = _ranked(place.by_window[length])
    against = [Rival(row, compare(row.runs, best.runs)) for row in rest]
    return Answer(
        need=needed,
        place=place,
        window=length,
        best=best,
        ahead=against[0] if against else None,
        rivals=tuple(each for each in against if each.ratio.verdict is not Verdict.SLOWER),
        differences=tuple(place.differences(question)),
        longer=_longer(place, length, best),
        others=len(reaching) - 1,
    )


def _near(question: Question, place: Place) -> bool:
    case = place.first.case
    return (
        case.device == question.device
        and case.spec.num_layers == question.num_layers
        and case.spec.dtype == question.dtype
        and bool(place.by_window)
        and all(
            max(one, other) <= NEAR * min(one, other)
            for _, one, other in place.differences(question)
        )
    )


def _distance(question: Question, place: Place) -> float:
    return sum(abs(math.log(one / other)) for _, one, other in place.differences(question))


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """The fastest first; those whose numbers are not to be trusted after all others."""
    return sorted(rows, key=lambda row: (bool(row.invalid), row.time, row.case.backend))


def _longer(place: Place, length: int, best: Row) -> Longer | None:
    """The shortest longer window that is ``CLOSE`` to the cheapest per timestep."""
    costs = {
        each: (_known(timestep_interval(first)).mid, first)
        for each, rows in place.by_window.items()
        if each > length
        for first in _ranked(rows)[:1]
    }
    if not costs:
        return None
    now = _known(timestep_interval(best)).mid
    least = min(time for time, _ in costs.values())
    time, row = next(found for found in costs.values() if found[0] <= least * (1 + CLOSE))
    # By the medians of two windows, which were not measured in turn: only what is beyond doubt.
    unpaired = [[RunSamples(run.run, run.samples) for run in each.runs] for each in (row, best)]
    steps = row.case.workload.timesteps / best.case.workload.timesteps
    ratio = compare(*unpaired).ratio.high / steps
    saves = 1 - time / now
    return Longer(row, saves) if ratio < 1 and saves > LITTLE else None


def _what_is_there(question: Question, found: Sequence[Place]) -> Iterable[str]:
    """Why nothing fits, by what there is instead."""
    here = [place for place in found if place.first.case.device == question.device]
    if not found:
        yield "there are no results of training"
        return
    if not here:
        there = sorted({place.first.case.device for place in found})
        yield f"nothing was measured on {question.device}; there are results on {', '.join(there)}"
        return
    shapes = dict.fromkeys(
        f"batch {place.first.case.workload.batch}, {place.first.case.spec.hidden_size} hidden, "
        f"{place.first.case.spec.input_size} in, {place.first.case.spec.num_layers} "
        f"layer{'s' if place.first.case.spec.num_layers > 1 else ''}, "
        f"{place.first.case.spec.dtype}"
        for place in sorted(here, key=lambda place: _distance(question, place))
    )
    yield f"no shape within a factor of {NEAR:g} was trained on {question.device}; there are:"
    yield from list(shapes)[:_MOST_SHAPES]
    if len(shapes) > _MOST_SHAPES:
        yield f"and {len(shapes) - _MOST_SHAPES} more"


_MOST_SHAPES = 5


def _known(interval: Interval | None) -> Interval:
    assert interval is not None, "of a row that was measured"
    return interval
