"""Wait until a process's other threads rest, so that what comes next is timed alone."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LOOK = 5e-4
"""Seconds of one look: a thread that works all that time uses as much of a processor."""

AT_WORK = 0.1
"""Part of a look that counts as work. Threads that wake up now and then (a garbage collector's, a
profiler's) use less; one that waits in a loop uses all of it, on a busy machine still half."""

LONGEST = 0.25
"""Seconds to wait at most: ONNX Runtime's threads rested after 90 ms on a busy machine."""

LONG_CALL = 0.05
"""Seconds of a call up to which one that is not timed comes before a block: after other steps its
data is in no cache and its threads are asleep. Before longer ones it would double the time, and the
first of those used under 1% more processor time."""

TRIES = 3
"""After this number of waits that time out, no more follow: the thread is part of what is timed."""

THREADS = Path("/proc/self/task")
"""Where Linux lists a process's threads."""

CLOCK_OF_THREAD = 6
"""In a clock's number, that it is of one thread (``CPUCLOCK_PERTHREAD_MASK`` and ``CPUCLOCK_SCHED``
in Linux's ``include/linux/posix-timers.h``)."""


def other_threads() -> dict[int, float]:
    """Return the processor seconds that each other thread of this process has used, by its number.

    Linux brings the time of a process up to date at its ticks, every 4 ms or so, and a thread that
    works for a whole ``LOOK`` may seem to rest; that of one thread is exact. Elsewhere all count as
    one, the process.
    """
    if not THREADS.exists():
        return {os.getpid(): time.process_time() - time.thread_time()}
    own, used = threading.get_native_id(), {}
    for number in (int(each.name) for each in THREADS.iterdir()):
        if number != own:
            with contextlib.suppress(OSError):  # it has ended
                used[number] = time.clock_gettime(~number << 3 | CLOCK_OF_THREAD)
    return used


def used_since(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """Return the seconds that threads used between two looks; one that has ended counts nothing."""
    return sum(max(0.0, used - before.get(number, 0.0)) for number, used in now.items())


class Rest:
    """Waits, each time it is called, until the other threads rest."""

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        others: Callable[[], Mapping[int, float]] = other_threads,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now, self._others, self._sleep = now, others, sleep
        self.in_vain = 0

    def __call__(self) -> None:
        """Return once the others rest, or after ``LONGEST`` seconds."""
        if self.in_vain >= TRIES:
            return
        begun = start = self._now()
        before = self._others()
        while start - begun < LONGEST:
            self._sleep(LOOK)
            now, others = self._now(), self._others()
            if used_since(before, others) < AT_WORK * (now - start):
                self.in_vain = 0
                return
            start, before = now, others
        self.in_vain += 1
