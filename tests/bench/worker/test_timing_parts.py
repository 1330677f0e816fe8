"""The clock of processors, and what a series of samples says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker.timing import ENOUGH, Processors, StepSeries, Stopped, processors_busy
from lstm_impl import Step


@dataclass
class Clocks:
    """others: processors of two that other processes keep busy."""

    others: float = 0.0
    time: float = 0.0
    used: float = 0.0
    idle: float = 0.0
    calls: int = 0

    def step(self, seconds: float, used: float) -> Step:
        def run() -> None:
            self.calls += 1
            self.time += seconds
            self.used += used
            self.idle += max(0.0, (2.0 - self.others) * seconds - used)

        return Step(run, lambda: None, lambda: None)

    def busy(self, seconds: float, used: float) -> float | None:
        processors = Processors(lambda: self.used, lambda: self.idle)
        return processors_busy(self.step(seconds, used), seconds, lambda: self.time, processors)


@pytest.mark.parametrize("processors", [0.0, 0.25, 1.0, 1.9])
def test_it_is_the_processors_time_for_each_second(processors: float) -> None:
    assert Clocks().busy(1e-3, processors * 1e-3) == pytest.approx(processors)


@pytest.mark.parametrize(
    ("others", "processors", "told"),
    [(1.6, 0.4, False), (2.0, 0.1, False), (1.6, 1.0, True), (1.0, 0.1, True), (0.5, 0.6, True)],
)
def test_a_step_whose_processor_others_have_is_not_said_to_wait(
    others: float, processors: float, told: bool
) -> None:
    found = Clocks(others).busy(1e-2, processors * 1e-2)
    assert found == (pytest.approx(processors) if told else None)


def test_short_steps_are_called_until_it_can_be_told_and_long_ones_once() -> None:
    clocks = Clocks()
    clocks.busy(1e-4, 1e-4)
    assert clocks.calls * 1e-4 == pytest.approx(ENOUGH)
    clocks = Clocks()
    clocks.busy(3.0, 3.0)
    assert clocks.calls == 1


def test_a_clock_of_processors_that_goes_back_is_no_less_than_none() -> None:
    assert Clocks().busy(1.0, -1.0) == 0.0


def test_this_system_counts_both() -> None:
    processors = Processors()
    used = processors.used()
    sum(range(300_000))
    assert processors.used() > used
    assert processors.idle() >= 0


SECONDS = st.floats(1e-9, 1e6)


@given(st.integers(1, 10**6), st.lists(SECONDS, max_size=9))
def test_a_sample_is_its_block_s_time_for_one_call(calls: int, blocks: list[float]) -> None:
    rounds = tuple(range(len(blocks)))
    series = StepSeries(calls, tuple(blocks), rounds, (), Stopped.TIME, None, 0.0)
    assert [calls * each for each in series.samples] == pytest.approx(blocks)


def test_result_files_say_in_these_words_why_there_are_no_more_samples() -> None:
    assert list(map(str, Stopped)) == ["precise", "time", "rounds"]
