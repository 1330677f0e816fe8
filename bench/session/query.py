"""Say which backend is fastest for one shape, from existing results or from a new measurement.

A query is a case without a backend. Results that contain the query answer it at once. Otherwise a
suite of this single shape is written next to the results and measured, and its results can then
answer the next query. The LSTM layers of a model are read from its file.
"""

import argparse
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.case.cases import BACKENDS, PEERS, Case, toml
from bench.cli.command_line import INTERRUPTED, ReportedError, UsageError
from bench.cli.progress import read_results
from bench.machine import devices, environment
from bench.machine.disturbance import Activity, activity, between
from bench.machine.fields import InputError, printable
from bench.machine.packages import has_framework
from bench.machine.reading import default_folder, expand_path
from bench.machine.reasons import Reason
from bench.machine.writing import write_bytes
from bench.records.schema import Results
from bench.records.selection import select_cases
from bench.render.escape import clean
from bench.render.messages import reason_texts
from bench.render.quantities import shape_texts
from bench.verdicts.sections import Section, build
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import get_cell
from lstm_impl.names import canonical, framework
from lstm_impl.registry import get_backend
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.workload import Workload

LARGEST_CONFIG = 64 * 2**20
"""The largest configuration of a model, in bytes. A model of 10,000 layers has a tenth of it."""

_DEEPEST = 200  # Models may contain models, up to this depth.


class ModelError(InputError):
    """The file of a model cannot be read. The message names the file and says what to do."""


@dataclass(frozen=True)
class Layer:
    """An LSTM layer in the file of a Keras model.

    name: the name of the layer. input_size: the number of features of a timestep. units: the number
    of units in one direction. dtype: the name of its dtype policy. bidirectional: whether the layer
    is inside ``keras.layers.Bidirectional``.
    """

    name: str
    input_size: int
    units: int
    dtype: str
    bidirectional: bool = False


