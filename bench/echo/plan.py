"""The trainings behind a map of what truncation windows learn: which there are, and one of them.

A plan is plain data that stands in the file; from it come the cells in their order, and each cell
is one ``training``, in whatever process. This module knows no terminal and no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from bench.echo.settings import EchoSettings, SettingsError, check_names
from bench.echo.task import Float64, best_possible_loss, memoryless_loss
from bench.echo.training import DivergedError, Trainable, Training, model_of
from bench.records.maps import TASKS, Cell, LearningMap, nothing_to_learn

DISTANCES = (1, 3, 8, 20, 50)
WINDOWS = (3, 5, 10, 15, 30, 60, 120)
SEEDS = 3
TIMESTEPS = 10_000
BACKEND = "numpy"
"""Needs no framework, and compiles nothing for each of some hundred short trainings."""

BATCH = {"echo": 16, "copy": 32}
"""Copy memory asks once in d + 1 timesteps, so more series are needed for as many questions."""
HIDDEN = {"echo": 24, "copy": 16}
"""An echo of distance d is d bits to remember at once, copy memory is one symbol."""
LEARNING_RATE = {"echo": 0.02, "copy": 0.06}
"""Of Adam; chosen from 0.01 to 0.06 at distance 8 (echo) and 50 (copy memory), in trainings of
twice as many timesteps."""
SPREAD = 2
"""The units' time constants reach to twice the distance at the start, whatever the window: the
network's best chance, so that what it does not learn is the window's doing."""

FINAL = 0.1
"""The part of a training, at its end, that its loss is the mean over."""
PARTS = 20
"""Points of a kept curve."""


class StoppedError(Exception):
    """The training was asked to stop before its end."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a map, apart from rounding.

    states: whether the state is carried, one or both. stride: timesteps from one window to the
    next, None for the window's own length; windows that are shorter have their own. batch, hidden,
    learning_rate: None for those of the task. blanks: whether copy memory asks for them.

    Raises SettingsError, which names the field.
    """

    tasks: tuple[str, ...] = TASKS
    distances: tuple[int, ...] = DISTANCES
    windows: tuple[int, ...] = WINDOWS
    states: tuple[bool, ...] = (True, False)
    seeds: int = SEEDS
    timesteps: int = TIMESTEPS
    batch: int | None = None
    hidden: int | None = None
    learning_rate: float | None = None
    stride: int | None = None
    backend: str = BACKEND
    device: str = "cpu"
    blanks: bool = False

    def __post_init__(self) -> None:
        for field in ("tasks", "distances", "windows", "states"):
            values = getattr(self, field)
            if not values or len(set(values)) != len(values):
                raise SettingsError(field, "are to be at least one, each once")
        for task in self.tasks:
            if task not in TASKS:
                raise SettingsError("tasks", f"hold {task!r}; expected {' or '.join(TASKS)}")
        for field in ("seeds", "timesteps", "batch", "hidden", "stride"):
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < 1):
                raise SettingsError(field, f"is {value!r}; expected a positive integer")
        if type(self.blanks) is not bool:
            raise SettingsError("blanks", f"is {self.blanks!r}; expected True or False")
        for field in ("distances", "windows"):
            for value in getattr(self, field):
                if type(value) is not int or value < 1:
                    raise SettingsError(field, f"hold {value!r}; expected positive integers")
        # Two windows at the least, so that there is an update that a later loss can show.
        if 2 * max(self.windows) > self.timesteps:
            raise SettingsError(
                "timesteps",
                f"is {self.timesteps}; expected at least {2 * max(self.windows)}, two of the "
                "longest windows",
            )
        for item in self.items():
            self.settings(item)

    def items(self) -> Iterator[Item]:
        """The cells to train, one seed's whole map before the next.

        Without those where nothing can be learned: the state reset, and the window no longer than
        the distance.
        """
        axes = range(self.seeds), self.tasks, self.states, self.distances, self.windows
        for seed, task, carried, distance, window in itertools.product(*axes):
            if not nothing_to_learn(distance, window, carried):
                yield Item(task, distance, window, carried, seed)

    def settings(self, item: Item) -> EchoSettings:
        """The training of one cell."""
        rate = self.learning_rate
        batch = self.batch or BATCH[item.task]
        return EchoSettings(
            task=item.task,
            bits=self.timesteps * batch,
            echo=item.distance,
            batch=batch,
            window=item.window,
            stride=None if self.stride is None else min(self.stride, item.window),
            units=self.hidden or HIDDEN[item.task],
            optimizer="adam",
            learning_rate=LEARNING_RATE[item.task] if rate is None else rate,
            memory=SPREAD * item.distance,
            seed=item.seed,
            reset_state=not item.carried,
            blanks=self.blanks and item.task == "copy",
        )

    def first_of(self, task: str) -> EchoSettings:
        """A training of a task, with what is the same in all of them."""
        return self.settings(Item(task, self.distances[0], self.windows[0], True, 0))

    def to_dict(self) -> dict[str, object]:
        """As it stands in a file, with what each task was given."""
        plan = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        return {**plan, "by_task": {task: self._given(task) for task in self.tasks}}

    def _given(self, task: str) -> dict[str, object]:
        some = self.first_of(task)
        return {
            "batch": some.batch,
            "hidden": some.units,
            "optimizer": some.optimizer,
            "learning_rate": some.learning_rate,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_dict`` gave. Raises SettingsError.

        Also where a task's own sizes have changed since: new cells would not fit the old ones.
        """
        data = dict(data)
        given = data.pop("by_task", None)
        data = {"blanks": False, **data}  # maps from before there were any
        check_names(data, [field.name for field in fields(cls)])
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            plan = cls(**values)
        except TypeError as error:
            raise SettingsError("the plan", f"is not what it should be: {error}") from error
        if given != plan.to_dict()["by_task"]:
            raise SettingsError("by_task", "is not what this version gives each task; start anew")
        return plan


