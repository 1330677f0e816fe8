"""Test the schedule of one process after the other."""

import math
from dataclasses import replace

import pytest

from bench.session.schedule import Schedule
from bench.session.session import Goal, Work
from tests.bench.session.made_sessions import A5, A6, B5, B6, CASES, MEMORY, file_of, ids


def test_next_orders_by_seed_and_differs_between_processes() -> None:
    def seeds(seed: int) -> list[int]:
        schedule, found = Schedule(CASES, Goal(processes=3), seed), []
        while work := schedule.next():
            found.append(work.order_seed)
            schedule.add(file_of(work.number, dict.fromkeys(work.cases, 1.0)))
        return found

    assert seeds(7) == seeds(7)
    assert seeds(7) != seeds(8)
    assert len(set(seeds(7))) == 3


def test_done_judges_precision_at_six_processes_at_the_earliest() -> None:
    schedule = Schedule([A5], Goal(0.02), 0)
    for number in range(1, 6):
        schedule.add(file_of(number, {A5: 1.0}))
        assert not schedule.precise(A5.id)
        assert math.isinf(schedule.half_width(A5.id))
        assert schedule.next() is not None
    schedule.add(file_of(6, {A5: 1.0}))
    assert schedule.precise(A5.id)
    assert schedule.next() is None


def test_next_leaves_out_a_group_once_all_of_it_is_precise() -> None:
    schedule = Schedule(CASES, Goal(0.02), 0)
    for number in range(1, 7):
        schedule.add(file_of(number, {A5: 1.0, B5: 1.0, A6: 1.0, B6: 1.0 + number / 10}))
    assert ids(schedule.next()) == {A6.id, B6.id}


@pytest.mark.parametrize("outcome", ["not_measured", "refused", "failed", "timed_out"])
def test_next_does_not_repeat_final_outcomes(outcome: str) -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    schedule.add(file_of(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: outcome}))
    assert B5.id not in ids(schedule.next())


def test_next_runs_a_crashed_case_alone_and_gives_it_up_after_two() -> None:
    schedule = Schedule([A5, B5], Goal(processes=1), 0)
    schedule.add(file_of(1, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {B5.id}
    schedule.add(file_of(2, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {A5.id}
    schedule.add(file_of(3, {A5: 1.0}))
    assert schedule.next() is None
    assert schedule.outcomes[B5.id].outcome == "crashed"


def test_next_measures_memory_that_a_killed_process_did_not() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0, memory=True)
    schedule.add(file_of(1, {A5: 1.0, B5: 1.0, A6: 1.0}, memory=MEMORY))
    work = schedule.next()
    assert work is not None
    assert (ids(work), work.memory) == ({B6.id}, True)
    schedule.add(file_of(2, {B6: 1.0}, memory=MEMORY))
    work = schedule.next()
    assert work is not None
    assert not work.memory


def test_costs_ignore_a_case_that_failed() -> None:
    """A failed case was compiled for a minute, and is not tried again."""
    schedule = Schedule(CASES, Goal(processes=6), 0)
    costs = {A5.id: 5.0, B5.id: 60.0, A6.id: 5.0, B6.id: 5.0}
    schedule.costs.learn(Work(1, CASES, 0), 2.0, costs, 80.0)
    schedule.add(file_of(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: "failed"}))
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
    schedule.add(file_of(1, {A5: 1.0}))
    assert schedule.faults.lost([A5.id]) == []
    assert not schedule.given_up(A5.id)
