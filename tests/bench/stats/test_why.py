"""The sentence: what binds a case, and who was faster on the same work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from bench.case.cases import Case
from bench.records.schema import Measurement, RecordedReason, Run
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


def test_what_is_suggested_exists() -> None:
    known = list_backends()
    assert {each for names in UNTRIED.values() for each in names} <= set(known)
