"""Test the schedule: of one process after the other, of several machines, of environments."""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.records.schema import ResultFile
from bench.session.schedule import Schedule
from bench.session.session import Environment, Goal, Lot, Need, Work, environments, find_needs, lots
from bench.stats.intervals import ENOUGH_PROCESSES
from tests.bench.session.made_sessions import (
    A5,
    A6,
    B5,
    B6,
    CASES,
    EAST,
    MEMORY,
    WEST,
    case,
    ids,
    make_file,
    needs,
)


def test_next_orders_by_seed_and_differs_between_processes() -> None:
    def seeds(seed: int) -> list[int]:
        schedule, found = Schedule(CASES, Goal(processes=3), seed), []
        while work := schedule.next():
            found.append(work.order_seed)
            schedule.add(make_file(work.number, dict.fromkeys(work.cases, 1.0)))
        return found

    assert seeds(7) == seeds(7)
    assert seeds(7) != seeds(8)
    assert len(set(seeds(7))) == 3


def test_done_judges_precision_at_six_processes_at_the_earliest() -> None:
    schedule = Schedule([A5], Goal(0.02), 0)
    for number in range(1, 6):
        schedule.add(make_file(number, {A5: 1.0}))
        assert not schedule.precise(A5.id)
        assert math.isinf(schedule.half_width(A5.id))
        assert schedule.next() is not None
    schedule.add(make_file(6, {A5: 1.0}))
    assert schedule.precise(A5.id)
    assert schedule.next() is None


def test_next_leaves_out_a_group_once_all_of_it_is_precise() -> None:
    schedule = Schedule(CASES, Goal(0.02), 0)
    for number in range(1, 7):
        schedule.add(make_file(number, {A5: 1.0, B5: 1.0, A6: 1.0, B6: 1.0 + number / 10}))
    assert ids(schedule.next()) == {A6.id, B6.id}


@pytest.mark.parametrize("outcome", ["not_measured", "refused", "failed", "timed_out"])
def test_next_does_not_repeat_final_outcomes(outcome: str) -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    schedule.add(make_file(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: outcome}))
    assert B5.id not in ids(schedule.next())


