"""A case made ready to be timed: built, traced, called, and held against the reference."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.case.cases import Case
from bench.machine import devices, disturbance, environment
from bench.machine.fields import ResultError
from bench.machine.fresh import one_line
from bench.machine.guard import Guard, Interrupts
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import ResultWriteError, write
from bench.records.schema import Figures
from bench.worker import equivalence, estimate, resources, timing
from bench.worker.outcomes import FAILED, NOT_MEASURED, REFUSED, Unmeasured, failed
from bench.worker.output import Output, Printed
from bench.worker.roofs import Roofs
from bench.worker.timing import Clock, FirstUse, Last, Processors, StreamConditions
from lstm_impl import LSTMSpec, LSTMWeights, UnavailableError, UnsupportedError, Workload
from lstm_impl.availability import Availability
from lstm_impl.backend import Backend
from lstm_impl.model import Model
from lstm_impl.proof import GateResult
from lstm_impl.registry import get_backend
from lstm_impl.step import Step

MOST_EVIDENCE = 1_000_000
"""Letters of a case's evidence as JSON. What says which kernels ran takes some thousands."""

MUCH_PRINTED = 1_000_000
"""Bytes that a case may print before that is worth a remark: a compiler's log is thousands."""


FROM_ANOTHER = "from_another_process"
"""Key of evidence that another process of the session has looked up."""


@dataclass(frozen=True)
class Turn:
    """The right to measure, which one process of a session has at a time, to its end.

    descriptor: of a file on which the manager took a shared lock for this process before it
    started, so that nobody measures while it starts. None needs no turn.
    """

    descriptor: int | None = None

    def take(self) -> None:
        """Wait until no other process of the session starts or measures."""
        if self.descriptor is None:
            return
        import fcntl

        # A backend may have closed it as it started: who then measures at the same time is seen in
        # each case's record, as any other process that keeps the machine busy.
        with contextlib.suppress(OSError):
            os.set_inheritable(self.descriptor, False)  # what a backend starts must not keep it
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)


@dataclass(frozen=True)
class SharedEvidence:
    """Evidence that is looked up once in a session for each case and environment of processes.

    folder: where the processes of a session share it; None shares nothing. Processes that have the
    same variables, packages and machine run the same kernels.
    """

    folder: Path | None = None

    def find(self, case: Case) -> dict[str, object] | None:
        """What another process has looked up for a case, and that it did; None if none has."""
        if self.folder is None:
            return None
        path = self._path(case)
        try:
            found = parse_json(path, regular_bytes(path))
        except ResultError:
            return None
        return {**found, FROM_ANOTHER: True} if isinstance(found, dict) else None

    def keep(self, case: Case, evidence: Mapping[str, object]) -> None:
        """Keep what was looked up for the other processes; where it cannot be, each looks."""
        if self.folder is not None:
            with contextlib.suppress(ResultWriteError):
                write(self._path(case), dict(evidence))

    def _path(self, case: Case) -> Path:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
        }
        facts = json.dumps([case.id, sorted(variables.items())])
        assert self.folder is not None
        return self.folder / f"evidence-{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


@dataclass(frozen=True)
class Prepared:
    """A case that may be timed: it has passed the gate.

    build, judging, looking, starting: seconds, as in ``Measured``. memory: what it held on a GPU.
    guard: to be around whatever more is asked of it. model: what the step is of. took: seconds of
    all of it.
    """

    step: Step
    build: float
    first_use: FirstUse
    gate: GateResult
    evidence: Mapping[str, object]
    judging: float
    looking: float
    starting: float
    memory: Figures | None = None
    guard: Guard = field(default_factory=Guard)
    model: Model | None = None
    took: float = 0.0


