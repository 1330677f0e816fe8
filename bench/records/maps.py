"""Read the learning maps that ``bench.echo windows`` writes.

A map covers several tasks, distances and windows, with the state carried and with it reset. For
each of them and each seed it has the final loss, the best possible loss and the loss without
memory.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, structs
from msgspec.structs import force_setattr

from bench.machine.fields import Field, ResultError, file_error, printable
from bench.machine.reading import is_learning_map, parse_json, regular_bytes
from bench.records.digest import CHANGED, MARK, is_changed
from bench.records.files import local_paths, result_files
from bench.records.grouping import group_by
from bench.schema.decoding import decode
from bench.schema.types import (
    Count,
    FreeObject,
    Moment,
    Name,
    PositiveCount,
    WrongFieldError,
    choices,
    described,
    integer,
    number,
    utc,
)

SCHEMA = 1

TASKS = ("echo", "copy")
TASK_NAMES = {"echo": "the echo", "copy": "copy memory"}

LEARNED = 0.9
"""A window has learned a task if it removes this share of the excess of the memoryless loss over
the best loss.
"""

_LARGEST_LOSS = 1e9  # In nats. A softmax in double precision cannot reach a billion.
_LOSS = f"a number from 0 to {_LARGEST_LOSS:g}"
Loss = Annotated[float, number(0.0, _LARGEST_LOSS), described(_LOSS)]

_MOST_CELLS = 100_000
_FEWER_CELLS = f"a list of at most {_MOST_CELLS} cells"
_KNOWN_SCHEMA = f"{SCHEMA}, the schema that this version reads"


def nothing_to_learn(distance: int, window: int, carried: bool) -> bool:
    """Return whether no training can learn a task at this distance.

    If the state is reset at each window, a window that is no longer than the distance never
    contains both the input and the target.

    distance: the timesteps from an input to the target that needs it. window: the timesteps of
    backpropagation. carried: whether a window starts in the final state of the previous one.
    """
    return not carried and window <= distance


class MapCell(Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the result of one training: a task at a distance, with a window, from one seed.

    distance: the timesteps from an input to the target that needs it. window: the timesteps of
    backpropagation in a training step. stride: the timesteps from one step to the next. carried:
    whether a window starts in the final state of the previous one; otherwise it starts from zero.
    timesteps: the length of each series. updates: the number of training steps. loss: the mean over
    the final part of the training, in nats per timestep, before the update of each window.
    accuracy: the share of correct guesses in this part, or None without guesses. best, memoryless:
    the expected losses in this part with all possible knowledge, and without memory. curve: the
    mean losses of equal parts of the training. problem: why there is no loss (the training
    diverged); empty if there is one.

    Raises WrongFieldError for fields that contradict each other.
    """

    task: Annotated[str, choices(TASKS)]
    distance: Count
    window: PositiveCount
    stride: PositiveCount
    carried: bool
    seed: Count
    timesteps: PositiveCount
    updates: Count
    loss: Loss | None
    accuracy: Annotated[float, number(0.0, 1.0)] | None
    best: Loss
    memoryless: Loss
    curve: tuple[Loss, ...] = ()
    problem: str = ""

    def __post_init__(self) -> None:
        if self.stride > self.window:
            raise WrongFieldError("stride", f"a positive integer and at most {self.window}")
        if self.best > self.memoryless:
            raise WrongFieldError("best", f"a number from 0 to {self.memoryless:g}")
        if self.problem and self.loss is not None:
            raise WrongFieldError("loss", "null, because the training has a problem")
        if self.problem and self.accuracy is not None:
            raise WrongFieldError("accuracy", "null, because the training has a problem")
        if not self.problem and self.loss is None:
            raise WrongFieldError("loss", _LOSS)

    @property
    def key(self) -> tuple[str, int, int, bool, int]:
        """Return what identifies the cell in its map.

        These are the task, the distance, the window, carried and the seed.
        """
        return self.task, self.distance, self.window, self.carried, self.seed

    @property
    def learned_share(self) -> float | None:
        """Return how much of what can be learned was learned: 1 is everything, 0 is nothing.

        The value is the covered part of the way from the memoryless loss to the best loss. It is
        None if there is nothing to learn (a reset state and k <= d), or if the training diverged.
        """
        way = self.memoryless - self.best
        return None if self.loss is None or way <= 1e-9 else (self.memoryless - self.loss) / way

    @property
    def learned(self) -> bool:
        """Return whether the learned share is at least ``LEARNED``."""
        return self.learned_share is not None and self.learned_share >= LEARNED


