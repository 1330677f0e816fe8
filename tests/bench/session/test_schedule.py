"""What is measured next, in one process after the other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.session.schedule import Schedule
from bench.session.session import Goal, Work
from tests.bench.session.made_sessions import A5, A6, B5, B6, CASES, WEIGHED, even, file_of, ids


def test_the_order_comes_from_the_seed_and_differs_between_processes() -> None:
    def seeds(seed: int) -> list[int]:
        schedule, found = Schedule(CASES, Goal(processes=3), seed), []
        while work := schedule.next():
            found.append(work.order_seed)
            schedule.add(file_of(work.number, dict.fromkeys(work.cases, 1.0)))
        return found

    assert seeds(7) == seeds(7)
    assert seeds(7) != seeds(8)
    assert len(set(seeds(7))) == 3


def test_precision_is_judged_at_six_processes_and_not_before() -> None:
    schedule = Schedule([A5], Goal(0.02), 0)
    for number in range(1, 6):
        schedule.add(file_of(number, {A5: 1.0}))
        assert not schedule.precise(A5.id)
        assert math.isinf(schedule.half_width(A5.id))
        assert schedule.next() is not None
    schedule.add(file_of(6, {A5: 1.0}))
    assert schedule.precise(A5.id)
    assert schedule.next() is None


def test_a_clear_winner_is_no_reason_to_stop() -> None:
    schedule = Schedule([A5, B5], Goal(0.02), 0)
    for number in range(1, 9):
        wide = 1.0 + 0.05 * (number % 2)
        schedule.add(file_of(number, {A5: wide, B5: 100 * wide}))
    assert ids(schedule.next()) == {A5.id, B5.id}


def test_a_group_is_left_out_as_a_whole_once_all_of_it_is_precise() -> None:
    schedule = Schedule(CASES, Goal(0.02), 0)
    for number in range(1, 7):
        schedule.add(file_of(number, {A5: 1.0, B5: 1.0, A6: 1.0, B6: 1.0 + number / 10}))
    assert ids(schedule.next()) == {A6.id, B6.id}


@pytest.mark.parametrize("outcome", ["not_measured", "refused", "failed", "timed_out"])
def test_what_another_process_would_only_repeat_is_not_tried_again(outcome: str) -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    schedule.add(file_of(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: outcome}))
    assert B5.id not in ids(schedule.next())


def test_a_case_that_crashed_goes_alone_next_and_twice_is_enough() -> None:
    schedule = Schedule([A5, B5], Goal(processes=1), 0)
    schedule.add(file_of(1, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {B5.id}
    schedule.add(file_of(2, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {A5.id}
    schedule.add(file_of(3, {A5: 1.0}))
    assert schedule.next() is None
    assert schedule.outcomes[B5.id].outcome == "crashed"


def test_suspects_are_measured_one_by_one_and_then_together_again() -> None:
    schedule = Schedule([A5, B5], Goal(processes=2), 0)
    schedule.faults.suspects.update([A5.id, B5.id])
    alone = schedule.next()
    assert len(ids(alone)) == 1
    assert alone is not None
    schedule.add(file_of(1, {alone.cases[0]: 1.0}))
    other = schedule.next()
    assert ids(alone) | ids(other) == {A5.id, B5.id}
    assert other is not None
    schedule.add(file_of(2, {other.cases[0]: 1.0}))
    assert ids(schedule.next()) == {A5.id, B5.id}


def test_only_what_fits_the_time_left_is_begun() -> None:
    schedule = Schedule(CASES, Goal(processes=9), 0)
    assert ids(schedule.next(1.0)) == {case.id for case in CASES}  # not known yet
    assert schedule.next(0.0) is None
    schedule.add(file_of(1, dict.fromkeys(CASES, 1.0)))
    schedule.costs.learn(Work(1, CASES, 0), 2.0, even({A5.group: 10.0, A6.group: 30.0}), 42.0)
    assert ids(schedule.next(42.0)) == {case.id for case in CASES}
    assert ids(schedule.next(20.0)) == {A5.id, B5.id}
    assert schedule.next(11.0) is None
    assert not schedule.finished


def test_memory_is_measured_once_a_case_and_only_where_it_is_wanted() -> None:
    for wanted in (True, False):
        schedule = Schedule(CASES, Goal(processes=3), 0, memory=wanted)
        found = []
        while work := schedule.next():
            found.append(work.memory)
            figures = WEIGHED if work.memory else None
            schedule.add(file_of(work.number, dict.fromkeys(work.cases, 1.0), memory=figures))
        assert found == [wanted, False, False]


def test_memory_that_a_killed_process_did_not_come_to_is_measured_by_the_next() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0, memory=True)
    schedule.add(file_of(1, {A5: 1.0, B5: 1.0, A6: 1.0}, memory=WEIGHED))
    work = schedule.next()
    assert work is not None
    assert (ids(work), work.memory) == ({B6.id}, True)
    schedule.add(file_of(2, {B6: 1.0}, memory=WEIGHED))
    work = schedule.next()
    assert work is not None
    assert not work.memory


def test_of_groups_that_cannot_all_be_done_those_that_have_come_furthest_are_kept() -> None:
    schedule = Schedule(CASES, Goal(processes=6), 0)
    for number in (1, 2, 3):
        schedule.add(file_of(number, {A6: 1.0, B6: 1.0}))
    schedule.add(file_of(4, {A5: 1.0, B5: 1.0}))
    schedule.costs.learn(Work(1, CASES, 0), 2.0, even({A5.group: 10.0, A6.group: 10.0}), 22.0)
    assert ids(schedule.next(40.0)) == {A6.id, B6.id}
    assert ids(schedule.next(100.0)) == {A5.id, B5.id}  # both fit: the one behind comes first


def test_the_first_process_is_not_shortened_for_cases_of_a_device_that_is_not_here() -> None:
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


def test_a_case_that_lost_a_machine_once_and_is_measured_then_starts_anew() -> None:
    schedule = Schedule([A5], Goal(processes=3), 0)
    assert schedule.faults.lose([A5.id]) == []
    schedule.add(file_of(1, {A5: 1.0}))
    assert schedule.faults.lose([A5.id]) == []
    assert not schedule.given_up(A5.id)


def late(budget: float, seen: int) -> tuple[set[str], tuple[str, ...]]:
    """What is next, and what is put off, where one group is cheap and has been measured so often,
    and the other takes 100 s a process."""
    schedule = Schedule(CASES, Goal(processes=6), 0)
    for number in range(seen):
        schedule.add(file_of(number, {A5: 1.0, B5: 1.0}))
    schedule.costs.learn(Work(1, CASES, 0), 1.0, even({A5.group: 1.0, A6.group: 100.0}), 102.0)
    schedule.costs.learn(Work(1, CASES, 0), 1.0, even({A5.group: 1.0, A6.group: 100.0}), 102.0)
    return ids(schedule.next(budget)), schedule.put_off


def test_what_is_late_is_told_where_others_come_to_enough_or_have() -> None:
    assert late(250.0, 0) == ({A5.id, B5.id}, (A6.group,))
    assert late(250.0, 6) == ({A6.id, B6.id}, (A6.group,))
    # Where no group comes to enough, all are late alike and none is named.
    assert late(7.0, 0) == ({A5.id, B5.id}, ())


def test_the_import_that_falls_into_a_processs_first_group_is_no_cost_of_the_group() -> None:
    schedule = Schedule(CASES, Goal(processes=6), 0)
    for first, second in ((17.0, 10.0), (10.0, 17.0)):  # 7 s to import, 1 s to end
        costs = even({A5.group: first, A6.group: second})
        schedule.costs.learn(Work(1, CASES, 0), 2.0, costs, 2.0 + 27.0 + 1.0)
    schedule.add(file_of(1, dict.fromkeys(CASES, 1.0)))
    assert schedule.next(29.9) is not None
    work = schedule.next(30.0)  # 10 for itself with each of the groups, 20 for both
    assert ids(work) == {case.id for case in CASES}
