"""Choose a truncation window and a backend from measured results.

Only measured times count, of the same shape or of a near one (each size within a factor of
``NEAR``), which the answer then names. Nothing is scaled or extrapolated.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from bench.case.cases import Case
from bench.records.maps import LearningMap
from bench.stats.comparison import Comparison, Verdict
from bench.stats.intervals import Interval
from bench.stats.ratios import compare
from bench.verdicts.along import step_interval, unit_interval, window
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import KINDS, Section
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.workload import GRADIENTS

NEAR = 1.5
"""Two shapes are near if batch, hidden and input size each differ by at most this factor.

The work of a step then differs by at most a factor of two, and what limits its time (launches, the
recurrence, memory) is mostly the same.
"""

LITTLE = 0.05
"""A longer window is reported if it saves more than this part of the time per timestep."""

CLOSE = 0.02
"""The reported longer window is the shortest that takes at most this much more than the
cheapest.
"""

Difference: TypeAlias = tuple[str, int, int]
"""The name of a size, with its measured and its requested value."""


@dataclass(frozen=True)
class Query:
    """What a user wants to run.

    dependency: the distance in time that matters, in timesteps. input_size: None means any. steps:
    the timesteps of a complete sequence, or None if unknown. mode: ``training`` or ``inference``.
    Inference has no window; sequences of ``steps`` steps are then requested.
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
        """Return whether the query leaves a window to choose."""
        return self.mode == "training"

    def same_work(self, case: Case) -> bool:
        """Return whether a case does the same kind of work with an LSTM, at any size."""
        spec, work = case.spec, case.workload
        if spec.cell != DEFAULT_CELL:
            return False
        return (case.device, work.mode, spec.num_layers, spec.dtype, spec.bidirectional) == (
            *(self.device, self.mode, self.num_layers, self.dtype, False),
        )

    def differences(self, case: Case) -> list[Difference]:
        """Return the sizes of a case that differ from the requested ones."""
        spec, work = case.spec, case.workload
        sizes = [("batch", work.batch, self.batch), ("hidden", spec.hidden_size, self.hidden_size)]
        if self.input_size is not None:
            sizes.append(("input", spec.input_size, self.input_size))
        return [each for each in sizes if each[1] != each[2]]


def distance(found: Iterable[Difference]) -> float:
    """Return the sum of the logarithms of the factors between measured and requested sizes."""
    return sum(abs(math.log(measured / requested)) for _, measured, requested in found)


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


@dataclass(frozen=True)
class NeededWindow:
    """The smallest window for a dependency, and what it is based on.

    reached: the tasks that learned the dependency, each with the distance and the window that did.
    ended: the tasks that learned only shorter distances, each with the longest distance and its
    window. never: the tasks that learned nothing. guessed: whether no task learned the dependency,
    so that the window is twice the dependency plus one timestep. furthest: if guessed, the longest
    distance that was learned, or None without a map. cut: the window that a longer sequence would
    need, if the complete sequence is shorter.
    """

    window: int
    dependency: int
    reached: dict[str, tuple[int, int]] = field(default_factory=dict)
    ended: dict[str, tuple[int, int]] = field(default_factory=dict)
    never: tuple[str, ...] = ()
    guessed: bool = False
    furthest: int | None = None
    cut: int | None = None

    @property
    def assumed(self) -> bool:
        """Return whether the window is an assumption.

        It then comes neither from a map nor from the length of the sequence.
        """
        return self.guessed and self.cut is None


@dataclass(frozen=True)
class MeasuredWindows:
    """The rows of one shape and mode in one session on one machine, by window.

    own: whether they are not from the reference results. kind: ``truncation``, or ``throughput``
    for complete sequences, whose step is the work of a window of the same length.
    """

    section: Section
    kind: str
    own: bool
    groups: tuple[tuple[RankedRow, ...], ...]

    @property
    def case(self) -> Case:
        """Return one of its cases. All have the same shape."""
        return self.groups[0][0].case

    @cached_property
    def by_window(self) -> dict[int, tuple[RankedRow, ...]]:
        """Return the rows that have a time, by window, from the shortest window to the longest."""
        measured = [
            tuple(row for row in rows if row.result.measured and row.case.ranked)
            for rows in self.groups
        ]
        return dict(sorted((window(rows[0].case), rows) for rows in measured if rows))


@dataclass(frozen=True)
class Rival:
    """Hold the row of another backend, and how many times as long as the fastest one it takes."""

    row: RankedRow
    ratio: Comparison


@dataclass(frozen=True)
class Longer:
    """A cheaper longer window.

    row: its fastest row. timestep: the seconds of one timestep of the batch. saves: the part of the
    time that is saved.
    """

    row: RankedRow
    timestep: Interval
    saves: float


