"""What comes of a case: a measurement, or why there is none."""

from __future__ import annotations

import statistics
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np

from bench.case.cases import Case
from bench.machine.fresh import one_line
from bench.machine.guard import EscapedError
from bench.records import hdr
from bench.records.schema import SCHEMA, Figures, RecordedReason
from bench.records.streaming import Bounds, StreamCalls, Taken
from bench.stats.latency import PARTS, percentile
from bench.worker.timing import FirstUse, StepSeries, StreamConditions, Streamed
from lstm_impl.proof import GateResult
from lstm_impl.spec import FloatArray

NOT_MEASURED, REFUSED, FAILED = "not_measured", "refused", "failed"


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
    process. stream: what stood next to the calls of a stream.
    """

    series: StepSeries
    build: float
    first_use: FirstUse
    gate: GateResult
    evidence: Mapping[str, object]
    reasons: tuple[RecordedReason, ...]
    roofs: Figures | None = None
    memory: Figures | None = None
    energy: Figures | None = None
    judging: float | None = None
    looking: float | None = None
    timing: float | None = None
    starting: float | None = None
    roofing: float | None = None
    remarks: tuple[str, ...] = ()
    stream: StreamConditions | None = None

    def to_extra(self, case: Case, seed: int) -> dict[str, object]:
        """What is next to the samples in a result file."""
        series = self.series
        # What the first call takes beyond an ordinary one; noise may leave nothing of it.
        compiling = self.first_use.first_call - statistics.median(series.samples)
        return {
            "schema": SCHEMA,
            "case": case.to_dict(),
            "case_id": case.id,
            "gate": asdict(self.gate),
            "evidence": dict(self.evidence),
            "setup": {
                "build_s": self.build,
                "trace_s": self.first_use.trace,
                "first_call_s": self.first_use.first_call,
                "compile_s": compiling if compiling >= 0 else None,
                "gate_s": self.judging,
                "evidence_s": self.looking,
                "timing_s": self.timing,
                "untimed_s": series.untimed,
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
                "reasons": [asdict(each) for each in self.reasons],
            },
            "remarks": list(self.remarks),
        } | self._streaming(case)

    def _streaming(self, case: Case) -> dict[str, object]:
        """What is kept of a stream's calls; nothing of what is none."""
        if self.series.streamed is None:
            return {}
        conditions = self.stream or StreamConditions()
        found = kept(self.series.streamed, conditions, case.workload.period)
        return {"streaming": found.to_dict()}


Result: TypeAlias = Measured | Unmeasured


def failed(error: BaseException, during: str) -> Unmeasured:
    """What becomes of a case whose backend raised this. during: when, in words."""
    if isinstance(error, EscapedError):
        error = error.error
    message = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        message += "; its own code raised it: no Ctrl-C came"
    return Unmeasured(
        FAILED,
        f"{type(error).__name__} {during}: {message}",
        details="".join(traceback.format_exception(error)),
    )


def counted_reasons(results: Iterable[Measured]) -> Counter[RecordedReason]:
    """How many measurements each reason spoils, by its code, in its first wording."""
    first: dict[str, RecordedReason] = {}
    counts: Counter[RecordedReason] = Counter()
    for result in results:
        for reason in result.reasons:
            counts[first.setdefault(reason.code, reason)] += 1
    return counts


def kept(streamed: Streamed, conditions: StreamConditions, period: float | None) -> StreamCalls:
    """What a result file holds of these calls.

    A deadline is the period where none is given: what is later is late for the next call, too.
    """
    deadline = period if conditions.deadline is None else conditions.deadline
    missed = 0 if deadline is None else int(np.count_nonzero(streamed.latency > deadline))
    return StreamCalls(
        calls=streamed.latency.size,
        latency=_taken(streamed.latency),
        service=_taken(streamed.service),
        load=conditions.load,
        deadline=deadline,
        missed=missed,
    )


def _taken(seconds: FloatArray) -> Taken:
    ordered = np.sort(seconds).astype(np.float64)
    found = {part: percentile(ordered, part) for part in PARTS}
    return Taken(
        {
            part: Bounds(each.low, each.mid, each.high, each.confidence)
            for part, each in found.items()
            if each is not None
        },
        float(ordered[-1]),
        hdr.encode(ordered),
    )
