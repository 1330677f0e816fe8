"""``python -m bench.echo``: train an LSTM to repeat bits, with any backend, and draw how it went.

The command around ``echo_task``: options, progress, interruption, files. It knows the library's
face, the terminal and TensorBoard's logs; what is learned and how is ``echo_task``'s, what is drawn
``echo_picture``'s. No framework is imported unless the backend asked for, or --logdir, needs one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import lstm_impl
from bench import command_line, devices, echo_picture
from bench.echo_task import (
    Checkpoint,
    CheckpointError,
    DivergedError,
    EchoSettings,
    Float64,
    SettingsError,
    Training,
    best_possible_loss,
    curve_bound,
    reference_curve,
)
from bench.terminal import text_console

USUAL_BACKEND = "while_loop"  # what the tutorial's dynamic_rnn did
FALLBACK_BACKEND = "numpy"  # what needs no framework
EPOCHS = 4
PICTURE = Path("results/echo.png")
RECENT = 50  # windows that the reached loss is the mean of
LINES_EVERY = 100  # windows from one plain line of progress to the next, as in the tutorial

DESCRIPTION = """\
Train an LSTM to repeat each bit of a random stream some steps later, one window at a
time: the echo task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)".
"""

EPILOG = """\
Ctrl-C stops after the window at hand and saves a checkpoint and the picture; --resume
goes on from there, with exactly the curve of a training that was never stopped.

exit codes:
  0    trained (with --check-curve: and the curve is within its bound)
  1    the training diverged, or --check-curve found the curve outside its bound
  2    an option or a file that makes no sense; one line says which
  130  stopped by Ctrl-C
