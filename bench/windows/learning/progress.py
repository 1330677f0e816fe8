"""How a training shows how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.windows.learning.training import Training

RECENT = 50  # windows that the reached loss is the mean of
LINES_EVERY = 100  # windows from one plain line of progress to the next, as in the tutorial


# -- progress


class Progressing(Protocol):
    """Something that shows how far the training is."""

    def update(self, training: Training) -> None:
        """Called after each window."""


class Lines:
    """A line each hundred windows and at each epoch's end, for files and pipes."""

    def __init__(self, windows: int) -> None:
        self._windows = windows

    def update(self, training: Training) -> None:
        """Print a line where one is due."""
        per_epoch = training.settings.windows_per_epoch
        number = (training.windows_done - 1) % per_epoch + 1
        if number % LINES_EVERY == 0 or number == per_epoch:
            print(f"{_position(training, self._windows)}  {_reached(training)}", flush=True)


class Bar:
    """A line that moves, on a terminal."""

    def __init__(self, progress: Progress, windows: int, done: int) -> None:
        self._progress = progress
        self._windows = windows
        self._task: TaskID = progress.add_task("", total=windows, completed=done, reached="")

    def update(self, training: Training) -> None:
        """Move the line."""
        self._progress.update(
            self._task,
            completed=training.windows_done,
            description=_position(training, self._windows),
            reached=_reached(training),
        )


def _position(training: Training, windows: int) -> str:
    per_epoch = training.settings.windows_per_epoch
    epoch, number = divmod(training.windows_done - 1, per_epoch)
    width = len(str(per_epoch))
    return (
        f"epoch {epoch + 1}/{max(windows // per_epoch, 1)}  window {number + 1:{width}}/{per_epoch}"
    )


def _reached(training: Training) -> str:
    return (
        f"loss {np.mean(training.losses[-RECENT:]):.4f}  "
        f"right {np.mean(training.accuracies[-RECENT:]):6.1%}"
    )


@contextlib.contextmanager
def progress_of(console: Console, windows: int, done: int) -> Iterator[Progressing]:
    """A bar on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield Lines(windows)
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[reached]}", markup=False),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield Bar(progress, windows, done)
