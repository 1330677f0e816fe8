"""Test the wait for a process's other threads."""

import threading
import time
from dataclasses import dataclass

import pytest

from lstm_impl.at_rest import AT_WORK, LONGEST, LOOK, TRIES, Rest


@dataclass
class Process:
    """A process whose other thread works for ``busy`` seconds at a part of a processor."""

    busy: float
    share: float = 1.0
    late: float = 0.0  # seconds by which a sleep is too long
    time: float = 0.0
    looks: int = 0

    def others(self) -> float:
        return self.share * min(self.time, self.busy)

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        self.time += seconds + self.late

    def rest(self) -> Rest:
        return Rest(lambda: self.time, self.others, self.sleep)


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


def test_rest_with_an_endless_thread_stops_waiting_after_some_tries() -> None:
    process = Process(1e9)
    rest = process.rest()
    for _ in range(100):
        rest()
    assert rest.in_vain == TRIES
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
            Rest(sleep=sleep)()
    finally:
        stop.set()
        thread.join()
