"""The clock and how finely it counts; what a first use takes, and what a step keeps busy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil

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


ENOUGH = 0.1
"""Seconds of calls: ten of the hundredths in which a system counts its processors' idle time."""


@dataclass(frozen=True)
class Processors:
    """Seconds of processors' time so far: used by this process, and idle, of all together."""

    used: Callable[[], float] = time.process_time
    idle: Callable[[], float] = lambda: float(psutil.cpu_times().idle)


def processors_busy(
    step: Step, seconds: float, now: Callable[[], float], processors: Processors
) -> float | None:
    """Processors that a step of ``seconds`` keeps busy, on average.

    None where it kept less than one busy and others had the rest: a step that waits for a processor
    is no step that waits. now: seconds that never go back. Threads that turn round and round while
    they wait count as busy.
    """
    calls = max(1, math.ceil(ENOUGH / seconds))
    step.synchronize()
    idle, used, start = processors.idle(), processors.used(), now()
    for _ in range(calls):
        step.run()
    step.synchronize()
    whole = now() - start
    busy = max(0.0, processors.used() - used) / whole
    left = (processors.idle() - idle) / whole
    return busy if busy >= 1.0 or left >= 1.0 - busy else None
