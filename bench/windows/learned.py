"""What was learned at a window, as the commands that tell what it costs take it.

Which map of several is taken, and where it comes from in words: a map is a finding about one task,
one size of network and so many timesteps, and is never told without them. This room knows maps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.disk.fields import ResultError
from bench.disk.folder import meant_for_learning
from bench.results.elsewhere import brought
from bench.results.files import result_names
from bench.results.maps import LEARNED, TASKS_IN_WORDS, LearningMap, collect
from bench.telling.command_line import UsageError
from bench.telling.inert import LONGEST_NAME, clean
from bench.telling.quantities import count, listed, rate

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


def words(learned: LearningMap, tasks: Sequence[str] = ECHO) -> str:
    """What a map stands on: its file, the tasks, by what they were learned and for how long."""
    cells = [cell for cell in learned.cells if cell.task in tasks and cell.carried]
    there = [TASKS_IN_WORDS[task] for task in tasks if any(cell.task == task for cell in cells)]
    longest = max(cell.timesteps for cell in cells)
    seeds = count(len({cell.seed for cell in cells}), "seed")
    return (
        f"{clean(learned.path.name, LONGEST_NAME)}: {listed(there)} with "
        f"{clean(learned.run.backend, LONGEST_NAME)}, {seeds}, {rate(float(longest))} timesteps "
        f"seen; learned is {100 * LEARNED:g}% of the way to the best possible loss, by every seed"
        + ("; copy memory asks for blanks" if learned.run.settings.get("blanks") is True else "")
        + ("" if learned.run.complete else "; not all of it was measured")
    )
