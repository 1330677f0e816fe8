"""Of each table the winner's bound in a sentence, and of all cases a list."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bench.judging.ranking import build
from bench.judging.rows import Report
from bench.reporting import whys
from bench.reporting.decisions import MOST, decisions
from bench.reporting.sentences import findings
from bench.results.schema import Measurement, Run
from bench.suites.cases import Case
from bench.telling.deliver import plain_text
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

DAY = datetime(2025, 1, 31, tzinfo=UTC)
RUN = Run("1", "s", "quick", 1, DAY, DAY, True, "host", "id", {}, {})


def found(backend: str, seconds: float, batch: int, **roofs: float) -> Measurement:
    case = Case(backend, LSTMSpec(8, 16), Workload(batch, 100))
    return replace(measured(case, seconds, RUN), roofs=roofs)


def report(*items: Measurement) -> Report:
    return build(gather(*items))


def of_winner(*items: Measurement) -> str:
    return whys.of_winner(report(*items).sections[0].tables[0])


def test_at_one_shape_the_whole_sentence_is_told() -> None:
    told = of_winner(found("fast", 1.0, 32, of_chain=0.7), found("slow", 2.0, 32, of_matmul=0.9))
    assert told.startswith("cpu, inference: fast is bound by the chain of products: ")
    assert "slow" not in told


def test_over_shapes_it_is_told_of_how_many() -> None:
    told = of_winner(
        found("fast", 1.0, 32, of_chain=0.7),
        found("fast", 1.0, 64, of_chain=0.8),
        found("fast", 1.0, 16, of_matmul=0.9),
        found("fast", 1.0, 8, of_matmul=0.1),
        found("other", 0.5, 4, of_bandwidth=0.9),
    )
    assert told == (
        "cpu, inference: fast is bound by chain at 2 and by products at 1 of 4 shapes "
        "(--why has each)"
    )


def test_what_is_not_known_is_no_news() -> None:
    assert of_winner(found("fast", 1.0, 32, of_chain=0.2)) == ""
    assert of_winner(found("fast", 1.0, 32)) == ""


def test_it_stands_under_findings_and_adds_no_line_above_the_tables() -> None:
    (section,) = report(found("fast", 1.0, 32, of_chain=0.7), found("b", 2.0, 32)).sections
    assert any("bound by the chain" in each.text for each in findings(section))
    assert not any("bound by" in each.text for each in decisions(section))
    assert len(decisions(section)) <= MOST


def test_each_case_has_its_sentence_in_a_terminal_and_in_markdown() -> None:
    made = report(found("fast", 1.0, 32, of_chain=0.7), found("slow", 2.0, 32, of_matmul=0.9))
    text = plain_text(lambda console: whys.draw(made.sections[0], console, 100), 200)
    marked = whys.as_markdown(made)
    for each in (text, marked):
        assert "bound by the chain of products: " in each
        assert "bound by products: " in each
    assert "| `b32-t100-i8-h16` | `fast` | 1.00 s | bound by the chain" in marked
