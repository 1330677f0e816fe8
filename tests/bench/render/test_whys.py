"""Why cases take as long as they do: their bounds, the roofs that were reached, who fell back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bench.case.cases import Case
from bench.cli.output import plain_text
from bench.records.schema import Measurement, Reason, Run
from bench.render import markdown, messages, terminal
from bench.render.messages import MOST, decisions, findings
from bench.stats.ranking import build
from bench.stats.rows import Report
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
    return messages.of_winner(report(*items).sections[0].tables[0])


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
    text = plain_text(lambda console: terminal.draw_whys(made.sections[0], console, 100), 200)
    marked = markdown.whys(made)
    for each in (text, marked):
        assert "bound by the chain of products: " in each
        assert "bound by products: " in each
    assert "| `b32-t100-i8-h16` | `fast` | 1.00 s | bound by the chain" in marked


NOW = datetime.now(UTC)
BUSY = Reason("busy", "others kept processors busy", "")


def told(fallback: object, *reasons: Reason) -> list[str]:
    items = []
    for number in range(6):
        run = Run(f"run{number}", "session", "mine", 0, NOW, NOW, True, "host", "m", {}, {})
        for timesteps in (5, 6):
            work = Workload(2, timesteps)
            items.append(measured(Case("torch", LSTMSpec(1, 4), work), 0.001, run))
            slow = measured(Case("keras_torch", LSTMSpec(1, 4), work), 0.05, run, reasons)
            items.append(replace(slow, evidence={"fallback": fallback}))
    (section,) = build(gather(*items), baseline="torch").sections
    return [each.text for each in findings(section) if "keras_torch ran" in each.text]


def test_a_fallback_is_told_with_what_it_costs() -> None:
    (sentence,) = told("a Python loop over time")
    assert sentence.startswith(
        "cpu, inference: keras_torch ran a Python loop over time (2 shapes): "
        "50× slower than torch (99.5% CI "
    )


def test_where_the_ratio_is_not_to_be_trusted_the_fallback_is_told_alone() -> None:
    assert told("a Python loop", BUSY) == [
        "cpu, inference: keras_torch ran a Python loop (2 shapes)."
    ]


def test_who_ran_what_its_name_says_is_not_told_of() -> None:
    assert told("") == []
    assert told(None) == []
    assert told(3) == []  # another version's, or a stranger's


def test_a_fallback_from_elsewhere_is_one_harmless_line() -> None:
    (sentence,) = told("a\nloop\x1b[31m")
    assert "\n" not in sentence
    assert "\x1b" not in sentence
