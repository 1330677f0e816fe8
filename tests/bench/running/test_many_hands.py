"""A schedule whose work is done by several machines side by side, and machines that are lost."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judging.process_means import ENOUGH_PROCESSES
from bench.running.manager import Manager
from bench.running.schedule import Schedule
from bench.running.work import Goal, Work
from bench.running.workers import LostError
from bench.suites.cases import Case
from tests.bench.running.test_manager import (
    A5,
    A6,
    B5,
    B6,
    CASES,
    Told,
    World,
    case,
    file_of,
    ids,
    session,
)


def begun(schedule: Schedule, hands: int, place: str = "") -> Work:
    work = schedule.next(math.inf, hands, place)
    assert work is not None
    schedule.flights.begin(work, place)
    return work


def ended(schedule: Schedule, work: Work, number: int) -> None:
    schedule.add(file_of(number, dict.fromkeys(work.cases, 1.0)))
    schedule.flights.end(work)


# -- what is begun, beside what is in work


def test_what_is_in_work_is_not_begun_again() -> None:
    schedule = Schedule(CASES, Goal(processes=1), 0)
    first, second = begun(schedule, 2), begun(schedule, 2)
    assert ids(first) | ids(second) == {case.id for case in CASES}
    assert not ids(first) & ids(second)
    assert schedule.next(math.inf, 2) is None


def test_one_hand_takes_all_and_many_take_a_part_each() -> None:
    many = [case(backend, steps) for steps in range(5, 17) for backend in ("a", "b")]
    alone = Schedule(many, Goal(processes=2), 0)
    assert len(ids(alone.next(math.inf, 1))) == len(many)
    shared = Schedule(many, Goal(processes=2), 0)
    groups = [len({each.group for each in begun(shared, 8).cases}) for _ in range(8)]
    assert groups[0] == 3  # 12 groups in 2 processes, by 8 machines
    assert groups[0] == max(groups)
    assert groups[-1] == min(groups)
    assert sum(groups) >= 12


def test_cases_of_one_group_stay_together_however_many_hands_there_are() -> None:
    schedule = Schedule(CASES, Goal(processes=3), 0)
    while work := schedule.next(math.inf, 1000):
        schedule.flights.begin(work)
        assert ids(work) in ({A5.id, B5.id}, {A6.id, B6.id})


def test_numbers_of_processes_in_work_differ() -> None:
    schedule = Schedule(CASES, Goal(processes=4), 0)
    works = [begun(schedule, 8) for _ in range(8)]
    schedule.flights.end(works[7])  # lost, without a file
    works.append(begun(schedule, 8))
    assert len({work.number for work in works}) == len(works)
    assert len({work.order_seed for work in works}) == len(works)


def test_a_lost_process_leaves_its_cases_open() -> None:
    schedule = Schedule([A5], Goal(processes=1), 0)
    work = begun(schedule, 2)
    assert schedule.next(math.inf, 2) is None
    schedule.flights.end(work)
    assert ids(schedule.next(math.inf, 2)) == {A5.id}


def test_replicates_of_a_group_come_from_different_places() -> None:
    schedule, places = Schedule(CASES, Goal(processes=4), 0), "wxyz"
    had: dict[str, set[str]] = {}
    number = 0
    while True:
        works = []
        for place in places:
            if work := schedule.next(math.inf, len(places), place):
                schedule.flights.begin(work, place)
                works.append(work)
                for each in {each.group for each in work.cases}:
                    had.setdefault(each, set()).add(place)
        if not works:
            break
        for work in works:
            number += 1
            ended(schedule, work, number)
    # Who is behind comes first, so that a place may get a group again before each had its turn.
    assert set(had) == {A5.group, A6.group}
    assert min(map(len, had.values())) >= 3


def test_memory_that_is_being_measured_is_not_measured_beside() -> None:
    schedule = Schedule([A5], Goal(processes=3), 0, memory=True)
    first, second = begun(schedule, 3), begun(schedule, 3)
    assert (first.memory, second.memory) == (True, False)
    schedule.flights.end(first)  # lost: it is still to be measured
    assert begun(schedule, 3).memory


@pytest.mark.parametrize("seen", range(12))
def test_until_precise_no_more_than_half_is_begun_beyond_what_is_there(seen: int) -> None:
    schedule = Schedule([A5], Goal(1e-9), 0)
    for number in range(1, seen + 1):
        schedule.add(file_of(number, {A5: 1.0 + number / 10}))
    works = 0
    while work := schedule.next(math.inf, 50):
        schedule.flights.begin(work)
        works += 1
    assert works == max(ENOUGH_PROCESSES - seen, max(1, seen // 2) if seen >= 5 else 0)


def test_what_is_in_work_does_not_make_a_session_finished() -> None:
    schedule = Schedule([A5], Goal(processes=1), 0)
    work = begun(schedule, 1)
    assert not schedule.done(A5.id)
    ended(schedule, work, 1)
    assert schedule.finished


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_every_case_gets_its_processes_whatever_order_they_end_in(
    groups: int, backends: int, hands: int, processes: int, seed: int
) -> None:
    random = Random(seed)
    cases = [case(f"b{n}", 5 + group) for group in range(groups) for n in range(backends)]
    schedule = Schedule(cases, Goal(processes=processes), seed)
    flights: list[Work] = []
    found: Counter[str] = Counter()
    for number in range(1, 10_000):
        while len(flights) < hands and (work := schedule.next(math.inf, hands)):
            schedule.flights.begin(work)
            flights.append(work)
        if not flights:
            break
        work = flights.pop(random.randrange(len(flights)))
        if random.random() < 0.2:  # lost, after some of its cases
            reached = work.cases[: random.randrange(len(work.cases) + 1)]
            work_done = Work(work.number, reached, 0)
        else:
            work_done = work
        schedule.add(file_of(number, dict.fromkeys(work_done.cases, 1.0)))
        schedule.flights.end(work)
        found.update(each.id for each in work_done.cases)
    assert schedule.finished
    assert set(found.values()) == {processes}


# -- machines that are lost


class Doomed(Told):
    """A worker whose machine goes while it measures what it is told to."""

    def __init__(self, world: Clinic, work: Work) -> None:
        super().__init__(world, work)
        self.clinic = world

    def poll(self) -> int | None:
        if self.code == -9:
            self.clinic.lost += 1
            raise LostError("its node died", blame=self.clinic.blame)
        return super().poll()


class Clinic(World):
    """``Told``'s world, in which what dies takes its machine with it."""

    lost = 0
    blame = True

    def start(self, work: Work) -> Doomed:
        self.started.append(work)
        return Doomed(self, work)

    def to_the_end(self, cases: list[Case], processes: int = 2) -> Manager:
        """A session whose machines are replaced as often as they are lost, up to fifty."""
        found = self.manager(session(cases=tuple(cases), goal=Goal(processes=processes)))
        found.begin()
        for _ in range(50):
            try:
                while found.step():
                    pass
                break
            except LostError:
                continue
        return found