@dataclass(frozen=True)
class Bench:
    """What measuring needs besides the cases; a test puts in its own.

    announce: told which cases the process is busy with from now on: one while it is prepared, all
    of a group while they are timed in turn. starting: told of a case whose framework is started
    ahead. started: seconds that starting took and that no case has been given yet, by backend,
    device, mode and optimizer. evidence: what the processes of a session look up once. threads: how
    many each backend may use, for those that
    must be reported in the process; None is their own choice. roofs: None takes none. gauge: of the
    memory on a GPU, for a backend and a device. resident: measures a case's memory on the CPU with
    a seed and within so many seconds; None measures none. energy: of a step on a device, which
    takes so many seconds. case_limit: seconds after which a case is ended from outside, if it is.
    interrupts: tells a Ctrl-C from what a backend raises. output: keeps what backends print; None
    leaves it where it goes. stream: what is next to the calls of a stream. sleep: until one of
    them is due. processors: what they have done so far.
    """

    clock: Clock = field(default_factory=Clock.system)
    gate: Callable[[Model, Workload, int], GateResult] = equivalence.gate
    activity: Callable[[], disturbance.Activity] = disturbance.activity
    too_many_threads: Callable[[], Sequence[str]] = lambda: environment.too_many_threads(
        environment.read()
    )
    started: dict[tuple[str, ...], float] = field(default_factory=dict)
    free: Callable[[str], estimate.Free] = estimate.free
    announce: Callable[[Sequence[Case]], None] = lambda cases: None
    starting: Callable[[Case], None] = lambda case: None
    evidence: SharedEvidence = field(default_factory=SharedEvidence)
    threads: int | None = None
    roofs: Roofs | None = field(default_factory=Roofs.of_machine)
    gauge: Callable[[Backend, str], resources.Gauge | None] = resources.gauge
    resident: Callable[[Case, int, float], Figures] | None = None
    energy: Callable[[Step, str, float], Figures | None] = field(
        default_factory=lambda: resources.EnergyMeter().measure
    )
    case_limit: float | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    gate_last: Callable[[Model, Workload, int, Last], GateResult] = equivalence.gate_last
    output: Output | None = None
    stream: StreamConditions = field(default_factory=StreamConditions)
    sleep: Callable[[float], None] = time.sleep
    processors: Processors = field(default_factory=Processors)

    def printed(self) -> Printed:
        """What was printed since the last call, if it is kept."""
        return Printed() if self.output is None else self.output.take()

    def frameworks(self, device: str) -> set[str]:
        """Those that this process computes with on a device."""
        return {get_backend(key[0]).framework for key in self.started if key[1] == device}

    def start(self, backend: Backend, case: Case) -> None:
        """Have a backend compute one step of one unit, the first time it is met on a device.

        Importing a framework, opening a device and loading a compiler take seconds, and would
        otherwise count as the building and compiling of the first case.
        """
        work = case.workload
        key = _start_key(backend, case)
        if key in self.started:
            return
        self.started[key] = 0.0
        begun = self.clock.now()
        if self.threads is not None:
            backend.use_threads(self.threads)
        smallest = LSTMSpec(1, 1, dtype=case.spec.dtype)
        model = backend.build(smallest, LSTMWeights.random(smallest), case.device)
        step = model.prepare(
            Workload(1, 1, work.mode, optimizer=work.optimizer, gradients=work.gradients)
        )
        step.run()
        step.synchronize()
        self.started[key] = self.clock.now() - begun


def _start_key(backend: Backend, case: Case) -> tuple[str, ...]:
    work = case.workload
    return backend.name, case.device, work.mode, work.optimizer or ""


def start_ahead(case: Case, bench: Bench) -> None:
    """Start the framework of a case before the process has its turn to measure.

    Whatever goes wrong is left to ``prepare``, which tries again and gives the reason.
    """
    key = None
    try:
        with Guard(), ignored_deprecations():
            backend = get_backend(case.backend)
            key = _start_key(backend, case)
            if key in bench.started or devices.explain_missing(case.device):
                return
            if _cannot(backend, case, bench) is None:
                bench.starting(case)
                bench.start(backend, case)
    except Exception:
        if key is not None:
            bench.started.pop(key, None)