class LearningRun(Struct, frozen=True):
    """Hold the properties that all cells of a map share.

    started, finished: in UTC; finished is None for an interrupted run. complete: whether all
    requested cells exist. backend, device: those of the LSTMs. settings: those of
    ``bench.echo.windows.MapPlan``. libraries: the versions of libraries by name.
    """

    id: Name
    started: Moment
    finished: Moment | None
    complete: bool
    backend: Name
    device: Name
    settings: FreeObject
    libraries: FreeObject

    def __post_init__(self) -> None:
        force_setattr(self, "started", utc("started", self.started))
        if self.finished is not None:
            force_setattr(self, "finished", utc("finished", self.finished))


class _StoredMap(Struct):
    """Declare what a file holds under the key ``learning``."""

    run: LearningRun
    cells: Annotated[list[MapCell], Meta(max_length=_MOST_CELLS), described(_FEWER_CELLS)]


class _Versioned(Struct):
    """Declare the schema number of a file, which is checked before the rest of the file."""

    schema: Annotated[int, integer(SCHEMA, SCHEMA), described(_KNOWN_SCHEMA)]


@dataclass(frozen=True)
class LearningMap:
    """Hold a map of which distances are learned with which windows.

    path: the file of the map. notes: remarks about the file for its reader.
    """

    path: Path
    run: LearningRun
    cells: tuple[MapCell, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def _places(self) -> dict[tuple[str, int, int, bool], list[MapCell]]:
        return group_by(sorted(self.cells, key=lambda cell: cell.seed), lambda cell: cell.key[:4])

    def seeds(self, task: str, distance: int, window: int, carried: bool) -> tuple[MapCell, ...]:
        """Return the cells at one place of the map, by seed.

        The result is empty if none was measured.
        """
        return tuple(self._places.get((task, distance, window, carried), ()))

    def tasks(self) -> tuple[str, ...]:
        """Return the names of the learning tasks in the map: ``echo``, ``copy`` or both."""
        there = {cell.task for cell in self.cells}
        return tuple(task for task in TASKS if task in there)

    def distances(self, task: str = "echo", carried: bool | None = None) -> tuple[int, ...]:
        """Return the measured distances of a task in ascending order."""
        return self._values("distance", task, carried)

    def windows(self, task: str = "echo", carried: bool | None = None) -> tuple[int, ...]:
        """Return the measured windows of a task in ascending order."""
        return self._values("window", task, carried)

    def _values(self, name: str, task: str, carried: bool | None) -> tuple[int, ...]:
        cells = (c for c in self.cells if c.task == task and carried in (None, c.carried))
        return tuple(sorted({getattr(cell, name) for cell in cells}))

    def learned(self, distance: int, window: int, task: str = "echo") -> bool | None:
        """Return whether all seeds learned a task with the state carried.

        The result is None if no seed was trained.

        distance, window: in timesteps.
        """
        cells = self.seeds(task, distance, window, carried=True)
        return all(cell.learned for cell in cells) if cells else None

    def learnable_distance(self, window: int) -> int | None:
        """Return the largest distance of the echo that every seed learned with the state carried.

        window: in timesteps. If it was not measured, the next smaller measured window is used.
        Returns None if there is no such window, or if no measured distance was learned.
        """
        shorter = [each for each in self.windows(carried=True) if each <= window]
        distances = self.distances(carried=True) if shorter else ()
        return max((d for d in distances if self.learned(d, shorter[-1])), default=None)


class LearningMaps(NamedTuple):
    """Hold the maps that were read, the newest first, and the errors of unreadable files."""

    maps: tuple[LearningMap, ...]
    errors: tuple[ResultError, ...]


def collect(paths: Iterable[str | os.PathLike[str]]) -> LearningMaps:
    """Read the maps in these files and folders.

    A folder stands for the ``learning-*.json`` files directly in it, or for those in its
    ``reference`` folder if it has none. There may be no such file. Maps are never combined, because
    each has its own settings.
    """
    maps: dict[str, LearningMap] = {}
    errors: list[ResultError] = []
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        # Unlike a method of Path, this is False for a name that is too long or contains a NUL.
        # Reading such a file reports the error.
        folder = os.path.isdir(path)  # noqa: PTH112
        files.update(dict.fromkeys(result_files(path, is_learning_map) if folder else [path]))
    for path in files:
        try:
            found = read(path)
        except ResultError as error:
            errors.append(error)
            continue
        known = maps.get(found.run.id)
        if known is None or len(known.cells) < len(found.cells):
            maps[found.run.id] = found
    newest = sorted(maps.values(), key=lambda each: each.run.started, reverse=True)
    return LearningMaps(tuple(newest), tuple(errors))


def read(path: str | os.PathLike[str]) -> LearningMap:
    """Read the map in a file. Raise ResultError for invalid contents."""
    path = Path(path)
    try:
        return _read(path)
    except RecursionError:
        raise file_error(path, "is nested too deeply to be a learning map") from None


def file_data(run: Mapping[str, object], cells: Sequence[MapCell]) -> dict[str, object]:
    """Return the contents of a file, in the form that ``machine.writing.write`` takes."""
    return {
        "learning": {
            "schema": SCHEMA,
            MARK: True,
            "run": dict(run),
            "cells": [structs.asdict(cell) for cell in cells],
        }
    }


def _read(path: Path) -> LearningMap:
    document = Field(path, "", parse_json(path, regular_bytes(path)))
    if not isinstance(document.value, dict) or "learning" not in document.value:
        raise file_error(path, "holds no learning map (python -m bench.echo windows makes one)")
    ours = document["learning"]
    decode(ours, _Versioned)
    found = decode(ours, _StoredMap)
    notes = [f"{printable(str(path))} {CHANGED}"] if is_changed(document.mapping()) else []
    if not found.run.complete:
        notes.append(f"{printable(str(path))} is unfinished; its finished cells are read")
    cells: dict[tuple[str, int, int, bool, int], MapCell] = {}
    for index, cell in enumerate(found.cells):
        if cell.key in cells:
            where = ours["cells"].item(index).name
            raise file_error(path, "is a cell that the file already holds", where)
        cells[cell.key] = cell
    return LearningMap(path, found.run, tuple(cells.values()), tuple(notes))


def split_paths(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Return the paths that may hold times, and those that may hold maps.

    Raises ResultError for a URL that cannot be read.
    """
    errors: list[ResultError] = []
    here = local_paths(paths, errors)
    if errors:
        raise errors[0]
    times, maps = [], []
    for path in map(Path, here):
        ours = is_learning_map(path)
        if not ours:
            times.append(path)
        if ours or path.is_dir():
            maps.append(path)
    return times, maps


def find_newest(
    places: Sequence[Path], tasks: Sequence[str] = ("echo",)
) -> tuple[LearningMap | None, tuple[ResultError, ...]]:
    """Return the newest map of any of the tasks, and the errors. Complete maps come first."""
    found = collect(places)
    maps = [each for each in found.maps if any(each.windows(task, carried=True) for task in tasks)]
    maps.sort(key=lambda each: not each.run.complete)
    return next(iter(maps), None), found.errors


def list_unreported(bad: Iterable[ResultError], shown: Iterable[ResultError]) -> list[ResultError]:
    """Return the errors that the reader of times has not already reported."""
    known = set(map(str, shown))
    return [each for each in bad if str(each) not in known]
