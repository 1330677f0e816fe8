"""From the cases of one group to their results: the gate first, then the clock.

A case ends as ``Measured`` or as ``Unmeasured`` with a reason; whatever a backend raises becomes
the result of its own case and of no other. This room knows nothing of pytest and writes no file.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from bench import devices, energy, environment, equivalence, estimate, memory, roofline, timing
from bench.cases import Case
from bench.environment import Disturbance
from bench.equivalence import GateResult
from bench.guard import EscapedError, Guard, Interrupts
from bench.output import Output, Printed
from bench.raised import one_line
from bench.result_schema import SCHEMA, Figures, Reason
from bench.timing import Broken, Clock, FirstUse, Plan, Series, Stopped
from bench.validity import WIDE
from lstm_impl import (
    Backend,
    LSTMSpec,
    LSTMWeights,
    Model,
    Step,
    UnavailableError,
    UnsupportedError,
    Workload,
    get_backend,
)
from lstm_impl.backend import Results

BUSY = 0.1
"""Part of the machine's processors that others may keep busy. A tenth is what a desktop does at
rest; more takes away caches and, in bursts, processors."""

CLOCK_CHANGE = 0.2
"""A CPU that runs this much faster or slower at the end than at the start has left the state it was
measured in; single readings scatter by some per cent."""

HOT_SHARE = 0.01
"""Part of the time for which a GPU may be slowed down by heat."""

MOST_EVIDENCE = 1_000_000
"""Letters of a case's evidence as JSON. What says which kernels ran takes some thousands."""

MUCH_PRINTED = 1_000_000
"""Bytes that a case may print before that is worth a remark: a compiler's log is thousands."""

NOT_MEASURED, REFUSED, FAILED = "not_measured", "refused", "failed"

Gate: TypeAlias = Callable[[Model, Workload, int], GateResult]
GateLast: TypeAlias = Callable[[Model, Workload, int, int, Results], GateResult]


@dataclass(frozen=True)
class Unmeasured:
    """A case that has no time.

    outcome: ``not_measured`` (it cannot run here), ``refused`` (the backend cannot compute it) or
    ``failed`` (an error, or the gate). reason: one line. details: all that is known, a traceback
    perhaps.
    """

    outcome: str
    reason: str
    advice: str = ""
    details: str = ""


@dataclass(frozen=True)
class Measured:
    """A case that passed the gate and was timed.

    build, judging, looking: seconds to make the model, of the gate, and to ask what it runs.
    timing: its part of the seconds for which its group was warmed up and timed. starting, roofing:
    seconds to start its framework, if it was the first to need it, and to find its roofs. reasons:
    empty if it is valid. remarks: what its backend's code warned of, and what it changed of the
    process.
    """

    series: Series
    build: float
    first_use: FirstUse
    gate: GateResult
    evidence: Mapping[str, object]
    reasons: tuple[Reason, ...]
    roofs: Figures | None = None
    memory: Figures | None = None
    energy: Figures | None = None
    judging: float | None = None
    looking: float | None = None
    timing: float | None = None
    starting: float | None = None
    roofing: float | None = None
    remarks: tuple[str, ...] = ()

    def to_extra(self, case: Case, seed: int) -> dict[str, object]:
        """What stands beside the samples in a result file."""
        series = self.series
        return {
            "schema": SCHEMA,
            "case": case.to_dict(),
            "case_id": case.id,
            "gate": {
                "passed": self.gate.passed,
                "judge": self.gate.judge,
                "errors": dict(self.gate.errors),
                "bounds": dict(self.gate.bounds),
            },
            "evidence": dict(self.evidence),
            "setup": {
                "build_s": self.build,
                "trace_s": self.first_use.trace,
                "first_call_s": self.first_use.first_call,
                # Compiling shows in the first call only; the rest of that call is an ordinary one.
                "compile_s": self.first_use.first_call - statistics.median(series.samples),
                "gate_s": self.judging,
                "evidence_s": self.looking,
                "timing_s": self.timing,
                "start_s": self.starting,
                "roofs_s": self.roofing,
            },
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
                "reasons": [
                    {"code": each.code, "text": each.text, "advice": each.advice}
                    for each in self.reasons
                ],
            },
            "remarks": list(self.remarks),
        }


Result: TypeAlias = Measured | Unmeasured


