import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker import timing
from bench.worker.kept_results import (
    FEWEST_KEPT,
    FIRST_OWN_NUMBER,
    LAST_NUMBERS,
    SLOT_NUMBERS,
    SLOTS,
    Selection,
)
from lstm_impl.call import Step


@dataclass
class Machine:
    """A computer whose clock moves only when a step works or waits."""

    time: float = 0.0
    log: list[str] = field(default_factory=list)

    def clock(self, resolution: float = 1e-9) -> timing.Clock:
        return timing.Clock(lambda: self.time, resolution)

    def step(
        self, name: str, cost: float | Iterator[float], wait: float = 0.0, trace: float = 0.0
    ) -> Step:
        """Return a step that takes ``cost`` seconds, or the next of them, and its wait."""
        costs = itertools.repeat(cost) if isinstance(cost, int | float) else cost

        def run() -> None:
            self.log.append(name)
            self.time += next(costs)

        def pass_time(seconds: float) -> Callable[[], None]:
            def work() -> None:
                self.time += seconds

            return work

        return Step(run, pass_time(wait), pass_time(trace))


def series(result: timing.StepSeries | timing.Broken) -> timing.StepSeries:
    assert isinstance(result, timing.StepSeries), result
    return result


def alone(machine: Machine, step: Step, seconds: float = 20.0) -> timing.StepSeries:
    """Measure a single step."""
    return series(timing.measure({"a": step}, timing.TimingPlan(seconds), machine.clock())["a"])


def noisy(center: float, spread: float) -> Iterator[float]:
    """Yield a slow and a fast time by turns, which no number of samples makes precise."""
    return itertools.cycle([center * (1 - spread), center * (1 + spread)])