"""

_SETTINGS = {field.name for field in fields(EchoSettings)}


class UsageError(ValueError):
    """What was asked cannot be done; one line that says why and what to do."""


# -- options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bench.echo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        # An option that is not given is not there: with --resume the checkpoint decides it.
        argument_default=argparse.SUPPRESS,
    )
    usual = EchoSettings()
    task = parser.add_argument_group("the task")
    task.add_argument("--epochs", type=int, metavar="N", help=f"epochs in all ({EPOCHS})")
    task.add_argument("--bits", type=int, metavar="N", help=f"bits of an epoch ({usual.bits})")
    task.add_argument(
        "--echo", type=int, metavar="N", help=f"steps between a bit and its target ({usual.echo})"
    )
    task.add_argument("--batch", type=int, metavar="N", help=f"series side by side ({usual.batch})")
    task.add_argument(
        "--window",
        type=int,
        metavar="N",
        help=f"timesteps that a training step back-propagates through ({usual.window})",
    )
    task.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="timesteps from one window's start to the next; fewer than the window make windows "
        "overlap (the window)",
    )
    task.add_argument(
        "--reset-state",
        action="store_true",
        help="start each window from the zero state (carried over)",
    )
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--units", type=int, metavar="N", help=f"units of each layer ({usual.units})"
    )
    network.add_argument("--layers", type=int, metavar="N", help=f"stacked layers ({usual.layers})")
    network.add_argument(
        "--dropout", type=float, metavar="RATE", help="rate of dropout between layers (0)"
    )
    network.add_argument(
        "--learning-rate", type=float, metavar="RATE", help=f"of Adagrad ({usual.learning_rate})"
    )
    network.add_argument(
        "--seed", type=int, metavar="N", help=f"of weights, bits and dropout ({usual.seed})"
    )
    network.add_argument(
        "--dtype",
        metavar="NAME",
        help=f"the LSTM's precision: {', '.join(lstm_impl.PRECISIONS)} ({usual.dtype})",
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--backend",
        metavar="ID",
        help=f"how the LSTM is computed ({USUAL_BACKEND}, or {FALLBACK_BACKEND} where that is not "
        "available)",
    )
    machine.add_argument("--device", metavar="NAME", help="cpu, gpu:0, ... (cpu)")
    shown = parser.add_argument_group("what is shown and kept")
    shown.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the picture, a .png, .svg or .pdf (results/echo.png)",
    )
    shown.add_argument(
        "--live",
        action="store_true",
        help="a moving picture while it trains; where there is no display, an animated GIF beside "
        "the picture",
    )
    shown.add_argument("--logdir", type=Path, metavar="FOLDER", help="write TensorBoard logs there")
    shown.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep a checkpoint here after each epoch and at the end (.npz beside the picture, on "
        "Ctrl-C only)",
    )
    shown.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    shown.add_argument(
        "--check-curve",
        action="store_true",
        help="hold the curve against a float64 NumPy training and the bound on what rounding may "
        "do to it (five more trainings in NumPy)",
    )
    return parser


@dataclass(frozen=True)
class Plan:
    """What the options ask for, checked as far as it can be before a framework is loaded."""

    settings: EchoSettings
    epochs: int
    backend: str | None
    device: str
    picture: Path | None
    live: bool
    logdir: Path | None
    checkpoint: Path
    keep_checkpoint: bool
    resume: Checkpoint | None
    check_curve: bool

    @property
    def windows(self) -> int:
        """Windows of the whole training."""
        return self.epochs * self.settings.windows_per_epoch


def plan(options: argparse.Namespace) -> Plan:
    """The plan for parsed options. Raises UsageError, CheckpointError."""
    given: dict[str, Any] = vars(options)
    picture = given.get("output", PICTURE)
    if picture.suffix.lower() not in echo_picture.SUFFIXES:
        raise UsageError(
            f"--output {picture}: expected a name that ends in {', '.join(echo_picture.SUFFIXES)}"
        )
    checkpoint = given.get("checkpoint", picture.with_suffix(".npz"))
    for option, path in (("--output", picture), ("--checkpoint", checkpoint)):
        _require_writable(option, path)
    chosen = {name: value for name, value in given.items() if name in _SETTINGS}
    resume = Checkpoint.read(checkpoint) if given.get("resume") else None
    if resume is None:
        try:
            settings = EchoSettings(**chosen)
        except SettingsError as error:
            raise UsageError(f"{_option(error.field)} {error.problem}") from error
        epochs = given.get("epochs", EPOCHS)
    else:
        settings = resume.settings
        for name, value in chosen.items():
            if value != getattr(settings, name):
                raise UsageError(
                    f"{_option(name)} is {value}, but {checkpoint} was trained with "
                    f"{getattr(settings, name)}; leave it out, or start anew without --resume"
                )
        epochs = given.get("epochs", resume.extra.get("epochs", EPOCHS))
    if not isinstance(epochs, int) or epochs < 1:
        raise UsageError(f"--epochs is {epochs}; expected an integer of at least 1")
    if resume is not None and len(resume.losses) >= epochs * settings.windows_per_epoch:
        raise UsageError(
            f"{checkpoint} has all of its {epochs} epochs behind it; to go on, raise --epochs"
        )
    device = given.get("device", "cpu")
    try:
        device = devices.parse(device)
    except devices.DeviceError as error:
        raise UsageError(f"--device {error}") from error
    backend = given.get("backend")
    if backend is None and resume is not None:
        backend = resume.extra.get("backend")
    wanted = "output" in given or given.get("live", False)
    if not echo_picture.available() and wanted:
        raise UsageError(f"a picture needs matplotlib: {echo_picture.INSTALL}")
    return Plan(
        settings=settings,
        epochs=epochs,
        backend=backend,
        device=device,
        picture=picture if echo_picture.available() else None,
        live=given.get("live", False),
        logdir=given.get("logdir"),
        checkpoint=checkpoint,
        keep_checkpoint="checkpoint" in given,
        resume=resume,
        check_curve=given.get("check_curve", False),
    )


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _require_writable(option: str, path: Path) -> None:
    """Fail before the training, not after it, where its result could not be written."""
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; expected a file's name")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path}: {folder} is no folder that can be written to")


# -- the backend


def choose_backend(
    name: str | None, device: str, settings: EchoSettings
) -> tuple[lstm_impl.Backend, str]:
    """The backend to train with, and a note for the user, empty if it is what was asked for.

    Raises UsageError with the reason if it is unknown, not available or refuses the settings.
    """
    note = ""
    try:
        backend = lstm_impl.get_backend(name or USUAL_BACKEND)
        available = backend.availability(device)
        if not available and name is None and device == "cpu":
            note = (
                f"note: {backend.name} is not available here ({available}); "
                f"training with {FALLBACK_BACKEND}"
            )
            backend = lstm_impl.get_backend(FALLBACK_BACKEND)
            available = backend.availability(device)
    except lstm_impl.UnsupportedError as error:
        raise UsageError(f"--backend: {error}") from error
    if not available:
        raise UsageError(f"--backend {backend.name} on {device}: {available}")
    workload = lstm_impl.Workload(
        settings.batch, settings.window, "training", dropout=settings.dropout
    )
    if reason := backend.refusal(settings.spec, workload):
        raise UsageError(f"--backend {backend.name} cannot train this: {reason}")
    return backend, note


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
def _progress(console: Console, windows: int, done: int) -> Iterator[Progressing]:
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


# -- interruption


class Interruption:
    """Notes the first Ctrl-C (or SIGTERM) instead of raising in the middle of a window.

    A second one raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Signals belong to the main thread; elsewhere they are left as they are.
            with contextlib.suppress(ValueError):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


