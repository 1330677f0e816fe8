"""Test the wait for a process's other threads."""

import hashlib
import threading
import time
from dataclasses import dataclass

import pytest

from lstm_impl.at_rest import AT_WORK, LONGEST, LOOK, TRIES, IdleWait, other_threads, used_since


@dataclass
class Process:
    """Simulate a process whose other thread works for ``busy`` seconds."""

    busy: float
    share: float = 1.0
    late: float = 0.0  # seconds by which a sleep is too long
    time: float = 0.0
    looks: int = 0
    ended: float = float("inf")  # seconds until a thread with much time ends

    def others(self) -> dict[int, float]:
        ended = {} if self.time >= self.ended else {2: 100.0}
        return {1: self.share * min(self.time, self.busy), **ended}

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        self.time += seconds + self.late

    def rest(self) -> IdleWait:
        return IdleWait(lambda: self.time, self.others, self.sleep)


def test_rest_without_other_threads_takes_one_look() -> None:
    process = Process(0.0)
    process.rest()()
    assert process.looks == 1
    assert process.time == LOOK


@pytest.mark.parametrize("share", [1.0, 0.5, 2 * AT_WORK])
@pytest.mark.parametrize("late", [0.0, 0.004])
def test_rest_with_other_threads_waits_until_they_rest(share: float, late: float) -> None:
    process = Process(0.03, share, late)
    process.rest()()
    assert 0.03 <= process.time <= 0.03 + 2 * (LOOK + late)


def test_rest_while_a_thread_ends_waits_for_the_others() -> None:
    process = Process(0.03, ended=0.01)
    process.rest()()
    assert process.time >= 0.03
    # The number of one that has ended may be that of another.
    assert used_since({1: 5.0, 2: 1.0}, {1: 0.5, 2: 3.0, 3: 1.0}) == 3.0


def test_rest_with_an_endless_thread_stops_waiting_after_some_tries() -> None:
    process = Process(1e9)
    rest = process.rest()
    for _ in range(100):
        rest()
    assert rest.timeouts == TRIES
    assert process.time <= TRIES * (LONGEST + 2 * LOOK)


# With threads


def test_rest_sees_a_thread_that_waits_in_a_loop() -> None:
    looks: list[float] = []
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        time.sleep(seconds)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        # On a machine that is busy the thread may not have had its turn in a look: then once more.
        while len(looks) < 2:
            looks.clear()
            IdleWait(sleep=sleep)()
    finally:
        stop.set()
        thread.join()


def test_time_of_other_threads_is_exact_between_ticks_of_the_system() -> None:
    """The time of a process grows in ticks of about 4 ms; that of a thread is exact."""
    stop, looks, end = threading.Event(), 0, time.monotonic() + 20

    def work() -> None:
        while not stop.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10_000)

    thread = threading.Thread(target=work)
    thread.start()
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    try:
        while looks < 20 and time.monotonic() < end:
            before, worked = other_threads(), time.clock_gettime(clock)
            time.sleep(4 * LOOK)
            now, used = time.monotonic(), used_since(before, other_threads())
            worked = time.clock_gettime(clock) - worked - (time.monotonic() - now)
            if worked >= 2 * LOOK:  # it had its turn
                looks += 1
                assert used >= LOOK
    finally:
        stop.set()
        thread.join()
    assert looks
