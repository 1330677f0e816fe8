"""One training of the echo task as a person runs it: progress, pictures, logs, Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import lstm_impl
from bench.cli.command_line import INTERRUPTED, UsageError, tell_errors, typed
from bench.echo import echo_animation, echo_picture
from bench.echo.progress import RECENT, interruption, open_logs, progress_of
from bench.echo.rounding import curve_bound, reference_curve
from bench.echo.settings import EchoSettings, SettingsError, check_backend
from bench.echo.task import Float64, best_possible_loss
from bench.echo.training import Checkpoint, DivergedError, Training, model_of
from bench.machine import devices
from bench.render import drawing
from bench.render.console import text_console

USUAL_BACKEND = "while_loop"  # what the tutorial's dynamic_rnn did
FALLBACK_BACKEND = "numpy"  # what needs no framework
EPOCHS = 4
PICTURE = Path("results/echo.png")
_SETTINGS = {field.name for field in fields(EchoSettings)}


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
    if not drawing.available() and wanted:
        raise UsageError(f"a picture needs matplotlib: {drawing.INSTALL}")
    return Plan(
        settings=settings,
        epochs=epochs,
        backend=backend,
        device=device,
        picture=picture if drawing.available() else None,
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


def choose_backend(name: str | None, device: str, settings: EchoSettings) -> lstm_impl.Backend:
    """The backend to train with: another than usual where that is not available, which is told.

    Raises UsageError with the reason if it is unknown, not available or refuses the settings.
    """
    try:
        backend = lstm_impl.get_backend(name or USUAL_BACKEND)
        available = backend.availability(device)
        if not available and name is None and device == "cpu":
            print(
                f"note: {backend.name} is not available here ({available}); "
                f"training with {FALLBACK_BACKEND}",
                flush=True,
            )
            backend = lstm_impl.get_backend(FALLBACK_BACKEND)
    except lstm_impl.UnsupportedError as error:
        raise UsageError(f"--backend: {error}") from error
    check_backend(backend, device, settings)
    return backend


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
        self.screen: echo_animation.Screen | None = None
        self.animation: echo_animation.Animation | None = None
        if plan.live:
            if echo_animation.has_display():
                self.screen = echo_animation.Screen()
            else:
                self.animation = echo_animation.Animation(plan.windows, self.first)
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
            interruption() as interrupted,
            progress_of(self.console, self.plan.windows, self.first) as show,
        ):
            while self.training.windows_done < self.plan.windows:
                if interrupted():
                    return False
                self.training.step()
                show(self.training)
                self._after_window()
                if self.plan.keep_checkpoint and self.training.windows_done % per_epoch == 0:
                    self.save_checkpoint()
        return True

    def _after_window(self) -> None:
        done = self.training.windows_done
        if self.logs is not None:
            self.logs.add_scalar("loss", self.training.losses[-1], done)
            self.logs.add_scalar("accuracy", self.training.accuracies[-1], done)
            self.logs.add_scalar("best possible loss", float(self.best[done - 1]), done)
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
            print(f"no picture: it needs matplotlib ({drawing.INSTALL})")
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


# -- from the options to the exit code


def train(options: argparse.Namespace) -> int:
    """Train as the options ask, show how it went and keep it; the exit code of ``bench.echo``.

    Raises UsageError, CheckpointError, UnsupportedError.
    """
    planned = plan(options)
    backend = choose_backend(planned.backend, planned.device, planned.settings)
    model = model_of(planned.settings, backend.name, planned.device)
    if planned.resume is None:
        training = Training(planned.settings, model)
    else:
        training = Training.load(planned.resume, model)
        print(f"going on from {planned.checkpoint}, after window {training.windows_done}")
    run = Run(planned, training, backend.name, text_console())
    started = time.perf_counter()
    try:
        finished = run.train()
    except DivergedError as error:
        tell_errors([error])
        return 1
    finally:
        if run.logs is not None:
            run.logs.close()
    seconds = time.perf_counter() - started
    if training.last is None:
        print("stopped before the first window; nothing to save", file=sys.stderr)
        return INTERRUPTED
    print(run.summary(seconds), flush=True)
    # The checkpoint first: a picture can be drawn again, a training cannot.
    if planned.keep_checkpoint or not finished:
        run.save_checkpoint()
        print(f"checkpoint: {planned.checkpoint}")
    run.save_pictures()
    if not finished:
        print(
            f"stopped after window {training.windows_done} of {planned.windows}; "
            f"go on with: {_going_on(planned)}"
        )
        return INTERRUPTED
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


def _going_on(planned: Plan) -> str:
    """The command that goes on: the checkpoint has what is trained, the rest was asked for."""
    again = ["--resume", "--checkpoint", str(planned.checkpoint)]
    for option, value, usual in (
        ("--output", planned.picture, PICTURE),
        ("--device", planned.device, "cpu"),
        ("--logdir", planned.logdir, None),
    ):
        if value not in (None, usual):
            again += [option, str(value)]
    flags = ["--live"] * planned.live + ["--check-curve"] * planned.check_curve
    return typed("echo", *again, *flags)
