"""Choose a truncation window and a backend for a shape from measured results.

Only what was measured answers: the same shape, or a near one (each size within a factor of
``NEAR``), which is then named. Nothing is scaled or extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

from bench.case.cases import Case
from bench.records.maps import LearningMap
from bench.stats.along import step_interval, timestep_interval, window
from bench.stats.comparison import Comparison, Verdict
from bench.stats.intervals import Interval
from bench.stats.ratios import compare
from bench.stats.rows import KINDS, Row, Section
from lstm_impl.workload import GRADIENTS

NEAR = 1.5
"""Factor within which batch, hidden and input size are near: within it a step's work differs by
some two times at most, and what bounds its time (launches, the recurrence, memory) mostly not."""

LITTLE = 0.05
"""A longer window is worth a word if it saves more than this of the time per timestep."""

CLOSE = 0.02
"""Of the longer windows the shortest is told that takes at most this more than the cheapest."""


Difference: TypeAlias = tuple[str, int, int]
"""A size by its name, as it was measured and as it was requested."""


def differences(
    case: Case, batch: int, hidden_size: int, input_size: int | None
) -> list[Difference]:
    """What of a shape is not what was requested; input_size: None if any will do."""
    sizes = [("batch", case.workload.batch, batch), ("hidden", case.spec.hidden_size, hidden_size)]
    if input_size is not None:
        sizes.append(("input", case.spec.input_size, input_size))
    return [each for each in sizes if each[1] != each[2]]


def are_near(found: Iterable[Difference]) -> bool:
    """Whether each of them is within a factor of ``NEAR``."""
    return all(_factor(measured, requested) <= NEAR for _, measured, requested in found)


def distance(found: Iterable[Difference]) -> float:
    """How far what was measured is from what was requested: the logarithms of all factors."""
    return sum(abs(math.log(measured / requested)) for _, measured, requested in found)


@dataclass(frozen=True)
class Tried:
    """What a map says of a task at a dependency that it does not hold.

    distance: the next one that was tried from the dependency on, None if all were shorter; furthest
    is the last that was tried. windows: the shortest and the longest that were tried. some: whether
    the distance was learned, though only through windows shorter than nearer distances took.
    """

    task: str
    distance: int | None
    furthest: int
    windows: tuple[int, int]
    some: bool
    learned: bool


@dataclass(frozen=True)
class NeededWindow:
    """The window that a dependency needs at least, and what that rests on.

    reached: the tasks that learned the dependency, each with the distance and the window that did.
    ended: tasks that learned shorter distances only, each with the furthest and its window;
    never: tasks that learned none. Without ``reached`` the window is assumed: ``factor`` times the
    dependency and one timestep; tried is then what the map says, None without a map, and furthest
    the longest distance that was learned. cut: the window that a longer sequence would need, where
    the whole sequence is shorter.
    """

    window: int
    dependency: int
    reached: dict[str, tuple[int, int]] = field(default_factory=dict)
    ended: dict[str, tuple[int, int]] = field(default_factory=dict)
    never: tuple[str, ...] = ()
    factor: Fraction | None = None
    tried: tuple[Tried, ...] | None = None
    furthest: int = 0
    cut: int | None = None

    @property
    def assumed(self) -> bool:
        """Whether no map gives the window, and it is not that of the whole sequence."""
        return self.factor is not None and self.cut is None


@dataclass(frozen=True)
class Query:
    """What a person wants to run. dependency: how far back in time what matters lies, timesteps.

    input_size: None if any that was measured will do. steps: timesteps of a whole sequence, None if
    it has no end that is known. mode: ``training``, or ``inference``, which goes forward only and
    has no window: what is requested are sequences of so many steps.
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
class MeasuredWindows:
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

    def differences(self, question: Query) -> list[Difference]:
        """What of the shape is not what was requested."""
        requested = question.batch, question.hidden_size, question.input_size
        return differences(self.case, *requested)


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
class Recommendation:
    """What was found.

    best: the row with the shortest time at the window. ahead: the next one's time over its own,
    None without a next one. rivals: those that are not SLOWER. fastest: whether it is FASTER
    than each of the others, judged together as in the report. longer: None where longer
    windows save little. others: further places that could have answered.
    """

    need: NeededWindow
    place: MeasuredWindows
    window: int
    best: Row
    ahead: Rival | None
    rivals: tuple[Rival, ...]
    differences: tuple[Difference, ...]
    longer: Longer | None
    others: int

    @property
    def exact(self) -> bool:
        """Whether the shape is the one that was requested."""
        return not self.differences

    @property
    def fastest(self) -> bool:
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
class NoMeasurement:
    """Why nothing measured answers.

    code: ``windows_too_short``, ``other_lengths``, ``other_mode``, ``other_device`` or
    ``other_shapes``. lengths: those that were measured near this shape; devices, cases: what was
    measured instead.
    """

    code: str
    lengths: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class NoRecommendation:
    """That there is no answer, why, and what the nearest shape would say."""

    need: NeededWindow
    why: NoMeasurement
    nearest: Recommendation | None = None


