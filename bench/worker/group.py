"""Measure the cases of one group: the gate first, then the clock.

A case ends as ``Measured``, or as ``Unmeasured`` with a reason. An error that a backend raises is
the result of its own case and affects no other case.
"""

import contextlib
import hashlib
import io
import json
import os
import secrets
import statistics
import sys
import tempfile
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self, TextIO, TypeAlias

import numpy as np

from bench.case.cases import Case
from bench.machine import devices, disturbance, environment
from bench.machine.disturbance import between
from bench.machine.guard import EscapedError, Guard, Interrupts
from bench.machine.processes import keep_busy, one_line
from bench.machine.reasons import Reason
from bench.records import hdr
from bench.records.journal import STARTING
from bench.records.reasons import as_recorded
from bench.records.schema import SCHEMA, Figures
from bench.records.streaming import CallTimes, StreamCalls
from bench.stats.latency import PARTS, percentile
from bench.worker import equivalence, estimate, memory_server, resources, roofs, timing
from bench.worker.disturbances import validity
from bench.worker.kept_results import JudgedCalls, TimedInputs
from bench.worker.roofs import Roofs
from lstm_impl import (
    LSTMWeights,
    Refusal,
    UnavailableError,
    UnsupportedError,
    Workload,
    find_refusal_code,
)
from lstm_impl.backend import Backend
from lstm_impl.call import Step
from lstm_impl.model import Model
from lstm_impl.proof import GateResult
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray

# -- what comes of a case

NOT_MEASURED, REFUSED, FAILED = "not_measured", "refused", "failed"


@dataclass(frozen=True)
class Unmeasured:
    """A case that has no time.

    outcome: ``not_measured`` (the case cannot run here), ``refused`` (the backend cannot compute
    it) or ``failed`` (by an error, or at the gate). details: for instance a traceback.
    """

    outcome: str
    reason: Reason
    details: str = ""


SETUP = (
    *("build_s", "trace_s", "first_call_s", "compile_s", "gate_s", "evidence_s", "timing_s"),
    *("untimed_s", "start_s", "roofs_s"),
)
"""The names of the seconds that are recorded for a case besides its samples."""


@dataclass(frozen=True)
class Measured:
    """A case that passed the gate and was timed.

    setup: the seconds of each part, by the names of ``SETUP``. ``timing_s`` is the case's part of
    the time of the group. ``start_s`` is 0 unless the case was the first of its framework. reasons:
    why the case is not valid; empty if it is. remarks: warnings of the backend's code, and what
    this code changed in the process.
    """

    series: timing.StepSeries
    setup: Mapping[str, float]
    gate: GateResult
    evidence: Mapping[str, object]
    reasons: tuple[Reason, ...] = ()
    roofs: Figures | None = None
    memory: Figures | None = None
    energy: Figures | None = None
    remarks: tuple[str, ...] = ()
    stream: StreamCalls | None = None

    def to_extra(self, case: Case, seed: int) -> dict[str, object]:
        """Return what a result file holds besides the samples."""
        series = self.series
        setup: dict[str, float | None] = {name: self.setup.get(name) for name in SETUP}
        # The time that the first call takes beyond an ordinary call. Noise may make it negative.
        compiling = self.setup["first_call_s"] - statistics.median(series.samples)
        setup |= {"compile_s": compiling if compiling >= 0 else None, "untimed_s": series.untimed}
        streaming = {} if self.stream is None else {"streaming": self.stream.to_dict()}
        return {
            "schema": SCHEMA,
            "case": case.to_dict(),
            "case_id": case.id,
            "gate": asdict(self.gate),
            "evidence": dict(self.evidence),
            "setup": setup,
            "blocks": {
                "calls": series.calls,
                "round": list(series.rounds),
                "warmup": list(series.warmup),
                "seed": seed,
                "stopped": str(series.stopped),
                "synchronize_s": series.synchronize,
            },
            "steady": series.steady,
            "memory": None if self.memory is None else dict(self.memory),
            "roofs": None if self.roofs is None else dict(self.roofs),
            "energy": None if self.energy is None else dict(self.energy),
            "validity": {
                "valid": not self.reasons,
                "reasons": [as_recorded(each) for each in self.reasons],
            },
            "remarks": list(self.remarks),
            **streaming,
        }


Result: TypeAlias = Measured | Unmeasured


