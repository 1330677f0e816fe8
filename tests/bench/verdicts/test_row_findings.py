"""The bound of a case, helpers on the same work, and break-even points."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.schema import Measurement
from bench.render.data import as_json
from bench.render.messages import bound_sentence
from bench.stats.comparison import Comparison
from bench.stats.intervals import Interval
from bench.verdicts.break_even import break_even, break_even_pairs
from bench.verdicts.ranking import UNTRIED, RankedRow
from bench.verdicts.sections import Report, build
from lstm_impl import LSTMSpec, Workload, list_backends
from tests.bench.made_reasons import recorded
from tests.bench.made_results import a_run, gather, measured

RUNS = [a_run(number) for number in range(6)]
WORK = Workload(32, 100, "training")
Roofs: TypeAlias = Mapping[str, float | str | None]

LAUNCHES: Roofs = {
    "of_launch": 0.71,
    "launches": 2107.0,
    "launch_s": 0.71,
    "launch_by": "a loop of TensorFlow's",
    "of_chain": 0.2,
    "of_matmul": 0.1,
}
FEWER: Roofs = {**LAUNCHES, "of_launch": 0.2, "launches": 300.0}
CHAIN: Roofs = {"of_chain": 0.67, "of_matmul": 0.3}


def made(
    backend: str,
    seconds: float,
    roofs: Roofs | None = None,
    work: Workload = WORK,
    reasons: tuple[Reason, ...] = (),
) -> list[Measurement]:
    case = Case(backend, LSTMSpec(8, 16), work)
    return [
        replace(measured(case, seconds * (1 + 0.001 * n), run, reasons), roofs=roofs)
        for n, run in enumerate(RUNS)
    ]


def rows(*backends: list[Measurement]) -> dict[str, RankedRow]:
    report = build(gather(*(each for backend in backends for each in backend)))
    return {row.case.backend: row for section in report.sections for row in section.rows}


def test_launches_name_a_faster_backend_with_fewer() -> None:
    found = rows(made("keras", 1.0, LAUNCHES), made("while_loop+hoisted", 0.5, FEWER))
    text = bound_sentence(found["keras"])
    assert text.startswith("bound by launches: starting as many operators (2,107) that do nothing")
    assert "while_loop+hoisted takes 0.50 of its time on the same work (0.50–0.50, FASTER)" in text
    assert bound_sentence(found["while_loop+hoisted"]).startswith("not known: ")


def test_launches_skip_backends_with_as_many() -> None:
    found = rows(
        made("keras", 1.0, LAUNCHES),
        made("lucky", 0.5, LAUNCHES),
        made("silent", 0.4, CHAIN),
        made("few", 0.7, FEWER),
    )
    assert "few takes 0.70 of its time" in bound_sentence(found["keras"])


def test_advice_skips_backends_that_were_not_faster() -> None:
    for seconds in (1.0, 1.4):
        found = rows(made("keras", 1.0, LAUNCHES), made("few", seconds, FEWER))
        text = bound_sentence(found["keras"])
        assert "few" not in text
        assert "not measured on this work, but worth a try: partial_unroll@10 or fused_cpu" in text


def test_advice_skips_untrusted_backends() -> None:
    broken = recorded("above_roof", "it is too fast", "look again")
    found = rows(made("keras", 1.0, LAUNCHES), made("few", 0.5, FEWER, reasons=(broken,)))
    assert "few takes" not in bound_sentence(found["keras"])


def test_advice_near_the_chain_names_a_faster_backend() -> None:
    found = rows(made("keras", 1.0, CHAIN), made("fused_cpu", 0.6, {**CHAIN, "of_chain": 1.1}))
    assert "fused_cpu takes 0.60 of its time" in bound_sentence(found["keras"])
    assert "as fast as the products that wait for one" in bound_sentence(found["fused_cpu"])


def test_advice_names_existing_options() -> None:
    known = list_backends()
    assert {each for names in UNTRIED.values() for each in names} <= set(known)


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(3, 4), Workload(2, 10, "training"))


def report(times: Mapping[str, tuple[float, float]]) -> Report:
    items = [
        replace(
            measured(case(backend), step, run),
            setup={"build_s": 0.0, "trace_s": 0.0, "first_call_s": first, "compile_s": 0.0},
        )
        for run in RUNS
        for backend, (step, first) in times.items()
    ]
    return build(gather(*items), baseline="keras")


def timed(times: Mapping[str, tuple[float, float]]) -> dict[str, RankedRow]:
    return {row.case.backend: row for row in report(times).sections[0].rows}


def ratio(row: RankedRow) -> Comparison:
    assert row.to_baseline is not None
    return row.to_baseline


def test_break_even_reports_slow_starts_with_faster_steps_only() -> None:
    times = {"keras": (0.010, 1.0), "xla": (0.006, 9.0), "unrolled": (0.008, 4.0)}
    found_pairs = {
        (row.case.backend, other.case.backend): after
        for row, other, after in break_even_pairs(list(timed(times).values()))
    }
    assert set(found_pairs) == {("xla", "keras"), ("xla", "unrolled"), ("unrolled", "keras")}
    assert found_pairs["xla", "unrolled"].steps == pytest.approx(5.0 / 0.002, rel=0.01)
    (section,) = json.loads(as_json(report(times)))["sections"]
    assert {(each["case_id"], each["against"]) for each in section["break_even"]} == {
        (case(faster).id, slower) for faster, slower in found_pairs
    }


@given(
    step=st.floats(1e-6, 1e2),
    gain=st.floats(0.05, 0.9),
    first=st.floats(0, 1e3),
    later=st.floats(1e-3, 1e3),
)
def test_break_even_both_take_the_same_time(
    step: float, gain: float, first: float, later: float
) -> None:
    found = timed({"keras": (step, first), "new": (step * (1 - gain), first + later)})
    after = break_even(found["new"].result, found["keras"].result, ratio(found["new"]))
    assert after is not None
    assert math.isfinite(after.steps)
    new, old = found["new"], found["keras"]
    totals = [first + later + after.steps * new.result.time, first + after.steps * old.result.time]
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)


def within(row: RankedRow, low: float, mid: float, high: float) -> Comparison:
    return replace(ratio(row), ratio=Interval(low, mid, high, 0.995))


def test_break_even_of_an_unclear_ratio_may_be_never() -> None:
    found = timed({"keras": (0.010, 1.0), "xla": (0.006, 9.0), "quick": (0.006, 0.5)})
    late, soon = found["xla"], found["quick"]
    for high in (1.0, 1.1):
        after = break_even(late.result, found["keras"].result, within(late, 0.5, 0.6, high))
        assert after is not None
        assert after.high == math.inf
        assert (after.low, after.steps) == pytest.approx((8 / 0.005, 8 / 0.004))
        # A backend that starts sooner is ahead at once.
        after = break_even(soon.result, found["keras"].result, within(soon, 0.5, 0.6, high))
        assert after is not None
        assert (after.low, after.steps, after.high) == (0, 0, 0)
        assert after.later == pytest.approx(-0.5)
    assert break_even(late.result, found["keras"].result, within(late, 0.9, 1.0, 1.1)) is None
