"""What measuring costs besides the blocks that count: where the time of a session went.

Every case's record has the seconds of what was done for it; what is left of the session's time is
the processes' own: starting and ending Python, reading the machine's state, writing files, cases
that ended without a time. No framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.results.schema import Measurement


@dataclass(frozen=True)
class Overhead:
    """Seconds of a session.

    measured: inside blocks that count. warm_up: finding how many calls make a block, warming up,
    and the call before each block. first_use: building, tracing, compiling, first calls. gate: of
    the comparison with the reference. evidence: asking what runs. memory: in processes of their
    own. rest: all others of ``spent``.
    """

    spent: float
    measured: float
    warm_up: float
    first_use: float
    gate: float
    evidence: float
    memory: float
    starting: float
    roofs: float

    @property
    def outside(self) -> float:
        """All but the blocks that count."""
        return max(0.0, self.spent - self.measured)

    @property
    def rest(self) -> float:
        """What no case's record tells."""
        known = self.warm_up + self.first_use + self.gate + self.evidence + self.memory
        return max(0.0, self.outside - known - self.starting - self.roofs)

    def parts(self) -> list[tuple[str, float]]:
        """What was outside measured blocks, in words, the longest first."""
        named = [
            ("warming up", self.warm_up),
            ("building, tracing and compiling", self.first_use),
            ("the gate", self.gate),
            ("evidence", self.evidence),
            ("memory", self.memory),
            ("starting frameworks", self.starting),
            ("roofs", self.roofs),
            ("processes' start and end, cases without a time", self.rest),
        ]
        return sorted(named, key=lambda part: -part[1])


def overhead(measurements: Iterable[Measurement], spent: float) -> Overhead:
    """Where ``spent`` seconds went, of which these measurements came."""
    measured = warm_up = first_use = gate = evidence = memory = starting = roofs = 0.0
    for each in measurements:
        inside = each.timed_s
        seconds = {key: value or 0.0 for key, value in each.setup.items()}
        measured += inside
        # Each has an even part of its group's time: what one had less of, another had more. Files
        # of before it was recorded have no ``timing_s``.
        warm_up += seconds.get("timing_s", inside) - inside
        for key in ("build_s", "trace_s", "first_call_s"):
            first_use += seconds.get(key, 0.0)
        gate += seconds.get("gate_s", 0.0)
        evidence += seconds.get("evidence_s", 0.0)
        starting += seconds.get("start_s", 0.0)
        roofs += seconds.get("roofs_s", 0.0)
        took = (each.memory or {}).get("seconds")
        memory += took if isinstance(took, int | float) else 0.0
    warm_up = max(0.0, warm_up)
    return Overhead(spent, measured, warm_up, first_use, gate, evidence, memory, starting, roofs)