@dataclass(frozen=True)
class Prepared:
    """A case that may be timed: it has passed the gate.

    build, judging, looking, starting: seconds, as in ``Measured``. memory: what it held on a GPU.
    guard: to be around whatever more is asked of it. model: what the step is of.
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


@dataclass(frozen=True)
class Bench:
    """What measuring needs besides the cases; a test puts in its own.

    announce: told which cases the process is busy with from now on: one while it is prepared, all
    of a group while they are timed in turn. threads: how many each backend may use, for those that
    must be told in the process; None is their own choice. roofs: None takes none. gauge: of the
    memory on a GPU, for a backend and a device. resident: measures a case's memory on the CPU with
    a seed and within so many seconds; None measures none. energy: of a step on a device, which
    takes so many seconds. case_limit: seconds after which a case is ended from outside, if it is.
    interrupts: tells a Ctrl-C from what a backend raises. output: keeps what backends print; None
    leaves it where it goes.
    """

    clock: Clock = field(default_factory=Clock.system)
    gate: Gate = equivalence.gate
    activity: Callable[[], environment.Activity] = environment.activity
    too_many_threads: Callable[[], Sequence[str]] = lambda: environment.too_many_threads(
        environment.read()
    )
    started: set[tuple[str, ...]] = field(default_factory=set)
    free: Callable[[str], estimate.Free] = estimate.free
    announce: Callable[[Sequence[Case]], None] = lambda cases: None
    threads: int | None = None
    roofs: roofline.Roofs | None = field(default_factory=roofline.Roofs.of_machine)
    gauge: Callable[[Backend, str], memory.Gauge | None] = memory.gauge
    resident: Callable[[Case, int, float], Figures] | None = None
    energy: Callable[[Step, str, float], Figures | None] = field(
        default_factory=lambda: energy.EnergyMeter().measure
    )
    case_limit: float | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    gate_last: GateLast = equivalence.gate_last
    output: Output | None = None

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
        key = (backend.name, case.device, work.mode, work.optimizer or "")
        if key in self.started:
            return
        self.started.add(key)
        if self.threads is not None:
            backend.use_threads(self.threads)
        smallest = LSTMSpec(1, 1, dtype=case.spec.dtype)
        model = backend.build(smallest, LSTMWeights.random(smallest), case.device)
        step = model.prepare(
            Workload(1, 1, work.mode, optimizer=work.optimizer, gradients=work.gradients)
        )
        step.run()
        step.synchronize()


def measure_group(
    cases: Sequence[Case], plan: Plan, seed: int = 0, bench: Bench | None = None
) -> dict[str, Result]:
    """Measure cases that do the same work on the same device: a result for each case id.

    seed: of the weights and the inputs, the same for all (``plan`` has one of its own).

    Each is built, called once and judged before any is timed; those that pass are then timed in
    alternating blocks.
    """
    bench = bench or Bench()
    with bench.interrupts, bench.output or contextlib.nullcontext():
        return _measure_group(cases, plan, seed, bench)


def _measure_group(cases: Sequence[Case], plan: Plan, seed: int, bench: Bench) -> dict[str, Result]:
    with ignored_deprecations():
        ready: dict[str, Prepared] = {}
        took: dict[str, float] = {}
        results: dict[str, Result] = {}
        for case in cases:
            bench.announce((case,))
            begun = bench.clock.now()
            prepared = prepare(case, seed, bench)
            took[case.id] = bench.clock.now() - begun
            if isinstance(prepared, Prepared):
                ready[case.id] = prepared
            else:
                results[case.id] = prepared
        if ready:
            bench.announce([case for case in cases if case.id in ready])
        before = bench.activity()
        begun = bench.clock.now()
        timed = timing.measure(
            {name: each.step for name, each in ready.items()},
            plan,
            bench.clock,
            {name: each.guard for name, each in ready.items()},
        )
        timing_each = (bench.clock.now() - begun) / max(1, len(ready))
        disturbance = environment.between(before, bench.activity())
    threads = bench.too_many_threads() if ready else ()
    for case in cases:
        if case.id not in ready:
            continue
        prepared, series = ready[case.id], timed[case.id]
        if isinstance(series, Broken):
            results[case.id] = failed(series.error, series.during)
            continue
        begun = bench.clock.now()
        wrong = judge_last(case, prepared, series, seed, bench)
        judging = prepared.judging + bench.clock.now() - begun
        if wrong is not None:
            results[case.id] = wrong
        else:
            results[case.id] = under_roofs(
                case,
                Measured(
                    series=series,
                    build=prepared.build,
                    first_use=prepared.first_use,
                    gate=prepared.gate,
                    evidence=prepared.evidence,
                    judging=judging,
                    looking=prepared.looking,
                    timing=timing_each,
                    starting=prepared.starting,
                    reasons=tuple(validity(series, disturbance, threads, case.device)),
                ),
                bench,
            )
    # All that takes part in no comparison of times comes when none is taken any more.
    with ignored_deprecations():
        for case in cases:
            found = results[case.id]
            if isinstance(found, Measured):
                found = with_needs(case, found, ready[case.id], seed, took[case.id], bench)
                results[case.id] = replace(found, remarks=tuple(ready[case.id].guard.remarks))
    return {case.id: results[case.id] for case in cases}


def judge_last(
    case: Case, prepared: Prepared, series: Series, seed: int, bench: Bench
) -> Unmeasured | None:
    """Why what a case computed while it was timed is wrong; None if it is right.

    The gate has judged the same function before; this is for what it does only when it is timed.
    """
    if series.last is None or prepared.model is None:
        return None
    during = "while what it computed in the last timed call was judged"
    try:
        with ignored_deprecations(), prepared.guard:
            result = bench.gate_last(
                prepared.model, case.workload, seed, series.last.inputs, series.last.results
            )
    except Exception as error:
        return failed(error, during)
    if result.passed:
        return None
    return Unmeasured(
        FAILED,
        f"what was timed does not compute what the reference computes: {result.describe()}",
        "it was right before it was timed; its time would be that of another function",
    )


@contextlib.contextmanager
def ignored_deprecations() -> Iterator[None]:
    """What a framework is going to change is no news about the case that runs on it today."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


