"""Wait until the other threads of a process are idle, so that only the next work is timed."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LOOK = 5e-4
"""The seconds between two looks. A thread that works all this time uses as much processor time."""

AT_WORK = 0.1
"""The part of a look from which a thread counts as working. A thread that wakes up now and then,
such as a garbage collector's or a profiler's, uses less. A thread that waits in a loop uses all of
it, and still half of it on a busy machine."""

LONGEST = 0.25
"""The longest wait in seconds. On a busy machine, ONNX Runtime's threads became idle after 90 ms.
"""

LONG_CALL = 0.05
"""The longest call, in seconds, before which an untimed call is made. After another backend has
run, the data is in no cache and the threads are asleep, so the first call takes longer. Before a
long call the untimed one would double the time, and the first long call used less than 1% more
processor time."""

TRIES = 3
"""The number of timeouts after which no more waits follow. The working thread is then taken as part
of what is timed."""

THREADS = Path("/proc/self/task")
"""The folder in which Linux lists the threads of this process."""

CLOCK_OF_THREAD = 6
"""The bits of a clock's number that select the processor time of one thread
(``CPUCLOCK_PERTHREAD_MASK`` and ``CPUCLOCK_SCHED`` in Linux's ``include/linux/posix-timers.h``)."""


def other_threads() -> dict[int, float]:
    """Return the processor seconds that each other thread of this process has used, by its number.

    Linux updates the time of a process only at its ticks, about every 4 ms. By that clock, a thread
    that works for an entire ``LOOK`` may seem idle. The clock of a single thread is exact. On other
    systems, all threads count as one: the process.
    """
    if not THREADS.exists():
        return {os.getpid(): time.process_time() - time.thread_time()}
    own, used = threading.get_native_id(), {}
    for number in (int(each.name) for each in THREADS.iterdir()):
        if number != own:
            # The thread has ended since the folder was listed.
            with contextlib.suppress(OSError):
                used[number] = time.clock_gettime(~number << 3 | CLOCK_OF_THREAD)
    return used


def used_since(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """Return the seconds that threads used between two looks, without those that have ended."""
    return sum(max(0.0, used - before.get(number, 0.0)) for number, used in now.items())


class IdleWait:
    """Wait, whenever it is called, until the other threads of the process are idle.

    Parameters
    ----------
    now
        The clock, in seconds.
    others
        A function that returns the processor seconds of each other thread, by its number.
    sleep
        A function that sleeps for some seconds.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        others: Callable[[], Mapping[int, float]] = other_threads,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now, self._others, self._sleep = now, others, sleep
        self.timeouts = 0

    def __call__(self) -> None:
        """Return once the other threads are idle, or after ``LONGEST`` seconds."""
        if self.timeouts >= TRIES:
            return
        begun = start = self._now()
        before = self._others()
        while start - begun < LONGEST:
            self._sleep(LOOK)
            now, others = self._now(), self._others()
            if used_since(before, others) < AT_WORK * (now - start):
                self.timeouts = 0
                return
            start, before = now, others
        self.timeouts += 1
