"""One shape, one answer: what is fastest for it here, from results at hand or measured now.

A question is one amount of work on one device. Results that have it answer it at once; else a suite
of this one shape is written beside the results and measured, so that the next to ask is answered
from it. This module knows the options, results, suites and the command that measures; not how an
answer is told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.case.cases import Case
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.cli.progress import read_results
from bench.cli.suite_text import BACKENDS, PEERS
from bench.machine import devices, environment
from bench.machine.disturbance import Activity, activity, between
from bench.machine.fields import printable
from bench.machine.folder import default_folder, expanded
from bench.machine.writing import write_bytes
from bench.records.only import of_cases
from bench.records.schema import Results
from bench.render.escape import clean
from bench.render.quantities import shape_words
from bench.session.model_files import Layer, lstm_layers
from bench.stats.ranking import build
from bench.stats.rows import Section
from bench.worker.disturbances import kept_busy
from lstm_impl.registry import VARIANTS, get_backend
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.workload import Workload

FOLDER = "asked"
"""Beside the results: the suites of what was asked."""

SECONDS = 1.5
"""Of measuring for each backend in a process: with what starting, tracing and checking takes, three
or four processes fit into two minutes on two cores."""


@dataclass(frozen=True)
class Question:
    """One amount of work on one device.

    Whether the step's gradients are the weights' alone is not asked: whoever trains on data needs
    no others.
    """

    spec: LSTMSpec
    workload: Workload
    device: str = "cpu"

    @property
    def group(self) -> str:
        """The group of the cases that do this work (``Case.group``)."""
        return Case("", self.spec, self.workload, self.device).group

    @property
    def name(self) -> str:
        """In short, for a file: its shape, mode and device."""
        case = Case("", self.spec, self.workload, self.device)
        dtype = "" if self.spec.dtype == "float32" else f"-{self.spec.dtype}"
        return f"{case.shape}{dtype}-{self.workload.mode}-{self.device.replace(':', '')}"

    @property
    def words(self) -> str:
        """The same for people."""
        parts = shape_words(Case("", self.spec, self.workload, self.device))
        if self.spec.dtype != "float32":
            parts.append(self.spec.dtype)
        if (window := self.workload.window) is not None:
            parts.append(f"windows of {window}")
        return f"{', '.join(parts)}, {self.workload.mode} on {self.device}"


def questions(options: argparse.Namespace) -> list[tuple[Question, str]]:
    """What the options of ``bench.ask`` ask, each with a heading where there are several.

    Raises UsageError, ModelError, DeviceError, and ValueError for what no LSTM can be.
    """
    if (options.model is None) == (options.hidden is None):
        raise UsageError("name the layer's units (--hidden N) or a model (--model PATH)")
    if options.model is None:
        layers = [Layer("", options.input or options.hidden, options.hidden, options.dtype)]
    else:
        layers = lstm_layers(options.model)
    asked: dict[Question, list[str]] = {}
    for layer in layers:
        asked.setdefault(_question(layer, options), []).append(layer.name)
    return [(question, ", ".join(names)) for question, names in asked.items()]


def _question(layer: Layer, options: argparse.Namespace) -> Question:
    training = options.mode == "training"
    if options.optimizer is not None and not training:
        raise UsageError("--optimizer goes with --mode training: inference updates nothing")
    if options.window is not None and options.steps % options.window:
        raise UsageError(
            f"--window {options.window}: expected a divisor of the {options.steps} steps, so that "
            "all windows are alike"
        )
    precision = layer.dtype if layer.dtype in PRECISIONS else options.dtype
    return Question(
        LSTMSpec(
            layer.input_size,
            layer.units,
            num_layers=options.layers,
            bidirectional=layer.bidirectional or options.bidirectional,
            dtype=precision,
        ),
        Workload(
            options.batch,
            options.steps,
            options.mode,
            window=options.window,
            optimizer=options.optimizer,
            gradients="weights" if training else "all",
        ),
        devices.parse(options.device),
    )


def look(question: Question, options: argparse.Namespace, *, sound: bool = False) -> Section | None:
    """What results say: those named, or those of this machine in the results folder.

    sound: only a session that tried all backends that are to be measured, and of which nothing is
    INVALID.
    """
    if options.paths:
        return found(
            question, read_results(options.paths), None, options.baseline, options.variant or ()
        )
    wanted = [_known(name) for name in _backends(question, options)] if sound else None
    folder = expanded(default_folder())
    files = sorted((*folder.glob("*.json"), *folder.glob("*.jsonl"))) if folder.is_dir() else []
    results = read_results(files, tell=False) if files else Results((), ())
    machine = environment.read().machine_id
    variants = options.variant or ()
    return found(question, results, machine, options.baseline, variants, wanted)


def _known(backend: str) -> str:
    """Return a backend's name as cases have it; as it is if there is none of this name."""
    try:
        return get_backend(backend).name
    except UnsupportedError:
        return backend


def _backends(question: Question, options: argparse.Namespace) -> tuple[str, ...]:
    return (*(options.backends or usual_backends(question)),)


LOOK = 2.0
"""Seconds of one look at what else the machine does."""

WAIT_SHARE = 0.25
"""Part of the time that may be spent waiting until the machine is quiet."""