def needed(question: Query, learned: LearningMap | None) -> NeededWindow:
    """Return the window that a dependency needs, or the timesteps of inference."""
    if question.training:
        return need(question.dependency, learned, question.steps)
    return NeededWindow(question.steps or question.dependency, question.dependency)


def places(sections: Iterable[Section], reference: Iterable[str] = ()) -> list[MeasuredWindows]:
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
            found += [
                MeasuredWindows(section, table.kind, own, tuple(groups))
                for groups in shapes.values()
            ]
    return found


def answer(
    question: Query, found: Sequence[MeasuredWindows], learned: LearningMap | None = None
) -> Recommendation | NoRecommendation:
    """The answer from the best of these places, or why there is none.

    One's own results come before the reference's, then the exact shape before a near one, steps
    that differentiate the weights alone before those that compute more, streams in windows before
    whole sequences, the nearer shape and the newer session.
    """
    requested = needed(question, learned)
    alike = [place for place in found if _alike(question, place)]
    fitting = [place for place in alike if are_near(place.differences(question))]
    reaching = [place for place in fitting if _lengths(question, requested, place)]
    if not reaching:
        why = _what_is_there(question, requested, found, fitting)
        return NoRecommendation(requested, why, _nearest(question, requested, alike))
    place = min(
        _newest_first(reaching),
        key=lambda place: (
            not place.own,
            bool(_differences(question, requested, place)),
            GRADIENTS.index(place.case.workload.gradients),
            KINDS.index(place.kind) == 0,
            distance(_differences(question, requested, place)),
        ),
    )
    return _answer_at(question, requested, place, len(reaching) - 1)


def _answer_at(
    question: Query, requested: NeededWindow, place: MeasuredWindows, others: int
) -> Recommendation:
    length = _lengths(question, requested, place)[0]
    best, *rest = _ranked(place.by_window[length])
    against = [Rival(row, compare(row.runs, best.runs)) for row in rest]
    return Recommendation(
        need=requested,
        place=place,
        window=length,
        best=best,
        ahead=against[0] if against else None,
        rivals=tuple(each for each in against if each.ratio.verdict is not Verdict.SLOWER),
        differences=tuple(_differences(question, requested, place)),
        longer=_longer(place, length, best, question.steps),
        others=others,
    )


def _differences(
    question: Query, requested: NeededWindow, place: MeasuredWindows
) -> list[Difference]:
    """What is not what was requested, the length of the sequences included."""
    found = place.differences(question)
    length = _lengths(question, requested, place)[0]
    steps = question.steps
    if steps is not None and (length > steps or (length != steps and not question.training)):
        found.append(("steps", length, steps))
    return found


def _lengths(question: Query, requested: NeededWindow, place: MeasuredWindows) -> list[int]:
    """The measured windows that answer, the one to take first."""
    if not question.training:
        near = [k for k in place.by_window if _factor(k, requested.window) <= NEAR]
        return sorted(near, key=lambda k: _factor(k, requested.window))
    most = math.inf if question.steps is None else max(question.steps, NEAR * requested.window)
    return [k for k in place.by_window if requested.window <= k <= most]


def _nearest(
    question: Query, requested: NeededWindow, alike: Sequence[MeasuredWindows]
) -> Recommendation | None:
    """What the nearest shape says, which is no answer to the question."""
    some = [place for place in alike if _lengths(question, requested, place)]
    if not some:
        return None
    place = min(
        _newest_first(some),
        key=lambda place: (
            distance(_differences(question, requested, place)),
            GRADIENTS.index(place.case.workload.gradients),
            not place.own,
        ),
    )
    return _answer_at(question, requested, place, 0)


def _newest_first(found: Iterable[MeasuredWindows]) -> list[MeasuredWindows]:
    return sorted(found, key=lambda place: place.section.started, reverse=True)


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _alike(question: Query, place: MeasuredWindows) -> bool:
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


def _longer(place: MeasuredWindows, length: int, best: Row, steps: int | None) -> Longer | None:
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
    question: Query,
    requested: NeededWindow,
    found: Sequence[MeasuredWindows],
    fitting: Sequence[MeasuredWindows],
) -> NoMeasurement:
    if fitting:
        there = tuple(sorted({each for place in fitting for each in place.by_window}))
        short = question.training and there[-1] < requested.window
        return NoMeasurement("windows_too_short" if short else "other_lengths", lengths=there)
    modes = [place for place in found if place.case.workload.mode == question.mode]
    here = [place for place in modes if place.case.device == question.device]
    if not modes:
        return NoMeasurement("other_mode")
    if not here:
        devices = tuple(sorted({place.case.device for place in modes}))
        return NoMeasurement("other_device", devices=devices)
    here.sort(key=lambda place: distance(place.differences(question)))
    return NoMeasurement("other_shapes", cases=tuple(place.case for place in here))