@contextlib.contextmanager
def ignored_deprecations() -> Iterator[None]:
    """What a framework is going to change is no news about the case that runs on it today."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


def prepare(case: Case, seed: int, bench: Bench) -> Prepared | Unmeasured:
    """Build a case, call it for the first time, and let the gate judge it.

    The first use comes before the gate, which calls the same functions: after it, tracing and
    compiling would be over and could not be timed. Their times are kept only if the gate is passed.
    """
    if missing := devices.explain_missing(case.device):
        return Unmeasured(NOT_MEASURED, f"no {case.device}: {missing}")
    start = bench.clock.now()
    bench.printed()  # by others, before
    with bench.interrupts, Guard(bench.interrupts) as guard:
        prepared = _prepare(case, seed, bench)
    printed = bench.printed()
    if isinstance(prepared, Prepared):
        if printed.size > MUCH_PRINTED:
            guard.note(f"it printed {printed.size / 1e6:.0f} MB before it was timed")
        return replace(prepared, guard=guard, took=bench.clock.now() - start)
    if prepared.outcome == FAILED and printed.text.strip():
        return replace(prepared, details=f"{prepared.details}\nIt printed:\n{printed.text}")
    return prepared


def _cannot(backend: Backend, case: Case, bench: Bench) -> Unmeasured | None:
    """Why a backend cannot measure a case here, None if it can."""
    available = backend.availability(case.device)
    if not available:
        reason = _text("reason for being unavailable", available.reason)
        return Unmeasured(NOT_MEASURED, reason, _way(backend, available))
    if refusal := backend.refusal(case.spec, case.workload):
        return Unmeasured(REFUSED, _text("refusal", refusal))
    if reason := estimate.too_large(case, bench.free(case.device)):
        return Unmeasured(NOT_MEASURED, reason, estimate.ADVICE)
    return None


def _checked(evidence: object) -> dict[str, object]:
    """Evidence that can be recorded. Raises TypeError and ValueError for what is none."""
    if not isinstance(evidence, Mapping):
        raise TypeError(f"its evidence is a {type(evidence).__name__}; expected a dictionary")
    found = dict(evidence)
    size = len(json.dumps(found))  # what is not plain data could not be recorded
    if size > MOST_EVIDENCE:
        raise ValueError(f"its evidence is {size} letters long; at most {MOST_EVIDENCE} fit")
    return found


def _prepare(case: Case, seed: int, bench: Bench) -> Prepared | Unmeasured:
    """``prepare`` within a guard: nothing that the backend's code raises gets out."""
    during = "while it was looked up"
    try:
        backend = get_backend(case.backend)
        if (why_not := _cannot(backend, case, bench)) is not None:
            return why_not
        during = "while its framework was started"
        key = _start_key(backend, case)
        bench.start(backend, case)
        starting, bench.started[key] = bench.started[key], 0.0
        during = "while it was built"
        gauge = bench.gauge(backend, case.device)
        start = bench.clock.now()
        model = backend.build(
            case.spec,
            LSTMWeights.random(case.spec, seed),
            case.device,
            batch_major=case.workload.batch_major,
        )
        build = bench.clock.now() - start
        step = model.prepare(case.workload, seed)
        during = "in its first call"
        first_use = timing.first_use(step, bench.clock)
        held = None if gauge is None else gauge.figures(step)
        during = "while the gate compared it with the reference"
        start = bench.clock.now()
        result = bench.gate(model, case.workload, seed)
        judging = bench.clock.now() - start
        if not result.passed:
            return Unmeasured(
                FAILED,
                f"it does not compute what the reference computes: {result.describe()}",
                "its time would be that of another function; none was taken",
            )
        during = "while it was asked what it runs"
        start = bench.clock.now()
        evidence = bench.evidence.find(case)
        if evidence is None:
            evidence = _checked(model.evidence(case.workload))
            bench.evidence.keep(case, evidence)
        looking = bench.clock.now() - start
        if missing := backend.missing_evidence(evidence, case.device):
            return Unmeasured(
                FAILED,
                _text("missing evidence", missing),
                "its time would be that of something else; none was taken",
            )
        return Prepared(
            step, build, first_use, result, evidence, judging, looking, starting, held, model=model
        )
    except UnavailableError as error:
        return Unmeasured(NOT_MEASURED, one_line(error))
    except UnsupportedError as error:
        return Unmeasured(REFUSED, one_line(error))
    except BaseException as error:
        # Whatever a backend raises is the result of its own case, SystemExit and a
        # KeyboardInterrupt of its own making too: the guard lets a real one through.
        return failed(error, during)


def _way(backend: Backend, missing: Availability) -> str:
    """What would make a backend available: to install something, or another process."""
    install = _text("way to install", missing.install)
    if not backend.environment or backend.process():
        return install
    variables = " ".join(f"{name}={value}" for name, value in backend.environment.items())
    return (
        "python -m bench.run measures it in a process of its own; "
        f"pytest does with {variables} before it"
    )


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its {what} is a {type(value).__name__}; expected text")
    return value
