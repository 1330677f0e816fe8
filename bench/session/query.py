"""One shape, one answer: what is fastest for it here, from available results or measured now.

A query is one amount of work on one device. Results that have it answer it at once; else a suite
of this one shape is written next to the results and measured, so that the next answer comes from
it. A model's layers are read from its file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.case.cases import BACKENDS, PEERS, Case
from bench.cli.command_line import INTERRUPTED, ReportedError, UsageError
from bench.cli.progress import read_results
from bench.machine import devices, environment
from bench.machine.disturbance import Activity, activity, between
from bench.machine.fields import InputError, printable
from bench.machine.reading import default_folder, expanded
from bench.machine.writing import write_bytes
from bench.records.only import of_cases
from bench.records.schema import Results
from bench.render.escape import clean
from bench.render.quantities import shape_words
from bench.stats.rows import Section, build
from lstm_impl.names import VARIANTS, canonical
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.workload import Workload

LARGEST_CONFIG = 64 * 2**20
"""Bytes of a configuration; a model of 10,000 layers has a tenth of it."""

_DEEPEST = 200  # nested models; what is deeper is no model that somebody trains


class ModelError(InputError):
    """A model's file cannot be read; one line that names it and says what to do."""


@dataclass(frozen=True)
class Layer:
    """An LSTM of a model. bidirectional: inside ``keras.layers.Bidirectional``."""

    name: str
    input_size: int
    units: int
    dtype: str
    bidirectional: bool = False