@pytest.mark.parametrize("placing", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_measure_spinning_threads_slow_no_member(seed: int, placing: bool) -> None:
    """Threads spin for 0.2 s after blocks of one member, or after inputs were placed for the other,
    which needs all processors."""
    machine = Machine()
    until = 0.0

    def spin(cost: float) -> Callable[..., None]:
        def work(*numbers: object) -> None:
            nonlocal until
            machine.time += cost
            until = machine.time + 0.2

        return work

    def plain() -> None:
        # The other takes half of the machine while it spins.
        shared = max(0.0, until - machine.time)
        machine.time += 0.02 if shared == 0 else min(0.04, 0.02 + shared / 2)

    def rest() -> None:
        machine.time = max(machine.time, until)

    steps = {} if placing else {"spins": Step(spin(0.02), lambda: None, lambda: None)}
    use = spin(0.0) if placing else None
    steps["plain"] = Step(plain, lambda: None, lambda: None, use)
    plan = timing.TimingPlan(20.0, -1.0, seed)
    disturbed = series(timing.measure(steps, plan, machine.clock())["plain"])
    assert max(disturbed.samples) > 1.5 * 0.02
    clock = timing.Clock(lambda: machine.time, 1e-9, rest)
    rested = series(timing.measure(steps, plan, clock)["plain"])
    assert rested.samples == pytest.approx([0.02] * len(rested.samples))


def test_measure_single_call_has_an_untimed_call_before() -> None:
    machine = Machine()
    # The first call after another member's takes longer.
    costs = {"a": itertools.cycle([0.03, 0.02]), "b": itertools.cycle([0.05, 0.04])}
    steps = {name: machine.step(name, cost) for name, cost in costs.items()}
    clock = timing.Clock(lambda: machine.time, 1e-9, lambda: None)
    found = timing.measure(steps, timing.TimingPlan(5.0, -1.0), clock)
    for name, cost in (("a", 0.02), ("b", 0.04)):
        samples = series(found[name]).samples[5:]
        assert samples == pytest.approx([cost] * len(samples))


def test_measure_queued_work_is_waited_for() -> None:
    machine = Machine()
    queued = 0.0

    def launch() -> None:
        nonlocal queued
        machine.time += 1e-5
        queued += 0.003

    def finish() -> None:
        nonlocal queued
        machine.time, queued = machine.time + queued, 0.0

    step = Step(launch, finish, lambda: None)
    assert timing.first_use(step, machine.clock())[1] == pytest.approx(0.00301)
    result = alone(machine, step, 1.0)
    assert result.samples == pytest.approx([0.00301] * len(result.samples))


@pytest.mark.parametrize("cost", [1e-6, 0.002, 2.0])
def test_measure_long_wait_gets_longer_blocks(cost: float) -> None:
    machine = Machine()
    wait = 0.001
    step = machine.step("a", cost, wait=wait)
    result = alone(machine, step, 10.0)
    assert result.synchronize == pytest.approx(wait)
    assert min(result.blocks) >= 100 * wait * 0.999


def test_measure_short_step_has_several_calls_a_block() -> None:
    machine = Machine()
    steps = {"long": machine.step("long", 0.2), "short": machine.step("short", 1e-4)}
    results = timing.measure(steps, timing.TimingPlan(10.0), machine.clock())
    assert series(results["long"]).calls == 1
    assert 100 <= series(results["short"]).calls <= 120


@pytest.mark.parametrize("cost", [0.0021, 0.004, 0.009])
def test_measure_untimed_call_is_a_twentieth_if_time_allows(cost: float) -> None:
    def calls(seconds: float) -> int:
        machine = Machine()
        steps = {"a": machine.step("a", noisy(cost, 0.1))}
        return series(timing.measure(steps, timing.TimingPlan(seconds), machine.clock())["a"]).calls

    assert calls(20.0) == timing.CALLS_FOR_ONE
    assert (calls(0.1) - 1) * cost * 0.9 <= 1.2 * timing.SHORTEST_BLOCK  # the shortest block
    assert calls(20.0) >= calls(2.0) >= calls(0.1)


@pytest.mark.parametrize(("seconds", "untimed"), [(10.0, True), (0.5, False)])
def test_measure_short_of_time_leaves_out_untimed_calls(seconds: float, untimed: bool) -> None:
    machine = Machine()
    clock = replace(machine.clock(), rest=lambda: None)
    steps = {name: machine.step(name, noisy(0.03, 0.1)) for name in "ab"}
    found = [
        series(each) for each in timing.measure(steps, timing.TimingPlan(seconds), clock).values()
    ]
    per_block = [each.untimed / (len(each.blocks) + len(each.warmup)) for each in found]  # type: ignore[operator]
    # Calibration comes before it is known how many rounds fit.
    assert all((each > 0.02) is untimed for each in per_block)
    assert untimed or all(len(each.blocks) >= 8 for each in found)


def test_measure_faster_after_warm_up_adds_calls() -> None:
    machine = Machine()
    costs = itertools.chain([0.02] * 4, itertools.repeat(0.001))
    result = alone(machine, machine.step("a", costs), 5.0)
    assert result.calls >= 10
    assert result.samples == pytest.approx([0.001] * len(result.samples))


def test_measure_rounds_have_each_member_in_seeded_order() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine()
        steps = {name: machine.step(name, noisy(0.1, 0.2)) for name in "abc"}
        results = timing.measure(steps, timing.TimingPlan(30.0, seed=seed), machine.clock())
        rounds = {name: series(result).rounds for name, result in results.items()}
        assert rounds["a"] == rounds["b"] == rounds["c"] == tuple(range(len(rounds["a"])))
        return machine.log[-3 * len(rounds["a"]) :]

    seen = order(seed=1)
    triples = ["".join(seen[k : k + 3]) for k in range(0, len(seen), 3)]
    assert all(sorted(triple) == ["a", "b", "c"] for triple in triples)
    assert len(set(triples)) > 3
    assert order(seed=1) == seen
    assert order(seed=2) != seen


def test_measure_precise_member_continues_for_others() -> None:
    machine = Machine()
    steps = {"quiet": machine.step("quiet", 0.1), "noisy": machine.step("noisy", noisy(0.1, 0.3))}
    results = timing.measure(steps, timing.TimingPlan(20.0), machine.clock())
    quiet, loud = series(results["quiet"]), series(results["noisy"])
    assert quiet.stopped is timing.Stopped.PRECISE
    assert loud.stopped is timing.Stopped.TIME
    assert quiet.rounds == loud.rounds
    assert len(quiet.rounds) > 50


def test_measure_ends_within_the_time_of_all_members() -> None:
    machine = Machine()
    steps = {name: machine.step(name, noisy(0.3, 0.3)) for name in "ab"}
    results = timing.measure(steps, timing.TimingPlan(6.025), machine.clock())
    assert 11 < machine.time <= 12.05
    assert series(results["a"]).stopped is timing.Stopped.TIME


def test_measure_slow_start_is_warm_up() -> None:
    machine = Machine()
    slow = [0.3 * 0.7**k + 0.1 for k in range(30)]
    step = machine.step("a", itertools.chain(slow, itertools.repeat(0.1)))
    result = alone(machine, step, 30.0)
    assert result.warmup[:3] == pytest.approx(slow[:3])
    assert max(result.samples) < 0.11
    assert result.steady is True


def test_measure_drifting_step_is_not_steady() -> None:
    machine = Machine()
    step = machine.step("a", (0.1 * 1.05**k for k in itertools.count()))
    result = alone(machine, step, 20.0)
    assert result.steady is False
    warmup = sum(result.warmup)
    assert warmup <= timing.WARMUP_SHARE * 20.0


def raising(after: int, error: BaseException) -> Iterator[float]:
    yield from [0.1] * after
    raise error


@pytest.mark.parametrize(("after", "stage"), [(0, "calibration"), (3, "warm_up"), (14, "round")])
def test_measure_raising_step_is_broken_alone(after: int, stage: str) -> None:
    machine = Machine()
    error = RuntimeError("out of memory")
    steps = {
        "good": machine.step("good", noisy(0.1, 0.3)),
        "bad": machine.step("bad", raising(after, error)),
        "other": machine.step("other", noisy(0.2, 0.3)),
    }
    results = timing.measure(steps, timing.TimingPlan(20.0), machine.clock())
    broken = results["bad"]
    assert isinstance(broken, timing.Broken)
    assert broken.error is error
    assert broken.stage == stage
    assert (broken.round is not None) == (stage == "round")
    assert len(series(results["good"]).blocks) > 10
    assert series(results["good"]).rounds == series(results["other"]).rounds


@pytest.mark.parametrize(
    ("timed", "message"), [(0, "too short to time"), (7, "took 0 s by the clock")]
)
def test_measure_step_without_time_is_broken(timed: int, message: str) -> None:
    machine = Machine()
    costs = itertools.chain([0.1] * timed, itertools.repeat(0.0))
    steps = {"nothing": machine.step("nothing", costs), "good": machine.step("good", 0.1)}
    results = timing.measure(steps, timing.TimingPlan(9.0), machine.clock())
    broken = results["nothing"]
    assert isinstance(broken, timing.Broken)
    assert isinstance(broken.error, timing.TimingError)
    assert message in str(broken.error)
    samples = series(results["good"]).samples
    assert samples == pytest.approx([0.1] * len(samples))


# -- judged calls


class Device:
    """A clock that steps move, and a device that works on unless it is waited for.

    late: seconds that each copy of a result computes.
    """

    def __init__(self, waits: bool = True, late: float = 0.0) -> None:
        self.time, self.queued, self.waits, self.late = 0.0, 0.0, waits, late
        self.used: list[int] = []
        self.runs = 0

    @property
    def clock(self) -> timing.Clock:
        return timing.Clock(lambda: self.time, 1e-9)

    def finish(self) -> None:
        self.time, self.queued = self.time + self.queued, 0.0

    def copy(self) -> None:
        self.time += 0.02  # longer than a block

    def step(self) -> Step:
        def run() -> int:
            self.time += 1e-4
            self.queued += 0.003
            self.runs += 1
            return self.runs

        def results(returned: int) -> dict[str, Any]:
            self.finish()
            self.copy()
            self.time += self.late
            return {"y": np.array([returned])}

        return Step(
            run,
            self.finish if self.waits else lambda: None,
            lambda: None,
            self.used.extend,
            results,
            max_sets=1000,
            place_results=lambda results: self.copy,
        )


@pytest.mark.parametrize(
    ("machine", "waited_for"),
    [
        (Device(), True),
        (Device(waits=False), False),
        (Device(late=0.01), True),  # allowed for copies
        (Device(late=0.0205), False),
    ],
)
def test_measure_work_after_the_wait_is_broken(machine: Device, waited_for: bool) -> None:
    result = timing.measure({"a": machine.step()}, timing.TimingPlan(1.0), machine.clock)["a"]
    if waited_for:
        assert not isinstance(result, timing.Broken)
    else:
        assert isinstance(result, timing.Broken)
        assert "the wait does not wait for the work" in str(result.error)


@given(slow=st.lists(st.booleans(), min_size=timing.COPIES, max_size=timing.COPIES))
def test_copies_end_once_most_agree_and_decide_as_all_would(slow: list[bool]) -> None:
    machine, made = Device(), 0

    def copy_again() -> None:
        nonlocal made
        machine.time += 0.0 if slow[made] else 0.02
        made += 1

    step = replace(machine.step(), place_results=lambda results: copy_again, use=lambda sets: None)
    member = timing.GroupMember(step, latest=0.004)
    assert step.results is not None
    assert step.place_results is not None
    late = member._late(machine.clock, 1, step.results, step.place_results, 0.01)
    all_of_them = statistics.median(0.02 if each else -0.02 for each in slow)
    assert (late > 0.01) == (all_of_them > 0.01)
    assert made < timing.COPIES or sum(slow) in (4, 5)


def test_measure_calls_have_distinct_inputs() -> None:
    machine = Device()
    result = timing.measure({"a": machine.step()}, timing.TimingPlan(3.0, -1.0), machine.clock)["a"]
    assert not isinstance(result, timing.Broken)
    assert len(machine.used) >= len(result.blocks) * (result.calls + 1)
    assert len(set(machine.used)) == len(machine.used)
    assert result.last is not None
    # The first set's arrays are used a second time, after a call on other ones.
    assert result.last.inputs == (LAST_NUMBERS[0], LAST_NUMBERS[0])
    assert machine.used[-2:] == [*LAST_NUMBERS[:2]]
    assert [int(each["y"][0]) for each in result.last.results] == [machine.runs - 2, machine.runs]


def test_place_little_room_repeats_inputs_but_the_judged_ones() -> None:
    used: list[list[int]] = []
    machine = Machine()
    step = replace(
        machine.step("a", 0.001), use=lambda numbers: used.append([*numbers]), max_sets=4
    )
    member = timing.GroupMember(step)
    for count in (3, 4, 6, 8):
        member.place(machine.clock(), count, {count - 1: 5})
        numbers = used[-1]
        assert len(numbers) == min(count, 4)
        assert numbers[(count - 1) % len(numbers)] == 5
        assert numbers.count(5) == 1


def test_measure_placing_inputs_counts_for_the_budget() -> None:
    """Placing inputs takes ten times as long as the calls; rounds still end in time."""
    machine = Machine()

    def use(numbers: Sequence[int]) -> None:
        machine.time += 0.2

    step = replace(machine.step("a", noisy(0.02, 0.3)), use=use, max_sets=1000)
    result = alone(machine, step, 10.0)
    assert machine.time <= 10.0
    assert max(result.samples) <= 0.026 + 1e-9


def test_measure_training_step_restarts_for_three_judged_calls() -> None:
    machine, restarted = Device(), []
    step = replace(machine.step(), restart=lambda: restarted.append(machine.runs))
    result = timing.measure({"a": step}, timing.TimingPlan(0.5), machine.clock)["a"]
    assert not isinstance(result, timing.Broken)
    assert result.last is not None
    assert restarted[-1] == machine.runs - 3
    assert result.last.inputs == (*LAST_NUMBERS[:3],)
    assert [int(each["y"][0]) for each in result.last.results] == [
        machine.runs - 2,
        machine.runs - 1,
        machine.runs,
    ]


class Watched(Machine):
    """A computer that records where judged inputs are placed, which are checked, and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: list[int] = []
        self.checked: list[int] = []
        self.restarts = 0

    def use(self, numbers: Sequence[int]) -> None:
        self.turn = itertools.cycle(numbers)
        if len(numbers) > 2:
            self.positions += [k for k, n in enumerate(numbers) if n < FIRST_OWN_NUMBER]

    def make_judged_step(self, cost: float = 0.0005, updates: bool = False) -> Step:
        def run() -> int:
            self.time += cost
            return next(self.turn)

        def restart() -> None:
            self.restarts += 1

        return Step(
            run,
            lambda: None,
            lambda: None,
            self.use,
            lambda returned: {"y": np.array([returned])},
            restart if updates else None,
            max_sets=1000,
            check_inputs=self.checked.append,
        )


def list_kept_slots(result: timing.StepSeries) -> list[int]:
    """Return the slots of kept results, each of which must be that of its inputs."""
    for each in result.kept:
        assert [int(found["y"][0]) for found in each.results] == [*each.inputs]
    return [each.inputs[0] // SLOT_NUMBERS for each in result.kept]


def measure_for(machine: Machine, step: Step, seconds: float) -> timing.StepSeries:
    """Measure a step for all of this time."""
    plan = timing.TimingPlan(seconds, precision=-1.0)
    return series(timing.measure({"a": step}, plan, machine.clock())["a"])


def test_measure_keeps_the_result_of_a_random_call_of_each_block() -> None:
    machine = Watched()
    result = measure_for(machine, machine.make_judged_step(), 0.6)
    assert len(result.blocks) > SLOTS
    assert list_kept_slots(result) == [*range(1, SLOTS + 1)]
    assert set(list_kept_slots(result)) <= {number // SLOT_NUMBERS for number in machine.checked}
    # The first placed set is that of the untimed call. Of 33 random places at least 8 differ.
    assert len(machine.positions) >= SLOTS
    assert min(machine.positions) >= 1
    assert max(machine.positions) <= result.calls
    assert len({*machine.positions}) >= 8


def test_measure_many_blocks_are_kept_with_equal_probability() -> None:
    machine = Watched()
    member = timing.GroupMember(machine.make_judged_step(), selection=Selection(slots=4))
    slots = [member.next_slot() for _ in range(4000)]
    assert slots[:4] == [1, 2, 3, 4]
    # Block n is kept with probability 4/n: 4 (1 + ln(4000/4)) = 32 of them on average.
    assert 8 < sum(slot is not None for slot in slots) < 80


def test_measure_few_blocks_are_followed_by_judged_calls() -> None:
    machine = Watched()
    result = measure_for(machine, machine.make_judged_step(0.05), 0.25)
    assert len(result.blocks) < FEWEST_KEPT == len(result.kept)


def test_measure_updating_step_restarts_for_judged_calls() -> None:
    machine = Watched()
    result = measure_for(machine, machine.make_judged_step(updates=True), 0.6)
    slots = list_kept_slots(result)
    assert FEWEST_KEPT <= len(slots) <= SLOTS
    assert len(slots) < machine.restarts
    assert machine.positions == []  # in a block the weights are not known
    assert machine.restarts * 0.0005 <= 0.2 * sum(result.blocks)


def test_measure_small_selection_keeps_some_sequences() -> None:
    selection = Selection(slots=3, complete=1, batch=5, rows=2, seed=7)
    results = {"y": np.arange(30.0).reshape(3, 5, 2), "dlayer0.forward.bias": np.zeros(8)}
    assert selection.part(1, results) is results
    for slot in (2, 3):
        part = selection.part(slot, results)
        rows = selection.sequences(slot)
        assert [*part] == ["y"]
        np.testing.assert_array_equal(part["y"], results["y"][:, rows])
        assert len({*rows}) == 2
    # An array of another shape is kept for the judge.
    assert selection.part(2, {"y": np.zeros((3, 4, 2))})["y"].shape == (3, 4, 2)


# -- processor time


@dataclass
class Clocks:
    """A simulated machine of two processors. others: those that other processes keep busy."""

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
        processors = timing.Processors(lambda: self.used, lambda: self.idle)
        return timing.processors_busy(
            self.step(seconds, used), seconds, lambda: self.time, processors
        )


@pytest.mark.parametrize("processors", [0.0, 0.25, 1.0, 1.9])
def test_processors_busy_is_processor_time_a_second(processors: float) -> None:
    assert Clocks().busy(1e-3, processors * 1e-3) == pytest.approx(processors)


@pytest.mark.parametrize(
    ("others", "processors", "known"),
    [(1.6, 0.4, False), (2.0, 0.1, False), (1.6, 1.0, True), (1.0, 0.1, True), (0.5, 0.6, True)],
)
def test_processors_busy_with_other_processes_is_none(
    others: float, processors: float, known: bool
) -> None:
    found = Clocks(others).busy(1e-2, processors * 1e-2)
    assert found == (pytest.approx(processors) if known else None)