def failed(error: BaseException, stage: str, number: int | None = None) -> Unmeasured:
    """Return the result of a case whose backend raised this error.

    number: the number of the round, if it happened in one.
    """
    if isinstance(error, EscapedError):
        error = error.error
    values = {
        "error": type(error).__name__,
        "message": one_line(error),
        "own": isinstance(error, KeyboardInterrupt),
        **({} if number is None else {"round": number}),
    }
    reason = Reason(f"raised_in_{stage}", values)
    return Unmeasured(FAILED, reason, "".join(traceback.format_exception(error)))


def refused(error: UnavailableError | UnsupportedError) -> Unmeasured:
    """Return the result of a case that a backend cannot compute, here or at all."""
    if isinstance(error, UnavailableError):
        return Unmeasured(
            NOT_MEASURED,
            Reason(
                "unavailable",
                {"why": one_line(error), "install": "", "refusal": error.refusal.value},
            ),
        )
    values = {"why": one_line(error), "refusal": error.refusal.value}
    return Unmeasured(REFUSED, Reason("unsupported", values))


def stream_calls(
    streamed: timing.StreamTimes, conditions: timing.StreamConditions, period: float | None
) -> StreamCalls:
    """Return what a result file holds about the calls of a stream.

    Without a deadline, the deadline is the period, because a later call delays the next one.
    """
    deadline = period if conditions.deadline is None else conditions.deadline
    missed = 0 if deadline is None else int(np.count_nonzero(streamed.latency > deadline))
    return StreamCalls(
        calls=streamed.latency.size,
        latency=_summarise_calls(streamed.latency),
        service=_summarise_calls(streamed.service),
        load=conditions.load,
        deadline=deadline,
        missed=missed,
    )


def _summarise_calls(seconds: FloatArray) -> CallTimes:
    ordered = np.sort(seconds).astype(np.float64)
    found = {part: each for part in PARTS if (each := percentile(ordered, part)) is not None}
    return CallTimes(found, float(ordered[-1]), hdr.encode(ordered))


# -- the output of backends

KEPT = 16_384
"""The number of bytes kept from the beginning of the output, and from its end. An error message has
a few thousand.
"""


@dataclass(frozen=True)
class Printed:
    """What a backend printed.

    size: the bytes of all output. text: its beginning and its end.
    """

    size: int = 0
    text: str = ""


