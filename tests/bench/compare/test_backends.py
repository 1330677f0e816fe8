"""Backends side by side: against which, on which shapes, and where none can be compared."""

from __future__ import annotations

import pytest

from bench.records.schema import Results
from bench.render.compare import note_text
from bench.stats.comparison import Pairing, Verdict
from bench.stats.pairs import ComparisonRow, compare_backends
from bench.stats.rows import NothingToReportError, build
from tests.bench import made_bridges
from tests.bench.made_bridges import FAR, two_environments
from tests.bench.made_nodes import a_case, fleet, on, results
from tests.bench.made_results import ENVIRONMENT, LAPTOP, gather, measured, run, unmeasured


def test_backends_are_compared_with_the_baseline_in_their_rounds() -> None:
    during = run("a")
    report = compare_backends(
        gather(
            measured(a_case("while_loop"), 2.0, during),
            measured(a_case("static_unroll"), 0.5, during),
            measured(a_case("keras"), 1.0, during),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("keras", "static_unroll"),
        ("keras", "while_loop"),
    ]
    assert [row.comparison.ratio.mid for row in report.rows] == pytest.approx([0.5, 2.0])
    assert {row.comparison.pairing for row in report.rows} == {Pairing.ALTERNATING}
    assert {row.heading for row in report.rows} == {a_case().group}


def test_the_baseline_can_be_chosen_and_an_unknown_one_lists_the_known() -> None:
    during = run("a")
    items = [measured(a_case(name), 1.0, during) for name in ("keras", "scan")]
    assert compare_backends(gather(*items), baseline="scan").rows[0].new_label == "keras"
    with pytest.raises(NothingToReportError) as unknown:
        compare_backends(gather(*items), baseline="keras2")
    assert unknown.value.reason.values["known"] == ["keras", "scan"]


def test_a_group_without_the_baseline_is_named_with_the_reason() -> None:
    during = run("a")
    report = compare_backends(
        gather(
            measured(a_case("keras"), 1.0, during),
            measured(a_case("scan"), 1.0, during),
            measured(a_case("scan", batch=2), 1.0, during),
            unmeasured(a_case("keras", batch=2), during, "failed", "wrong gradients"),
        )
    )
    (only,) = report.one_sided
    assert only.case == a_case("scan", batch=2)
    assert only.why == "keras: failed: wrong gradients"


def test_backends_of_two_machines_or_devices_are_not_averaged_together() -> None:
    other = {**ENVIRONMENT, "cpu": {"name": "Another CPU", "cores": 2}}
    here, there = run("a"), run("b", host="server", environment=other)
    items = [
        measured(a_case(name, device=device, batch=batch), 1.0, during)
        for name in ("keras", "scan")
        for batch in (1, 2)
        for device, during in (("cpu", here), ("gpu:0", here), ("cpu", there))
    ]
    report = compare_backends(gather(*items))
    assert [(mean.new_label, mean.cases) for mean in report.means] == [
        (f"scan on cpu on {LAPTOP}", 2),
        (f"scan on gpu:0 on {LAPTOP}", 2),
        (f"scan on cpu on {there.machine}", 2),
    ]


def test_a_single_backend_says_that_there_is_nothing_to_compare() -> None:
    one, none = (
        compare_backends(gather(measured(a_case(), 1.0, run("a")))),
        compare_backends(gather()),
    )
    assert "two backends with results (keras)" in note_text(one.finding)
    assert "two backends with results (none)" in note_text(none.finding)


def test_backends_on_two_kinds_are_compared_on_each() -> None:
    items = fleet({"a": 0.0, "b": 0.1}, {a_case(): 1.0, a_case("while_loop"): 2.0})
    other = on("z", 0, cpu="Another CPU")
    items += [measured(a_case(), 1.0, other), measured(a_case("while_loop"), 3.0, other)]
    report = compare_backends(results(*items))
    assert {row.new_label for row in report.rows} == {
        "while_loop on 2 nodes (a, b)",
        f"while_loop on {other.machine}",
    }
    assert {row.comparison.nodes for row in report.rows} == {0, 2}


# Over a bridge


def over_bridges(found: Results) -> list[ComparisonRow]:
    """The rows of the backend that shares no process with the baseline."""
    return [row for row in compare_backends(found, "b").rows if row.case.backend == "a"]


def test_over_an_uneven_bridge_it_finds_what_the_report_finds() -> None:
    found = made_bridges.results(FAR, 1.1, cases=4)
    (section,) = build(found, baseline="b").sections
    told = {row.case.id: row.to_baseline for row in section.rows}
    rows = over_bridges(found)
    assert len(rows) == 4
    for row in rows:
        ratio = told[row.case.id]
        assert ratio is not None
        assert row.comparison.uneven
        assert row.comparison.pairing is Pairing.BRIDGED
        assert row.comparison.verdict is ratio.verdict is Verdict.UNCLEAR
        assert row.comparison.ratio.high == pytest.approx(ratio.ratio.high)
    even = compare_backends(made_bridges.results(0.0, 1.5, cases=4), "b").rows
    assert not any(row.comparison.uneven for row in even)
    by_backend = {row.case.backend: row.comparison for row in even}
    assert by_backend["a"].ratio.mid == pytest.approx(1.5, rel=0.01)
    assert by_backend["a"].heterogeneity
    assert by_backend["bridge"].paired


def test_whether_a_bridge_is_even_is_asked_of_each_place_and_device_by_itself() -> None:
    items = [
        *two_environments(FAR, 1.1),
        *two_environments(0.0, 1.1, device="gpu:0", seed=2),
    ]
    found = {(row.case.device, row.comparison.uneven) for row in over_bridges(gather(*items))}
    assert found == {("cpu", True), ("gpu:0", False)}