def under_roofs(case: Case, measured: Measured, bench: Bench) -> Result:
    """With how near it came to its device's roofs; a failure if it is past all that is possible."""
    if bench.roofs is None:
        return measured
    seconds = statistics.median(measured.series.samples)
    start = bench.clock.now()
    try:
        with ignored_deprecations():
            figures = bench.roofs.figures(
                case, seconds, bench.threads, bench.frameworks(case.device)
            )
    except roofline.AccountingError as error:
        return Unmeasured(
            FAILED,
            str(error),
            "it was not waited for, did less than it should, or used more threads than it was to; "
            "if none of these, the roof is too low: please report it",
        )
    reasons = (*measured.reasons, *roofline.doubts(figures))
    roofing = bench.clock.now() - start
    return replace(measured, roofs=figures, roofing=roofing, reasons=reasons)


def with_needs(
    case: Case, measured: Measured, prepared: Prepared, seed: int, took: float, bench: Bench
) -> Measured:
    """With the memory and the energy that it needs. took: seconds to prepare it."""
    on_cpu = case.device == "cpu"
    if on_cpu and bench.resident is None:
        return measured
    bench.announce((case,))  # it is watched for this apart: its time limit begins anew
    if not on_cpu:
        seconds = statistics.median(measured.series.samples)
        try:
            with prepared.guard:
                used = bench.energy(prepared.step, case.device, seconds)
        except EscapedError as escaped:
            used = energy.unknown(f"{type(escaped.error).__name__} while it was measured")
        return replace(measured, memory=prepared.memory, energy=used)
    assert bench.resident is not None
    first = prepared.build + prepared.first_use.trace + prepared.first_use.first_call
    left = None if bench.case_limit is None else bench.case_limit - took
    held = bench.resident(case, seed, memory.time_limit(first, left))
    return replace(measured, memory=held)


def prepare(case: Case, seed: int, bench: Bench) -> Prepared | Unmeasured:
    """Build a case, call it for the first time, and let the gate judge it.

    The first use comes before the gate, which calls the same functions: after it, tracing and
    compiling would be over and could not be timed. Their times are kept only if the gate is passed.
    """
    if missing := devices.explain_missing(case.device):
        return Unmeasured(NOT_MEASURED, f"no {case.device}: {missing}")
    bench.printed()  # by others, before
    with bench.interrupts, Guard(bench.interrupts) as guard:
        prepared = _prepare(case, seed, bench)
    printed = bench.printed()
    if isinstance(prepared, Prepared):
        if printed.size > MUCH_PRINTED:
            guard.note(f"it printed {printed.size / 1e6:.0f} MB before it was timed")
        return replace(prepared, guard=guard)
    if prepared.outcome == FAILED and printed.text.strip():
        return replace(prepared, details=f"{prepared.details}\nIt printed:\n{printed.text}")
    return prepared


