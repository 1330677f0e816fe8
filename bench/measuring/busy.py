"""How many processors a step keeps busy: one that waits for something else keeps none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from lstm_impl import Step

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
