"""Why cases take as long as they do: their bounds, the roofs that were reached, who fell back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bench.case.cases import Case
from bench.cli.output import plain_text
from bench.records.schema import Measurement, Reason, Run
from bench.render import markdown, messages, terminal
from bench.render.messages import MOST, decisions, findings, of_roofs
from bench.stats.ranking import build
from bench.stats.rows import Report, Table
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


def trained(
    backend: str,
    seconds: float,
    batch: int = 32,
    roofs: Mapping[str, float | str | None] | None = None,
    window: int | None = None,
) -> Measurement:
    work = Workload(batch, 100, "training", window=window)
    case = Case(backend, LSTMSpec(8, 16), work)
    return replace(measured(case, seconds, RUN), roofs=roofs)


def table(*items: Measurement) -> Table:
    return build(gather(*items)).sections[0].tables[0]


def test_the_parts_are_those_that_the_fastest_reaches() -> None:
    made = table(
        trained("slow", 2.0, roofs={"of_matmul": 0.2, "of_chain": 0.3}),
        trained("fast", 1.0, roofs={"of_matmul": 0.412, "of_chain": 0.6, "matmul_by": "NumPy"}),
    )
    assert of_roofs(made) == (
        "the fastest reaches 41% of the matrix-product rate (NumPy's) "
        "and 60% of the serial chain of products"
    )


def test_over_several_shapes_the_parts_are_told_from_the_least_to_the_largest() -> None:
    made = table(
        trained("a", 1.0, 32, {"of_matmul": 0.5, "of_bandwidth": 0.002, "of_chain": 0.1}),
        trained("a", 1.0, 64, {"of_matmul": 0.25, "of_bandwidth": 0.02, "of_chain": 0.1}),
    )
    assert of_roofs(made) == (
        "the fastest at each shape reaches 25 to 50% of the matrix-product rate, "
        "up to 2% of the memory bandwidth and 10% of the serial chain of products"
    )


def test_whose_roofs_they_are_is_told() -> None:
    made = table(
        trained("a", 1.0, 32, {"of_matmul": 0.5, "matmul_by": "ONNX Runtime, float32, 512 x 512"}),
        trained("a", 1.0, 64, {"of_matmul": 0.5, "matmul_by": "NumPy with A_B=c on 2 threads, x"}),
        trained(
            "a", 1.0, 16, {"of_matmul": 0.5, "matmul_by": "copy of 32 MiB by NumPy on 1 thread"}
        ),
    )
    assert of_roofs(made) in {
        f"the fastest at each shape reaches 50% of the matrix-product rate ({owners})"
        for owners in ("NumPy's or ONNX Runtime's", "ONNX Runtime's or NumPy's")
    }


def test_what_more_than_all_means_is_told() -> None:
    made = table(trained("a", 1.0, roofs={"of_chain": 1.45}))
    assert of_roofs(made) == (
        "the fastest reaches 145% of the serial chain of products; "
        "more than 100% is better than what the roof was measured with"
    )
    assert "more than" not in of_roofs(table(trained("a", 1.0, roofs={"of_chain": 1.04})))


def test_of_a_stream_it_is_the_fastest_at_each_window() -> None:
    made = table(*(trained("a", 1.0, 32, {"of_chain": 0.1}, window) for window in (5, 10)))
    assert of_roofs(made).startswith("the fastest at each window reaches 10%")


def test_without_figures_there_is_no_sentence() -> None:
    assert of_roofs(table(trained("a", 1.0))) == ""
    assert of_roofs(table(trained("a", 1.0, roofs={"operations": 1e9, "of_chain": None}))) == ""


def test_the_report_tells_it_after_its_answers() -> None:
    items = [trained("a", 1.0, roofs={"of_chain": 0.5}), trained("b", 2.0)]
    (section,) = build(gather(*items)).sections
    told = [finding.text for finding in findings(section)]
    assert told[1] == "cpu, training: the fastest reaches 50% of the serial chain of products."
    assert not any("reaches" in each for each in told[2:])


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
        "0.02 times as fast as torch ("
    )
    assert sentence.endswith(", SLOWER).")


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