# -- TensorBoard


class Logs(Protocol):
    """A TensorBoard log."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point of a curve."""

    def close(self) -> None:
        """Write what is still held back."""


class _TensorFlowLogs:
    """Through TensorFlow, which can write them without the tensorboard package."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=1,  # DATA_CLASS_SCALAR of TensorBoard's summary.proto
        )

    def scalar(self, name: str, value: float, step: int) -> None:
        with self._writer.as_default():
            self._tf.summary.write(
                name, self._tf.constant(value, self._tf.float32), step, metadata=self._metadata
            )

    def close(self) -> None:
        self._writer.close()


class _TensorBoardLogs:
    """Through the tensorboard package alone."""

    def __init__(self, folder: Path) -> None:
        # By name, since the types are checked where it is not installed.
        self._writer = importlib.import_module("tensorboard.summary").Writer(str(folder))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def open_logs(folder: Path) -> Logs:
    """A log in ``folder``. Raises UsageError if nothing here can write one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--logdir {folder}: {error.strerror}") from error
    # tensorboard first: it is quick to load where TensorFlow is not there or not needed.
    if importlib.util.find_spec("tensorboard") is not None:
        return _TensorBoardLogs(folder)
    if importlib.util.find_spec("tensorflow") is not None:
        return _TensorFlowLogs(folder)
    raise UsageError(
        "--logdir needs the package tensorboard or tensorflow: pip install tensorboard"
    )


# -- the run


