"""What goes on beside a training: how far it is, shown and logged, and Ctrl-C.

It is shown on a terminal or in a file, and logged for TensorBoard. The first Ctrl-C ends a training
after the window at hand, the second at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.cli.command_line import UsageError
from bench.echo.training import Training

RECENT = 50  # windows that the reached loss is the mean of
LINES_EVERY = 100  # windows from one plain line of progress to the next, as in the tutorial


@contextlib.contextmanager
def progress_of(console: Console, windows: int, done: int) -> Iterator[Callable[[Training], None]]:
    """What is to be called after each window: it moves a bar, or where none can move prints lines.

    A line comes each hundred windows and at each epoch's end, for files and pipes.
    """
    if not console.is_terminal:
        yield lambda training: _print_line(training, windows)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[reached]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=windows, completed=done, reached="")

        def move(training: Training) -> None:
            where, reached = _position(training, windows), _reached(training)
            done = training.windows_done
            progress.update(task, completed=done, description=where, reached=reached)

        yield move


def _print_line(training: Training, windows: int) -> None:
    per_epoch = training.settings.windows_per_epoch
    number = (training.windows_done - 1) % per_epoch + 1
    if number % LINES_EVERY == 0 or number == per_epoch:
        print(f"{_position(training, windows)}  {_reached(training)}", flush=True)


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


class Logs(Protocol):
    """A TensorBoard log: what is used of ``tensorboard.summary.Writer``."""

    def add_scalar(self, tag: str, data: float, step: int) -> None:
        """Add one point of a curve."""

    def close(self) -> None:
        """Write what is still held back."""


class TensorFlowLogs:
    """A log through TensorFlow, which can write one without the tensorboard package."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=1,  # DATA_CLASS_SCALAR of TensorBoard's summary.proto
        )

    def add_scalar(self, tag: str, data: float, step: int) -> None:
        """Add one point of a curve."""
        with self._writer.as_default():
            value = self._tf.constant(data, self._tf.float32)
            self._tf.summary.write(tag, value, step, metadata=self._metadata)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()


def open_logs(folder: Path) -> Logs:
    """A log in ``folder``. Raises UsageError if nothing here can write one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--logdir {folder}: {error.strerror}") from error
    # tensorboard first: it is quick to load where TensorFlow is not there or not needed.
    if importlib.util.find_spec("tensorboard") is not None:
        # By name, since the types are checked where it is not installed.
        logs: Logs = importlib.import_module("tensorboard.summary").Writer(str(folder))
        return logs
    if importlib.util.find_spec("tensorflow") is not None:
        return TensorFlowLogs(folder)
    raise UsageError(
        "--logdir needs the package tensorboard or tensorflow: pip install tensorboard"
    )


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Whether there was a Ctrl-C (or SIGTERM), which does not raise in the middle of a window.

    A second one raises KeyboardInterrupt at once. In the end who heard of them before does again.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # Signals belong to the main thread; elsewhere they are left as they are.
        with contextlib.suppress(ValueError):
            before[number] = signal.signal(number, hear)
    try:
        yield lambda: bool(heard)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