@dataclass(frozen=True)
class Recommendation:
    """Hold the recommended window and backend for a query.

    window: the recommended timesteps, never more than the complete sequence has. best: the row with
    the shortest time at the measured window. ahead: the next row, if any. rivals: the rows that are
    not SLOWER. longer: None if longer windows save little.
    """

    need: NeededWindow
    place: MeasuredWindows
    window: int
    best: RankedRow
    ahead: Rival | None
    rivals: tuple[Rival, ...]
    differences: tuple[Difference, ...]
    longer: Longer | None

    @property
    def measured_window(self) -> int:
        """Return the timesteps of the measured window. It may exceed ``window``.

        It then stands for the complete sequence, and ``differences`` has both lengths.
        """
        return window(self.best.case)

    @property
    def fastest(self) -> bool:
        """Return whether the backend is FASTER than every other one (``RankedRow.fastest``)."""
        return not self.rivals and self.best.fastest

    @property
    def step(self) -> Interval:
        """Return how long a training step on one window takes, in seconds."""
        return _known(step_interval(self.best.result))

    @property
    def timestep(self) -> Interval:
        """Return how long one timestep of the whole batch takes, in seconds."""
        return _known(unit_interval(self.best.result))


@dataclass(frozen=True)
class NoRecommendation:
    """Say that no results answer a query, and which results there are.

    lengths: the measured windows near this shape. places: without such windows, the measured modes
    with their devices, if this one is not among them. cases: otherwise the cases of other shapes,
    the nearest first. nearest: the recommendation for the nearest shape.
    """

    need: NeededWindow
    lengths: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    nearest: Recommendation | None = None


def places(sections: Iterable[Section], reference: Iterable[str] = ()) -> list[MeasuredWindows]:
    """Return the measured windows of all shapes.

    reference: the ids of runs that are not the user's own.
    """
    foreign = set(reference)
    found = []
    for section in sections:
        own = not all(run.id in foreign for run in section.runs)
        for table in section.tables:
            shapes: dict[object, list[tuple[RankedRow, ...]]] = {}
            for rows in table.groups:
                case = rows[0].case
                work = case.workload
                is_plain = work.min_length is None and not (work.dropout or work.reset_rate)
                if case.spec.bidirectional or not is_plain:
                    continue
                # The length of complete sequences counts as their window.
                if table.kind == KINDS[0]:
                    work = replace(work, timesteps=1)
                shapes.setdefault((case.spec, replace(work, window=None)), []).append(rows)
            found += [
                MeasuredWindows(section, table.kind, own, tuple(groups))
                for groups in shapes.values()
            ]
    return found


def answer(
    query: Query, found: Sequence[MeasuredWindows], learned: LearningMap | None = None
) -> Recommendation | NoRecommendation:
    """Return the recommendation from the best of these places, or what results there are instead.

    The user's own results come before the reference results. Then come, in this order: the exact
    shape before a near one, gradients of only the weights before others, windows before complete
    sequences, the nearer shape, and the newer session.
    """
    if query.training:
        requested = need(query.dependency, learned, query.steps)
    else:
        requested = NeededWindow(query.steps or query.dependency, query.dependency)

    def rank(place: MeasuredWindows) -> tuple[float, ...]:
        differ = _differences(query, requested, place)
        return (
            not place.own,
            bool(differ),
            GRADIENTS.index(place.case.workload.gradients),
            KINDS.index(place.kind) == 0,
            distance(differ),
        )

    same_work = [
        place
        for place in sorted(found, key=lambda place: place.section.started, reverse=True)
        if query.same_work(place.case)
        and (query.training or place.case.workload.window is None)
        and place.by_window
    ]
    near = [
        place
        for place in same_work
        if all(_factor(here, wanted) <= NEAR for _, here, wanted in query.differences(place.case))
    ]
    reaching = [place for place in near if _lengths(query, requested, place)]
    if reaching:
        return _answer_from(query, requested, min(reaching, key=rank))
    nearest = min(
        (place for place in same_work if _lengths(query, requested, place)),
        key=lambda place: (distance(_differences(query, requested, place)), *rank(place)),
        default=None,
    )
    lengths = tuple(sorted({each for place in near for each in place.by_window}))
    there = {f"{place.case.workload.mode} on {place.case.device}" for place in found}
    here = [
        place.case
        for place in found
        if (place.case.device, place.case.workload.mode) == (query.device, query.mode)
    ]
    return NoRecommendation(
        requested,
        lengths,
        () if lengths or here else tuple(sorted(there)),
        () if lengths else tuple(sorted(here, key=lambda c: distance(query.differences(c)))),
        None if nearest is None else _answer_from(query, requested, nearest),
    )


def _answer_from(query: Query, requested: NeededWindow, place: MeasuredWindows) -> Recommendation:
    length = _lengths(query, requested, place)[0]
    recommended = length
    if query.steps is not None:
        recommended = min(length, query.steps) if query.training else query.steps
    best, *rest = _rank(place.by_window[length])
    against = [Rival(row, compare(row.result.runs, best.result.runs)) for row in rest]
    return Recommendation(
        need=requested,
        place=place,
        window=recommended,
        best=best,
        ahead=against[0] if against else None,
        rivals=tuple(each for each in against if each.ratio.verdict is not Verdict.SLOWER),
        differences=tuple(_differences(query, requested, place)),
        longer=_longer(place, length, best, query.steps),
    )


