from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.cases import Case
from bench.report_rows import Report, build
from bench.report_summary import findings
from bench.result_schema import Measurement, Outcome, Reason, Run
from bench.stats import case_interval
from bench.validity import FEW_PROCESSES, Validity, pooled
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

CASE = Case("keras", LSTMSpec(3, 4), Workload(2, 10, "training"))
STARTED = datetime(2025, 1, 31, tzinfo=UTC)
BUSY = Reason("busy", "others kept 1.2 of 2 processors busy", "close what else runs")
WIDE = Reason("wide_interval", "the median's interval is ±8.0%, over ±5%", "give it more time")


def a_run(number: int) -> Run:
    return Run(f"r{number}", "s", "x", 0, STARTED, STARTED, True, "host", "m", {}, {})


def processes(
    count: int, reason: Reason = BUSY, disturbed: int = 0, spread: float = 0.0
) -> list[Measurement]:
    """So many, the first of them disturbed; their medians reach from 1 - spread to 1 + spread."""
    return [
        measured(
            CASE,
            1.0 + spread * (2 * k / max(1, count - 1) - 1),
            a_run(k),
            (reason,) if k < disturbed else (),
        )
        for k in range(count)
    ]


def outcome(kind: str, number: int = 99) -> Outcome:
    return Outcome(CASE, a_run(number), kind, "it ended", "", Path("x.json"))


def judged(
    items: Sequence[Measurement], outcomes: Sequence[Outcome] = (), *, replicated: bool = True
) -> Validity:
    runs = len({item.run.id for item in items} | {item.run.id for item in outcomes})
    interval = case_interval([item.samples for item in items])
    return pooled(items, outcomes, interval, runs, replicated=replicated)


def codes(found: Validity) -> tuple[list[str], list[str]]:
    return [each.code for each in found.invalid], [each.code for each in found.noted]


def test_one_process_alone_is_as_valid_as_it_says() -> None:
    assert codes(judged(processes(1), replicated=False)) == ([], [])
    assert codes(judged(processes(1, disturbed=1), replicated=False)) == (["busy"], [])


@pytest.mark.parametrize("count", [1, 5])
def test_a_session_with_too_few_processes_is_noted(count: int) -> None:
    found = judged(processes(count))
    assert codes(found) == ([], [FEW_PROCESSES])
    assert f"{count} process" in found.noted[0].text
    assert "--resume" in found.noted[0].advice


def test_six_processes_that_agree_are_valid() -> None:
    assert codes(judged(processes(6))) == ([], [])


@pytest.mark.parametrize(
    ("count", "disturbed", "valid"), [(6, 1, True), (6, 2, False), (8, 2, True), (8, 3, False)]
)
def test_what_disturbed_a_few_of_many_processes_is_noted_and_spoils_nothing(
    count: int, disturbed: int, valid: bool
) -> None:
    found = judged(processes(count, disturbed=disturbed))
    assert codes(found) == (([], ["busy"]) if valid else (["busy"], []))
    (doubt,) = (*found.invalid, *found.noted)
    assert str(doubt).endswith(f"[in {disturbed} of {count} runs]")


def test_how_little_one_process_knows_does_not_matter_where_their_medians_agree() -> None:
    assert codes(judged(processes(6, WIDE, disturbed=6))) == ([], [])
    assert codes(judged(processes(5, WIDE, disturbed=5)))[0] == ["wide_interval"]


def test_medians_that_differ_are_noted_and_by_too_much_invalid() -> None:
    assert codes(judged(processes(6, spread=0.04))) == ([], [])
    found = judged(processes(6, spread=0.2))
    assert codes(found) == ([], ["wide_interval"])
    assert "over 6 processes is ±20.0%: the machine's speed changed" in found.noted[0].text
    assert "inside each process" in found.noted[0].advice
    found = judged(processes(6, spread=0.3))
    assert codes(found) == (["wide_interval"], [])
    assert "over 6 processes is ±30.0%, over ±25%" in found.invalid[0].text


def test_a_process_that_was_killed_once_is_noted_if_the_others_measured_the_case() -> None:
    assert codes(judged(processes(6), [outcome("crashed")])) == ([], ["crashed"])
    often = [outcome("crashed", number) for number in (97, 98, 99)]
    assert codes(judged(processes(6), often)) == (["crashed"], [])


@pytest.mark.parametrize("kind", ["failed", "timed_out"])
def test_a_case_that_failed_once_is_never_valid(kind: str) -> None:
    assert codes(judged(processes(20), [outcome(kind)])) == ([kind], [])


def test_a_process_that_was_stopped_from_the_keyboard_is_nobodys_fault() -> None:
    assert codes(judged(processes(6), [outcome("interrupted")])) == ([], [])


def test_the_report_tells_what_was_noted_and_calls_the_case_valid() -> None:
    report: Report = build(gather(*processes(6, disturbed=1)))
    (row,) = report.sections[0].rows
    assert not row.invalid
    told = [each.text for each in findings(report.sections[0])]
    assert any(text.startswith("Noted") and BUSY.text in text for text in told)
    assert not any(text.startswith("INVALID") for text in told)


def test_a_report_without_anything_noted_does_not_say_so() -> None:
    quiet = build(gather(*[replace(item, valid=True) for item in processes(6)]))
    assert not any(each.text.startswith("Noted") for each in findings(quiet.sections[0]))


def test_times_that_moved_are_told_apart_from_what_disturbed_a_few() -> None:
    report = build(gather(*processes(6, spread=0.2)))
    (row,) = report.sections[0].rows
    assert not row.invalid
    told = [each.text for each in findings(report.sections[0])]
    (moved,) = [text for text in told if text.startswith("The machine's speed changed")]
    assert "the intervals of 1 time reach ±20%" in moved
    assert not any(text.startswith("Noted") for text in told)
