"""Where the time of a session went: each second once, also of streams whose calls fall behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.schema import Measurement, Run
from bench.session.progress import (
    FIRST_USE,
    MEMORY,
    REST,
    UNTIMED,
    WARM_UP,
    Overhead,
    overhead,
    summarize,
)
from bench.session.session import Goal
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results as made
from tests.bench.made_streams import a_run, a_stream, streamed
from tests.bench.session.made_sessions import HOURS, World, session

SETUP = {
    "build_s": 1.0,
    "trace_s": 2.0,
    "first_call_s": 4.0,
    "compile_s": 3.0,  # of the first call, and not to be counted again
    "gate_s": 8.0,
    "evidence_s": 16.0,
    "timing_s": 64.0,
    "untimed_s": 32.0,
    "start_s": 128.0,
    "roofs_s": 256.0,
}


CASE = Case("numpy", LSTMSpec(3, 4), Workload(2, 5))
START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run("r", "r", "smoke", 0, START, START, True, "host", "machine", {}, {})


def a_measurement() -> Measurement:
    return made.measured(CASE, 0.1, RUN)


def inside(each: Measurement) -> float:
    return float(each.samples.sum()) * each.calls


def test_each_second_is_counted_once() -> None:
    one = replace(a_measurement(), setup=SETUP, memory={"seconds": 32.0, "error": "words"})
    found = overhead([one, one], 2000.0)
    assert found.measured == pytest.approx(2 * inside(one))
    assert found.seconds == {
        UNTIMED: 64,
        WARM_UP: pytest.approx(64 - 2 * inside(one)),
        FIRST_USE: 14,
        "the gate": 16,
        "evidence": 32,
        MEMORY: 64,
        "starting frameworks": 256,
        "roofs": 512,
    }
    rest = 2000 - 128 - 14 - 16 - 32 - 64 - 256 - 512
    assert dict(found.parts())[REST] == pytest.approx(rest)
    assert found.outside == pytest.approx(2000 - found.measured)
    assert sum(seconds for _, seconds in found.parts()) == pytest.approx(found.outside)


def test_what_one_of_a_group_had_more_of_than_its_even_part_another_had_less_of() -> None:
    one = replace(a_measurement(), setup={"timing_s": 100.0})
    other = replace(one, calls=2 * one.calls)
    even = 1.2 * (inside(one) + inside(other)) / 2
    pair = [replace(each, setup={"timing_s": even}) for each in (one, other)]
    assert inside(one) < even < inside(other)
    warm_up = overhead(pair, 1000.0).seconds[WARM_UP]
    assert warm_up == pytest.approx(2 * even - inside(one) - inside(other))


def test_files_of_before_it_was_recorded_have_it_in_the_rest() -> None:
    one = replace(a_measurement(), setup={"build_s": 1.0, "trace_s": None, "first_call_s": 2.0})
    found = overhead([one], 10.0)
    assert {part for part, seconds in found.seconds.items() if seconds} == {FIRST_USE}
    assert dict(found.parts())[REST] == pytest.approx(10 - 3 - inside(one))


seconds = st.floats(0, 1e4)


@given(st.builds(Overhead, seconds, seconds, st.dictionaries(st.text(), seconds)))
def test_no_part_is_negative_and_the_longest_comes_first(found: Overhead) -> None:
    values = [value for _, value in found.parts()]
    assert values == sorted(values, reverse=True)
    assert min(values) >= 0
    assert found.outside >= 0


@pytest.mark.parametrize("latency", [1e-4, 2.0])
def test_calls_that_are_due_at_a_time_take_their_periods(latency: float) -> None:
    item = streamed(a_stream("keras", 0.01), a_run(0), 1e-4, 2.0)
    item = replace(item, samples=np.full(11, latency), calls=20, setup={"timing_s": 2.5})
    found = overhead([item], spent=10.0)
    assert found.measured == pytest.approx(2.2)
    assert found.seconds[WARM_UP] == pytest.approx(0.3)


def test_calls_back_to_back_take_what_they_take() -> None:
    item = streamed(a_stream("keras"), a_run(0), 1e-4, 2.0)
    item = replace(item, samples=np.full(11, 0.001), calls=20, setup={})
    assert overhead([item], spent=10.0).measured == pytest.approx(0.22)


@pytest.mark.parametrize("processes", [2, 6])
def test_cases_in_fewer_processes_than_were_asked_for_are_told(processes: int) -> None:
    world = World(seconds=dict.fromkeys(HOURS, 20.0), step=5.0)
    goal = Goal(processes=processes)
    found = world.manager(session(goal=goal, budget=400.0, case_limit=1000.0))
    found.run()
    summary = summarize(found, world.files)
    assert summary.unreached == 0
    told = "\n".join(summary.lines(found))
    if processes == 6:
        few = "2 cases in fewer than the 6 processes that were asked for: the budget held no more"
        assert few in told
    else:
        assert "fewer than" not in told