def _known(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


# -- the window that a dependency needs


LEAST_RATIO = Fraction(2)
"""Of window and dependency, where no map says that it takes more: with one timestep next to it more
than half of a window's positions then reach back to their input. A window just past the dependency
has hardly any that do, and learned nothing in the maps that were made."""


@dataclass(frozen=True)
class _Step:
    """A distance that a task learned: from which window on. shortest: that no shorter was tried."""

    distance: int
    window: int
    shortest: bool


def need(dependency: int, learned: LearningMap | None, steps: int | None = None) -> NeededWindow:
    """The shortest window for a dependency of so many timesteps.

    steps: of a whole sequence, which no window is longer than; None if it is not known.

    Of each task in the map, with the state carried, the next distance from the dependency on is
    taken that was learned; its window is the smallest that learned it and is no shorter than what
    shorter distances took. The task that needs the longest window decides. What one task did not
    learn through any window, which may be for want of updates or units, does not speak against
    another that did. Past every learned distance it is ``LEAST_RATIO`` times the dependency and one
    timestep, or as many times as the learned distances took, and no less than any of them.
    """
    found = _need(dependency, learned)
    if steps is None or found.window <= steps:
        return found
    return replace(found, window=steps, cut=found.window)


def _need(dependency: int, learned: LearningMap | None) -> NeededWindow:
    tasks = {} if learned is None else {task: _steps(learned, task) for task in learned.tasks()}
    last = {task: (steps[-1].distance, steps[-1].window) for task, steps in tasks.items() if steps}
    reached = {}
    for task, steps in tasks.items():
        if steps and steps[-1].distance >= dependency:
            step = next(step for step in steps if step.distance >= dependency)
            reached[task] = step.distance, step.window
    if reached:
        ended = {task: each for task, each in last.items() if task not in reached}
        window = max(window for _, window in (*reached.values(), *ended.values()))
        never = tuple(task for task in tasks if task not in last)
        return NeededWindow(window, dependency, reached, ended, never)
    # What a task took for its furthest distance is the least for all beyond it.
    least = max((window for _, window in last.values()), default=0)
    ratio = max((_ratio(steps) for steps in tasks.values() if steps), default=Fraction(0))
    factor = max(LEAST_RATIO, ratio)
    return NeededWindow(
        max(least, math.ceil(factor * dependency) + 1),
        dependency,
        factor=factor,
        tried=None if learned is None else tuple(_tried(dependency, learned, tasks)),
        furthest=max((distance for distance, _ in last.values()), default=0),
    )


def _tried(
    dependency: int, learned: LearningMap, tasks: Mapping[str, tuple[_Step, ...]]
) -> Iterator[Tried]:
    for task, steps in tasks.items():
        distances, windows = learned.distances(task, True), learned.windows(task, True)
        if windows:
            beyond = next((each for each in distances if each >= dependency), None)
            some = beyond is not None and any(
                learned.learned(beyond, each, True, task) for each in windows
            )
            span = windows[0], windows[-1]
            yield Tried(task, beyond, distances[-1], span, some, bool(steps))


def _steps(learned: LearningMap, task: str) -> tuple[_Step, ...]:
    """What a task learned, both distance and window rising."""
    windows = learned.windows(task, carried=True)
    found: list[_Step] = []
    for distance in learned.distances(task, carried=True):
        least = found[-1].window if found else 0
        window = _first_of_the_last(learned, task, distance, [k for k in windows if k >= least])
        if window is not None:
            tried = [k for k in windows if learned.learned(distance, k, True, task) is not None]
            found.append(_Step(distance, window, window == min(tried)))
    return tuple(found)


def _first_of_the_last(
    learned: LearningMap, task: str, distance: int, windows: Sequence[int]
) -> int | None:
    """The first of the longest windows that all learned it, up to the last that did.

    Where a window failed between two that did not, the shorter of the two was luck, or close to an
    edge. That windows past the last one failed, which make fewer updates of the same timesteps,
    says nothing against it.
    """
    answer: int | None = None
    for length in reversed(windows):
        what = learned.learned(distance, length, True, task)
        if what:
            answer = length
        elif what is False and answer is not None:
            break
    return answer


def _ratio(steps: Sequence[_Step]) -> Fraction:
    """Window over distance at the most, where that was more than the shortest window tried."""
    known = [step for step in steps if not step.shortest] or list(steps)
    ratios = [Fraction(step.window, step.distance) for step in known if step.distance]
    return max(ratios, default=Fraction(0))