def test_a_case_that_takes_two_machines_down_is_not_tried_again() -> None:
    world = Clinic(behaviour={B5.id: "die"})
    found = world.to_the_end([A5, B5, A6, B6])
    assert found.schedule.finished
    assert world.lost == 2
    assert world.outcomes == {B5.id: "crashed"}
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}
    (reason,) = {each.reason for file in world.files for each in file.outcomes}
    assert "its node died" in reason


def test_of_cases_timed_in_turn_the_one_that_takes_machines_down_is_found_alone() -> None:
    world = Clinic(behaviour={B5.id: "timed die"})
    found = world.to_the_end([A5, B5])
    assert found.schedule.finished
    assert world.lost == 3  # together, together again, and alone
    assert world.outcomes == {B5.id: "crashed"}
    assert found.schedule.medians[A5.id] == [1.0, 1.0]


def test_a_machine_that_its_owner_takes_back_is_no_case_s_fault() -> None:
    world = Clinic(behaviour={B5.id: "die"})
    world.blame = False
    found = world.to_the_end([B5])
    assert world.lost == 50
    assert world.outcomes == {}
    assert not found.schedule.given_up(B5.id)


def test_a_case_that_lost_a_machine_once_and_is_measured_then_starts_anew() -> None:
    schedule = Schedule([A5], Goal(processes=3), 0)
    assert schedule.faults.lose([A5.id]) == []
    schedule.add(file_of(1, {A5: 1.0}))
    assert schedule.faults.lose([A5.id]) == []
    assert not schedule.given_up(A5.id)


def test_what_a_lost_machine_had_finished_is_kept() -> None:
    world = Clinic(behaviour={B6.id: "die"})
    world.to_the_end([A5, B5, A6, B6], processes=1)
    counts = Counter(each.case.id for file in world.files for each in file.measurements)
    assert counts == {A5.id: 1, B5.id: 1, A6.id: 1}
    assert any("was lost: its node died; tried again elsewhere" in told for told in world.told)