class Output:
    """A context that redirects the output of the process to a file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        # A session that ends with an exception may never call close.
        weakref.finalize(self, self._file.close)
        self._before: tuple[tuple[int, int], ...] = ()
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)

    def __enter__(self) -> Self:
        self._streams = sys.stdout, sys.stderr
        for stream in self._streams:
            with contextlib.suppress(Exception):
                stream.flush()
        before = []
        for file in (1, 2):
            with contextlib.suppress(OSError):  # The stream was closed before.
                before.append((file, os.dup(file)))
            os.dup2(self._file.fileno(), file)
        self._before = tuple(before)
        sys.stdout, sys.stderr = _stream_onto(1), _stream_onto(2)
        return self

    def __exit__(self, *raised: object) -> None:
        sys.stdout, sys.stderr = self._streams
        for file, before in self._before:
            os.dup2(before, file)
            os.close(before)
        self._before = ()

    def take(self) -> Printed:
        """Return what was printed since the last call."""
        file = self._file.fileno()
        size = os.fstat(file).st_size
        text = os.pread(file, 2 * KEPT, 0).decode("utf-8", "replace")
        if size > 2 * KEPT:
            head, tail = os.pread(file, KEPT, 0), os.pread(file, KEPT, size - KEPT)
            text = (
                f"{head.decode('utf-8', 'replace')}\n"
                f"... ({size - 2 * KEPT} bytes are left out) ...\n"
                f"{tail.decode('utf-8', 'replace')}"
            )
        # All processes that print share the position in the file, even child processes.
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
        return Printed(size, text)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()


class _Stream(io.TextIOWrapper):
    """A stream that stays open if other code closes it."""

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.flush()


def _stream_onto(file: int) -> _Stream:
    raw = io.FileIO(file, "w", closefd=False)
    return _Stream(raw, "utf-8", "backslashreplace", write_through=True)


# -- prepare a case: build, trace, call and judge it

MOST_EVIDENCE = 1_000_000
"""The largest evidence of a case, in characters of JSON. Names of kernels take a few thousand."""

MUCH_PRINTED = 1_000_000
"""The number of printed bytes that is worth a remark. The log of a compiler has thousands."""

FROM_ANOTHER = "from_another_process"
"""The key that marks evidence which another process of the session has looked up."""


@dataclass(frozen=True)
class Prepared:
    """A case that has passed the gate and may be timed.

    setup: see ``Measured``. memory: the memory on a GPU. guard: the guard for further calls of the
    backend. took: the seconds of preparing.
    """

    step: Step
    model: Model
    setup: Mapping[str, float]
    gate: GateResult
    evidence: Mapping[str, object]
    memory: Figures | None = None
    guard: Guard = field(default_factory=Guard)
    took: float = 0.0


@dataclass(frozen=True)
class Bench:
    """What measuring needs besides the cases. Tests replace parts of it.

    announce: is called with the cases that the process works on from now on. That is one case while
    it is prepared, and all cases of a group while they are timed. With ``STARTING``, it is a case
    whose framework is started ahead. started: seconds of starting that no case has been charged
    with yet. shared: holds what the processes of a session look up only once. threads: the number
    of threads of each backend; None leaves the choice to the backend. roofs: None measures no
    roofs. gauge: measures memory on a GPU. resident: measures the memory of a case on the CPU,
    given a seed and a time limit; None measures none. energy: measures the energy of a step, given
    its device and seconds. case_limit: the seconds after which ``bench.run`` ends a case. output:
    if given, keeps what backends print.
    """

    clock: timing.Clock = field(default_factory=timing.Clock.system)
    gate: Callable[[Model, Workload, int], GateResult] = equivalence.gate
    activity: Callable[[], disturbance.Activity] = disturbance.activity
    too_many_threads: Callable[[], Sequence[str]] = lambda: environment.too_many_threads(
        environment.read()
    )
    started: dict[tuple[str, ...], float] = field(default_factory=dict)
    free: Callable[[str], estimate.Free] = estimate.free
    announce: Callable[..., None] = lambda cases, phase="": None
    shared: equivalence.SharedFolder | None = None
    threads: int | None = None
    roofs: Roofs | None = field(default_factory=Roofs.of_machine)
    gauge: Callable[[Backend, str], Callable[[Step], Figures] | None] = resources.gauge
    resident: Callable[[Case, int, float], Figures] | None = None
    energy: Callable[[Step, str, float], Figures] = resources.energy
    case_limit: float | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    gate_timed: Callable[[Model, Workload, int, JudgedCalls, Sequence[JudgedCalls]], GateResult] = (
        equivalence.gate_timed
    )
    output: Output | None = None
    stream: timing.StreamConditions = field(default_factory=timing.StreamConditions)
    processors: timing.Processors = field(default_factory=timing.Processors)

    def frameworks(self, device: str) -> set[str]:
        """Return the frameworks that this process has started on a device."""
        return {get_backend(key[0]).framework for key in self.started if key[1] == device}

    def start(self, backend: Backend, case: Case) -> None:
        """Compute one step of a layer with one unit, once for each backend and device.

        Importing a framework, opening a device and loading a compiler take seconds. Without this
        step, they would count as building and compiling the first case.
        """
        key = _start_key(backend, case)
        if key in self.started:
            return
        self.started[key] = 0.0
        begun = self.clock.now()
        memory_server.start(backend, case, self.threads)
        self.started[key] = self.clock.now() - begun


def _start_key(backend: Backend, case: Case) -> tuple[str, ...]:
    work = case.workload
    return backend.name, case.device, work.mode, work.optimizer or ""


def start_ahead(case: Case, bench: Bench) -> None:
    """Start the framework of a case before the turn to measure.

    Errors are ignored here, because ``prepare`` meets them again.
    """
    key, output = None, bench.output
    try:
        with output or contextlib.nullcontext(), Guard(), ignored_deprecations():
            backend = get_backend(case.backend)
            key = _start_key(backend, case)
            if key in bench.started or devices.explain_missing(case.device):
                return
            bench.announce((case,), STARTING)  # The process may end in any call of the backend.
            if _cannot(backend, case, bench) is None:
                bench.start(backend, case)
    except Exception:
        if key is not None:
            bench.started.pop(key, None)
    finally:
        if output is not None:
            output.take()  # Otherwise it would look as if the first prepared case had printed it.


@contextlib.contextmanager
def ignored_deprecations() -> Iterator[None]:
    """Ignore warnings about future changes of a framework, which say nothing about a case."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


