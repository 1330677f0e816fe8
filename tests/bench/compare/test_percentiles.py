"""Comparing a percentile of latency: what is judged, and what is left out and said to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.render.compare import note_text
from bench.stats.comparison import Verdict
from bench.stats.pairs import at_percentile, compare_backends, compare_runs
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured, unmeasured
from tests.bench.made_streams import streams


def verdicts(percentile: float, processes: int = 6) -> list[Verdict]:
    found, _ = at_percentile(streams({"keras": 5.0, "torch": 8.0}, processes), percentile)
    return [row.comparison.verdict for row in compare_backends(found, "keras").rows]


def test_backends_that_differ_in_their_tails_alone_are_told_apart_there() -> None:
    assert verdicts(99.0) == [Verdict.SLOWER]
    assert verdicts(99.9) == [Verdict.SLOWER]
    assert verdicts(50.0) == [Verdict.SAME]


def test_the_ratio_is_of_the_percentiles_process_by_process() -> None:
    found, _ = at_percentile(streams({"keras": 5.0, "torch": 8.0}), 99.0)
    (row,) = compare_backends(found, "keras").rows
    assert row.comparison.ratio.mid == pytest.approx(1.6, rel=0.05)
    assert row.new_s / row.base_s == pytest.approx(1.6, rel=0.05)
    assert row.comparison.processes == 6
    assert not row.reasons


def test_of_fewer_than_six_processes_there_is_no_verdict_and_a_note_why() -> None:
    found, notes = at_percentile(streams({"keras": 5.0, "torch": 8.0}, 5), 99.0)
    assert not compare_backends(found, None).rows
    assert note_text(notes[0]).startswith("2 of 2 streams are left out")


def test_a_percentile_that_there_are_too_few_calls_for_is_left_out() -> None:
    found = streams({"keras": 5.0}, calls=661)
    assert at_percentile(found, 90.0)[0].measurements
    assert not at_percentile(found, 99.0)[0].measurements


def test_runs_are_compared_too() -> None:
    before, after = (
        at_percentile(streams({"keras": tail}, session=name), 99.0)[0]
        for name, tail in (("before", 5.0), ("after", 8.0))
    )
    (row,) = compare_runs(before, after).rows
    assert row.comparison.verdict is Verdict.SLOWER
    assert not row.comparison.paired


def test_each_machine_s_processes_are_counted_for_themselves() -> None:
    here, there = streams({"keras": 5.0}, 3), streams({"keras": 5.0}, 3, session="there")
    moved = [
        replace(item, run=replace(item.run, machine_id="other")) for item in there.measurements
    ]
    found, notes = at_percentile(gather(*here.measurements, *moved), 99.0)
    assert not found.measurements
    assert note_text(notes[-1]).startswith("2 of 2 streams are left out")


def test_what_is_no_stream_is_left_out_and_notes_stay() -> None:
    stream = streams({"keras": 5.0})
    during = stream.measurements[0].run
    failed = [
        unmeasured(of, during, "failed", "it broke")
        for of in (a_case(), replace(stream.measurements[0].case, backend="torch"))
    ]
    whole = gather(*stream.measurements, measured(a_case(), 1.0, during), *failed)
    found, notes = at_percentile(replace(whole, notes=("one file was cut off",)), 99.0)
    assert {item.case.backend for item in found.measurements} == {"keras"}
    assert [item.case.workload.mode for item in found.measurements] == ["streaming"] * 6
    assert [item.case.backend for item in found.outcomes] == ["torch"]
    assert found.notes == ("one file was cut off",)
    assert notes == ()
