"""The sentence about roofs: the parts that the fastest reach, of the roofs that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bench.judging.ranking import build
from bench.judging.rows import Table
from bench.reporting.roofs import sentence
from bench.reporting.sentences import findings
from bench.results.schema import Measurement, Run
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

DAY = datetime(2025, 1, 31, tzinfo=UTC)
RUN = Run("1", "s", "quick", 1, DAY, DAY, True, "host", "id", {}, {})


def found(
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
        found("slow", 2.0, roofs={"of_matmul": 0.2, "of_chain": 0.3}),
        found("fast", 1.0, roofs={"of_matmul": 0.412, "of_chain": 0.6, "matmul_by": "NumPy"}),
    )
    assert sentence(made) == (
        "the fastest reaches 41% of the matrix-product rate (NumPy's) "
        "and 60% of the serial chain of products"
    )


def test_over_several_shapes_the_parts_are_told_from_the_least_to_the_largest() -> None:
    made = table(
        found("a", 1.0, 32, {"of_matmul": 0.5, "of_bandwidth": 0.002, "of_chain": 0.1}),
        found("a", 1.0, 64, {"of_matmul": 0.25, "of_bandwidth": 0.02, "of_chain": 0.1}),
    )
    assert sentence(made) == (
        "the fastest at each shape reaches 25 to 50% of the matrix-product rate, "
        "up to 2% of the memory bandwidth and 10% of the serial chain of products"
    )


def test_whose_roofs_they_are_is_told() -> None:
    made = table(
        found("a", 1.0, 32, {"of_matmul": 0.5, "matmul_by": "ONNX Runtime, float32, 512 x 512"}),
        found("a", 1.0, 64, {"of_matmul": 0.5, "matmul_by": "NumPy with A_B=c on 2 threads, x"}),
        found("a", 1.0, 16, {"of_matmul": 0.5, "matmul_by": "copy of 32 MiB by NumPy on 1 thread"}),
    )
    assert sentence(made) in {
        f"the fastest at each shape reaches 50% of the matrix-product rate ({owners})"
        for owners in ("NumPy's or ONNX Runtime's", "ONNX Runtime's or NumPy's")
    }


def test_what_more_than_all_means_is_told() -> None:
    made = table(found("a", 1.0, roofs={"of_chain": 1.45}))
    assert sentence(made) == (
        "the fastest reaches 145% of the serial chain of products; "
        "more than 100% is better than what the roof was measured with"
    )
    assert "more than" not in sentence(table(found("a", 1.0, roofs={"of_chain": 1.04})))


def test_of_a_stream_it_is_the_fastest_at_each_window() -> None:
    made = table(*(found("a", 1.0, 32, {"of_chain": 0.1}, window) for window in (5, 10)))
    assert sentence(made).startswith("the fastest at each window reaches 10%")


def test_without_figures_there_is_no_sentence() -> None:
    assert sentence(table(found("a", 1.0))) == ""
    assert sentence(table(found("a", 1.0, roofs={"operations": 1e9, "of_chain": None}))) == ""


def test_the_report_tells_it_after_its_answers() -> None:
    items = [found("a", 1.0, roofs={"of_chain": 0.5}), found("b", 2.0)]
    (section,) = build(gather(*items)).sections
    told = [finding.text for finding in findings(section)]
    assert told[1] == "cpu, training: the fastest reaches 50% of the serial chain of products."
    assert not any("reaches" in each for each in told[2:])