def _differences(query: Query, requested: NeededWindow, place: MeasuredWindows) -> list[Difference]:
    """Return the sizes that differ from the requested ones.

    The length of the sequences is one of them.
    """
    found = query.differences(place.case)
    length = _lengths(query, requested, place)[0]
    steps = query.steps
    if steps is not None and (length > steps or (length != steps and not query.training)):
        found.append(("timesteps", length, steps))
    return found


def _lengths(query: Query, requested: NeededWindow, place: MeasuredWindows) -> list[int]:
    """Return the measured windows that fit the query, the best one first.

    In training, a window may be as long as the complete sequence, whatever the dependency needs. A
    measured window that is longer by at most the factor ``NEAR`` stands for the complete sequence.
    """
    if not query.training:
        near = [k for k in place.by_window if _factor(k, requested.window) <= NEAR]
        return sorted(near, key=lambda k: _factor(k, requested.window))
    return [k for k in place.by_window if requested.window <= k <= longest_window(query)]


def longest_window(query: Query) -> float:
    """Return the length of the longest measured window that can answer a query about training."""
    return math.inf if query.steps is None else NEAR * query.steps


def _rank(rows: Sequence[RankedRow]) -> list[RankedRow]:
    """Return the rows by time, with INVALID rows after all others."""
    return sorted(
        rows, key=lambda row: (bool(row.result.invalid), row.result.time, row.case.backend)
    )


def _longer(
    place: MeasuredWindows, length: int, best: RankedRow, steps: int | None
) -> Longer | None:
    """Return the shortest longer window whose time per timestep is ``CLOSE`` to the cheapest."""
    found = [
        (_known(unit_interval(first.result)), first)
        for each, rows in place.by_window.items()
        if length < each <= (steps or math.inf)
        for first in _rank(rows)[:1]
    ]
    if not found:
        return None
    least = min(timestep.mid for timestep, _ in found)
    timestep, row = next(each for each in found if each[0].mid <= least * (1 + CLOSE))
    # Two windows were not interleaved, so the upper bound of their ratio counts.
    unpaired = [[run.without_rounds for run in each.result.runs] for each in (row, best)]
    timesteps = row.case.workload.timesteps / best.case.workload.timesteps
    ratio = compare(*unpaired).ratio.high / timesteps
    saves = 1 - timestep.mid / _known(unit_interval(best.result)).mid
    return Longer(row, timestep, saves) if ratio < 1 and saves > LITTLE else None


def _known(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


# The window that a dependency needs


def need(dependency: int, learned: LearningMap | None, steps: int | None = None) -> NeededWindow:
    """Return the shortest window for a dependency, which is in timesteps.

    For each task in the map, with the state carried, this is the window of the next learned
    distance from the dependency on. It is not shorter than the windows of shorter distances. With
    several tasks, the longest window counts. A task that learned the dependency with no window,
    perhaps for lack of updates or units, does not count. Beyond every learned distance, the window
    is twice the dependency plus one timestep, with which more than half of the positions in a
    window reach back to their input. It is not less than the learned distances needed. The reason
    for doubling is that a window just longer than the dependency learned nothing in the maps.

    steps: the timesteps of a complete sequence, which limit the window, or None if unknown.
    """
    found = _need(dependency, learned)
    if steps is None or found.window <= steps:
        return found
    return replace(found, window=steps, cut=found.window)


def _need(dependency: int, learned: LearningMap | None) -> NeededWindow:
    tasks = {} if learned is None else {task: _steps(learned, task) for task in learned.tasks()}
    last = {task: list(steps.items())[-1] for task, steps in tasks.items() if steps}
    reached = {
        task: next(step for step in steps.items() if step[0] >= dependency)
        for task, steps in tasks.items()
        if steps and last[task][0] >= dependency
    }
    least = max((window for _, window in last.values()), default=0)
    if reached:
        ended = {task: each for task, each in last.items() if task not in reached}
        window = max(window for _, window in (*reached.values(), *ended.values()))
        never = tuple(task for task in tasks if task not in last)
        return NeededWindow(window, dependency, reached, ended, never)
    furthest = max((distance for distance, _ in last.values()), default=0)
    return NeededWindow(
        max(least, 2 * dependency + 1),
        dependency,
        guessed=True,
        furthest=None if learned is None else furthest,
    )


def _steps(learned: LearningMap, task: str) -> dict[int, int]:
    """Return the distances that a task learned, each with its window, both in ascending order.

    The window is the first from which all longer ones learned the distance, up to the last that
    did. A window below one that failed has learned the distance by chance. Windows beyond the last
    one, which make fewer updates on the same timesteps, do not count.
    """
    found: dict[int, int] = {}
    least = 0
    for distance in learned.distances(task, carried=True):
        window: int | None = None
        for length in reversed(learned.windows(task, carried=True)):
            there = learned.learned(distance, length, task)
            if length < least or (there is False and window is not None):
                break
            window = length if there else window
        if window is not None:
            found[distance] = least = window
    return found
