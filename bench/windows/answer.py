"""Which window, which backend, at what cost: the answer to a person's question, from results.

Only what was measured is told: the same shape, or one that is near (each size within a factor of
``NEAR``) and then named as such; nothing is scaled or extrapolated. This room knows the report's
rows, what windows cost and what a dependency needs; nothing of how an answer is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from bench.case.cases import Case
from bench.records.maps import LearningMap
from bench.render.quantities import count, listed
from bench.stats.along import step_interval, timestep_interval, window
from bench.stats.comparison import Comparison, Verdict
from bench.stats.intervals import Interval
from bench.stats.ratios import compare
from bench.stats.rows import KINDS, Row, Section
from bench.windows.learned import Need, need
from lstm_impl.workload import GRADIENTS

NEAR = 1.5
"""Factor within which batch, hidden and input size are near: within it a step's work differs by
some two times at most, and what bounds its time (launches, the recurrence, memory) mostly not."""

LITTLE = 0.05
"""A longer window is worth a word if it saves more than this of the time per timestep."""

CLOSE = 0.02
"""Of the longer windows the shortest is told that takes at most this more than the cheapest."""


Difference: TypeAlias = tuple[str, int, int]
"""A size by its name, as it was measured and as it was asked for."""


def differences(
    case: Case, batch: int, hidden_size: int, input_size: int | None
) -> list[Difference]:
    """What of a shape is not what was asked for; input_size: None if any will do."""
    sizes = [("batch", case.workload.batch, batch), ("hidden", case.spec.hidden_size, hidden_size)]
    if input_size is not None:
        sizes.append(("input", case.spec.input_size, input_size))
    return [each for each in sizes if each[1] != each[2]]


def are_near(found: Iterable[Difference]) -> bool:
    """Whether each of them is within a factor of ``NEAR``."""
    return all(_factor(measured, asked) <= NEAR for _, measured, asked in found)


def distance(found: Iterable[Difference]) -> float:
    """How far what was measured is from what was asked for: the logarithms of all factors."""
    return sum(abs(math.log(measured / asked)) for _, measured, asked in found)


@dataclass(frozen=True)
class Question:
    """What a person wants to run. dependency: how far back in time what matters lies, timesteps.

    input_size: None if any that was measured will do. steps: timesteps of a whole sequence, None if
    it has no end that is known. mode: ``training``, or ``inference``, which goes forward only and
    has no window: what is asked for are sequences of so many steps.
    """

    dependency: int
    batch: int
    hidden_size: int
    device: str = "cpu"
    input_size: int | None = None
    num_layers: int = 1
    dtype: str = "float32"
    steps: int | None = None
    mode: str = "training"

    @property
    def training(self) -> bool:
        """Whether there is a window to choose."""
        return self.mode == "training"


@dataclass(frozen=True)
class Place:
    """One shape and mode in one session on one machine: its rows by window.

    own: not from the reference results. kind: ``truncation``, or ``throughput`` where whole
    sequences were trained on, whose step on so many timesteps is the work of a window's as long.
    """

    section: Section
    kind: str
    own: bool
    groups: tuple[tuple[Row, ...], ...]

    @property
    def case(self) -> Case:
        """Any case: all have its shape."""
        return self.groups[0][0].case

    @cached_property
    def by_window(self) -> dict[int, tuple[Row, ...]]:
        """The rows that have a time, by window, rising."""
        found: dict[int, tuple[Row, ...]] = {}
        for rows in self.groups:
            measured = tuple(row for row in rows if row.measured)
            if measured:
                found[window(measured[0])] = measured
        return dict(sorted(found.items()))

    def differences(self, question: Question) -> list[Difference]:
        """What of the shape is not what was asked for."""
        asked = question.batch, question.hidden_size, question.input_size
        return differences(self.case, *asked)


@dataclass(frozen=True)
class Rival:
    """A backend that may be as fast: its row, and its time over the fastest's."""

    row: Row
    ratio: Comparison


@dataclass(frozen=True)
class Longer:
    """A longer window that costs less per timestep: its fastest row, and the part that it saves.

    timestep: seconds of one of the whole batch.
    """

    row: Row
    timestep: Interval
    saves: float