def lstm_layers(path: Path) -> list[Layer]:
    """Return all LSTM layers of a model, in the order of its file.

    Raises ModelError for a file that is not a model, a layer that was never built, and a model
    without an LSTM.
    """
    where = printable(str(path))
    if path.suffix != ".keras":
        raise ModelError(f"{where}: expected a .keras file; write one: model.save('model.keras')")
    if path.exists() and not path.is_file():
        raise ModelError(f"{where}: not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > LARGEST_CONFIG:
                note = f"its config.json is larger than {LARGEST_CONFIG:,} bytes"
                raise ModelError(f"{where}: {note}, so it is not read")
            with archive.open(info) as file:
                config = json.loads(file.read(LARGEST_CONFIG + 1))
    except FileNotFoundError:
        raise ModelError(f"{where}: there is no such file") from None
    except (KeyError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: not a model that Keras 3 saved: {error}") from None
    except OSError as error:
        raise ModelError(f"{where}: cannot be read: {error.strerror or error}") from None
    found = list(_iterate_layers(config, where, None, 0))
    if not found:
        raise ModelError(f"{where}: the model has no keras.layers.LSTM")
    return found


def _iterate_layers(node: object, where: str, shape: object, depth: int) -> Iterator[Layer]:
    if depth > _DEEPEST:
        raise ModelError(f"{where}: its configuration is nested too deeply")
    if isinstance(node, list):
        for each in node:
            yield from _iterate_layers(each, where, None, depth + 1)
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
        # The inner layer may have no input shape of its own.
        for each in _iterate_layers(config.get("layer"), where, shape, depth + 1):
            yield replace(each, bidirectional=True)
        return
    for each in node.values():
        yield from _iterate_layers(each, where, None, depth + 1)


def _layer(config: Mapping[str, object], shape: object, where: str) -> Layer:
    name, units = config.get("name"), config.get("units")
    note = printable(str(name), 60)
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise ModelError(f"{where}: layer {note}: units is {units!r}; expected a positive integer")
    size = shape[-1] if isinstance(shape, list) and len(shape) == 3 else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(
            f"{where}: layer {note} was saved before it was built, so its input size is unknown; "
            "call the model once and save it again"
        )
    dtype = config.get("dtype")
    if isinstance(dtype, Mapping):
        policy = dtype.get("config")
        dtype = policy.get("name") if isinstance(policy, Mapping) else None
    return Layer(note, size, units, dtype if isinstance(dtype, str) else "float32")


FOLDER = "asked"
"""The folder next to the results that holds the suites of queries."""

SECONDS = 1.5
"""The measuring time of each backend in a process, in seconds. Three or four processes, with
starting, tracing and checking, then fit into two minutes on two cores.
"""


def suite_name(case: Case) -> str:
    """Return the name of the suite file for a query: its shape, mode and device."""
    dtype = "" if case.spec.dtype == "float32" else f"-{case.spec.dtype}"
    return f"{case.shape}{dtype}-{case.workload.mode}-{case.device.replace(':', '')}"


def describe(case: Case) -> str:
    """Describe a query in words."""
    parts = shape_texts(case)
    if case.spec.dtype != "float32":
        parts.append(case.spec.dtype)
    if case.workload.window is not None:
        parts.append(f"windows of {case.workload.window}")
    return f"{', '.join(parts)}, {case.workload.mode} on {case.device}"


def queries(options: argparse.Namespace) -> dict[Case, str]:
    """Return the queries of ``bench.ask``, each with the names of the layers that it concerns.

    Raises UsageError, ModelError and DeviceError, UnsupportedError for a backend that does not
    exist, and ValueError for sizes that no LSTM can have.
    """
    if (options.model is None) == (options.hidden is None):
        raise UsageError("give either the number of units (--hidden N) or a model (--model FILE)")
    training = options.mode == "training"
    if options.optimizer is not None and not training:
        raise UsageError("--optimizer needs --mode training, because inference updates no weights")
    if options.window is not None and options.steps % options.window:
        raise UsageError(
            f"--window {options.window}: expected a divisor of {options.steps} (--steps), so that "
            "all windows have the same length"
        )
    for name in options.backends or ():
        canonical(name)
    if options.model is not None and options.cell != DEFAULT_CELL.name:
        raise UsageError(
            f"--cell {options.cell} cannot be combined with --model, which asks about LSTM layers"
        )
    if options.model is None:
        layers = [Layer("", options.input or options.hidden, options.hidden, options.dtype)]
    else:
        layers = lstm_layers(options.model)
    device = devices.parse(options.device)
    workload = Workload(
        options.batch,
        options.steps,
        options.mode,
        window=options.window,
        optimizer=options.optimizer,
        # Training on data needs no gradient of the input.
        gradients="weights" if training else "all",
    )
    found: dict[Case, str] = {}
    for layer in layers:
        spec = LSTMSpec(
            layer.input_size,
            layer.units,
            num_layers=options.layers,
            bidirectional=layer.bidirectional or options.bidirectional,
            dtype=layer.dtype if layer.dtype in PRECISIONS else options.dtype,
            cell=get_cell(options.cell),
        )
        case = Case("", spec, workload, device)
        found[case] = f"{found[case]}, {layer.name}" if case in found else layer.name
        if not options.paths:
            measured_backends(case, options)
    return found


def look_up(case: Case, options: argparse.Namespace, *, sound: bool = False) -> Section | None:
    """Look for the answer to a query in the named results, or in this machine's own results.

    sound: accept only a session that tried every backend that would be measured now, and in which
    nothing is INVALID.
    """
    if options.paths:
        results = read_results(options.paths)
        if not results.files and results.errors:
            raise ReportedError(
                "none of these results can be read, so they cannot answer; measure first, or name "
                "other results"
            )
        return newest_section(case, results, None, options)
    folder = expand_path(default_folder())
    files = sorted((*folder.glob("*.json"), *folder.glob("*.jsonl"))) if folder.is_dir() else []
    results = read_results(files, tell=False) if files else Results((), ())
    wanted = [*map(canonical, options.backends or usual_backends(case))] if sound else None
    return newest_section(case, results, environment.read().machine_id, options, wanted)


def newest_section(
    case: Case,
    results: Results,
    machine: str | None,
    options: argparse.Namespace,
    wanted: Sequence[str] | None = None,
) -> Section | None:
    """Return the newest session that measured at least two backends for a query.

    The returned section holds no other case.

    machine: the id of the machine, or None for any machine. options: its baseline is used if it was
    measured. Each of its variants must have been measured for some backend. wanted: the backends
    that the session must have tried. If they are given, the session must also hold no INVALID time
    or ratio.
    """
    files = [
        select_cases(file, lambda each: each.group == case.group)
        for file in results.files
        if machine in (None, file.run.machine_id)
    ]
    measured = {each.case.backend for file in files for each in file.measurements}
    if len(measured) < 2:
        return None
    baseline = options.baseline if options.baseline in measured else None
    for section in build(Results(tuple(files), ()), baseline=baseline).sections:  # newest first
        rows = [row for row in section.rows if row.result.measured]
        variants = {row.case.variant for row in rows}
        if len(rows) < 2 or not variants.issuperset(options.variant or ()):
            continue
        tried = {row.case.backend for row in section.rows}
        unreliable = any(row.result.invalid or row.ratio_problems for row in rows)
        if wanted is None or (tried.issuperset(wanted) and not unreliable):
            return section
    return None


LOOK = 2.0
"""How long one look at the other activity of the machine takes, in seconds."""

WAIT_SHARE = 0.25
"""The part of the time that may be spent on waiting for a quiet machine."""


@dataclass(frozen=True)
class Surroundings:
    """How busy the machine is, and the clock. Tests replace them."""

    activity: Callable[[], Activity] = activity
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait_until_quiet(seconds: float, console: Console, here: Surroundings) -> None:
    """Wait up to ``seconds`` until the machine is quiet, and print what keeps it busy.

    If it is quiet, this takes ``LOOK`` seconds.
    """
    begun, note = here.now(), False
    while True:
        before = here.activity()
        here.sleep(LOOK)
        disturbance = between(before, here.activity()).kept_busy()
        if not disturbance:
            return
        busy = clean(reason_texts(Reason("busy", disturbance))[0])
        if here.now() - begun + LOOK > seconds:
            break
        if not note:
            wait = f"waiting up to {seconds:.0f} s for a quiet machine"
            console.print(f"{busy}; {wait}", markup=False)
            note = True
    console.print(f"measuring although the machine is not quiet: {busy}", markup=False)


def measure(case: Case, options: argparse.Namespace, console: Console, seconds: float) -> int:
    """Measure a query with ``bench.run`` and return the exit code.

    Raises UsageError and ResultWriteError.
    """
    suite = write_suite(case, expand_path(default_folder()), measured_backends(case, options))
    console.print(
        f"measuring {describe(case)} for up to {seconds:.0f} s, in fresh processes", markup=False
    )
    return run_suite(suite, options, seconds)


def run_suite(
    suite: Path,
    options: argparse.Namespace,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run ``bench.run`` on a suite and return its exit code.

    Parameters
    ----------
    suite
        The file of the suite.
    options
        The options of the calling command, of which ``wait``, ``force``, ``seed`` and
        ``processes`` are passed on.
    seconds
        The budget of the run.
    environment
        The variables of the process, or None for those of this process.

    Raises
    ------
    KeyboardInterrupt
        If the user stopped it.
    """
    command = [sys.executable, "-m", "bench.run", str(suite), "--budget", f"{seconds:.0f}s"]
    # The advice that --brief leaves out names options that the calling command does not have.
    command.append("--brief")
    command += [f"--{name}" for name in ("wait", "force") if getattr(options, name)]
    if options.seed is not None:
        command += ["--seed", str(options.seed)]
    if options.processes is not None:
        command += ["--processes", str(options.processes)]
    done = subprocess.run(command, check=False, env=environment)
    if done.returncode in (INTERRUPTED, -2):
        raise KeyboardInterrupt
    print(flush=True)
    return done.returncode


def usual_backends(case: Case) -> tuple[str, ...]:
    """Return the backends that are measured if the user names none."""
    on_gpu = devices.kind(case.device) == "gpu"
    fused = "cudnn" if on_gpu else "fused_cpu"
    served = () if case.workload.training or on_gpu else ("onnxruntime",)
    usual = (*BACKENDS, fused, *PEERS, *served)
    # A backend that cannot compute the cell would only be refused, so it is left out.
    return tuple(name for name in usual if not get_backend(name).cell_refusal(case.spec))


def not_installed(case: Case, options: argparse.Namespace) -> list[str]:
    """Return the missing frameworks if too few backends can be measured without them.

    Fewer than two backends are too few.
    """
    needed = [framework(name) for name in measured_backends(case, options)]
    missing = [each for each in dict.fromkeys(needed) if each and not has_framework(each)]
    return missing if sum(each not in missing for each in needed) < 2 else []


def measured_backends(case: Case, options: argparse.Namespace) -> list[str]:
    """Return the backends to measure, and then their variants.

    Raise UsageError for an unknown variant.
    """
    backends = options.backends or usual_backends(case)
    found = list(backends)
    for variant in options.variant or ():
        number, error = len(found), None
        for backend in backends:
            try:
                found.append(canonical(f"{backend}:{variant}"))
            except UnsupportedError as lacking:
                error = lacking
        if len(found) == number:
            raise UsageError(f"--variant {printable(variant, 60)}: {error}")
    return found


def suite_text(case: Case, backends: Sequence[str]) -> str:
    """Return the suite of one query as TOML."""
    windows = [] if case.workload.window is None else [case.workload.window]
    more = {"name": "asked", "summary": suite_name(case), "backends": list(backends)}
    return toml("Written by python -m bench.ask.", case, windows, seconds=SECONDS, **more)


def write_suite(case: Case, folder: Path, backends: Sequence[str]) -> Path:
    """Write the suite of a query next to the results, replacing an older one.

    Raises ResultWriteError.
    """
    path = folder / FOLDER / f"{suite_name(case)}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, suite_text(case, backends).encode())
    return path
