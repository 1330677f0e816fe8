"""Read the learning maps that ``bench.echo windows`` writes.

A map has, for each task, distance and window, with the state carried and with it reset, the final
loss of each seed's training, the best possible loss and the loss without memory.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bench.machine.fields import Field, ResultError, error_at, printable
from bench.machine.reading import is_learning_map, parse_json, regular_bytes
from bench.records.digest import CHANGED, MARK, changed
from bench.records.files import local_paths, result_files
from bench.records.grouping import grouped

SCHEMA = 1

TASKS = ("echo", "copy")
TASK_NAMES = {"echo": "the echo", "copy": "copy memory"}

LEARNED = 0.9
"""The share of the memoryless loss's excess over the best loss that must be removed."""

_LARGEST_LOSS = 1e9  # nats; a softmax in double precision cannot come to a billion
_MOST_CELLS = 100_000


def nothing_to_learn(distance: int, window: int, carried: bool) -> bool:
    """Whether no training can learn it: the state is reset, and the window is too short."""
    return not carried and window <= distance


@dataclass(frozen=True)
class MapCell:
    """One training: a task at a distance, with a window, from one seed.

    distance: timesteps from an input to the target that needs it. window, stride: timesteps of
    backpropagation in a training step, and between two steps. carried: a window starts in the final
    state of the previous one, or else from zero. timesteps: of each series; updates: training
    steps. loss: mean over the final part of the training, in nats a timestep, before the update of
    each window. accuracy: share of correct guesses there, None without guesses. best, memoryless:
    the expected losses there with all possible knowledge, and without memory. curve: mean losses of
    equal parts of the training. problem: why there is no loss (the training diverged), else empty.
    """

    task: str
    distance: int
    window: int
    stride: int
    carried: bool
    seed: int
    timesteps: int
    updates: int
    loss: float | None
    accuracy: float | None
    best: float
    memoryless: float
    curve: tuple[float, ...] = ()
    problem: str = ""

    @property
    def key(self) -> tuple[str, int, int, bool, int]:
        """Return what identifies it in its map."""
        return self.task, self.distance, self.window, self.carried, self.seed

    @property
    def learned_share(self) -> float | None:
        """Return the share of what can be learned that was learned: 1 is all, 0 nothing.

        None if there is nothing to learn (a reset state and k <= d) or the training diverged.
        """
        way = self.memoryless - self.best
        return None if self.loss is None or way <= 1e-9 else (self.memoryless - self.loss) / way

    @property
    def learned(self) -> bool:
        """Return whether at least ``LEARNED`` was learned."""
        return self.learned_share is not None and self.learned_share >= LEARNED


@dataclass(frozen=True)
class LearningRun:
    """The common properties of the cells of a map.

    started, finished: UTC; finished is None for an interrupted run. complete: all requested cells
    exist. backend, device: of the LSTMs. settings: those of ``bench.echo.windows.MapPlan``.
    libraries: their versions.
    """

    id: str
    started: datetime
    finished: datetime | None
    complete: bool
    backend: str
    device: str
    settings: Mapping[str, object]
    libraries: Mapping[str, object]


