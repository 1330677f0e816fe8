"""Test the schedule of several machines side by side."""

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.session.schedule import Schedule
from bench.session.session import Goal, Work
from bench.stats.intervals import ENOUGH_PROCESSES
from tests.bench.session.made_sessions import A5, A6, B5, B6, CASES, case, file_of, ids


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
        schedule.add(file_of(number, {A5: 1.0 + number / 10}))
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
        schedule.add(file_of(number, dict.fromkeys(work_done.cases, 1.0)))
        schedule.running.end(work)
        found.update(each.id for each in work_done.cases)
    assert schedule.finished
    assert set(found.values()) == {processes}
