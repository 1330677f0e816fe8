"""Test reports on several machines of one kind."""

import csv
import io
import json
from collections.abc import Mapping

import pytest

from bench.render import messages
from bench.render.data import as_csv, as_json
from bench.render.labels import heading, machine
from bench.render.messages import answer, method
from bench.render.page import page
from bench.render.report import brief, fastest, markdown
from bench.verdicts.sections import Report, Section, build
from tests.bench.made_nodes import a_case, fleet, results
from tests.bench.made_results import as_text

KERAS, LOOP = a_case("keras"), a_case("while_loop")
TIMES = {a_case(name, batch): 1.0 for name in ("keras", "while_loop") for batch in (1, 2, 4)}
FIVE = {"a": 0.01, "b": -0.02, "c": 0.0, "d": 0.02, "e": -0.01}


def a_report(luck: Mapping[str, float], **facts: object) -> Report:
    return build(results(*fleet(luck, TIMES, **facts)))  # type: ignore[arg-type]


def section(luck: Mapping[str, float], **facts: object) -> Section:
    (found,) = a_report(luck, **facts).sections
    return found


def message(of: Section) -> list[str]:
    return list(messages.describe_nodes(of))


def test_heading_of_nodes_has_names_and_process_counts() -> None:
    found = section({"a": 0.0, "b": 0.0}, processes=[6, 3])
    assert heading(found).startswith("mine on 2 nodes (a and b) · ")
    assert dict(machine(found))["Nodes"] == "a (6 processes) and b (3 processes)"
    assert answer(found)[-1].startswith("From 9 processes on 2 nodes (a and b), ")
    assert any("Each has the same weight" in line for line in method(found))


def test_report_unclear_ratio_on_nodes_has_both_spreads() -> None:
    found = build(
        results(*fleet(FIVE, {KERAS: 1.0, LOOP: 1.0}, own=0.05, moved={("a", "while_loop"): 0.1}))
    )
    text = as_text(found, 600)
    assert "UNCLEAR: 1 ratio: on a node, processes differ by" in text
    assert ", nodes " in text  # in the cell of the processes' spread
    text = as_text(found, 600, brief)
    assert ", nodes " in text


def test_report_of_nodes_has_one_table_in_every_format() -> None:
    found = a_report(FIVE | {"bad": 0.5})
    for text in (as_text(found), markdown(found), page(found), markdown(found, fastest)):
        assert "6 nodes" in text
    assert "Node bad is an outlier" in page(found)
    rows = list(csv.DictReader(io.StringIO("\n".join(as_csv(found)))))
    assert {row["host"] for row in rows} == {"a, b, c, d, e, bad"}
    document = json.loads(as_json(found))
    assert document["sections"][0]["nodes"]["id of bad"] == "bad"


def test_report_of_one_machine_has_no_nodes() -> None:
    found = a_report({"a": 0.0})
    assert message(found.sections[0]) == []
    body = page(found).partition("<main>")[2].partition("</main>")[0]
    for text in (as_text(found), markdown(found), body):
        assert "node" not in text.lower().replace("nodes:", "")
    (row, *_) = csv.DictReader(io.StringIO("\n".join(as_csv(found))))
    assert row["nodes"] == row["spread_between_nodes"] == row["spread_within_nodes"] == ""
    assert "nodes" not in json.loads(as_json(found))["sections"][0]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "=cmd()", "a\x1b[31m", "|x|"])
def test_report_hostile_node_name_is_text(hostile: str) -> None:
    found = a_report(FIVE | {hostile: 0.5})
    assert "<script>alert" not in page(found)
    assert "\x1b[31m" not in as_text(found)
    assert "\n| |x|" not in markdown(found)