@dataclass(frozen=True)
class LearningMap:
    """A map of distances and windows. notes: remarks on the file for its reader."""

    path: Path
    run: LearningRun
    cells: tuple[MapCell, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def _places(self) -> dict[tuple[str, int, int, bool], list[MapCell]]:
        return grouped(sorted(self.cells, key=lambda cell: cell.seed), lambda cell: cell.key[:4])

    def seeds(self, task: str, distance: int, window: int, carried: bool) -> tuple[MapCell, ...]:
        """Return the cells at one place of the map, by seed; empty if nothing was measured."""
        return tuple(self._places.get((task, distance, window, carried), ()))

    def tasks(self) -> tuple[str, ...]:
        """Return the measured tasks."""
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
        """Return whether every seed learned it with the state carried; None if unknown."""
        cells = self.seeds(task, distance, window, carried=True)
        return all(cell.learned for cell in cells) if cells else None

    def learnable_distance(self, window: int) -> int | None:
        """Return the largest echo distance that every seed learned with the state carried.

        For a window that was not measured, take the next smaller one. None if there is none, or if
        no measured distance was learned.
        """
        shorter = [each for each in self.windows(carried=True) if each <= window]
        distances = self.distances(carried=True) if shorter else ()
        return max((d for d in distances if self.learned(d, shorter[-1])), default=None)


class Loaded(NamedTuple):
    """Maps, the newest first, and the errors of files that could not be read."""

    maps: tuple[LearningMap, ...]
    errors: tuple[ResultError, ...]


def collect(paths: Iterable[str | os.PathLike[str]]) -> Loaded:
    """Read the maps in these files and folders.

    A folder means the ``learning-*.json`` files directly in it, or in its ``reference`` folder if
    there are none; it may have none. Maps are never combined, since each has its own settings.
    """
    maps: dict[str, LearningMap] = {}
    errors: list[ResultError] = []
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        # Unlike a Path's method, false for a name too long or with a NUL: reading reports it.
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
    return Loaded(tuple(newest), tuple(errors))


def read(path: str | os.PathLike[str]) -> LearningMap:
    """Read the map in a file. Raises ResultError for any invalid bytes."""
    path = Path(path)
    try:
        return _read(path)
    except RecursionError:
        raise error_at(path, "is nested too deeply to be a map of what was learned") from None


def file_data(run: Mapping[str, object], cells: Sequence[MapCell]) -> dict[str, object]:
    """Return the contents of a file, for ``machine.writing.write``."""
    return {
        "learning": {
            "schema": SCHEMA,
            MARK: True,
            "run": dict(run),
            "cells": [asdict(cell) for cell in cells],
        }
    }


def _read(path: Path) -> LearningMap:
    document = Field(path, "", parse_json(path, regular_bytes(path)))
    if not isinstance(document.value, dict) or "learning" not in document.value:
        raise error_at(path, "holds no map of what was learned (from python -m bench.echo windows)")
    ours = document["learning"]
    schema = ours["schema"]
    if type(schema.value) is not int or schema.value != SCHEMA:
        raise schema.error(f"{SCHEMA}, the schema that this version reads")
    of_run = ours["run"]
    finished = of_run["finished"]
    run = LearningRun(
        id=of_run["id"].label(),
        started=of_run["started"].time(),
        finished=finished.time() if finished.given else None,
        complete=of_run["complete"].boolean(),
        backend=of_run["backend"].label(),
        device=of_run["device"].label(),
        settings=of_run["settings"].free(),
        libraries=of_run["libraries"].free(),
    )
    items = ours["cells"].items()
    notes = [f"{printable(str(path))} {CHANGED}"] if changed(document.mapping()) else []
    if not run.complete:
        notes.append(f"{printable(str(path))} is unfinished; its finished cells are read")
    if len(items) > _MOST_CELLS:
        raise error_at(path, f"holds {len(items)} cells; expected at most {_MOST_CELLS}")
    cells: dict[tuple[str, int, int, bool, int], MapCell] = {}
    for item in items:
        cell = _parse_cell(item)
        if cell.key in cells:
            raise error_at(path, "is a cell that the file holds already", item.name)
        cells[cell.key] = cell
    return LearningMap(path, run, tuple(cells.values()), tuple(notes))


_CELL_FIELDS = tuple(field.name for field in fields(MapCell))


def _parse_cell(field: Field) -> MapCell:
    unknown = set(field.mapping()) - set(_CELL_FIELDS)
    if unknown:
        name = printable(min(unknown), 60)
        raise error_at(field.path, f"holds the unknown field {name}", field.name)
    problem = field["problem"].text()
    window = field["window"].integer(1)
    loss, accuracy = field["loss"], field["accuracy"]
    if problem:
        for each in (loss, accuracy):
            if each.given:
                raise each.error("null where the training has a problem")
    memoryless = field["memoryless"].number(0.0, _LARGEST_LOSS)
    return MapCell(
        task=field["task"].one_of(TASKS),
        distance=field["distance"].integer(0),
        window=window,
        stride=field["stride"].integer(1, window),
        carried=field["carried"].boolean(),
        seed=field["seed"].integer(0),
        timesteps=field["timesteps"].integer(1),
        updates=field["updates"].integer(0),
        loss=None if problem else loss.number(0.0, _LARGEST_LOSS),
        accuracy=accuracy.number(0.0, 1.0) if accuracy.given else None,
        best=field["best"].number(0.0, memoryless),
        memoryless=memoryless,
        curve=tuple(item.number(0.0, _LARGEST_LOSS) for item in field["curve"].items()),
        problem=problem,
    )


def split_paths(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Return paths that may hold times, and maps. Raises ResultError for an unreadable URL."""
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


def newest(
    places: Sequence[Path], tasks: Sequence[str] = ("echo",)
) -> tuple[LearningMap | None, tuple[ResultError, ...]]:
    """Return the newest map of any of the tasks, complete ones first, and the errors."""
    found = collect(places)
    maps = [each for each in found.maps if any(each.windows(task, carried=True) for task in tasks)]
    maps.sort(key=lambda each: not each.run.complete)
    return next(iter(maps), None), found.errors


def unreported(bad: Iterable[ResultError], shown: Iterable[ResultError]) -> list[ResultError]:
    """Return the errors that the reader of times did not report."""
    known = set(map(str, shown))
    return [each for each in bad if str(each) not in known]
