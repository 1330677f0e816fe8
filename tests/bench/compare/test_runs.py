"""Two sets of runs: which cases they share, in which order, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.render.compare import note_text
from bench.stats.comparison import Pairing, Verdict
from bench.stats.pairs import compare_runs
from tests.bench.made_nodes import a_case
from tests.bench.made_results import LAPTOP, SERVER, gather, measured, replicates, run


def test_runs_are_joined_by_case_and_sorted_by_the_size_of_the_change() -> None:
    small, large, gone = a_case(batch=1), a_case(batch=2), a_case(batch=3)
    base = replicates("b", {small: 1.0, large: 1.0, gone: 1.0})
    new = replicates("n", {small: 0.9, large: 2.0})
    report = compare_runs(base, new)
    assert [row.case for row in report.rows] == [large, small]
    assert [row.comparison.verdict for row in report.rows] == [Verdict.SLOWER, Verdict.FASTER]
    assert report.rows[0].comparison.ratio.mid == pytest.approx(2.0)
    assert report.rows[0].base_s == pytest.approx(1.0, rel=1e-5)
    assert report.rows[0].new_s == pytest.approx(2.0, rel=1e-5)


def test_runs_without_a_shared_case_say_so() -> None:
    base = gather(measured(a_case(batch=1), 1.0, run("b")))
    report = compare_runs(base, gather(measured(a_case(batch=2), 1.0, run("n"))))
    assert note_text(report.finding) == "BASE and NEW share no case: there is nothing to compare."
    assert len(report.one_sided) == 2


def test_runs_that_differ_in_what_is_differentiated_are_not_compared_and_it_is_said() -> None:
    old = replace(a_case(), workload=replace(a_case().workload, mode="training", gradients="all"))
    new = replace(old, workload=replace(old.workload, gradients="weights"))
    base = gather(measured(old, 1.0, run("b")))
    report = compare_runs(base, gather(measured(new, 0.5, run("n"))))
    assert not report.rows
    assert tuple(map(note_text, report.notes)) == (
        "1 training case(s) of NEW differ from those of BASE in nothing but what is differentiated "
        "(weights; all): that is other work and is not compared. Results from before suites had "
        'the key have "all"',
    )
    assert not compare_runs(base, gather(measured(old, 0.5, run("n")))).notes


def test_a_side_of_several_machines_is_noted() -> None:
    base = gather(measured(a_case(), 1.0, run("b")))
    new = gather(
        measured(a_case(), 1.0, run("n1")), measured(a_case(), 1.0, run("n2", host="server"))
    )
    report = compare_runs(base, new)
    told = f"NEW holds runs of 2 machines ({', '.join(sorted((LAPTOP, SERVER)))})"
    assert tuple(map(note_text, report.notes)) == (told,)


def test_a_change_over_time_is_an_alarm_and_who_took_turns_is_paired() -> None:
    base, new = replicates("b", {a_case(): 1.0}), replicates("n", {a_case(): 1.0})
    report = compare_runs(base, new)
    assert report.over_time
    assert report.rows[0].comparison.pairing is Pairing.UNPAIRED
    (row,) = compare_runs(base, new, adjacent=True).rows
    assert row.comparison.pairing is Pairing.ADJACENT
