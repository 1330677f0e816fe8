"""What is known of processes: what they take, which are in work, what they died of."""

from __future__ import annotations

import pytest

from bench.records.schema import Outcome
from bench.session.schedule import (
    FINAL,
    MOST_CRASHES,
    MOST_LOSSES,
    OUTSIDE_CASE,
    OUTSIDE_PROCESS,
    Costs,
    Faults,
    Flights,
)
from bench.session.session import Work
from tests.bench.session.made_sessions import A5, A6, B5, B6, CASES, EAST, file_of

# -- what processes take


def test_before_anything_is_known_costs_are_guessed() -> None:
    costs = Costs({A5.group: 3.0})
    assert costs.outside(CASES, ()) == pytest.approx(4 * OUTSIDE_CASE)
    assert (costs.process(()), costs.process((), 1.0)) == (OUTSIDE_PROCESS, 1.0)
    assert (costs.looks(CASES, ()), costs.startup) == (0, 0.0)
    assert costs.measuring(CASES) == 6.0  # two of the group; of the other nothing is said


def test_a_case_costs_the_least_that_it_took_in_its_environment() -> None:
    costs = Costs({})
    for seconds in (5.0, 2.0, 4.0):
        costs.learn(Work(1, (A5, B5), 0), 1.0, {A5.id: seconds, B5.id: 1.0}, 9.0)
    assert costs.outside([A5, B5], ()) == 3.0
    assert costs.looks([A5, B5], ()) == 3
    assert costs.looks([A5, A6], ()) == 0  # of one nothing is known
    assert costs.outside([A5], EAST) == OUTSIDE_CASE
    assert costs.looks([A5], EAST) == 0


def test_what_cases_leave_over_is_the_process_s_and_no_less_than_its_start() -> None:
    costs = Costs({})
    costs.learn(Work(1, (A5, B5), 0, environment=EAST), 2.0, {A5.id: 3.0, B5.id: 4.0}, 10.0)
    assert (costs.startup, costs.process(EAST)) == (2.0, 3.0)
    assert costs.process(()) == OUTSIDE_PROCESS
    costs.learn(Work(2, (A5,), 0), 2.0, {A5.id: 9.0}, 10.0)
    assert costs.process(()) == 2.0


def test_a_process_that_did_not_come_to_its_end_says_nothing_of_processes() -> None:
    costs = Costs({})
    costs.learn(Work(1, (A5, B5), 0), 2.0, {A5.id: 1.0}, 50.0)
    assert costs.process(()) == OUTSIDE_PROCESS
    assert costs.outside([A5], ()) == 1.0


# -- which are in work


def test_what_is_in_work_counts_until_it_ends() -> None:
    flights = Flights()
    here, there = Work(3, (A5, B5), 0), Work(2, (A5, A6), 0, memory=True, environment=EAST)
    flights.begin(here, "x")
    flights.begin(there, "y")
    assert flights.number == 3
    assert [flights.of(side, A5.id) for side in ((), EAST)] == [1, 1]
    assert flights.of((), A6.id) == 0
    assert [flights.processes(side) for side in ((), EAST)] == [1, 1]
    assert [flights.place(work) for work in (here, there)] == ["x", "y"]
    assert flights.weighed() == {A5.id, A6.id}
    flights.end(there)
    assert [flights.of(side, A5.id) for side in ((), EAST)] == [1, 0]
    assert (flights.processes(EAST), flights.weighed()) == (0, set())
    assert flights.number == 3


def test_what_a_place_was_given_is_remembered_when_it_has_ended() -> None:
    flights = Flights()
    work = Work(1, (A5, B5, B6), 0)  # two of one group are one lot
    flights.begin(work, "x")
    flights.end(work)
    assert flights.given("x", (A5.group, ())) == flights.given("x", (B6.group, ())) == 1
    assert flights.given("y", (A5.group, ())) == flights.given("x", (A5.group, EAST)) == 0


# -- what they died of


def outcome(what: str) -> Outcome:
    (found,) = file_of(1, {}, {A5: what}).outcomes
    return found


@pytest.mark.parametrize("what", [*FINAL, "interrupted"])
def test_outcomes_that_another_process_would_repeat_are_final_at_once(what: str) -> None:
    assert Faults().given_up(A5.id, outcome(what)) is (what != "interrupted")


def test_a_process_may_die_of_a_case_once() -> None:
    faults = Faults()
    assert MOST_CRASHES == 2
    faults.crashed(A5.id)
    assert faults.suspected(A5.id)
    assert not faults.given_up(A5.id, outcome("crashed"))
    faults.measured(A5.id)
    assert not faults.suspected(A5.id)
    faults.crashed(A5.id)  # measured or not between the two
    assert faults.given_up(A5.id, outcome("crashed"))
    assert not faults.given_up(B5.id, outcome("crashed"))


def test_a_machine_may_be_lost_with_a_case_once_until_it_is_measured() -> None:
    faults = Faults()
    assert MOST_LOSSES == 2
    assert faults.lose([A5.id]) == []
    faults.measured(A5.id)
    assert faults.lose([A5.id]) == []
    assert not faults.given_up(A5.id, outcome("crashed"))
    assert faults.lose([A5.id]) == [A5.id]
    assert faults.given_up(A5.id, outcome("crashed"))
    assert not faults.suspected(A5.id)


def test_of_several_that_lost_machines_together_none_is_blamed_and_each_goes_alone() -> None:
    faults = Faults()
    assert faults.lose([A5.id, B5.id]) == []
    assert not faults.suspected(A5.id)  # machines go
    assert faults.lose([A5.id, B6.id]) == []
    assert [faults.suspected(case) for case in (A5.id, B5.id, B6.id)] == [True, False, False]
    assert faults.lose([A5.id]) == [A5.id]