def prepare(
    case: Case, seed: int, bench: Bench, judged: int | None = None, other_weights: bool = False
) -> Prepared | Unmeasured:
    """Build a case, time its first call, and pass it through the gate.

    The gate calls the same functions, so tracing and compiling are timed before it. Their times
    count only if the case passes the gate.

    judged: the seed of the inputs of timed calls that are judged; None draws one. other_weights:
    whether to time the case with other weights than those with which the gate judged it.
    """
    if missing := devices.explain_missing(case.device):
        return Unmeasured(NOT_MEASURED, missing)
    begun = bench.clock.now()
    take = Printed if bench.output is None else bench.output.take
    take()  # This discards what was printed before.
    guard = Guard(bench.interrupts)
    stages = ["lookup"]
    found: Prepared | Unmeasured
    try:
        with bench.interrupts, guard:
            found = _prepare(case, seed, bench, stages)
            if isinstance(found, Prepared):
                stages.append("gate")
                found = _with_secret_inputs(case, seed, found, judged, other_weights)
    except (UnavailableError, UnsupportedError) as error:
        found = refused(error)
    except Exception as error:
        # Whatever a backend raises is the result of its case, even SystemExit and
        # KeyboardInterrupt. The guard lets a real Ctrl-C through.
        found = failed(error, stages[-1])
    printed = take()
    if isinstance(found, Prepared):
        if printed.size > MUCH_PRINTED:
            guard.note(f"the backend printed {printed.size / 1e6:.0f} MB before it was timed")
        return replace(found, guard=guard, took=bench.clock.now() - begun)
    if found.outcome == FAILED and printed.text.strip():
        return replace(found, details=f"{found.details}\nThe backend printed:\n{printed.text}")
    return found


def _cannot(backend: Backend, case: Case, bench: Bench) -> Unmeasured | None:
    """Return why a backend cannot measure a case here, or None if it can."""
    available = backend.availability(case.device)
    if not available:
        reason = _text("reason for being unavailable", available.reason)
        install = _text("way to install", available.install)
        code = available.refusal.value
        why = Reason("unavailable", {"why": reason, "install": install, "refusal": code})
        if available.refusal is Refusal.OTHER_ENVIRONMENT and backend.environment:
            variables = " ".join(f"{name}={value}" for name, value in backend.environment.items())
            why = Reason("needs_environment", {"why": reason, "variables": variables})
        return Unmeasured(NOT_MEASURED, why)
    if refusal := backend.refusal(case.spec, case.workload):
        values = {"why": _text("refusal", refusal), "refusal": find_refusal_code(refusal).value}
        return Unmeasured(REFUSED, Reason("unsupported", values))
    too_large = estimate.too_large(case, bench.free(case.device))
    return None if too_large is None else Unmeasured(NOT_MEASURED, too_large)


def _evidence(
    model: Model, case: Case, shared: equivalence.SharedFolder | None
) -> dict[str, object]:
    """Return evidence of what a case runs, which a session looks up once.

    Raises TypeError and ValueError for evidence that cannot be recorded.
    """
    # Processes with the same environment variables run the same kernels.
    variables = {name: each for name, each in os.environ.items() if not name.startswith("PYTEST_")}
    facts = json.dumps([case.id, sorted(variables.items())])
    key = f"evidence-{hashlib.sha256(facts.encode()).hexdigest()[:32]}"
    if shared is not None and (kept := shared.find(key)) is not None:
        return {**json.loads(kept), FROM_ANOTHER: True}
    evidence = model.evidence(case.workload)
    if not isinstance(evidence, Mapping):
        raise TypeError(f"its evidence is a {type(evidence).__name__}; expected a dictionary")
    text = json.dumps(dict(evidence))  # This raises an error for anything but plain data.
    if len(text) > MOST_EVIDENCE:
        raise ValueError(f"its evidence has {len(text)} characters; expected up to {MOST_EVIDENCE}")
    if shared is not None:
        shared.keep(key, text.encode())
    return dict(evidence)


