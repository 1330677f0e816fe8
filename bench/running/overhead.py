"""What measuring costs besides the blocks that count: where the time of a session went.

Every case's record has the seconds of what was done for it; what is left of the session's time is
the processes' own: starting and ending Python, reading the machine's state, writing files, cases
that ended without a time. No framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.results.schema import Measurement

WARM_UP, FIRST_USE, MEMORY = "warming up", "building, tracing and compiling", "memory"
"""Warming up: finding how many calls make a block, and the call before each block, too."""

_OF_SETUP = {
    **dict.fromkeys(("build_s", "trace_s", "first_call_s"), FIRST_USE),
    "gate_s": "the gate",
    "evidence_s": "evidence",
    "start_s": "starting frameworks",
    "roofs_s": "roofs",
}
"""What the seconds of a case's record went into."""

REST = "processes' start and end, cases without a time"
"""What no case's record tells."""


@dataclass(frozen=True)
class Overhead:
    """Seconds of a session.

    measured: inside blocks that count. told: outside these, by what they went into, as far as the
    cases' records tell it.
    """

    spent: float
    measured: float
    told: Mapping[str, float]

    @property
    def outside(self) -> float:
        """All but the blocks that count."""
        return max(0.0, self.spent - self.measured)

    def parts(self) -> list[tuple[str, float]]:
        """What was outside measured blocks, in words, the longest first."""
        rest = max(0.0, self.outside - sum(self.told.values()))
        return sorted([*self.told.items(), (REST, rest)], key=lambda part: -part[1])


def overhead(measurements: Iterable[Measurement], spent: float) -> Overhead:
    """Where ``spent`` seconds went, of which these measurements came."""
    told = dict.fromkeys((WARM_UP, *_OF_SETUP.values(), MEMORY), 0.0)
    measured = 0.0
    for each in measurements:
        inside = each.timed_s
        measured += inside
        # Each has an even part of its group's time: what one had less of, another had more. Files
        # of before it was recorded have no ``timing_s``.
        told[WARM_UP] += (each.setup.get("timing_s", inside) or 0.0) - inside
        for key, part in _OF_SETUP.items():
            told[part] += each.setup.get(key) or 0.0
        took = (each.memory or {}).get("seconds")
        told[MEMORY] += took if isinstance(took, int | float) else 0.0
    told[WARM_UP] = max(0.0, told[WARM_UP])
    return Overhead(spent, measured, told)
