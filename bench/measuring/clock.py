"""The clock, how finely it counts, and what a first use takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lstm_impl.at_rest import Rest
from lstm_impl.step import Step

MOST_CLOCK_READS = 10_000_000
"""In search of its resolution. The coarsest clock in use, 16 ms, moves within a million."""


class TimingError(RuntimeError):
    """A step or the clock cannot be timed; the message says why."""


class NotWaitedForError(TimingError):
    """Work went on after the wait that should have ended it: its times are too short."""


@dataclass(frozen=True)
class Clock:
    """now: seconds that never go back; resolution: the smallest step of ``now``, in seconds.

    rest: returns once what others have left at work in this process has come to rest; None where
    there is nothing to wait for.
    """

    now: Callable[[], float]
    resolution: float
    rest: Callable[[], None] | None = None

    @classmethod
    def of(cls, now: Callable[[], float]) -> Clock:
        """``now`` with the resolution that it shows.

        Raises TimingError if it stands still.
        """
        smallest, reads, last = math.inf, 0, now()
        while reads < 1000 or smallest == math.inf:
            reads += 1
            if reads > MOST_CLOCK_READS:
                raise TimingError(f"the clock stands still: {reads} readings were the same")
            current = now()
            if current > last:
                smallest = min(smallest, current - last)
            last = current
        return cls(now, smallest)

    @classmethod
    def system(cls) -> Clock:
        """The performance counter of this machine, and the threads of this process."""
        return replace(cls.of(time.perf_counter), rest=Rest())


@dataclass(frozen=True)
class FirstUse:
    """What comes once, in seconds: tracing apart from the first call, which compiles."""

    trace: float
    first_call: float


def first_use(step: Step, clock: Clock) -> FirstUse:
    """Trace ``step``, then call it for the first time and wait for it, each timed apart."""
    start = clock.now()
    step.trace()
    traced = clock.now()
    step.run()
    step.synchronize()
    return FirstUse(traced - start, clock.now() - traced)