def _prepare(case: Case, seed: int, bench: Bench, stages: list[str]) -> Prepared | Unmeasured:
    """Prepare a case within a guard.

    stages: collects the names of the stages that have begun.
    """
    now = bench.clock.now
    backend = get_backend(case.backend)
    if (why_not := _cannot(backend, case, bench)) is not None:
        return why_not
    stages.append("start")
    key = _start_key(backend, case)
    bench.start(backend, case)
    setup, bench.started[key] = {"start_s": bench.started[key]}, 0.0
    stages.append("build")
    gauge = bench.gauge(backend, case.device)
    begun = now()
    model = backend.build(
        case.spec,
        LSTMWeights.random(case.spec, seed),
        case.device,
        batch_major=case.workload.batch_major,
    )
    setup["build_s"] = now() - begun
    step = model.prepare(case.workload)
    stages.append("first_call")
    setup["trace_s"], setup["first_call_s"] = timing.first_use(step, bench.clock)
    held = None if gauge is None else gauge(step)
    stages.append("gate")
    begun = now()
    result = bench.gate(model, case.workload, seed)
    setup["gate_s"] = now() - begun
    if not result.passed:
        return Unmeasured(FAILED, Reason("differs", {"errors": result.describe()}))
    stages.append("evidence")
    begun = now()
    evidence = _evidence(model, case, bench.shared)
    setup["evidence_s"] = now() - begun
    if missing := backend.missing_evidence(evidence, case.device):
        text = _text("missing evidence", missing)
        return Unmeasured(FAILED, Reason("no_evidence", {"missing": text}))
    return Prepared(step, model, setup, result, evidence, held)


OTHER_WEIGHTS = 1_000_003
"""This is added to the seed of the weights with which every second model of a group is timed."""


def _with_secret_inputs(
    case: Case, seed: int, prepared: Prepared, judged: int | None, other_weights: bool
) -> Prepared:
    """Return the case with inputs that its backend has not drawn, and with weights of its own.

    If backends keep weights in a place that models share, a model then computes with another
    model's weights and is found out. Two sets of weights are enough for all models: the reference
    then computes twice as many answers for timed calls, and no more for the gate.
    """
    model, step = prepared.model, prepared.step
    if other_weights and step.results is not None:
        model.set_weights(LSTMWeights.random(case.spec, seed + OTHER_WEIGHTS))
    judged = secrets.randbits(63) if judged is None else judged
    return replace(prepared, step=TimedInputs(case.spec, case.workload, judged).bound(step))


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its {what} is a {type(value).__name__}; expected text")
    # A RefusalReason is a subclass of str, which msgspec does not write.
    return str(value)


# -- measure the cases of a group


def measure_group(
    cases: Sequence[Case], plan: timing.TimingPlan, seed: int = 0, bench: Bench | None = None
) -> dict[str, Result]:
    """Measure cases that do the same work on the same device. Return the results by case id.

    Each case is built, called once and judged before any case is timed. The cases that pass are
    then timed in alternating blocks. Every second case is timed with other weights.

    seed: the seed of the weights and of the gate's inputs.
    """
    bench = bench or Bench()
    judged = secrets.randbits(63) if plan.judged is None else plan.judged
    ready: dict[str, Prepared] = {}
    results: dict[str, Result] = {}
    with bench.interrupts, bench.output or contextlib.nullcontext(), ignored_deprecations():
        for case in cases:
            bench.announce((case,))
            prepared = prepare(case, seed, bench, judged, other_weights=len(ready) % 2 == 1)
            if isinstance(prepared, Prepared):
                ready[case.id] = prepared
            else:
                results[case.id] = prepared
        if ready:
            bench.announce([case for case in cases if case.id in ready])
        before, begun = bench.activity(), bench.clock.now()
        timed = _time_cases(ready, plan, bench, cases[0], judged)
        seconds = (bench.clock.now() - begun) / max(1, len(ready))
        disturbance = between(before, bench.activity())
        threads = bench.too_many_threads() if ready else ()
        for case in (case for case in cases if case.id in ready):
            series, prepared = timed[case.id], ready[case.id]
            if isinstance(series, timing.Broken):
                results[case.id] = failed(series.error, series.stage, series.round)
                continue
            begun = bench.clock.now()
            if (wrong := judge_timed_calls(case, prepared, series, judged, bench)) is not None:
                results[case.id] = wrong
                continue
            gate_s = prepared.setup["gate_s"] + bench.clock.now() - begun
            period = case.workload.period
            measured = Measured(
                series,
                {**prepared.setup, "gate_s": gate_s, "timing_s": seconds},
                prepared.gate,
                prepared.evidence,
                tuple(validity(series, disturbance, threads, case.device, period)),
                stream=None
                if series.streamed is None
                else stream_calls(series.streamed, bench.stream, period),
            )
            results[case.id] = add_roofs(case, prepared, measured, bench)
        # What needs no comparison of times comes after all times have been taken.
        for case in cases:
            if isinstance(found := results[case.id], Measured):
                found = add_memory_and_energy(case, found, ready[case.id], seed, bench)
                results[case.id] = replace(found, remarks=tuple(ready[case.id].guard.remarks))
    return {case.id: results[case.id] for case in cases}