def test_next_runs_a_crashed_case_alone_and_gives_it_up_after_two() -> None:
    schedule = Schedule([A5, B5], Goal(processes=1), 0)
    schedule.add(make_file(1, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {B5.id}
    schedule.add(make_file(2, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {A5.id}
    schedule.add(make_file(3, {A5: 1.0}))
    assert schedule.next() is None
    assert schedule.outcomes[B5.id].outcome == "crashed"


def test_next_measures_memory_that_a_killed_process_did_not() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0, memory=True)
    schedule.add(make_file(1, {A5: 1.0, B5: 1.0, A6: 1.0}, memory=MEMORY))
    work = schedule.next()
    assert work is not None
    assert (ids(work), work.memory) == ({B6.id}, True)
    schedule.add(make_file(2, {B6: 1.0}, memory=MEMORY))
    work = schedule.next()
    assert work is not None
    assert not work.memory


def test_costs_ignore_a_case_that_failed() -> None:
    """A failed case was compiled for a minute, and is not tried again."""
    schedule = Schedule(CASES, Goal(processes=6), 0)
    costs = {A5.id: 5.0, B5.id: 60.0, A6.id: 5.0, B6.id: 5.0}
    schedule.costs.learn(Work(1, CASES, 0), 2.0, costs, 80.0)
    schedule.add(make_file(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: "failed"}))
    assert ids(schedule.next(25.0)) == {A5.id, A6.id, B6.id}


def test_next_with_an_absent_device_keeps_the_full_share() -> None:
    elsewhere = [replace(case, device=f"gpu:{n}") for case in CASES for n in range(9)]
    every = {case.group: 100.0 for case in (*CASES, *elsewhere)}
    shares = []
    for cases, absent in ((CASES, ()), ((*CASES, *elsewhere), tuple(f"gpu:{n}" for n in range(9)))):
        schedule = Schedule(cases, Goal(), 0, every, memory=True, absent=absent)
        work = schedule.next(600.0)
        assert work is not None
        assert {case.id for case in work.cases} >= {case.id for case in CASES}
        shares.append(work.share)
    assert shares[0] == shares[1]


def test_faults_forget_a_lost_machine_once_the_case_is_measured() -> None:
    schedule = Schedule([A5], Goal(processes=3), 0)
    assert schedule.faults.lost([A5.id]) == []
    schedule.add(make_file(1, {A5: 1.0}))
    assert schedule.faults.lost([A5.id]) == []
    assert not schedule.given_up(A5.id)


# Several machines side by side


def begun(schedule: Schedule, machines: int, place: str = "") -> Work:
    work = schedule.next(math.inf, machines, place)
    assert work is not None
    schedule.running.begin(work, place)
    return work


def test_next_for_many_machines_gives_each_a_part() -> None:
    many = [case(backend, steps) for steps in range(5, 17) for backend in ("a", "b")]
    alone = Schedule(many, Goal(processes=2), 0)
    assert len(ids(alone.next(math.inf, 1))) == len(many)
    shared = Schedule(many, Goal(processes=2), 0)
    groups = [len({each.group for each in begun(shared, 8).cases}) for _ in range(8)]
    assert groups[0] == 3  # 12 groups in 2 processes, by 8 machines
    assert groups[0] == max(groups)
    assert groups[-1] == min(groups)
    assert sum(groups) >= 12


def test_next_for_many_machines_keeps_groups_together() -> None:
    schedule = Schedule(CASES, Goal(processes=3), 0)
    while work := schedule.next(math.inf, 1000):
        schedule.running.begin(work)
        assert ids(work) in ({A5.id, B5.id}, {A6.id, B6.id})


def test_next_for_many_machines_measures_memory_once() -> None:
    schedule = Schedule([A5], Goal(processes=3), 0, memory=True)
    first, second = begun(schedule, 3), begun(schedule, 3)
    assert (first.memory, second.memory) == (True, False)
    schedule.running.end(first)  # lost: it is still to be measured
    assert begun(schedule, 3).memory


@pytest.mark.parametrize("seen", range(12))
def test_next_until_precise_begins_at_most_half_more(seen: int) -> None:
    schedule = Schedule([A5], Goal(1e-9), 0)
    for number in range(1, seen + 1):
        schedule.add(make_file(number, {A5: 1.0 + number / 10}))
    works = 0
    while work := schedule.next(math.inf, 50):
        schedule.running.begin(work)
        works += 1
    assert works == max(ENOUGH_PROCESSES - seen, max(1, seen // 2) if seen >= 5 else 0)


@settings(max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_next_in_any_order_of_ends_gives_each_case_its_processes(
    groups: int, backends: int, machines: int, processes: int, seed: int
) -> None:
    random = Random(seed)
    cases = [case(f"b{n}", 5 + group) for group in range(groups) for n in range(backends)]
    schedule = Schedule(cases, Goal(processes=processes), seed)
    flights: list[Work] = []
    found: Counter[str] = Counter()
    for number in range(1, 10_000):
        while len(flights) < machines and (work := schedule.next(math.inf, machines)):
            schedule.running.begin(work)
            flights.append(work)
        if not flights:
            break
        work = flights.pop(random.randrange(len(flights)))
        if random.random() < 0.2:  # lost, after some of its cases
            reached = work.cases[: random.randrange(len(work.cases) + 1)]
            work_done = Work(work.number, reached, 0)
        else:
            work_done = work
        schedule.add(make_file(number, dict.fromkeys(work_done.cases, 1.0)))
        schedule.running.end(work)
        found.update(each.id for each in work_done.cases)
    assert schedule.finished
    assert set(found.values()) == {processes}


# Backends that need different environments


def schedule(*backends: str, processes: int | None = 2) -> Schedule:
    goal = Goal(0.02) if processes is None else Goal(processes=processes)
    return Schedule([case(name) for name in backends], goal, 0, needs=needs)


def measured(work: Work) -> ResultFile:
    return make_file(work.number, dict.fromkeys(work.cases, 1.0))


def test_next_alternates_between_environments() -> None:
    plan = schedule("moonlight", "east", "west")
    found = []
    while work := plan.next():
        found.append(work)
        plan.add(measured(work))
    assert len(found) == 4
    for pair in (found[:2], found[2:]):  # each round has one of each
        assert {work.environment for work in pair} == {EAST, WEST}
    for work in found:
        backends = {case.backend for case in work.cases}
        assert backends == {"moonlight", "east" if work.environment == EAST else "west"}
    counts = Counter(case.backend for work in found for case in work.cases)
    assert counts == {"moonlight": 4, "east": 2, "west": 2}
    assert plan.finished


def test_shared_reference_neither_extends_nor_ends_a_session() -> None:
    plan = schedule("moonlight", "east", "west", processes=None)
    numbers = Counter[Environment]()
    while work := plan.next():
        numbers[work.environment] += 1
        # The reference's medians differ; at home it needs more processes, elsewhere it does not.
        slow = 1.0 + 0.5 * (work.number % 3)
        times = {each: slow if each.backend == "moonlight" else 1.0 for each in work.cases}
        plan.add(make_file(work.number, times))
        if numbers[WEST] == 9:
            break
    assert numbers == {WEST: 9, EAST: 6}


@pytest.mark.parametrize("outcome", ["failed", "not_measured", "crashed"])
def test_shared_reference_that_fails_elsewhere_is_kept_at_home(outcome: str) -> None:
    plan = schedule("moonlight", "plain", "east", "west")
    found = []
    while work := plan.next():
        found.append(work)
        bad = {
            each: outcome
            for each in work.cases
            if each.backend == "moonlight" and work.environment == EAST
        }
        good = [each for each in work.cases if each not in bad]
        plan.add(make_file(work.number, dict.fromkeys(good, 1.0), bad))
    east = [{each.backend for each in work.cases} for work in found if work.environment == EAST]
    west = [{each.backend for each in work.cases} for work in found if work.environment == WEST]
    assert east == [{"moonlight", "plain", "east"}, {"plain", "east"}]
    assert west == [{"moonlight", "west"}] * 2
    assert not plan.outcomes


def names(found: Lot) -> tuple[Environment, list[str], list[str]]:
    backends = [case.backend for case in found.cases]
    return found.environment, backends, [case.backend for case in found.references]


def test_environments_place_free_backends_with_their_framework() -> None:
    cases = [case(name) for name in ("moonlight", "plain", "east", "west")]
    west, east = lots(cases, needs)
    assert names(west) == (WEST, ["moonlight", "west"], [])
    assert names(east) == (EAST, ["plain", "east"], ["moonlight", "plain"])


def test_environments_that_change_results_keep_other_backends_out() -> None:
    """Neither at home nor as a reference: they would be measured under a wrong name."""
    cases = [case(name) for name in ("moonlight", "eclipse", "plain")]
    others, isolated = lots(cases, needs)
    assert names(others) == ((), ["moonlight", "plain"], [])
    assert names(isolated) == ((("SIDE", "dark"),), ["eclipse"], ["plain"])
    alone = lots([case("moonlight"), case("eclipse")], needs)
    assert [names(lot)[1:] for lot in alone] == [(["moonlight"], []), (["eclipse"], [])]


def test_environments_of_keras_backends_follow_their_frameworks() -> None:
    found = environments(["torch", "keras", "while_loop", "keras_torch", "numpy", "keras_jax"])
    backend = {name: dict(environment)["KERAS_BACKEND"] for name, environment in found.items()}
    assert backend == {
        **dict.fromkeys(("keras", "while_loop", "numpy"), "tensorflow"),
        **dict.fromkeys(("torch", "keras_torch"), "torch"),
        "keras_jax": "jax",
    }
    assert find_needs("no_such_backend") == Need()