def lstm_layers(path: Path) -> list[Layer]:
    """All LSTM layers of a model, in the order of its file.

    Raises ModelError for what is no model, a layer that was never built, and a model without LSTM.
    """
    where = printable(str(path))
    if path.suffix != ".keras":
        raise ModelError(f"{where}: expected a .keras file; write one: model.save('model.keras')")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ModelError(f"{where}: is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > LARGEST_CONFIG:
                note = f"is larger than {LARGEST_CONFIG:,} bytes"
                raise ModelError(f"{where}: its config.json {note}")
            with archive.open(info) as file:
                config = json.loads(file.read(LARGEST_CONFIG + 1))
    except FileNotFoundError:
        raise ModelError(f"{where}: there is no such file") from None
    except (KeyError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: is no model that Keras 3 saved: {error}") from None
    except OSError as error:
        raise ModelError(f"{where}: cannot be read: {error.strerror or error}") from None
    found = list(_in_config(config, where, None, 0))
    if not found:
        raise ModelError(f"{where}: has no keras.layers.LSTM")
    return found


def _in_config(node: object, where: str, shape: object, depth: int) -> Iterator[Layer]:
    if depth > _DEEPEST:
        raise ModelError(f"{where}: its configuration is nested too deeply")
    if isinstance(node, list):
        for each in node:
            yield from _in_config(each, where, None, depth + 1)
    if not isinstance(node, Mapping):
        return
    built, config = node.get("build_config"), node.get("config")
    if isinstance(built, Mapping):
        own = built.get("input_shape", built.get("shape"))
        shape = shape if own is None else own
    kind = node.get("class_name")
    if kind == "LSTM" and isinstance(config, Mapping):
        yield _layer(config, shape, where)
        return
    if kind == "Bidirectional" and isinstance(config, Mapping):
        # Its layer may be built by itself, or with what is around it.
        for each in _in_config(config.get("layer"), where, shape, depth + 1):
            yield replace(each, bidirectional=True)
        return
    for each in node.values():
        yield from _in_config(each, where, None, depth + 1)


def _layer(config: Mapping[str, object], shape: object, where: str) -> Layer:
    name, units = config.get("name"), config.get("units")
    note = printable(str(name), 60)
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise ModelError(f"{where}: layer {note}: units is {units!r}; expected a positive integer")
    size = shape[-1] if isinstance(shape, list) and len(shape) == 3 else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(
            f"{where}: layer {note} was saved before it was built, so that its input size is not "
            "known; call the model once and save it again"
        )
    dtype = config.get("dtype")
    if isinstance(dtype, Mapping):
        policy = dtype.get("config")
        dtype = policy.get("name") if isinstance(policy, Mapping) else None
    return Layer(note, size, units, dtype if isinstance(dtype, str) else "float32")


FOLDER = "asked"
"""Next to the results: the suites of what was requested."""

SECONDS = 1.5
"""Of measuring for each backend in a process: with what starting, tracing and checking takes, three
or four processes fit into two minutes on two cores."""


@dataclass(frozen=True)
class WorkQuery:
    """One amount of work on one device.

    Whether the step's gradients are the weights' alone is no option: training on data needs
    no others.
    """

    spec: LSTMSpec
    workload: Workload
    device: str = "cpu"

    @property
    def case(self) -> Case:
        """The case that does this work, of no backend."""
        return Case("", self.spec, self.workload, self.device)

    @property
    def name(self) -> str:
        """In short, for a file: its shape, mode and device."""
        dtype = "" if self.spec.dtype == "float32" else f"-{self.spec.dtype}"
        return f"{self.case.shape}{dtype}-{self.workload.mode}-{self.device.replace(':', '')}"

    @property
    def words(self) -> str:
        """The same for people."""
        parts = shape_words(self.case)
        if self.spec.dtype != "float32":
            parts.append(self.spec.dtype)
        if (window := self.workload.window) is not None:
            parts.append(f"windows of {window}")
        return f"{', '.join(parts)}, {self.workload.mode} on {self.device}"


def questions(options: argparse.Namespace) -> list[tuple[WorkQuery, str]]:
    """What the options of ``bench.ask`` ask, each with a heading where there are several.

    Raises UsageError, ModelError, DeviceError, UnsupportedError for a backend that does not exist,
    and ValueError for what no LSTM can be.
    """
    if (options.model is None) == (options.hidden is None):
        raise UsageError("name the layer's units (--hidden N) or a model (--model PATH)")
    if options.model is None:
        layers = [Layer("", options.input or options.hidden, options.hidden, options.dtype)]
    else:
        layers = lstm_layers(options.model)
    for name in options.backends or ():
        canonical(name)
    requested: dict[WorkQuery, list[str]] = {}
    for layer in layers:
        requested.setdefault(_question(layer, options), []).append(layer.name)
    return [(question, ", ".join(names)) for question, names in requested.items()]


def _question(layer: Layer, options: argparse.Namespace) -> WorkQuery:
    training = options.mode == "training"
    if options.optimizer is not None and not training:
        raise UsageError("--optimizer goes with --mode training: inference updates nothing")
    if options.window is not None and options.steps % options.window:
        raise UsageError(
            f"--window {options.window}: expected a divisor of the {options.steps} steps, so that "
            "all windows are alike"
        )
    precision = layer.dtype if layer.dtype in PRECISIONS else options.dtype
    return WorkQuery(
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


def look(
    question: WorkQuery, options: argparse.Namespace, *, sound: bool = False
) -> Section | None:
    """What results say: those named, or those of this machine in the results folder.

    sound: only a session that tried all backends that are to be measured, and of which nothing is
    INVALID.
    """
    variants = options.variant or ()
    if options.paths:
        results = read_results(options.paths)
        if not results.files and results.errors:
            raise ReportedError("there is nothing to answer from")
        return found(question, results, None, options.baseline, variants)
    wanted = options.backends or usual_backends(question)
    tried = [canonical(name) for name in wanted] if sound else None
    folder = expanded(default_folder())
    files = sorted((*folder.glob("*.json"), *folder.glob("*.jsonl"))) if folder.is_dir() else []
    results = read_results(files, tell=False) if files else Results((), ())
    machine = environment.read().machine_id
    return found(question, results, machine, options.baseline, variants, tried)


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
    begun, note = here.now(), False
    while True:
        before = here.activity()
        here.sleep(LOOK)
        busy = between(before, here.activity()).kept_busy()
        if not busy:
            return
        if here.now() - begun + LOOK > seconds:
            break
        if not note:
            wait = f"waiting up to {seconds:.0f} s for a quiet machine"
            console.print(f"others keep {clean(busy)}; {wait}", markup=False)
            note = True
    console.print(f"measuring all the same: others keep {clean(busy)}", markup=False)


def measure(
    question: WorkQuery, options: argparse.Namespace, console: Console, seconds: float
) -> None:
    """Measure it in the results folder; that command itself tells what could not be measured.

    seconds: for all of it.

    Raises UsageError, ResultWriteError, and KeyboardInterrupt if it was stopped so.
    """
    if missing := devices.explain_missing(question.device):
        raise UsageError(f"no {question.device}: {missing}")
    varied = with_variants(options.backends or usual_backends(question), options.variant or ())
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
    question: WorkQuery,
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
        of_cases(file, lambda case: case.group == question.case.group)
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


def usual_backends(question: WorkQuery) -> tuple[str, ...]:
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
                some.append(canonical(f"{backend}:{variant}"))
        if not some:
            raise UsageError(
                f"--variant {printable(variant, 60)}: none of {', '.join(backends)} has it; the "
                f"variants are {', '.join(VARIANTS)}"
            )
        found += some
    return found


def suite_text(question: WorkQuery, backends: Sequence[str] = (), seconds: float = SECONDS) -> str:
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


def write_suite(question: WorkQuery, folder: Path, backends: Sequence[str] = ()) -> Path:
    """The suite's file next to the results; one that is there is replaced.

    Raises ResultWriteError.
    """
    path = folder / FOLDER / f"{question.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, suite_text(question, backends).encode())
    return path