@dataclass(frozen=True)
class Surroundings:
    """What tells how busy the machine is, and the clock; a test puts in its own."""

    activity: Callable[[], Activity] = activity
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait_until_quiet(seconds: float, console: Console, here: Surroundings) -> None:
    """Say what else keeps the machine busy, and wait until nothing does, so many seconds at most.

    It takes ``LOOK`` seconds where the machine is quiet.
    """
    begun, told = here.now(), False
    while True:
        before = here.activity()
        here.sleep(LOOK)
        busy = kept_busy(between(before, here.activity()))
        waited = here.now() - begun
        if not busy or waited + LOOK > seconds:
            break
        if not told:
            console.print(
                f"others keep {clean(busy)}; waiting up to {seconds:.0f} s for a quiet machine",
                markup=False,
            )
            told = True
    if busy:
        console.print(f"measuring all the same: others keep {clean(busy)}", markup=False)


def measure(
    question: Question, options: argparse.Namespace, console: Console, seconds: float
) -> None:
    """Measure it in the results folder; that command itself tells what could not be measured.

    seconds: for all of it.

    Raises UsageError, ResultWriteError, and KeyboardInterrupt if it was stopped so.
    """
    if missing := devices.explain_missing(question.device):
        raise UsageError(f"no {question.device}: {missing}")
    varied = with_variants(_backends(question, options), options.variant or ())
    suite = write_suite(question, expanded(default_folder()), varied)
    console.print(
        f"measuring {question.words} for up to {seconds:.0f} s, in fresh processes", markup=False
    )
    command = [sys.executable, "-m", "bench.run", str(suite), "--budget", f"{seconds:.0f}s"]
    command.append("--brief")  # its advice would name options that this command does not have
    if options.processes is not None:
        command += ["--processes", str(options.processes)]
    done = subprocess.run(command, check=False)
    if done.returncode in (INTERRUPTED, -2):
        raise KeyboardInterrupt
    console.print()


def found(
    question: Question,
    results: Results,
    machine: str | None,
    baseline: str | None = None,
    variants: Sequence[str] = (),
    wanted: Sequence[str] | None = None,
) -> Section | None:
    """The newest session that measured two backends or more at this work, and nothing else of it.

    machine: the machine's id, None for any. baseline: what ratios refer to, if it was measured.
    variants: that some backend must have been measured in, each. wanted: backends that must have
    been tried in that session; it must then hold no INVALID time or ratio.
    """
    files = [
        of_cases(file, lambda case: case.group == question.group)
        for file in results.files
        if machine in (None, file.run.machine_id)
    ]
    measured = {each.case.backend for file in files for each in file.measurements}
    if len(measured) < 2:
        return None
    report = build(Results(tuple(files), ()), baseline=baseline if baseline in measured else None)
    for section in report.sections:  # the newest first
        there = {row.case.variant for row in section.rows if row.measured}
        rows = [row for row in section.rows if row.measured]
        if len(rows) < 2 or not there.issuperset(variants):
            continue
        tried = {row.case.backend for row in section.rows}
        doubtful = any(row.invalid or row.ratio_doubts for row in rows)
        if wanted is None or (tried.issuperset(wanted) and not doubtful):
            return section
    return None


def usual_backends(question: Question) -> tuple[str, ...]:
    """Return the backends that are measured where none is named."""
    on_gpu = devices.kind(question.device) == "gpu"
    fused = "cudnn" if on_gpu else "fused_cpu"
    served = () if question.workload.training or on_gpu else ("onnxruntime",)
    return (*BACKENDS, fused, *PEERS, *served)


def with_variants(backends: Sequence[str], variants: Sequence[str]) -> list[str]:
    """Return the backends and, after them, the variants of those that have them.

    Raises UsageError for a variant that none of them has.
    """
    found = list(backends)
    for variant in variants:
        some = []
        for backend in backends:
            with contextlib.suppress(UnsupportedError):
                some.append(get_backend(f"{backend}:{variant}").name)
        if not some:
            raise UsageError(
                f"--variant {printable(variant, 60)}: none of {', '.join(backends)} has it; the "
                f"variants are {', '.join(VARIANTS)}"
            )
        found += some
    return found


def suite_text(question: Question, backends: Sequence[str] = (), seconds: float = SECONDS) -> str:
    """A suite of this one shape as TOML. backends: by default the usual ones of the device."""
    spec, work = question.spec, question.workload
    chosen = list(backends or usual_backends(question))
    shape: dict[str, object] = {
        "batch": work.batch,
        "timesteps": work.timesteps,
        "input_size": spec.input_size,
        "hidden_size": spec.hidden_size,
    }
    if spec.num_layers > 1:
        shape["num_layers"] = spec.num_layers
    if spec.bidirectional:
        shape["bidirectional"] = True
    if work.optimizer is not None:
        shape["optimizer"] = work.optimizer
    inside = ", ".join(f"{key} = {json.dumps(value)}" for key, value in shape.items())
    lines = [
        "# Written by python -m bench.ask.",
        "schema = 1",
        'name = "asked"',
        f"summary = {json.dumps(question.name)}",
        f"backends = {json.dumps(chosen)}",
        f"devices = {json.dumps([question.device])}",
        f"modes = {json.dumps([work.mode])}",
        f"dtypes = {json.dumps([spec.dtype])}",
        f"seconds = {seconds}",
        "",
        "[[groups]]",
    ]
    if work.training:
        lines.append(f"gradients = {json.dumps(work.gradients)}")
    if work.window is not None:
        lines.append(f"windows = [{work.window}]")
    lines.append(f"shapes = [{{ {inside} }}]")
    return "\n".join(lines) + "\n"


def write_suite(question: Question, folder: Path, backends: Sequence[str] = ()) -> Path:
    """The suite's file beside the results; one that is there is written anew.

    Raises ResultWriteError.
    """
    path = folder / FOLDER / f"{question.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, suite_text(question, backends).encode())
    return path
