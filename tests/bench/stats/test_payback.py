from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.schema import Run
from bench.render.data import as_json, records
from bench.render.messages import findings
from bench.stats.comparison import Comparison
from bench.stats.intervals import Interval
from bench.stats.rows import Report, Row, break_even, build, pairs
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

STARTED = datetime(2025, 1, 31, tzinfo=UTC)
RUNS = [Run(f"r{k}", "s", "x", 0, STARTED, STARTED, True, "host", "m", {}, {}) for k in range(6)]


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(3, 4), Workload(2, 10, "training"))


def report(times: Mapping[str, tuple[float, float]]) -> Report:
    """Of backends with these seconds a step and seconds until the first result, in six runs."""
    items = [
        replace(
            measured(case(backend), step, run),
            setup={"build_s": 0.0, "trace_s": 0.0, "first_call_s": first, "compile_s": 0.0},
        )
        for run in RUNS
        for backend, (step, first) in times.items()
    ]
    return build(gather(*items), baseline="keras")


def rows(times: Mapping[str, tuple[float, float]]) -> dict[str, Row]:
    return {row.case.backend: row for row in report(times).sections[0].rows}


def ratio(row: Row) -> Comparison:
    assert row.to_baseline is not None
    return row.to_baseline


def test_every_pair_of_a_slow_start_and_a_faster_step_is_told_and_no_other() -> None:
    times = {"keras": (0.010, 1.0), "xla": (0.006, 9.0), "unrolled": (0.008, 4.0)}
    told = {
        (row.case.backend, other.case.backend): after
        for row, other, after in pairs(list(rows(times).values()))
    }
    assert set(told) == {("xla", "keras"), ("xla", "unrolled"), ("unrolled", "keras")}
    assert told["xla", "unrolled"].steps == pytest.approx(5.0 / 0.002, rel=0.01)
    (section,) = json.loads(as_json(report(times)))["sections"]
    assert {(each["case_id"], each["against"]) for each in section["break_even"]} == {
        (case(faster).id, slower) for faster, slower in told
    }


def test_the_report_says_in_a_sentence_when_a_late_start_has_paid_back() -> None:
    made = report({"keras": (0.010, 1.0), "xla": (0.006, 9.0)})
    (sentence,) = (each.text for each in findings(made.sections[0]) if "made up" in each.text)
    assert "xla starts up to 8.00 s later than keras, and has made up for it after" in sentence
    assert "after 2,000 steps" in sentence
    steps = {record["backend"]: record["break_even_steps"] for record in records(made)}
    assert steps["keras"] is None
    assert steps["xla"] == pytest.approx(2000, rel=0.01)


@given(
    step=st.floats(1e-6, 1e2),
    gain=st.floats(0.05, 0.9),
    first=st.floats(0, 1e3),
    later=st.floats(1e-3, 1e3),
)
def test_at_the_break_even_both_have_taken_the_same_time(
    step: float, gain: float, first: float, later: float
) -> None:
    found = rows({"keras": (step, first), "new": (step * (1 - gain), first + later)})
    after = break_even(found["new"], found["keras"], ratio(found["new"]))
    assert after is not None
    assert math.isfinite(after.steps)
    new, old = found["new"], found["keras"]
    whole = [first + later + after.steps * new.time, first + after.steps * old.time]
    assert whole[0] == pytest.approx(whole[1], rel=1e-6)


def within(row: Row, low: float, mid: float, high: float) -> Comparison:
    """Its ratio, were it known to be between these."""
    return replace(ratio(row), ratio=Interval(low, mid, high, 0.995))


def test_where_the_ratio_may_be_one_it_may_never_pay_back() -> None:
    found = rows({"keras": (0.010, 1.0), "xla": (0.006, 9.0), "quick": (0.006, 0.5)})
    late, soon = found["xla"], found["quick"]
    for high in (1.0, 1.1):
        after = break_even(late, found["keras"], within(late, 0.5, 0.6, high))
        assert after is not None
        assert after.high == math.inf
        assert (after.low, after.steps) == pytest.approx((8 / 0.005, 8 / 0.004))
        # Who starts sooner has nothing to make up for.
        after = break_even(soon, found["keras"], within(soon, 0.5, 0.6, high))
        assert after is not None
        assert (after.low, after.steps, after.high) == (0, 0, 0)
        assert after.later == pytest.approx(-0.5)
    assert break_even(late, found["keras"], within(late, 0.9, 1.0, 1.1)) is None
