"""What a worker is at, by the lines that it writes."""

from __future__ import annotations

import math

import pytest

from bench.case.cases import Case
from bench.session.manager import IDLE_LIMIT, Watch
from tests.bench.session.made_sessions import A5, A6, B5, B6, CASES


def test_a_case_has_its_limit_while_it_is_prepared() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 5.0)
    assert not watch.overdue(15.0)
    assert watch.overdue(15.1)
    assert watch.busy == (A5.id,)
    assert not watch.timing


def test_cases_that_are_timed_in_turn_share_what_each_has_left() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 0.0)
    watch.see({"begun": [B5.id]}, 4.0)
    assert not watch.timing
    watch.see({"begun": [A5.id, B5.id]}, 7.0)
    assert watch.timing
    assert not watch.overdue(20.0)  # 6 s of one and 7 s of the other
    assert watch.overdue(20.1)


def test_finished_cases_are_not_busy_any_more() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id, B5.id]}, 0.0)
    watch.see({"benchmark": {"extra_info": {"lstm": {"case_id": A5.id}}}}, 1.0)
    assert set(watch.busy) == {B5.id}
    watch.see({"outcome": {"case_id": B5.id}}, 2.0)
    assert not watch.busy
    assert watch.done == {A5.id, B5.id}
    watch.see({"finished": "now"}, 3.0)
    assert watch.ended


def test_a_worker_without_a_case_may_not_hang_either() -> None:
    watch = Watch(CASES, 10.0, 100.0)
    assert not watch.overdue(100.0 + IDLE_LIMIT)
    assert watch.overdue(100.1 + IDLE_LIMIT)


def test_the_watch_learns_what_starting_and_each_group_cost() -> None:
    watch = Watch(CASES, 10.0, 1.0)
    watch.see({"begun": [A5.id]}, 3.0)
    watch.see({"begun": [A5.id, B5.id]}, 4.0)
    watch.see({"begun": [A6.id]}, 9.0)
    watch.see({"finished": "now"}, 11.0)
    assert watch.startup == 2.0
    # Preparing A5 took 1 s; what nobody said of whom it was is shared.
    assert watch.costs == {A5.id: 1.0 + 2.5, B5.id: 2.5, A6.id: 1.0, B6.id: 1.0}


def line_of(case: Case, **ours: object) -> dict[str, object]:
    return {"benchmark": {"extra_info": {"lstm": {"case_id": case.id, **ours}}}}


def test_a_case_costs_what_it_took_beside_being_timed_and_an_import_is_the_processs() -> None:
    watch = Watch(CASES, 100.0, 0.0, dict.fromkeys((case.id for case in CASES), 10.0))
    watch.see({"begun": [A5.id]}, 2.0)
    watch.see({"begun": [B5.id]}, 12.0)  # 6 of them an import
    watch.see({"begun": [A5.id, B5.id]}, 15.0)
    setups = {A5: {"start_s": 6.0, "timing_s": 4.0}, B5: {"start_s": 1.0, "timing_s": 12.0}}
    for case, setup in setups.items():
        watch.see(line_of(case, setup=setup), 33.0)
    watch.see({"begun": [A6.id]}, 33.0)
    watch.see({"outcome": {"case_id": A6.id}}, 35.0)
    watch.see({"finished": "now"}, 35.0)
    # 18 s in turn, of which 4 and 10 were to be timed.
    assert watch.timed == 14.0
    assert watch.costs == {A5.id: 10.0 - 6.0 + 2.0, B5.id: 3.0 + 2.0, A6.id: 1.0, B6.id: 1.0}


@pytest.mark.parametrize("seconds", [None, "soon", -1.0, math.inf, math.nan])
def test_a_time_that_makes_no_sense_is_the_planned_one(seconds: object) -> None:
    watch = Watch(CASES, 10.0, 0.0, {A5.id: 3.0})
    ours = {"case_id": A5.id, "setup": {"timing_s": seconds}}
    watch.see({"benchmark": {"extra_info": {"lstm": ours}}}, 1.0)
    assert watch.timed == 3.0


@pytest.mark.parametrize(
    "line", [{}, {"begun": 3}, {"begun": []}, {"benchmark": 1}, {"outcome": {"case_id": 3}}]
)
def test_lines_that_make_no_sense_are_passed_over(line: dict[str, object]) -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see(line, 1.0)
    assert (watch.busy, watch.done, watch.ended) == ((), set(), False)
