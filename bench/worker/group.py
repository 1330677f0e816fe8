"""From the cases of one group to their results: the gate first, then the clock.

A case ends as ``Measured`` or as ``Unmeasured`` with a reason; whatever a backend raises becomes
the result of its own case and of no other.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.case.cases import Case
from bench.machine.disturbance import between
from bench.machine.guard import EscapedError
from bench.machine.processes import busy
from bench.records.schema import Figures
from bench.worker import resources, roofs, streaming, timing
from bench.worker.disturbances import validity
from bench.worker.outcomes import FAILED, Measured, Result, Unmeasured, failed, kept
from bench.worker.preparing import Bench, Prepared, ignored_deprecations, prepare
from bench.worker.timing import Broken, StepSeries, TimingPlan, processors_busy
from lstm_impl import Workload


def measure_group(
    cases: Sequence[Case], plan: TimingPlan, seed: int = 0, bench: Bench | None = None
) -> dict[str, Result]:
    """Measure cases that do the same work on the same device: a result for each case id.

    seed: of the weights and the inputs, the same for all (``plan`` has one of its own).

    Each is built, called once and judged before any is timed; those that pass are then timed in
    alternating blocks.
    """
    bench = bench or Bench()
    with bench.interrupts, bench.output or contextlib.nullcontext():
        return _measure_group(cases, plan, seed, bench)


def _measure_group(
    cases: Sequence[Case], plan: TimingPlan, seed: int, bench: Bench
) -> dict[str, Result]:
    ready: dict[str, Prepared] = {}
    results: dict[str, Result] = {}
    with ignored_deprecations():
        for case in cases:
            bench.announce((case,))
            prepared = prepare(case, seed, bench)
            if isinstance(prepared, Prepared):
                ready[case.id] = prepared
            else:
                results[case.id] = prepared
        if ready:
            bench.announce([case for case in cases if case.id in ready])
        before = bench.activity()
        begun = bench.clock.now()
        timed = _timed(ready, plan, bench, cases[0].workload)
        timing_each = (bench.clock.now() - begun) / max(1, len(ready))
        disturbance = between(before, bench.activity())
        threads = bench.too_many_threads() if ready else ()
        for case in cases:
            if case.id not in ready:
                continue
            prepared, series = ready[case.id], timed[case.id]
            if isinstance(series, Broken):
                results[case.id] = failed(series.error, series.during)
                continue
            begun = bench.clock.now()
            if (wrong := judge_last(case, prepared, series, seed, bench)) is not None:
                results[case.id] = wrong
                continue
            gate_s = prepared.setup["gate_s"] + bench.clock.now() - begun
            setup = {**prepared.setup, "gate_s": gate_s, "timing_s": timing_each}
            reasons = validity(series, disturbance, threads, case.device, case.workload.period)
            measured = Measured(
                series,
                setup,
                prepared.gate,
                prepared.evidence,
                tuple(reasons),
                stream=None
                if series.streamed is None
                else kept(series.streamed, bench.stream, case.workload.period),
            )
            results[case.id] = under_roofs(case, prepared, measured, bench)
        # All that takes part in no comparison of times comes when none is taken any more.
        for case in cases:
            found = results[case.id]
            if isinstance(found, Measured):
                found = with_needs(case, found, ready[case.id], seed, bench)
                results[case.id] = replace(found, remarks=tuple(ready[case.id].guard.remarks))
    return {case.id: results[case.id] for case in cases}


def _timed(
    ready: Mapping[str, Prepared], plan: TimingPlan, bench: Bench, workload: Workload
) -> dict[str, StepSeries | Broken]:
    steps = {name: each.step for name, each in ready.items()}
    guards = {name: each.guard for name, each in ready.items()}
    if not workload.streaming:
        return timing.measure(steps, plan, bench.clock, guards)
    # They have ended before the machine is asked what disturbed it: they are no disturbance.
    with busy(bench.stream.load):
        pace = streaming.Pace(workload.period, bench.sleep)
        return streaming.measure(steps, plan, bench.clock, guards, pace)


def judge_last(
    case: Case, prepared: Prepared, series: StepSeries, seed: int, bench: Bench
) -> Unmeasured | None:
    """Why what a case computed while it was timed is wrong; None if it is right.

    The gate has judged the same function before; this is for what it does only when it is timed.
    """
    if series.last is None:
        return None
    try:
        with prepared.guard:
            result = bench.gate_last(prepared.model, case.workload, seed, series.last)
    except Exception as error:
        return failed(error, "while what it computed in the last timed call was judged")
    if result.passed:
        return None
    return Unmeasured(
        FAILED,
        f"what was timed does not compute what the reference computes: {result.describe()}",
        "it was right before it was timed; its time would be that of another function",
    )


def under_roofs(case: Case, prepared: Prepared, measured: Measured, bench: Bench) -> Result:
    """With how near it came to its device's roofs; a failure if it is past all that is possible.

    The roofs are of exact arithmetic: an approximate backend may be past them.
    """
    if bench.roofs is None or case.approximate:
        return measured
    seconds = statistics.median(measured.series.samples)
    start = bench.clock.now()
    try:
        frameworks = bench.frameworks(case.device)
        figures = {
            **bench.roofs.figures(case, seconds, bench.threads, frameworks),
            **of_step(case, prepared, seconds, bench),
        }
    except roofs.AccountingError as error:
        return Unmeasured(
            FAILED,
            str(error),
            "it was not waited for, did less than it should, or used more threads than it was to; "
            "if none of these, the roof is too low: please report it",
        )
    reasons = (*measured.reasons, *roofs.doubts(figures))
    setup = {**measured.setup, "roofs_s": bench.clock.now() - start}
    return replace(measured, roofs=figures, setup=setup, reasons=reasons)


def of_step(case: Case, prepared: Prepared, seconds: float, bench: Bench) -> Figures:
    """What its step does: operators that it starts, multiplications, processors at work."""
    found: dict[str, float | str | None] = {}
    if bench.roofs is not None:
        framework = prepared.model.backend.framework
        found |= bench.roofs.of_launches(case, framework, prepared.evidence, seconds)
    operations = prepared.evidence.get("operations")
    if isinstance(operations, int | float):
        found["operations_ran"] = float(operations)
    if case.device == "cpu":
        # Its time is known; whatever it raises now, this figure alone is missing.
        with contextlib.suppress(Exception), prepared.guard:
            working = processors_busy(prepared.step, seconds, bench.clock.now, bench.processors)
            if working is not None:
                found["processors_busy"] = working
    return found


def with_needs(
    case: Case, measured: Measured, prepared: Prepared, seed: int, bench: Bench
) -> Measured:
    """With the memory and the energy that it needs."""
    on_cpu = case.device == "cpu"
    if on_cpu and bench.resident is None:
        return measured
    bench.announce((case,))  # it is watched for this apart: its time limit begins again
    if not on_cpu:
        seconds = statistics.median(measured.series.samples)
        try:
            with prepared.guard:
                used = bench.energy(prepared.step, case.device, seconds)
        except EscapedError as escaped:
            why = f"{type(escaped.error).__name__} while it was measured"
            used = resources.unknown(why, resources.ENERGY)
        return replace(measured, memory=prepared.memory, energy=used)
    assert bench.resident is not None
    first = sum(prepared.setup[name] for name in ("build_s", "trace_s", "first_call_s"))
    left = None if bench.case_limit is None else bench.case_limit - prepared.took
    held = bench.resident(case, seed, resources.time_limit(first, left))
    return replace(measured, memory=held)