class Run:
    """One training as the user sees it."""

    def __init__(self, plan: Plan, training: Training, backend: str, console: Console) -> None:
        self.plan = plan
        self.training = training
        self.backend = backend
        self.console = console
        best = best_possible_loss(plan.settings)
        self.best: Float64 = np.tile(best, plan.epochs)
        self.first = training.windows_done
        self.logs = None if plan.logdir is None else open_logs(plan.logdir)
        self.screen: echo_picture.Screen | None = None
        self.animation: echo_picture.Animation | None = None
        if plan.live:
            if echo_picture.has_display():
                self.screen = echo_picture.Screen()
            else:
                self.animation = echo_picture.Animation(plan.windows, self.first)
                print(f"no display here: the moving picture goes to {self._gif_path()}", flush=True)

    def _gif_path(self) -> Path:
        assert self.plan.picture is not None
        return self.plan.picture.with_suffix(".gif")

    def scene(self) -> echo_picture.Scene:
        """What the picture shows now."""
        last = self.training.last
        assert last is not None
        done = self.training.windows_done
        return echo_picture.Scene(
            settings=self.plan.settings,
            backend=self.backend,
            losses=np.array(self.training.losses),
            best=self.best[:done],
            windows=self.plan.windows,
            last=last,
        )

    def train(self) -> bool:
        """Train to the end, or until interrupted; whether the end was reached."""
        per_epoch = self.plan.settings.windows_per_epoch
        with (
            Interruption() as interruption,
            _progress(self.console, self.plan.windows, self.first) as progress,
        ):
            while self.training.windows_done < self.plan.windows:
                if interruption.asked:
                    return False
                self.training.step()
                progress.update(self.training)
                self._after_window()
                if self.plan.keep_checkpoint and self.training.windows_done % per_epoch == 0:
                    self.save_checkpoint()
        return True

    def _after_window(self) -> None:
        done = self.training.windows_done
        if self.logs is not None:
            self.logs.scalar("loss", self.training.losses[-1], done)
            self.logs.scalar("accuracy", self.training.accuracies[-1], done)
            self.logs.scalar("best possible loss", float(self.best[done - 1]), done)
        if self.screen is not None and self.screen.wants():
            self.screen.show(self.scene())
        if self.animation is not None and self.animation.wants(done):
            self.animation.add(self.scene())

    def save_checkpoint(self) -> None:
        """Write the checkpoint, with what --resume needs beside the training's own state."""
        self.training.save(
            self.plan.checkpoint, {"epochs": self.plan.epochs, "backend": self.backend}
        )

    def save_pictures(self) -> None:
        """Write the picture, and the moving one where it goes to a file, and say where."""
        if self.plan.picture is None:
            print(f"no picture: it needs matplotlib ({echo_picture.INSTALL})")
            return
        scene = self.scene()
        echo_picture.save(scene, self.plan.picture)
        print(f"picture: {self.plan.picture}")
        if self.animation is not None:
            self.animation.save(self._gif_path(), scene)
            print(f"moving picture: {self._gif_path()}")

    def summary(self, seconds: float) -> str:
        """What was reached, beside the best that could be."""
        losses, done = self.training.losses, self.training.windows_done
        best, per_epoch = self.best[:done], self.plan.settings.windows_per_epoch
        lines = [
            f"{done - self.first} windows in {seconds:.1f} s, compiling included ({self.backend})"
        ]
        spans = sorted({length for length in (RECENT, per_epoch) if length <= done} or {done})
        for length in spans:
            lines.append(
                f"mean loss of the last {length} windows: {np.mean(losses[-length:]):.5f}"
                f"  (best possible: {np.mean(best[-length:]):.5f}),"
                f" {np.mean(self.training.accuracies[-length:]):.2%} right"
            )
        return "\n".join(lines)

    def check_curve(self) -> tuple[str, bool]:
        """What the float64 reference says of the curve, and whether it is within its bound."""
        settings, done = self.plan.settings, self.training.windows_done
        reference = reference_curve(settings, done)
        bound = curve_bound(settings, done, reference=reference)
        deviation = np.abs(np.array(self.training.losses) - reference)
        finite = np.isfinite(bound)
        within = bool(np.all(deviation[finite] <= bound[finite]))
        lines = []
        if finite.any():
            worst = int(np.argmax(deviation[finite]))
            tightest = int(np.argmax(deviation[finite] / bound[finite]))
            lines.append(
                f"off the float64 curve by at most {deviation[worst]:.1e} (window {worst + 1}; "
                f"bound {bound[worst]:.1e}); closest to its bound at window {tightest + 1}: "
                f"{deviation[tightest]:.1e} of {bound[tightest]:.1e}: "
                f"{'within' if within else 'OUTSIDE the bound'}"
            )
        if not finite.all():
            first = int(np.argmax(~finite))
            lines.append(
                f"from window {first + 1} on, chaos: rounding may move the loss at will, and no "
                f"bound is claimed (off by at most {deviation[first:].max():.1e} there)"
            )
        return "\n".join(lines), within


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    try:
        return _main(arguments)
    except (UsageError, CheckpointError, lstm_impl.UnsupportedError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # whoever read the output has seen enough
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped at once; nothing more was saved", file=sys.stderr)
        return 130


def _going_on(planned: Plan) -> list[str]:
    """The command that goes on: the checkpoint has what is trained, the rest was asked for."""
    again = ["python", "-m", "bench.echo", "--resume", "--checkpoint", str(planned.checkpoint)]
    if planned.picture not in (None, PICTURE):
        again += ["--output", str(planned.picture)]
    if planned.device != "cpu":
        again += ["--device", planned.device]
    if planned.live:
        again.append("--live")
    if planned.logdir is not None:
        again += ["--logdir", str(planned.logdir)]
    if planned.check_curve:
        again.append("--check-curve")
    return again


def _main(arguments: Sequence[str] | None) -> int:
    planned = plan(_parser().parse_args(arguments))
    backend, note = choose_backend(planned.backend, planned.device, planned.settings)
    if note:
        print(note, flush=True)

    def build(settings: EchoSettings) -> lstm_impl.Model:
        return backend.build(
            settings.spec, lstm_impl.LSTMWeights.random(settings.spec), planned.device
        )

    if planned.resume is None:
        training = Training(planned.settings, build(planned.settings))
    else:
        training = Training.load(planned.resume, build)
        print(f"going on from {planned.checkpoint}, after window {training.windows_done}")
    run = Run(planned, training, backend.name, text_console())
    started = time.perf_counter()
    try:
        finished = run.train()
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if run.logs is not None:
            run.logs.close()
    seconds = time.perf_counter() - started
    if training.last is None:
        print("stopped before the first window; nothing to save", file=sys.stderr)
        return 130
    print(run.summary(seconds), flush=True)
    # The checkpoint first: a picture can be drawn again, a training cannot.
    if planned.keep_checkpoint or not finished:
        run.save_checkpoint()
        print(f"checkpoint: {planned.checkpoint}")
    run.save_pictures()
    if not finished:
        print(
            f"stopped after window {training.windows_done} of {planned.windows}; "
            f"go on with: {shlex.join(_going_on(planned))}"
        )
        return 130
    within = True
    if planned.check_curve:
        print("training five times more in float64 NumPy, to check the curve ...", flush=True)
        text, within = run.check_curve()
        print(text)
    if run.screen is not None:
        run.screen.show(run.scene())
        # Ctrl-C is as good a way as any to close it: all is saved.
        with contextlib.suppress(KeyboardInterrupt):
            run.screen.wait()
    return 0 if within else 1


if __name__ == "__main__":
    command_line.end(main)
