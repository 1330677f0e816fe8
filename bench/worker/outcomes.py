"""What comes of a case: a measurement, or why there is none."""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Mapping
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
from bench.worker.timing import StepSeries, StreamConditions, Streamed
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


SETUP = (
    *("build_s", "trace_s", "first_call_s", "compile_s", "gate_s", "evidence_s", "timing_s"),
    *("untimed_s", "start_s", "roofs_s"),
)
"""Seconds that are recorded of a case, besides its samples."""


@dataclass(frozen=True)
class Measured:
    """A case that passed the gate and was timed.

    setup: seconds of each part, by the names of ``SETUP``: to make the model, trace it, call it for
    the first time, judge it, look up what it runs; its part of the seconds for which its group was
    warmed up and timed; to start its framework, if it was the first to need it, and to find its
    roofs. reasons: empty if it is valid. remarks: what its backend's code warned of, and what it
    changed of the process.
    """

    series: StepSeries
    setup: Mapping[str, float]
    gate: GateResult
    evidence: Mapping[str, object]
    reasons: tuple[RecordedReason, ...] = ()
    roofs: Figures | None = None
    memory: Figures | None = None
    energy: Figures | None = None
    remarks: tuple[str, ...] = ()
    stream: StreamCalls | None = None

    def to_extra(self, case: Case, seed: int) -> dict[str, object]:
        """What is next to the samples in a result file."""
        series = self.series
        setup: dict[str, float | None] = {name: self.setup.get(name) for name in SETUP}
        # What the first call takes beyond an ordinary one; noise may leave nothing of it.
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
                "reasons": [asdict(each) for each in self.reasons],
            },
            "remarks": list(self.remarks),
            **streaming,
        }


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


def kept(streamed: Streamed, conditions: StreamConditions, period: float | None) -> StreamCalls:
    """What a result file holds of the calls of a stream.

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
