"""Train the echo task from the command line: options, progress, Ctrl-C and the picture."""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import lstm_impl
from bench.cli import arguments
from bench.cli.command_line import INTERRUPTED, UsageError, print_errors
from bench.echo import picture
from bench.echo.task import EchoSettings, SettingsError, best_possible_loss, check_backend
from bench.echo.training import DivergedError, Training, build_model
from bench.machine import devices
from bench.render import plot
from bench.render.palette import THEMES

DEFAULT_BACKEND = "while_loop"  # The loop of the tutorial's dynamic_rnn.
FALLBACK_BACKEND = "numpy"  # NumPy needs no framework.
PICTURE = Path("results/echo.png")
RECENT = 50  # The windows over which a reported loss is averaged.
LINES_EVERY = 100  # The windows between two lines of progress, as in the tutorial.

DESCRIPTION = """\
Train an LSTM to repeat each bit of a random stream some timesteps later, one window at a
time: the echo task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)". The
command python -m bench.echo windows maps which distances each length of window learns.
"""

EPILOG = """\
Ctrl-C stops after the current window. The picture then shows the training so far.

exit codes:
  0    the training is complete
  1    the training diverged
  2    an option is invalid; a message says which
  130  stopped by Ctrl-C
"""


def parser() -> arguments.Parser:
    """Return the parser of ``bench.echo``."""
    made = arguments.make_parser("echo", DESCRIPTION, EPILOG, allow_abbrev=False)
    default, positive = EchoSettings(), arguments.make_integer_parser(1)
    arguments.add_with_default(
        made,
        ("epochs", "N", positive, 4, "number of epochs"),
        ("bits", "N", positive, default.bits, "bits per epoch"),
        (
            "echo",
            "N",
            arguments.make_integer_parser(0),
            default.echo,
            "timesteps from a bit to its repetition",
        ),
        ("batch", "N", positive, default.batch, "parallel series"),
        ("window", "N", positive, default.window, "timesteps of back-propagation per step"),
        ("units", "N", positive, default.units, "units per layer"),
        ("layers", "N", positive, default.layers, "stacked layers"),
        ("dropout", "RATE", float, default.dropout, "rate of dropout between layers"),
        ("learning-rate", "RATE", float, default.learning_rate, "learning rate of Adagrad"),
        (
            "seed",
            "N",
            arguments.make_integer_parser(0),
            default.seed,
            "seed of weights, bits and dropout",
        ),
        ("dtype", "NAME", str, default.dtype, f"precision: {', '.join(lstm_impl.PRECISIONS)}"),
        ("device", "NAME", str, "cpu", "device: cpu, gpu:0, ..."),
    )
    arguments.add_flags(made, reset_state="start each window from the zero state")
    backend = f"backend of the LSTM ({DEFAULT_BACKEND}, or {FALLBACK_BACKEND} if that is missing)"
    arguments.add_values(
        made,
        ("backend", "ID", str, backend),
        ("output", "FILE", Path, f"file of the picture: .png, .svg or .pdf ({PICTURE})"),
    )
    arguments.add_choice(made, "theme", THEMES, "the background of the picture", "light")
    return made


def parse_settings(options: argparse.Namespace) -> EchoSettings:
    """Return the settings that the options name. Raises UsageError."""
    names = {each.name for each in fields(EchoSettings)}
    given = {key: value for key, value in vars(options).items() if key in names}
    try:
        return EchoSettings(**given)
    except SettingsError as error:
        raise UsageError(f"--{error.field.replace('_', '-')} {error.problem}") from error


def picture_path(output: Path | None) -> Path | None:
    """Return the path of the picture, or None without matplotlib.

    Raises UsageError if not writable.
    """
    if not plot.is_available():
        if output is not None:
            plot.require_matplotlib()
        return None
    path = output or PICTURE
    if path.suffix.lower() not in picture.SUFFIXES:
        suffixes = ", ".join(picture.SUFFIXES)
        raise UsageError(f"--output {path}: expected a file name that ends in {suffixes}")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; expected the name of a file")
    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"--output {path}: {folder} is not a folder that can be written to")
    return path


def choose_backend(name: str | None, device: str, settings: EchoSettings) -> lstm_impl.Backend:
    """Return the chosen backend, or NumPy with a note if the default backend is missing.

    Raises UsageError if the chosen backend cannot train with these settings on the device.
    """
    try:
        backend = lstm_impl.get_backend(name or DEFAULT_BACKEND)
        available = backend.availability(device)
        if not available and name is None and device == "cpu":
            print(f"note: {backend.name} is not available here ({available})")
            print(f"note: training with {FALLBACK_BACKEND} instead", flush=True)
            backend = lstm_impl.get_backend(FALLBACK_BACKEND)
    except lstm_impl.UnsupportedError as error:
        raise UsageError(f"--backend: {error}") from error
    check_backend(backend, device, settings)
    return backend


@contextlib.contextmanager
def catch_interruption() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM arrived. A second signal raises."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # Only the main thread may handle signals.
            before[number] = signal.signal(number, handle)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(options: argparse.Namespace) -> int:
    """Train, show the result and return the exit code. Raises UsageError and UnsupportedError."""
    path, settings = picture_path(options.output), parse_settings(options)
    try:
        device = devices.parse(options.device)
    except devices.DeviceError as error:
        raise UsageError(f"--device {error}") from error
    backend = choose_backend(options.backend, device, settings)
    training = Training(settings, build_model(settings, backend.name, device))
    best = np.tile(best_possible_loss(settings), options.epochs)

    started = time.perf_counter()
    try:
        with catch_interruption() as interrupted:
            while training.windows_done < len(best) and not interrupted():
                training.step()
                show_progress(training, options.epochs)
    except DivergedError as error:
        print_errors([error])
        return 1
    losses, done = np.array(training.losses), training.windows_done
    if training.last is None:
        print("stopped before the first window", file=sys.stderr)
        return INTERRUPTED
    print(f"{done} windows in {time.perf_counter() - started:.1f} s ({backend.name})")
    for span in sorted({min(RECENT, done), min(settings.windows_per_epoch, done)}):
        print(
            f"mean loss of the last {span} windows: {np.mean(losses[-span:]):.5f}"
            f"  (best possible: {np.mean(best[:done][-span:]):.5f}),"
            f" {np.mean(training.accuracies[-span:]):.2%} correct",
            flush=True,
        )
    if path is None:
        print(f"No picture was drawn, because matplotlib is missing. Install it: {plot.INSTALL}")
    else:
        scene = picture.Scene(settings, backend.name, losses, best[:done], len(best), training.last)
        picture.save(scene, path, THEMES[options.theme])
        print(f"picture: {path}")
    if done < len(best):
        print(f"stopped after window {done} of {len(best)}")
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
            f"correct {np.mean(training.accuracies[-RECENT:]):6.1%}",
            flush=True,
        )