@dataclass(frozen=True)
class Answer:
    """What was found.

    best: the row with the shortest time at the window. ahead: the next one's time over its own,
    None without a next one. rivals: those that are not SLOWER. sure: whether it is FASTER than
    each of the others, judged together as in the report. longer: None where longer windows save
    little. others: further places that could have answered.
    """

    need: Need
    place: Place
    window: int
    best: Row
    ahead: Rival | None
    rivals: tuple[Rival, ...]
    differences: tuple[Difference, ...]
    longer: Longer | None
    others: int

    @property
    def exact(self) -> bool:
        """Whether the shape is the one that was asked for."""
        return not self.differences

    @property
    def sure(self) -> bool:
        """Whether the backend is FASTER than each other that was measured (``Row.fastest``)."""
        return not self.rivals and self.best.fastest

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
    """Why there is none, in words, one a line.

    nearest: what the nearest shape would say, None where there is none.
    """

    need: Need
    why: tuple[str, ...]
    nearest: Answer | None = None


def needed(question: Question, learned: LearningMap | None) -> Need:
    """The window that a question's dependency needs, or the steps of inference."""
    if question.training:
        return need(question.dependency, learned, question.steps)
    steps = question.steps or question.dependency
    return Need(steps, True, "inference goes forward only and remembers whatever it was taught")


def places(sections: Iterable[Section], reference: Iterable[str] = ()) -> list[Place]:
    """Where anything was measured, whatever its shape. reference: ids of runs that are not own."""
    foreign = set(reference)
    found = []
    for section in sections:
        own = not all(run.id in foreign for run in section.runs)
        for table in section.tables:
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
    question: Question, found: Sequence[Place], learned: LearningMap | None = None
) -> Answer | NoAnswer:
    """The answer from the best of these places, or why there is none.

    One's own results come before the reference's, then the exact shape before a near one, steps
    that differentiate the weights alone before those that compute more, streams in windows before
    whole sequences, the nearer shape and the newer session.
    """
    asked = needed(question, learned)
    alike = [place for place in found if _alike(question, place)]
    fitting = [place for place in alike if are_near(place.differences(question))]
    reaching = [place for place in fitting if _lengths(question, asked, place)]
    if not reaching:
        why = _what_is_there(question, asked, found, fitting)
        return NoAnswer(asked, tuple(why), _nearest(question, asked, alike))
    place = min(
        _newest_first(reaching),
        key=lambda place: (
            not place.own,
            bool(_differences(question, asked, place)),
            GRADIENTS.index(place.case.workload.gradients),
            KINDS.index(place.kind) == 0,
            distance(_differences(question, asked, place)),
        ),
    )
    return _answer_at(question, asked, place, len(reaching) - 1)


def _answer_at(question: Question, asked: Need, place: Place, others: int) -> Answer:
    length = _lengths(question, asked, place)[0]
    best, *rest = _ranked(place.by_window[length])
    against = [Rival(row, compare(row.runs, best.runs)) for row in rest]
    return Answer(
        need=asked,
        place=place,
        window=length,
        best=best,
        ahead=against[0] if against else None,
        rivals=tuple(each for each in against if each.ratio.verdict is not Verdict.SLOWER),
        differences=tuple(_differences(question, asked, place)),
        longer=_longer(place, length, best, question.steps),
        others=others,
    )


def _differences(question: Question, asked: Need, place: Place) -> list[Difference]:
    """What is not what was asked for, the length of the sequences included."""
    found = place.differences(question)
    length = _lengths(question, asked, place)[0]
    steps = question.steps
    if steps is not None and (length > steps or (length != steps and not question.training)):
        found.append(("steps", length, steps))
    return found


def _lengths(question: Question, asked: Need, place: Place) -> list[int]:
    """The measured windows that answer, the one to take first."""
    if not question.training:
        near = [k for k in place.by_window if _factor(k, asked.window) <= NEAR]
        return sorted(near, key=lambda k: _factor(k, asked.window))
    most = math.inf if question.steps is None else max(question.steps, NEAR * asked.window)
    return [k for k in place.by_window if asked.window <= k <= most]


