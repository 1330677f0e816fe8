"""Calls of a stream on a simulated clock."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from bench import case as suites
from bench.case import SuiteChoice
from bench.stats.latency import fewest_calls
from bench.worker import timing
from bench.worker.group import stream_calls
from lstm_impl.call import Step


@dataclass
class Machine:
    """A computer whose steps take given times, and whose sleep is ``late`` or ``early``."""

    time: float = 100.0
    late: float = 0.0
    naps: list[float] = field(default_factory=list)
    early: float = 0.0

    @property
    def clock(self) -> timing.Clock:
        return timing.Clock(lambda: self.time, 1e-9, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.naps.append(seconds)
        # A sleep may end early; the caller then sleeps again.
        self.time += max(1e-6, seconds - self.early if len(self.naps) % 2 else seconds) + self.late

    def step(self, costs: Iterator[float] | float, wait: float = 0.0) -> Step:
        each = itertools.repeat(costs) if isinstance(costs, float) else costs

        def run() -> None:
            self.time += next(each)

        def synchronize() -> None:
            self.time += wait

        return Step(run, synchronize, lambda: None)


def test_timed_calls_back_to_back_include_the_wait() -> None:
    machine = Machine()
    calls = timing.timed_calls(
        machine.step(iter([1.0, 2.0, 3.0]), wait=0.5), 3, None, machine.clock
    )
    assert calls.service == pytest.approx([1.5, 2.5, 3.5])
    np.testing.assert_array_equal(calls.latency, calls.service)


def test_timed_calls_with_period_count_latency_from_due_time() -> None:
    for late in (0.0, 0.0005):
        machine = Machine(late=late)
        calls = timing.timed_calls(machine.step(0.002), 4, 0.01, machine.clock)
        assert calls.latency == pytest.approx([0.002 + late] * 4)
        assert calls.service == pytest.approx([0.002] * 4)
        # It sleeps until the next is due.
        assert machine.naps == pytest.approx([0.01, *[0.008 - late] * 3])


def test_timed_calls_stall_delays_every_waiting_call() -> None:
    """No coordinated omission: a stall of 45 ms delays the four calls that are due in it."""
    machine = Machine()
    step = machine.step(iter([0.001, 0.045, *[0.001] * 6]))
    calls = timing.timed_calls(step, 8, 0.01, machine.clock)
    assert calls.service == pytest.approx([0.001, 0.045, *[0.001] * 6])
    expected = [0.001, 0.045, 0.036, 0.027, 0.018, 0.009, 0.001, 0.001]
    assert calls.latency == pytest.approx(expected)
    found = stream_calls(calls, timing.StreamConditions(), 0.01)
    assert (found.deadline, found.missed, found.calls) == (0.01, 4, 8)


def series(found: timing.StepSeries | timing.Broken) -> timing.StepSeries:
    assert isinstance(found, timing.StepSeries), found
    return found


def test_measure_streams_uses_all_time_and_keeps_every_call() -> None:
    machine = Machine()
    steps = {"a": machine.step(0.0002), "b": machine.step(0.0004)}
    found = timing.measure_streams(steps, timing.TimingPlan(2.0, precision=0.5), machine.clock)
    for name, cost in (("a", 0.0002), ("b", 0.0004)):
        result = series(found[name])
        assert result.stopped is timing.Stopped.TIME
        assert result.streamed is not None
        assert result.streamed.latency.size == result.calls * len(result.blocks)
        assert result.samples == pytest.approx([cost] * len(result.blocks))
        np.testing.assert_allclose(result.streamed.service, cost)
    assert machine.time - 100.0 == pytest.approx(4.0, rel=0.05)


def test_streaming_suite_has_time_for_a_99th_percentile() -> None:
    suite = suites.load("streaming", SuiteChoice(devices=["cpu"]))
    (paced,) = {case.group for case in suite.cases if case.workload.period is not None}
    backends = [case.backend for case in suite.cases if case.group == paced]
    machine = Machine(late=0.0001)
    steps = {name: machine.step(0.0003) for name in backends}
    plan = timing.TimingPlan(suite.seconds[paced])
    for result in timing.measure_streams(steps, plan, machine.clock, period=0.01).values():
        streamed = series(result).streamed
        assert streamed is not None
        # Half a second without calls leaves enough.
        assert streamed.latency.size >= fewest_calls(99.0) + 50


def test_measure_streams_sample_is_the_median_of_its_block() -> None:
    machine = Machine()
    costs = itertools.cycle([0.001] * 9 + [0.1])
    result = series(
        timing.measure_streams({"a": machine.step(costs)}, timing.TimingPlan(20.0), machine.clock)[
            "a"
        ]
    )
    assert result.samples == pytest.approx([0.001] * len(result.samples))
    assert result.streamed is not None
    assert result.streamed.latency.max() == pytest.approx(0.1)


def test_measure_streams_step_not_waited_for_is_broken() -> None:
    """Calls return at once, and results are computed when they are copied."""
    machine = Machine()
    due = 0.0

    def run() -> str:
        nonlocal due
        machine.time += 1e-5
        due = machine.time + 0.003
        return "raw"

    def results(raw: object) -> dict[str, np.ndarray]:
        machine.time = max(machine.time, due) + 1e-6
        return {name: np.zeros((1, 1, 1)) for name in ("y", "h", "c")}

    step = Step(
        run,
        lambda: None,
        lambda: None,
        use=lambda numbers: None,
        results=results,
        place_results=lambda results: lambda: None,
    )
    found = timing.measure_streams({"a": step}, timing.TimingPlan(0.5), machine.clock)["a"]
    assert isinstance(found, timing.Broken)
    assert "the wait does not wait for the work" in str(found.error)


@pytest.mark.parametrize("period", [None, 0.01])
def test_measure_streams_slow_member_takes_no_time_of_others(period: float | None) -> None:
    """Each member has its own share of the time."""
    machine = Machine()
    turning = itertools.chain([0.0002] * 300, itertools.repeat(0.05))
    steps = {"a": machine.step(0.0002), "slow": machine.step(turning), "b": machine.step(0.0002)}
    found = timing.measure_streams(steps, timing.TimingPlan(8.0), machine.clock, period=period)
    for name in ("a", "b"):
        streamed = series(found[name]).streamed
        assert streamed is not None
        assert streamed.latency.size * (period or 0.0002) >= 0.7 * 8.0
    slow = series(found["slow"])
    assert slow.rounds == series(found["a"]).rounds[: len(slow.rounds)]
    assert machine.time - 100.0 <= 1.05 * 3 * 8.0
