"""Train the echo task as a user runs it: options, progress, Ctrl-C and the picture."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import lstm_impl
from bench.cli.command_line import INTERRUPTED, UsageError, tell_errors
from bench.echo import picture
from bench.echo.task import EchoSettings, SettingsError, best_possible_loss, check_backend
from bench.echo.training import DivergedError, Training, model_of
from bench.machine import devices
from bench.render import plot

USUAL_BACKEND = "while_loop"  # what the tutorial's dynamic_rnn was
FALLBACK_BACKEND = "numpy"  # needs no framework
EPOCHS = 4
PICTURE = Path("results/echo.png")
RECENT = 50  # windows that a reported loss averages
LINES_EVERY = 100  # windows between two lines of progress, as in the tutorial


@dataclass(frozen=True)
class RunOptions:
    """What the options ask for, checked before a framework is loaded.

    picture is None where matplotlib is missing.
    """

    settings: EchoSettings
    epochs: int
    backend: str | None
    device: str
    picture: Path | None

    @property
    def windows(self) -> int:
        """Windows of the whole training."""
        return self.epochs * self.settings.windows_per_epoch


def parse(options: argparse.Namespace) -> RunOptions:
    """Check parsed options. Raises UsageError."""
    given: dict[str, Any] = vars(options)
    output = given.get("output", PICTURE)
    if output.suffix.lower() not in picture.SUFFIXES:
        suffixes = ", ".join(picture.SUFFIXES)
        raise UsageError(f"--output {output}: expected a name that ends in {suffixes}")
    if not plot.available() and "output" in given:
        raise UsageError(f"a picture needs matplotlib: {plot.INSTALL}")
    _require_writable("--output", output)
    names = {each.name for each in fields(EchoSettings)}
    try:
        settings = EchoSettings(**{name: given[name] for name in names & set(given)})
    except SettingsError as error:
        raise UsageError(f"--{error.field.replace('_', '-')} {error.problem}") from error
    epochs = given.get("epochs", EPOCHS)
    if epochs < 1:
        raise UsageError(f"--epochs is {epochs}; expected an integer of at least 1")
    try:
        device = devices.parse(given.get("device", "cpu"))
    except devices.DeviceError as error:
        raise UsageError(f"--device {error}") from error
    return RunOptions(
        settings=settings,
        epochs=epochs,
        backend=given.get("backend"),
        device=device,
        picture=output if plot.available() else None,
    )


def _require_writable(option: str, path: Path) -> None:
    """Fail before the training rather than after it."""
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; expected a file's name")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path}: {folder} is not a folder that can be written to")


def choose_backend(name: str | None, device: str, settings: EchoSettings) -> lstm_impl.Backend:
    """Return the backend to train with; NumPy, with a note, where the usual one is missing.

    Raises UsageError if the backend is unknown, not available or refuses the settings.
    """
    try:
        backend = lstm_impl.get_backend(name or USUAL_BACKEND)
        available = backend.availability(device)
        if not available and name is None and device == "cpu":
            print(f"note: {backend.name} is not available here ({available})")
            print(f"note: training with {FALLBACK_BACKEND}", flush=True)
            backend = lstm_impl.get_backend(FALLBACK_BACKEND)
    except lstm_impl.UnsupportedError as error:
        raise UsageError(f"--backend: {error}") from error
    check_backend(backend, device, settings)
    return backend


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM arrived; a second one raises."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # only the main thread may handle signals
            before[number] = signal.signal(number, handle)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(options: argparse.Namespace) -> int:
    """Train as the options ask and show the result; return the exit code of ``bench.echo``.

    Raises UsageError, UnsupportedError.
    """
    run = parse(options)
    backend = choose_backend(run.backend, run.device, run.settings)
    training = Training(run.settings, model_of(run.settings, backend.name, run.device))
    best = np.tile(best_possible_loss(run.settings), run.epochs)

    started = time.perf_counter()
    try:
        with interruption() as interrupted:
            while training.windows_done < run.windows and not interrupted():
                training.step()
                show_progress(training, run.epochs)
    except DivergedError as error:
        tell_errors([error])
        return 1
    losses, done = np.array(training.losses), training.windows_done
    if training.last is None:
        print("stopped before the first window", file=sys.stderr)
        return INTERRUPTED
    print(f"{done} windows in {time.perf_counter() - started:.1f} s ({backend.name})")
    print(summary(training, best[:done]), flush=True)
    if run.picture is None:
        print(f"no picture: it needs matplotlib ({plot.INSTALL})")
    else:
        scene = picture.Scene(
            run.settings, backend.name, losses, best[:done], run.windows, training.last
        )
        picture.save(scene, run.picture)
        print(f"picture: {run.picture}")
    if done < run.windows:
        print(f"stopped after window {done} of {run.windows}")
        return INTERRUPTED
    return 0


def show_progress(training: Training, epochs: int) -> None:
    """Print a line every hundred windows and at the end of each epoch."""
    per_epoch = training.settings.windows_per_epoch
    epoch, number = divmod(training.windows_done - 1, per_epoch)
    if (number + 1) % LINES_EVERY == 0 or number + 1 == per_epoch:
        print(
            f"epoch {epoch + 1}/{epochs}  window {number + 1:{len(str(per_epoch))}}/{per_epoch}  "
            f"loss {np.mean(training.losses[-RECENT:]):.4f}  "
            f"right {np.mean(training.accuracies[-RECENT:]):6.1%}",
            flush=True,
        )


def summary(training: Training, best: np.typing.NDArray[np.float64]) -> str:
    """Describe the loss of the last windows and of the last epoch next to the best possible."""
    done = training.windows_done
    spans = {min(RECENT, done), min(training.settings.windows_per_epoch, done)}
    return "\n".join(
        f"mean loss of the last {span} windows: {np.mean(training.losses[-span:]):.5f}"
        f"  (best possible: {np.mean(best[-span:]):.5f}),"
        f" {np.mean(training.accuracies[-span:]):.2%} right"
        for span in sorted(spans)
    )