def _nearest(question: Question, asked: Need, alike: Sequence[Place]) -> Answer | None:
    """What the nearest shape says, which is no answer to the question."""
    some = [place for place in alike if _lengths(question, asked, place)]
    if not some:
        return None
    place = min(
        _newest_first(some),
        key=lambda place: (
            distance(_differences(question, asked, place)),
            GRADIENTS.index(place.case.workload.gradients),
            not place.own,
        ),
    )
    return _answer_at(question, asked, place, 0)


def _newest_first(found: Iterable[Place]) -> list[Place]:
    return sorted(found, key=lambda place: place.section.started, reverse=True)


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _alike(question: Question, place: Place) -> bool:
    """Whether it does the same kind of work, at whatever size."""
    case = place.case
    return (
        case.device == question.device
        and case.workload.mode == question.mode
        and case.spec.num_layers == question.num_layers
        and case.spec.dtype == question.dtype
        and (question.training or case.workload.window is None)
        and bool(place.by_window)
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """The fastest first; those whose numbers are not to be trusted after all others."""
    return sorted(rows, key=lambda row: (bool(row.invalid), row.time, row.case.backend))


def _longer(place: Place, length: int, best: Row, steps: int | None) -> Longer | None:
    """The shortest longer window that is ``CLOSE`` to the cheapest per timestep."""
    found = [
        (_known(timestep_interval(first)), first)
        for each, rows in place.by_window.items()
        if length < each <= (steps or math.inf)
        for first in _ranked(rows)[:1]
    ]
    if not found:
        return None
    least = min(timestep.mid for timestep, _ in found)
    timestep, row = next(each for each in found if each[0].mid <= least * (1 + CLOSE))
    # By the medians of two windows, which were not measured in turn: by the whole interval.
    unpaired = [[run.out_of_turn for run in each.runs] for each in (row, best)]
    timesteps = row.case.workload.timesteps / best.case.workload.timesteps
    ratio = compare(*unpaired).ratio.high / timesteps
    saves = 1 - timestep.mid / _known(timestep_interval(best)).mid
    return Longer(row, timestep, saves) if ratio < 1 and saves > LITTLE else None


def _what_is_there(
    question: Question, asked: Need, found: Sequence[Place], fitting: Sequence[Place]
) -> Iterable[str]:
    """Why nothing answers, by what there is instead."""
    if fitting:
        there = sorted({each for place in fitting for each in place.by_window})
        if question.training and there[-1] < asked.window:
            yield (
                f"the longest window that was measured near this shape is {there[-1]}; "
                f"{asked.window} are needed"
            )
        else:
            what = "windows" if question.training else "sequences"
            yield (
                f"{what} of about {asked.window} were not measured near this shape; there are: "
                f"{listed([str(each) for each in there], most=12)}"
            )
        return
    modes = [place for place in found if place.case.workload.mode == question.mode]
    here = [place for place in modes if place.case.device == question.device]
    if not modes:
        yield f"there are no results of {question.mode}"
        return
    if not here:
        there_on = ", ".join(sorted({place.case.device for place in modes}))
        yield f"nothing was measured on {question.device}; there are results on {there_on}"
        return
    here.sort(key=lambda place: distance(place.differences(question)))
    shapes = dict.fromkeys(
        f"batch {case.workload.batch}, {case.spec.hidden_size} hidden, {case.spec.input_size} in, "
        f"{count(case.spec.num_layers, 'layer')}, {case.spec.dtype}"
        for case in (place.case for place in here)
    )
    yield (
        f"no shape within a factor of {NEAR:g} was measured in {question.mode} on "
        f"{question.device}; there are:"
    )
    yield from list(shapes)[:_MOST_SHAPES]
    if len(shapes) > _MOST_SHAPES:
        yield f"and {len(shapes) - _MOST_SHAPES} more"


_MOST_SHAPES = 5


def _known(interval: Interval | None) -> Interval:
    assert interval is not None, "of a row that was measured"
    return interval