def _prepare(case: Case, seed: int, bench: Bench) -> Prepared | Unmeasured:
    """``prepare`` within a guard: nothing that the backend's code raises gets out."""
    during = "while it was looked up"
    try:
        backend = get_backend(case.backend)
        available = backend.availability(case.device)
        if not available:
            reason = _text("reason for being unavailable", available.reason)
            return Unmeasured(NOT_MEASURED, reason, _text("way to install", available.install))
        if refusal := backend.refusal(case.spec, case.workload):
            return Unmeasured(REFUSED, _text("refusal", refusal))
        if reason := estimate.too_large(case, bench.free(case.device)):
            return Unmeasured(NOT_MEASURED, reason, estimate.ADVICE)
        during = "while its framework was started"
        start = bench.clock.now()
        bench.start(backend, case)
        starting = bench.clock.now() - start
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
        evidence = model.evidence(case.workload)
        looking = bench.clock.now() - start
        if not isinstance(evidence, Mapping):
            raise TypeError(f"its evidence is a {type(evidence).__name__}; expected a dictionary")
        size = len(json.dumps(evidence))  # what is not plain data could not be recorded
        if size > MOST_EVIDENCE:
            raise ValueError(f"its evidence is {size} letters long; at most {MOST_EVIDENCE} fit")
        if missing := backend.missing_evidence(evidence, case.device):
            return Unmeasured(
                FAILED,
                _text("missing evidence", missing),
                "its time would be that of something else; none was taken",
            )
        return Prepared(
            step,
            build,
            first_use,
            result,
            evidence,
            judging,
            looking,
            starting,
            held,
            model=model,
        )
    except UnavailableError as error:
        return Unmeasured(NOT_MEASURED, one_line(error))
    except UnsupportedError as error:
        return Unmeasured(REFUSED, one_line(error))
    except BaseException as error:
        # Whatever a backend raises is the result of its own case, SystemExit and a
        # KeyboardInterrupt of its own making too: the guard lets a real one through.
        return failed(error, during)


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its {what} is a {type(value).__name__}; expected text")
    return value


def failed(error: BaseException, during: str) -> Unmeasured:
    """What becomes of a case whose backend raised this. during: when, in words."""
    if isinstance(error, EscapedError):
        error = error.error
    told = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        told += "; its own code raised it: no Ctrl-C came"
    return Unmeasured(
        FAILED,
        f"{type(error).__name__} {during}: {told}",
        details="".join(traceback.format_exception(error)),
    )


def validity(
    series: Series, disturbance: Disturbance, threads: Sequence[str], device: str
) -> Iterable[Reason]:
    """Every reason not to trust a measurement; none if it is valid."""
    more_time = "give it more time: --lstm-budget SECONDS"
    quiet = "close what else runs, or measure on a machine of its own"
    count = len(series.blocks)
    width = timing.relative_half_width(series.samples)
    if count < timing.FEWEST_SAMPLES:
        yield Reason(
            "few_samples",
            f"{count} sample{'s' if count > 1 else ''}: "
            f"a median has no 95% interval under {timing.FEWEST_SAMPLES}",
            more_time,
        )
    elif width > WIDE:
        advice = more_time if series.stopped is Stopped.TIME else quiet
        yield Reason(
            "wide_interval",
            f"the median's interval is ±{width:.1%}, over ±{WIDE:.0%}",
            advice,
        )
    if series.steady is False:
        yield Reason(
            "not_steady",
            "the earlier and the later half of the samples differ: no steady state",
            f"{more_time}; if it stays, {quiet}",
        )
    processors = disturbance.processors
    if disturbance.others is not None and disturbance.others > BUSY * processors:
        who = f" ({', '.join(disturbance.culprits)})" if disturbance.culprits else ""
        yield Reason(
            "busy",
            f"others kept {disturbance.others:.1f} of {processors} processors busy{who}",
            quiet,
        )
    if disturbance.swapped:
        yield Reason(
            "swap",
            f"the machine swapped {disturbance.swapped / 1e6:.1f} MB meanwhile",
            "free some memory, or choose a smaller case",
        )
    if device == "cpu":
        if disturbance.cpu_throttled:
            yield Reason(
                "throttled",
                f"the CPU slowed itself down {disturbance.cpu_throttled} times because of heat",
                "cool it, or use fewer threads: --lstm-threads N",
            )
        change = disturbance.clock_change
        if change is not None and abs(change - 1) > CLOCK_CHANGE:
            yield Reason(
                "clock",
                f"the CPU's clock at the end was {change:.2f} times that at the start",
                "fix the clock: cpupower frequency-set -g performance, and switch turbo off",
            )
        if threads:
            yield Reason(
                "threads",
                f"more threads than usable processors: {', '.join(threads)}",
                "set --lstm-threads to the number of processors, or fewer",
            )
    else:
        hot = disturbance.gpu_throttled.get(devices.gpu_index(device), 0.0)
        if hot > HOT_SHARE * disturbance.seconds:
            yield Reason(
                "throttled",
                f"the GPU was slowed down by heat for {hot:.1f} of {disturbance.seconds:.1f} s",
                "cool it, or lower its clock: nvidia-smi -lgc",
            )


def counted_reasons(results: Iterable[Measured]) -> Counter[Reason]:
    """How many measurements each reason spoils, by its code, in its first wording."""
    first: dict[str, Reason] = {}
    counts: Counter[Reason] = Counter()
    for result in results:
        for reason in result.reasons:
            counts[first.setdefault(reason.code, reason)] += 1
    return counts
