"""What was learned at a window, as the commands that tell what it costs take it.

Which map of several is taken, and where it comes from in words: a map is a finding about one task,
one size of network and so many timesteps, and is never told without them. And how long a window a
dependency needs: a longer one never gets a shorter window, each task that learned it is heard, and
where the map does not reach, what is assumed is said. This room knows maps; nothing of times.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from bench.cli.command_line import UsageError
from bench.machine.fields import ResultError
from bench.machine.folder import meant_for_learning
from bench.records.elsewhere import brought
from bench.records.files import result_names
from bench.records.maps import LEARNED, TASKS_IN_WORDS, LearningMap, collect
from bench.render import labels
from bench.render.quantities import count, listed, rate

ECHO = ("echo",)
"""The task whose distances are shown beside what windows cost: its windows differ the most."""


def parted(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Where to look for times, and where for maps: a folder may hold both, a file holds one.

    Raises UsageError for a URL of which not all can be had.
    """
    errors: list[ResultError] = []
    here, _ = brought(paths, result_names, errors)
    if errors:
        raise UsageError(str(errors[0]))
    times, maps = [], []
    for path in map(Path, here):
        ours = meant_for_learning(path)
        if not ours:
            times.append(path)
        if ours or path.is_dir():
            maps.append(path)
    return times, maps


def newest(
    places: Sequence[Path], tasks: Sequence[str] = ECHO
) -> tuple[LearningMap | None, tuple[ResultError, ...]]:
    """The newest map of any of the tasks with the state carried, whole ones first; what is bad."""
    found = collect(places)
    fitting = [
        each for each in found.maps if any(each.windows(task, carried=True) for task in tasks)
    ]
    whole = [each for each in fitting if each.run.complete]
    return next(iter(whole or fitting), None), found.errors


def untold(bad: Iterable[ResultError], told: Iterable[ResultError]) -> list[ResultError]:
    """What is bad but for what the reader of times told: a file that is cut off may be anyone's."""
    known = set(map(str, told))
    return [each for each in bad if str(each) not in known]


def words(learned: LearningMap, tasks: Sequence[str] = ECHO) -> str:
    """What a map stands on: its file, the tasks, by what they were learned and for how long."""
    cells = [cell for cell in learned.cells if cell.task in tasks and cell.carried]
    there = [TASKS_IN_WORDS[task] for task in tasks if any(cell.task == task for cell in cells)]
    longest = max(cell.timesteps for cell in cells)
    seeds = count(len({cell.seed for cell in cells}), "seed")
    return (
        f"{labels.name(learned.path.name)}: {listed(there)} with "
        f"{labels.name(learned.run.backend)}, {seeds}, {rate(float(longest))} timesteps "
        f"seen; learned is {100 * LEARNED:g}% of the way to the best possible loss, by every seed"
        + ("; copy memory asks for blanks" if learned.run.settings.get("blanks") is True else "")
        + ("" if learned.run.complete else "; not all of it was measured")
    )


# -- the window that a dependency needs


LEAST_RATIO = Fraction(2)
"""Of window and dependency, where no map says that it takes more: with one timestep beside it more
than half of a window's positions then reach back to their input. A window just past the dependency
has hardly any that do, and learned nothing in the maps that were made."""


@dataclass(frozen=True)
class Need:
    """The window that a dependency needs at least, and why, in words.

    learned: whether a map says so, or nothing is cut; else it is a rule, which is an assumption.
    known: of an assumption, what the map does say, empty without a map.
    """

    window: int
    learned: bool
    why: str
    known: str = ""


@dataclass(frozen=True)
class _Step:
    """A distance that a task learned: from which window on. shortest: that no shorter was tried."""

    distance: int
    window: int
    shortest: bool


def need(dependency: int, learned: LearningMap | None, steps: int | None = None) -> Need:
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
    return Need(
        steps,
        True,
        f"the whole sequence, with nothing cut: a longer one would need {found.window} "
        f"({found.why})",
        found.known,
    )


def _need(dependency: int, learned: LearningMap | None) -> Need:
    tasks = {} if learned is None else {task: _steps(learned, task) for task in learned.tasks()}
    reached = {
        task: next(step for step in steps if step.distance >= dependency)
        for task, steps in tasks.items()
        if steps and steps[-1].distance >= dependency
    }
    # What a task took for its furthest distance is the least for all beyond it.
    least = max((steps[-1].window for task, steps in tasks.items() if steps), default=0)
    if learned is not None and reached:
        beyond = [steps[-1] for task, steps in tasks.items() if steps and task not in reached]
        window = max(step.window for step in (*reached.values(), *beyond))
        told = [
            f"{TASKS_IN_WORDS[task]} of {step.distance} was learned through {step.window}"
            for task, step in reached.items()
        ]
        told += [
            f"{TASKS_IN_WORDS[task]} only up to {tasks[task][-1].distance}, through "
            f"{tasks[task][-1].window}"
            for task in tasks
            if tasks[task] and task not in reached
        ]
        told += [f"{TASKS_IN_WORDS[task]} not at all" for task in tasks if not tasks[task]]
        return Need(window, True, f"{listed(told)}, by every seed, the state carried")
    ratio = max((_ratio(steps) for steps in tasks.values() if steps), default=Fraction(0))
    factor = max(LEAST_RATIO, ratio)
    window = max(least, math.ceil(factor * dependency) + 1)
    known = "" if learned is None else _past_the_map(dependency, learned, tasks)
    why = known or "there is no map of what windows learn"
    times = f"{float(factor):.3g} times the dependency and one timestep"
    if ratio > LEAST_RATIO:
        reason = "as many times as the learned distances took"
    else:
        reason = "with which more than half of a window's positions reach back to their input"
    return Need(window, False, f"{why}; assumed is {times}, {reason}", known)


def _past_the_map(
    dependency: int, learned: LearningMap, tasks: dict[str, tuple[_Step, ...]]
) -> str:
    """What the map says of a dependency that no task learned."""
    told = []
    for task, steps in tasks.items():
        name = TASKS_IN_WORDS[task]
        tried = [d for d in learned.distances(task, True) if d >= dependency]
        windows = learned.windows(task, True)
        if not windows:
            continue
        if tried:
            span = f"{windows[0]} to {windows[-1]}" if len(windows) > 1 else str(windows[0])
            some = any(learned.learned(tried[0], k, True, task) for k in windows)
            how = (
                "through shorter windows alone than shorter distances took"
                if some
                else (f"through no window ({span})")
            )
            told.append(f"{name} of {tried[0]} was learned {how}")
        elif steps:
            told.append(f"{name} was tried up to {learned.distances(task, True)[-1]} only")
        else:
            told.append(f"{name} was learned at no distance")
    if not told:
        return "the map holds nothing with the state carried"
    reached = max((step.distance for steps in tasks.values() for step in steps), default=0)
    furthest = f"distances up to {reached} were learned; " if reached else ""
    return f"no window is known to learn a dependency of {dependency}: {furthest}{listed(told)}"


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
    for window in reversed(windows):
        what = learned.learned(distance, window, True, task)
        if what:
            answer = window
        elif what is False and answer is not None:
            break
    return answer


def _ratio(steps: Sequence[_Step]) -> Fraction:
    """Window over distance at the most, where that was more than the shortest window tried."""
    known = [step for step in steps if not step.shortest] or list(steps)
    ratios = [Fraction(step.window, step.distance) for step in known if step.distance]
    return max(ratios, default=Fraction(0))
