"""From which window on a timestep costs no more than it has to, as measured.

Short windows pay the fixed cost of a step more often, and very long ones may leave a cache. So of
the windows that were measured one is the cheapest per timestep, and around it lie those that cost
hardly more. No line is drawn through anything here. Pure functions of arrays of seconds; this room
knows no files and no cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.judging.intervals import UNPAIRED_ALLOWANCE, CaseInterval
from bench.judging.ratios import SEQUENTIAL_ALLOWANCE
from bench.windows.fit import over_processes

NEAR_CHEAPEST = 0.05
"""A window whose timesteps cost at most this more than the cheapest one's is as good as that: it is
what differs between two machines that are called alike."""


@dataclass(frozen=True)
class Cheapest:
    """Where the cheapest windows lie.

    best: the window with the cheapest timestep. over: of each window, rising, the time of a
    timestep over the cheapest one's, with its interval over the processes.
    first, last: all windows from the one to the other are within ``NEAR_CHEAPEST`` of the best.
    first_low, first_high: the same as ``first``, if each ratio is what its interval allows at the
    least, and at the most. last_high: the last that may be within.
    """

    best: int
    over: Mapping[int, CaseInterval]
    first: int
    first_low: int
    first_high: int
    last: int
    last_high: int

    @property
    def windows(self) -> tuple[int, ...]:
        """All that were measured, rising."""
        return tuple(self.over)

    @property
    def dearer_later(self) -> tuple[int, ...]:
        """The long windows that surely cost more again."""
        return tuple(k for k in self.over if k > self.last_high)


def cheapest(times: Mapping[int, Mapping[str, float]]) -> Cheapest | None:
    """From the seconds of a timestep, by window and by process; None with fewer than two windows.

    Ratios are those inside a process, whose own speed cancels; from 6 processes on with t-intervals
    of their logarithms, with fewer by an allowance of 15% (``judging.ratios``).
    """
    windows = sorted(k for k, found in times.items() if found)
    if len(windows) < 2:
        return None
    medians = {k: float(np.median(list(times[k].values()))) for k in windows}
    best = min(windows, key=lambda k: medians[k])
    over = {k: _ratio(times[k], times[best], k == best) for k in windows}
    at = windows.index(best)

    def reach(steps: Sequence[int], bound: Callable[[CaseInterval], float]) -> int:
        """The furthest of these windows, from the best one on, that are all near it."""
        found = best
        for k in steps:
            if bound(over[k]) > 1 + NEAR_CHEAPEST:
                break
            found = k
        return found

    down, up = windows[:at][::-1], windows[at + 1 :]
    return Cheapest(
        best,
        over,
        reach(down, lambda each: each.mid),
        reach(down, lambda each: each.low),
        reach(down, lambda each: each.high),
        reach(up, lambda each: each.mid),
        reach(up, lambda each: each.low),
    )


def _ratio(mine: Mapping[str, float], best: Mapping[str, float], same: bool) -> CaseInterval:
    both = sorted(mine.keys() & best.keys())
    if both:
        logs = np.array([math.log(mine[each] / best[each]) for each in both])
        found = over_processes(logs, 0.0 if same else SEQUENTIAL_ALLOWANCE, SEQUENTIAL_ALLOWANCE)
    else:
        # No process has both: two processes differ as two times do.
        logs = np.array([math.log(np.median(list(mine.values())) / np.median(list(best.values())))])
        found = over_processes(logs, math.sqrt(2) * UNPAIRED_ALLOWANCE, UNPAIRED_ALLOWANCE)
    return CaseInterval(
        math.exp(found.low),
        math.exp(found.mid),
        math.exp(found.high),
        found.confidence,
        len(both),
        found.allowance,
        found.how.replace("over their lines", "of their ratios"),
    )
