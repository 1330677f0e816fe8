"""Several machines of one kind in a report: in words, tables and data."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

import pytest

from bench.records.schema import Reason
from bench.render import messages
from bench.render.data import as_json, comma_separated
from bench.render.labels import heading, machine
from bench.render.markdown import brief, markdown
from bench.render.messages import answer, findings, method
from bench.render.page import page
from bench.render.terminal import draw_brief
from bench.stats.ranking import build
from bench.stats.rows import Report, Section
from lstm_impl.workload import Workload
from tests.bench import made_reports
from tests.bench.made_nodes import a_case, fleet, on, results
from tests.bench.made_reports import BUSY
from tests.bench.made_results import as_text, measured

KERAS, LOOP = a_case("keras"), a_case("while_loop")
TIMES = {a_case(name, batch): 1.0 for name in ("keras", "while_loop") for batch in (1, 2, 4)}
FIVE = {"a": 0.01, "b": -0.02, "c": 0.0, "d": 0.02, "e": -0.01}


def a_report(luck: Mapping[str, float], **facts: object) -> Report:
    return build(results(*fleet(luck, TIMES, **facts)))  # type: ignore[arg-type]


def section(luck: Mapping[str, float], **facts: object) -> Section:
    (found,) = a_report(luck, **facts).sections
    return found


def told(of: Section) -> list[str]:
    return [text for text, _ in messages.of_nodes(of)]


def test_a_heading_names_the_nodes_and_the_machine_says_who_measured_how_often() -> None:
    found = section({"a": 0.0, "b": 0.0}, processes=[6, 3])
    assert heading(found).startswith("mine on 2 nodes (a and b) · ")
    assert dict(machine(found))["Nodes"] == "a (6 processes) and b (3 processes)"
    assert answer(found)[-1].startswith("From 9 processes on 2 nodes (a and b), ")
    assert any("Each counts alike" in line for line in method(found))


def test_it_says_how_far_nodes_and_their_processes_differ() -> None:
    (line,) = told(section(FIVE, spread=0.05))
    assert line.startswith("Nodes: the processes of one spread, and the 5 beyond that: the times")
    assert "their ratios to keras" in line
    alone = section(FIVE, processes=1)
    assert "cannot be told from what differs between processes" in told(alone)[0]


def test_a_node_that_is_apart_is_named_loudly_with_what_to_do() -> None:
    found = section(FIVE | {"bad": math.log(1.5)})
    (line,) = [each.text for each in findings(found) if each.loud]
    assert line.startswith("Node bad is an outlier: it is 1.4")
    assert "times as slow as the other 5 (cpu; slower than each of them in 6 of 6 cases)" in line
    assert "python -m bench.doctor" in line
    assert "included in every interval" in line


def test_a_node_that_is_faster_is_told_so() -> None:
    assert "times as fast as the other 5" in " ".join(told(section(FIVE | {"bad": -0.5})))


def test_a_backend_that_is_apart_on_a_node_is_named() -> None:
    luck = {str(place): 0.0 for place in range(8)}
    more = {a_case("scan", batch): 1.0 for batch in (1, 2, 4)}
    items = fleet(luck, TIMES | more, moved={("3", "scan"): 0.5})
    (found,) = build(results(*items)).sections
    line = next(each for each in told(found) if each.startswith("Node 3"))
    assert line.startswith("Node 3 differs in one backend: scan is 1.6")


def test_what_is_invalid_on_one_node_alone_is_told_with_its_name() -> None:
    found = section({"a": 0.0, "b": 0.0}, invalid=["b"])
    assert all(row.invalid for row in found.rows)
    line = next(each for each in told(found) if each.startswith("INVALID because of b"))
    assert "Measure there again" in line
    both = section({"a": 0.0, "b": 0.0}, invalid=["a", "b"])
    assert not any(each.startswith("INVALID because of") for each in told(both))


def test_cases_of_some_nodes_only_are_counted() -> None:
    items = fleet({"a": 0.0, "b": 0.0}, {KERAS: 1.0}) + fleet({"a": 0.0}, {LOOP: 1.0}, seed=2)
    items += fleet({"c": 0.0}, {KERAS: 1.0}, seed=3)
    (found,) = build(results(*items)).sections
    line = told(found)[-1]
    assert line == (
        "Nodes: 1 case of 2 are not of all nodes, 1 of them on one, which says nothing of others."
    )


def test_of_disjoint_cases_no_ratio_is_sure() -> None:
    items = fleet({"a": 0.0}, {KERAS: 1.0}) + fleet({"b": 0.0}, {LOOP: 1.3})
    (found,) = build(results(*items)).sections
    ratio = found.rows[1].to_baseline
    assert ratio is not None
    assert (ratio.verdict.value, ratio.nodes) == ("UNCLEAR", 1)


def test_a_ratio_that_is_unclear_says_whether_nodes_or_processes_would_help() -> None:
    found = build(
        results(*fleet(FIVE, {KERAS: 1.0, LOOP: 1.0}, own=0.05, moved={("a", "while_loop"): 0.1}))
    )
    text = as_text(found, 600)
    assert "The only ratio is UNCLEAR: within a node their processes spread by" in text
    assert "a difference of 5% takes" in text
    assert ", nodes " in text  # in the table's cell, beside the processes' spread
    text = as_text(found, 600, draw_brief)
    assert ", nodes " in text


def test_every_format_has_one_table_of_all_nodes() -> None:
    found = a_report(FIVE | {"bad": 0.5})
    for text in (as_text(found), markdown(found), page(found), brief(found)):
        assert "6 nodes" in text
    assert "Node bad is an outlier" in page(found)
    rows = list(csv.DictReader(io.StringIO("\n".join(comma_separated(found)))))
    assert {row["host"] for row in rows} == {"a, b, c, d, e, bad"}
    assert {row["nodes"] for row in rows} == {"6"}
    assert len({row["machine_id"] for row in rows}) == 1
    assert all(float(row["spread_between_nodes"]) > 0 for row in rows)
    assert {row["ratio_nodes"] for row in rows} == {"", "6"}
    document = json.loads(as_json(found))
    assert document["sections"][0]["nodes"]["id of bad"] == "bad"


def test_of_one_machine_nothing_is_said_of_nodes() -> None:
    found = a_report({"a": 0.0})
    assert told(found.sections[0]) == []
    body = page(found).partition("<main>")[2].partition("</main>")[0]
    for text in (as_text(found), markdown(found), body):
        assert "node" not in text.lower().replace("nodes:", "")
    (row, *_) = csv.DictReader(io.StringIO("\n".join(comma_separated(found))))
    assert row["nodes"] == row["spread_between_nodes"] == row["spread_within_nodes"] == ""
    assert "nodes" not in json.loads(as_json(found))["sections"][0]


def test_two_kinds_of_machines_have_a_table_each() -> None:
    items = [
        measured(KERAS, 1.0, on(host, 0, cpu=cpu))
        for host, cpu in (("a", "X"), ("b", "X"), ("c", "Y"))
    ]
    assert [len(each.nodes) for each in build(results(*items)).sections] == [2, 0]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "=cmd()", "a\x1b[31m", "|x|"])
def test_the_name_of_a_node_is_data(hostile: str) -> None:
    found = a_report(FIVE | {hostile: 0.5})
    assert "<script>alert" not in page(found)
    assert "\x1b[31m" not in as_text(found)
    assert "\n| |x|" not in markdown(found)


def on_devices(*times: tuple[str, str, int, float], doubt: Sequence[Reason] = ()) -> Section:
    """Six processes; of each case its backend, device, batch and seconds."""
    items = [
        made_reports.measured(
            name,
            seconds,
            made_reports.a_run(n),
            device=device,
            work=Workload(batch, 10),
            reasons=doubt,
        )
        for n in range(1, 7)
        for name, device, batch, seconds in times
    ]
    (section,) = build(made_reports.results_of(*items)).sections
    return section


def test_which_device_is_faster_is_told_with_the_fastest_backend_of_each() -> None:
    times = [
        *(("keras", "cpu", batch, 0.02) for batch in (2, 4)),
        *(("while_loop", "cpu", batch, 0.05) for batch in (2, 4)),
        *(("cudnn", "gpu:0", batch, 0.004) for batch in (2, 4)),
        *(("keras", "gpu:0", batch, 0.03) for batch in (2, 4, 8)),
    ]
    (told,) = messages.of_devices(on_devices(*times))
    assert told == (
        "gpu:0 or cpu, inference: gpu:0 is 5.00× faster than cpu (99.5% CI 5.00–5.00) over 2 "
        "shapes, each with its fastest backend (cudnn on gpu:0 and keras on cpu)."
    )
    sentences = [finding.text for finding in findings(on_devices(*times)) if finding.answer]
    assert sentences[-1] == told


def test_a_device_that_wins_at_some_shapes_only_is_told_so() -> None:
    section = on_devices(
        *(("keras", "cpu", 2, 0.01), ("keras", "cpu", 4, 0.1)),
        *(("keras", "gpu:0", 2, 0.02), ("keras", "gpu:0", 4, 0.02)),
    )
    (told,) = messages.of_devices(section)
    assert "By shape, gpu:0 is: 1 FASTER and 1 SLOWER" in told


def test_a_word_on_devices_that_stands_on_invalid_measurements_says_so() -> None:
    section = on_devices(("keras", "cpu", 2, 0.01), ("keras", "gpu:0", 2, 0.02), doubt=[BUSY])
    (told,) = messages.of_devices(section)
    assert "Do not rely on it: all 2 measurements are INVALID." in told


def test_of_devices_that_share_no_work_nothing_is_told() -> None:
    section = on_devices(("keras", "cpu", 2, 0.01), ("keras", "gpu:0", 4, 0.02))
    assert messages.of_devices(section) == []
