"""The two sides of a comparison: what becomes a pair, its times, its reasons, and its means."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench.compare import path_words
from bench.records.schema import Measurement, Outcome, Reason
from bench.render.compare import method_lines, reason_texts
from bench.render.messages import basis_text
from bench.stats import ranking
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import Reason as Note
from bench.stats.pairs import Side, compare_backends, compare_runs, join_sides, report_of
from bench.stats.trust import NOT_STEADY
from tests.bench.made_nodes import WILD, a_case, fleet, results
from tests.bench.made_results import BUSY, disturbed, gather, measured, replicates, run, unmeasured


def test_a_time_is_that_of_the_report_the_median_of_the_processes_medians() -> None:
    times = {"keras": (1.0, 1.1, 1.2, 1.3, 4.0, 9.0), "scan": (2.0, 2.1, 2.2, 2.6, 2.7, 2.8)}
    found = gather(
        *(
            measured(a_case(name), seconds, run(f"p{index}"))
            for name, of_processes in times.items()
            for index, seconds in enumerate(of_processes)
        )
    )
    (row,) = compare_backends(found).rows
    in_report = {each.case.backend: each.time for each in ranking.build(found).sections[0].rows}
    assert in_report == {"keras": pytest.approx(1.25), "scan": pytest.approx(2.4)}
    assert (row.base_s, row.new_s) == (in_report["keras"], in_report["scan"])


def test_runs_of_different_processes_are_unpaired_whatever_their_round_numbers() -> None:
    report = compare_runs(replicates("b", {a_case(): 1.0}), replicates("n", {a_case(): 1.0}))
    assert report.rows[0].comparison.pairing is Pairing.UNPAIRED
    assert report.rows[0].comparison.processes == 6


def test_a_case_that_only_one_side_has_is_named_with_what_became_of_it() -> None:
    base = gather(
        measured(a_case(batch=1), 1.0, run("b")), measured(a_case(batch=2), 1.0, run("b"))
    )
    crash = unmeasured(a_case(batch=2), run("n"), "crashed", "out of memory")
    new = gather(measured(a_case(batch=1), 1.0, run("n")), crash)
    report = compare_runs(base, new)
    (only,) = report.one_sided
    assert (only.label, only.case) == ("BASE", a_case(batch=2))
    assert only.why == "NEW: crashed: out of memory"
    (outcome,) = report.unmeasured
    assert (outcome.outcome, outcome.case) == ("crashed", a_case(batch=2))


def test_the_geometric_mean_is_over_shared_cases_only() -> None:
    one, two, gone = a_case(batch=1), a_case(batch=2), a_case(batch=3)
    base = replicates("b", {one: 1.0, two: 1.0, gone: 1.0})
    report = compare_runs(base, replicates("n", {one: 2.0, two: 8.0}))
    (mean,) = report.means
    assert (mean.base_label, mean.new_label, mean.cases) == ("BASE", "NEW", 2)
    assert mean.comparison.ratio.mid == pytest.approx(4.0)


def test_a_geometric_mean_of_one_case_is_not_said_twice() -> None:
    report = compare_runs(replicates("b", {a_case(): 1.0}), replicates("n", {a_case(): 1.0}))
    assert report.means == ()


def test_of_few_processes_one_that_is_invalid_marks_the_row_and_the_mean() -> None:
    base = replicates("b", {a_case(batch=1): 1.0, a_case(batch=2): 1.0})
    spoilt = measured(a_case(batch=1), 3.0, run("n0"), [BUSY])
    fine = [measured(a_case(batch=n), 3.0, run(r)) for n, r in ((2, "n0"), (1, "n1"), (2, "n1"))]
    report = compare_runs(base, gather(spoilt, *fine))
    reasons = {row.case: reason_texts(row) for row in report.rows}
    told = "NEW: the cores were busy (close what runs) [in 1 of 2 runs]"
    assert reasons[a_case(batch=1)] == [told]
    assert reasons[a_case(batch=2)] == []
    assert report.means[0].invalid == 1


@pytest.mark.parametrize(("number", "invalid"), [(1, False), (2, True)])
def test_of_six_processes_one_that_was_disturbed_spoils_nothing_and_two_do(
    number: int, invalid: bool
) -> None:
    base = replicates("b", {a_case(): 1.0})
    (row,) = compare_runs(base, disturbed(replicates("n", {a_case(): 1.5}), number)).rows
    told = f"NEW: the cores were busy (close what runs) [in {number} of 6 runs]"
    assert reason_texts(row) == ([told] if invalid else [])


def test_a_process_in_which_the_case_failed_spoils_it_however_many_have_a_time() -> None:
    failed = Outcome(a_case(), run("n9"), "failed", "the outputs differ", "", Path("a.json"))
    new = gather(*replicates("n", {a_case(): 1.5}).measurements, failed)
    (row,) = compare_runs(replicates("b", {a_case(): 1.0}), new).rows
    assert reason_texts(row) == ["NEW: failed: the outputs differ [in 1 of 7 runs]"]


def test_medians_that_are_far_apart_are_told_by_the_ratio_s_interval_and_leave_it_valid() -> None:
    wide = gather(*(measured(a_case(), 1.0 + 0.2 * n, run(f"n{n}")) for n in range(6)))
    (row,) = compare_runs(replicates("b", {a_case(): 1.0}), wide).rows
    assert row.reasons == ()
    assert row.comparison.ratio.high > 1.5 * row.comparison.ratio.low
    assert row.comparison.spread == pytest.approx(0.26, abs=0.02)


def test_a_change_is_found_inside_each_node_however_far_they_differ() -> None:
    base = results(*fleet(WILD, {a_case(): 1.0}, session="before", seed=1))
    new = results(*fleet(WILD, {a_case(): 1.2}, session="after", seed=2))
    (row,) = compare_runs(base, new).rows
    found = row.comparison
    assert (found.verdict, found.nodes, found.pairing) == (Verdict.SLOWER, 6, Pairing.UNPAIRED)
    assert found.ratio.mid == pytest.approx(1.2, rel=0.02)
    assert (row.new_s / row.base_s) == pytest.approx(1.2, rel=0.03)
    assert "6 nodes" in basis_text(found.basis)


def test_sides_of_other_nodes_are_told_apart_only_as_far_as_nodes_allow() -> None:
    base = results(*fleet({"a": 0.0, "b": 0.05}, {a_case(): 1.0}, session="before"))
    new = results(*fleet({"c": 0.2, "d": 0.25}, {a_case(): 1.0}, session="after"))
    (row,) = compare_runs(base, new).rows
    assert (row.comparison.verdict, row.comparison.nodes) == (Verdict.UNCLEAR, 2)
    assert "none with both" in basis_text(row.comparison.basis)


def test_of_one_machine_on_each_side_nothing_is_said_of_nodes() -> None:
    base = results(*fleet({"a": 0.0}, {a_case(): 1.0}, session="before"))
    new = results(*fleet({"b": 0.0}, {a_case(): 1.0}, session="after"))
    report = compare_runs(base, new)
    assert [row.comparison.nodes for row in report.rows] == [0]
    assert not any("node" in line for line in method_lines(report))


def test_of_cases_on_many_nodes_the_one_that_became_slower_on_all_is_found() -> None:
    nodes = dict.fromkeys("abcdefgh", 0.0)
    cases = {a_case("keras", batch): 1.0 for batch in (1, 2, 4)}
    base = results(*fleet(nodes, cases, session="before", seed=1))
    slower = {case: time * (1.3 if case.workload.batch == 4 else 1) for case, time in cases.items()}
    new = results(*fleet(nodes, slower, session="after", seed=2))
    report = compare_runs(base, new)
    assert [row.comparison.verdict is Verdict.SLOWER for row in report.rows] == [True, False, False]
    assert report.rows[0].comparison.log_ratio == pytest.approx(math.log(1.3), abs=0.02)
    (mean,) = report.means
    assert mean.comparison.nodes == 8


def test_cases_of_one_process_are_paired_by_rounds_only_within_their_group() -> None:
    during = run("a")
    base, new = Side("cpu"), Side("gpu:0")
    for side, device in ((base, "cpu"), (new, "gpu:0")):
        side.add("x", measured(a_case(device=device), 1.0, during))
    ((row,), _) = join_sides(base, new)
    assert row.comparison.pairing is Pairing.SEQUENTIAL
    alike = Side("scan")
    alike.add("x", measured(a_case("scan"), 1.0, during))
    ((row,), _) = join_sides(base, alike)
    assert row.comparison.pairing is Pairing.ALTERNATING


def test_turns_are_counted_in_the_order_in_which_they_began() -> None:
    """The machine becomes slower: only turn by turn are the two sides alike."""
    sides = []
    for name, first, order in (("base", 0, 1), ("new", 9, -1)):
        side = Side(name)
        for turn in range(8):
            began = run("").started + timedelta(hours=turn)
            during = replace(run(f"{name}{first + order * turn}"), started=began)
            side.add("x", measured(a_case(), 1.0 + turn, during))
        sides.append(side)
    ((row,), _) = join_sides(sides[0], sides[1], adjacent=True)
    assert row.comparison.ratio.mid == pytest.approx(1.0)
    assert row.comparison.ratio.high < 1.02
    assert row.comparison.pairing is Pairing.ADJACENT


def test_what_either_side_lacks_is_named_by_the_side_that_has_it() -> None:
    base, new = Side("BASE"), Side("NEW")
    base.add("one", measured(a_case(batch=1), 1.0, run("b")))
    new.add("two", measured(a_case(batch=2), 1.0, run("n")))
    rows, only = join_sides(base, new)
    assert rows == []
    assert [(each.label, each.case.workload.batch) for each in only] == [("BASE", 1), ("NEW", 2)]


def test_sides_that_moved_apart_in_their_rounds_make_the_ratio_invalid() -> None:
    during, moved = run("a"), [Reason(NOT_STEADY, "it became slower", "wait")]
    report = compare_backends(
        gather(
            measured(a_case("keras"), 1.0, during),
            drifting(measured(a_case("scan"), 1.0, during, moved)),
        )
    )
    (row,) = report.rows
    assert len(row.reasons) == 1
    assert row.reasons[0][0] == ""


def drifting(item: Measurement) -> Measurement:
    return replace(item, samples=item.samples * np.linspace(0.5, 2.0, item.samples.size))


def test_what_differs_is_told_of_each_pair_of_sides_and_notes_of_all_results() -> None:
    sides = []
    for name in ("a", "b", "c", "d"):
        side = Side(name)
        environment = {"libraries": {"tensorflow": name}}
        side.add("x", measured(a_case(), 1.0, run(name, environment=environment)))
        sides.append(side)
    noted = [replace(gather(), notes=(text,)) for text in ("first", "second")]
    report = report_of("x", [], [], noted, sides, notes=[Note("own")])
    assert [(each.base_label, each.new_label, *each.items) for each in report.differences] == [
        ("a", "b", ("libraries.tensorflow", "a", "b")),
        ("c", "d", ("libraries.tensorflow", "c", "d")),
    ]
    assert report.notes == (Note("own"), "first", "second")


def test_a_path_is_told_without_what_is_nobody_s_business() -> None:
    assert path_words("s3://me:secret@team/lstm?sign=abc") == "s3://team/lstm"
    assert path_words(Path("a\x1b[31m/b.json")) == "a?[31m/b.json"
