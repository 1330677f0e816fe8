"""What a worker is at, by the lines that it writes."""

from __future__ import annotations

import math

import pytest

from bench.session.manager import Watch
from tests.bench.session.made_sessions import A5, CASES


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
