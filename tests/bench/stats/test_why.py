"""The sentence: what binds a case, and who was faster on the same work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

import pytest

from bench.case.cases import Case
from bench.records.schema import Measurement, RecordedReason, Run
from bench.render.data import records
from bench.render.messages import bound_sentence
from bench.stats.rows import UNTRIED, Row, build
from lstm_impl import LSTMSpec, Workload, list_backends
from tests.bench.made_results import gather, measured

DAY = datetime(2025, 1, 31, tzinfo=UTC)
RUNS = [
    Run(str(number), "s", "quick", 1, DAY, DAY, True, "host", "id", {}, {}) for number in range(6)
]
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
    reasons: tuple[RecordedReason, ...] = (),
) -> list[Measurement]:
    case = Case(backend, LSTMSpec(8, 16), work)
    return [
        replace(measured(case, seconds * (1 + 0.001 * n), run, reasons), roofs=roofs)
        for n, run in enumerate(RUNS)
    ]


def rows(*backends: list[Measurement]) -> dict[str, Row]:
    report = build(gather(*(each for backend in backends for each in backend)))
    return {row.case.backend: row for section in report.sections for row in section.rows}


def test_launches_are_told_with_who_starts_fewer_and_was_faster() -> None:
    found = rows(made("keras", 1.0, LAUNCHES), made("while_loop+hoisted", 0.5, FEWER))
    told = bound_sentence(found["keras"])
    assert told.startswith(
        "bound by launches: starting as many operators (2,107) that do nothing takes 71% of the "
        "step; while_loop+hoisted takes 0.50 of its time on the same work (0.50–0.50, FASTER)"
    )
    assert bound_sentence(found["while_loop+hoisted"]).startswith("not known: ")


def test_who_starts_as_many_is_no_help_against_launches_however_fast() -> None:
    found = rows(
        made("keras", 1.0, LAUNCHES),
        made("lucky", 0.5, LAUNCHES),
        made("silent", 0.4, CHAIN),
        made("few", 0.7, FEWER),
    )
    assert "few takes 0.70 of its time" in bound_sentence(found["keras"])


def test_what_was_not_faster_is_not_named() -> None:
    for seconds in (1.0, 1.4):
        found = rows(made("keras", 1.0, LAUNCHES), made("few", seconds, FEWER))
        told = bound_sentence(found["keras"])
        assert "few" not in told
        assert "not measured on this work, but worth a try: partial_unroll@10 or fused_cpu" in told


def test_what_cannot_be_trusted_is_not_named() -> None:
    broken = RecordedReason("above_roof", "it is too fast", "look again")
    found = rows(made("keras", 1.0, LAUNCHES), made("few", 0.5, FEWER, reasons=(broken,)))
    assert "few takes" not in bound_sentence(found["keras"])


def test_what_is_in_the_group_is_no_suggestion_whether_it_helped_or_not() -> None:
    found = rows(
        made("keras", 1.0, LAUNCHES),
        made("fused_cpu", 1.5, FEWER),
        made("partial_unroll@10", 1.5, FEWER),
    )
    assert bound_sentence(found["keras"]).endswith("71% of the step")


def test_of_a_case_near_its_chain_whoever_is_faster_may_help() -> None:
    found = rows(made("keras", 1.0, CHAIN), made("fused_cpu", 0.6, {**CHAIN, "of_chain": 1.1}))
    assert bound_sentence(found["keras"]) == (
        "bound by the chain of products: those that wait for one another take 67% of the step at "
        "the best that was seen here; fused_cpu takes 0.60 of its time on the same work "
        "(0.60–0.60, FASTER)"
    )
    assert bound_sentence(found["fused_cpu"]) == (
        "bound by the chain of products: it is as fast as those that wait for one another at the "
        "best that was seen here (110%)"
    )


@pytest.mark.parametrize(
    ("roofs", "start"),
    [
        (
            {**LAUNCHES, "launch_by": "operators of PyTorch called from Python"},
            "bound by the host: calling as many operators (2,107) that do nothing from Python",
        ),
        ({"of_matmul": 0.8}, "bound by products: they take 80% of the step at the best rate"),
        (
            {"of_matmul": 0.4, "operations": 1e6, "operations_ran": 2e6},
            "bound by products: it makes 2.0 times the multiplications that the step needs, 80%",
        ),
        ({"of_bandwidth": 0.6}, "bound by memory: moving its data once takes 60% of the step"),
        ({"processors_busy": 0.1}, "bound by waiting: for 90% of the step no processor computes"),
        ({}, "not known: no roofs are recorded"),
        (None, "not known: no roofs are recorded"),
        (
            {"of_chain": 0.2, "of_matmul": 0.31},
            "not known: the largest known part is its products, at least 31%",
        ),
    ],
)
def test_each_bound_is_told_with_how_it_is_known(roofs: Roofs | None, start: str) -> None:
    assert bound_sentence(rows(made("a", 1.0, roofs))["a"]).startswith(start)


def test_padding_is_told_with_what_it_would_be_without() -> None:
    work = Workload(32, 100, min_length=10)
    (row,) = rows(made("a", 1.0, {"of_chain": 0.4}, work)).values()
    assert bound_sentence(row) == (
        "bound by padding: 45% of the timesteps are padding, and with them the chain of products "
        "would take 73% of the step"
    )


def test_the_tidy_table_has_it_of_each_case() -> None:
    report = build(gather(*made("keras", 1.0, LAUNCHES)))
    (record,) = records(report)
    assert record["bound_by"] == "launches"
    assert record["of_launch_roof"] == 0.71
    assert str(record["why"]).startswith("bound by launches: ")


def test_what_is_suggested_exists() -> None:
    known = list_backends()
    assert {each for names in UNTRIED.values() for each in names} <= set(known)


def test_of_what_cannot_be_trusted_nothing_is_known() -> None:
    broken = RecordedReason("busy", "others computed", "close them")
    row = rows(made("keras", 1.0, LAUNCHES, reasons=(broken,)))["keras"]
    assert row.bound is not None
    assert row.bound.kind == "not known"
    assert bound_sentence(row) == "not known: what was measured of it is INVALID"
