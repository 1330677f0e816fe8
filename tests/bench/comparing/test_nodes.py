"""Comparing results of several machines of one kind: inside each, and over all."""

from __future__ import annotations

import csv
import io
import math

import pytest

from bench.comparing.backends import compare_backends
from bench.comparing.data import comma_separated
from bench.comparing.runs import compare_runs
from bench.comparing.words import method_lines
from bench.judging.basis import Pairing
from bench.judging.verdict import Verdict
from tests.bench.made_nodes import a_case, fleet, on, results
from tests.bench.made_results import measured

KERAS, LOOP = a_case("keras"), a_case("while_loop")
# Nodes that differ by far more than what is to be found.
WILD = {"a": 0.0, "b": 0.6, "c": -0.5, "d": 0.3, "e": -0.2, "f": 0.1}


def test_a_change_is_found_inside_each_node_however_far_they_differ() -> None:
    base = results(*fleet(WILD, {KERAS: 1.0}, session="before", seed=1))
    new = results(*fleet(WILD, {KERAS: 1.2}, session="after", seed=2))
    (row,) = compare_runs(base, new).rows
    found = row.comparison
    assert (found.verdict, found.nodes, found.pairing) == (Verdict.SLOWER, 6, Pairing.UNPAIRED)
    assert found.ratio.mid == pytest.approx(1.2, rel=0.02)
    assert (row.new_s / row.base_s) == pytest.approx(1.2, rel=0.03)
    assert "6 nodes" in found.how


def test_sides_of_other_nodes_are_told_apart_only_as_far_as_nodes_allow() -> None:
    base = results(*fleet({"a": 0.0, "b": 0.05}, {KERAS: 1.0}, session="before"))
    new = results(*fleet({"c": 0.2, "d": 0.25}, {KERAS: 1.0}, session="after"))
    (row,) = compare_runs(base, new).rows
    assert (row.comparison.verdict, row.comparison.nodes) == (Verdict.UNCLEAR, 2)
    assert "none with both" in row.comparison.how


def test_of_one_machine_on_each_side_nothing_is_said_of_nodes() -> None:
    base = results(*fleet({"a": 0.0}, {KERAS: 1.0}, session="before"))
    new = results(*fleet({"b": 0.0}, {KERAS: 1.0}, session="after"))
    report = compare_runs(base, new)
    assert [row.comparison.nodes for row in report.rows] == [0]
    assert not any("node" in line for line in method_lines(report))


def test_backends_are_compared_over_all_machines_of_a_kind() -> None:
    report = compare_backends(results(*fleet(WILD, {KERAS: 1.0, LOOP: 2.0})))
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("keras", "while_loop")
    assert row.comparison.nodes == 6
    assert row.comparison.ratio.mid == pytest.approx(2.0, rel=0.02)
    (line,) = csv.DictReader(io.StringIO("\n".join(comma_separated(report))))
    assert line["nodes"] == "6"
    assert float(line["spread_between_nodes"]) < 0.02


def test_backends_on_two_kinds_are_compared_on_each() -> None:
    items = fleet({"a": 0.0, "b": 0.1}, {KERAS: 1.0, LOOP: 2.0})
    other = on("z", 0, cpu="Another CPU")
    items += [measured(KERAS, 1.0, other), measured(LOOP, 3.0, other)]
    report = compare_backends(results(*items))
    assert {row.new_label for row in report.rows} == {
        "while_loop on 2 nodes (a and b)",
        "while_loop on z",
    }
    assert {row.comparison.nodes for row in report.rows} == {0, 2}


def test_an_unclear_ratio_says_what_would_decide() -> None:
    nodes = {"a": 0.0, "b": 0.0, "c": 0.0}
    items = fleet(nodes, {KERAS: 1.0, LOOP: 1.0}, own=0.08, processes=6)
    lines = method_lines(compare_backends(results(*items)))
    (told,) = [line for line in lines if "UNCLEAR" in line]
    assert "within a node their processes spread by" in told
    assert "a difference of 5% takes about" in told
    assert any("Fewer than 6 nodes cannot show" in line for line in lines)


def test_a_gate_over_nodes_fails_for_what_became_slower_on_all_of_them() -> None:
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