@dataclass(frozen=True)
class Item:
    """One training of a plan."""

    task: str
    distance: int
    window: int
    carried: bool
    seed: int

    @property
    def key(self) -> tuple[str, int, int, bool, int]:
        """``Cell.key`` of what comes of it."""
        return self.task, self.distance, self.window, self.carried, self.seed


def missing(plan: Plan, found: LearningMap | None) -> list[Item]:
    """The cells of a plan that a map does not hold yet."""
    done = set() if found is None else {cell.key for cell in found.cells}
    return [item for item in plan.items() if item.key not in done]


def train(plan: Plan, item: Item, stopped: Callable[[], bool] = lambda: False) -> Cell:
    """Train one cell, to its end.

    stopped: asked after each window; raises StoppedError once it says yes. Raises UnsupportedError
    if the backend cannot do it.
    """
    model = model_of(plan.settings(item), plan.backend, plan.device)
    return train_with(plan, item, model, stopped)


def train_with(
    plan: Plan, item: Item, model: Trainable, stopped: Callable[[], bool] = lambda: False
) -> Cell:
    """As ``train``, with a model of one's own."""
    settings = plan.settings(item)
    training = Training(settings, model)
    windows = settings.windows_per_epoch
    first = min(int((1.0 - FINAL) * windows), windows - 1)  # window of the final part
    asked = right = 0.0
    best, memoryless = best_possible_loss(settings), memoryless_loss(settings)
    blank = Cell(
        **asdict(item),
        stride=settings.step,
        timesteps=(windows - 1) * settings.step + settings.window,
        updates=windows,
        loss=None,
        accuracy=None,
        best=min(float(best[first:].mean()), memoryless),  # a mean may round past what it is of
        memoryless=memoryless,
    )
    try:
        # Weights beyond all bounds end the training with a reason; no warning is needed beside it.
        with np.errstate(over="ignore", invalid="ignore"):
            for number in range(windows):
                if stopped():
                    raise StoppedError
                window = training.step()
                if number >= first:
                    targets = window.targets[window.counted]
                    wanted = targets.size
                    if settings.first_class:
                        wanted = int(np.count_nonzero(targets))
                    asked += wanted
                    # What was not asked for counts as right in a window's accuracy, and not here.
                    right += window.accuracy * targets.size - (targets.size - wanted)
    except DivergedError as error:
        return replace(blank, problem=str(error), curve=_curve(np.array(training.losses)))
    losses = np.array(training.losses)
    return replace(
        blank,
        loss=_short(losses[first:].mean()),
        accuracy=_short(min(max(right / asked, 0.0), 1.0)) if asked else None,
        curve=_curve(losses),
    )


def _curve(losses: Float64) -> tuple[float, ...]:
    parts = np.array_split(losses, min(PARTS, len(losses))) if len(losses) else []
    return tuple(_short(part.mean()) for part in parts)


def _short(value: float) -> float:
    """Six digits: a file of some hundred cells is to be read by people too."""
    return float(f"{value:.6g}")