def _time_cases(
    ready: Mapping[str, Prepared],
    plan: timing.TimingPlan,
    bench: Bench,
    case: Case,
    judged: int,
) -> dict[str, timing.StepSeries | timing.Broken]:
    """Time the cases, which all have the network and the workload of ``case``."""
    steps = {name: each.step for name, each in ready.items()}
    guards = {name: each.guard for name, each in ready.items()}
    work = case.workload
    selection = equivalence.select_results(case.spec, work, judged)
    if not work.streaming:
        return timing.measure(steps, plan, bench.clock, guards, selection=selection)
    # These processes must end before the disturbance is read.
    with keep_busy(bench.stream.load):
        return timing.measure_streams(steps, plan, bench.clock, guards, work.period, selection)


def judge_timed_calls(
    case: Case, prepared: Prepared, series: timing.StepSeries, judged: int, bench: Bench
) -> Unmeasured | None:
    """Return what is wrong with the results of the timed calls, or None if they are right.

    The gate has already judged the same function. This finds errors that occur only when it is
    timed.

    judged: the seed of the inputs.
    """
    if series.last is None:
        return None
    try:
        with prepared.guard:
            result = bench.gate_timed(
                prepared.model, case.workload, judged, series.last, series.kept
            )
    except Exception as error:
        return failed(error, "timed_results")
    if result.passed:
        return None
    return Unmeasured(FAILED, Reason("differs_when_timed", {"errors": result.describe()}))


def add_roofs(case: Case, prepared: Prepared, measured: Measured, bench: Bench) -> Result:
    """Add how close a case came to its roofs. A case that is impossibly fast fails.

    Roofs hold for exact arithmetic on one device. A backend that quantizes may exceed them and has
    no figures. For several GPUs, no roofs are known.
    """
    if bench.roofs is None or case.several_gpus:
        return measured
    seconds = statistics.median(measured.series.samples)
    start = bench.clock.now()
    frameworks = bench.frameworks(case.device)
    try:
        if case.approximate:
            bench.roofs.figures(case, seconds, bench.threads, frameworks, roofs.COARSER)
            return measured
        figures = {
            **bench.roofs.figures(case, seconds, bench.threads, frameworks),
            **step_figures(case, prepared, seconds, bench),
        }
    except roofs.AccountingError as error:
        return Unmeasured(FAILED, error.reason)
    reasons = (*measured.reasons, *roofs.above_roofs(figures))
    setup = {**measured.setup, "roofs_s": bench.clock.now() - start}
    return replace(measured, roofs=figures, setup=setup, reasons=reasons)


def step_figures(case: Case, prepared: Prepared, seconds: float, bench: Bench) -> Figures:
    """Return what a step does.

    These are the operators that it starts, its multiplications, and the busy processors. The
    process that looks up the evidence of a case also measures its busy processors.
    """
    found: dict[str, float | str | None] = {}
    if bench.roofs is not None:
        framework = prepared.model.backend.framework
        found |= bench.roofs.launch_figures(case, framework, prepared.evidence, seconds)
    operations = prepared.evidence.get("operations")
    if isinstance(operations, int | float):
        found["operations_ran"] = float(operations)
    if case.device == "cpu" and FROM_ANOTHER not in prepared.evidence:
        # An error that the backend raises now costs only this figure.
        with contextlib.suppress(Exception), prepared.guard:
            working = timing.processors_busy(
                prepared.step, seconds, bench.clock.now, bench.processors
            )
            if working is not None:
                found["processors_busy"] = working
    return found


def add_memory_and_energy(
    case: Case, measured: Measured, prepared: Prepared, seed: int, bench: Bench
) -> Measured:
    """Add the memory and the energy that a case needs."""
    if case.several_gpus or (case.device == "cpu" and bench.resident is None):
        return measured
    bench.announce((case,))  # The time limit of the case begins again.
    if bench.resident is not None and case.device == "cpu":
        first = sum(prepared.setup[name] for name in ("build_s", "trace_s", "first_call_s"))
        left = None if bench.case_limit is None else bench.case_limit - prepared.took
        held = bench.resident(case, seed, resources.time_limit(first, left))
        return replace(measured, memory=held)
    seconds = statistics.median(measured.series.samples)
    try:
        with prepared.guard:
            used = bench.energy(prepared.step, case.device, seconds)
    except EscapedError as escaped:
        error = resources.NotKnownError("escaped", error=type(escaped.error).__name__)
        used = resources.unknown(error, resources.ENERGY)
    return replace(measured, memory=prepared.memory, energy=used)
