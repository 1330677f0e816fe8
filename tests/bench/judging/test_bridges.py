"""Rows of a report that share no process are compared over one that shares some with each."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from bench.judging.basis import Pairing
from bench.judging.ranking import build
from bench.judging.ratios import compare
from bench.judging.rows import Row
from bench.judging.verdict import Verdict
from bench.results.schema import Reason, Results, Run
from bench.suites.cases import Case
from bench.telling.headings import over_bridges, uneven_bridges
from lstm_impl import LSTMSpec, Workload
from tests.bench.judging.made_processes import LUCK, OTHER_LUCK
from tests.bench.made_bridges import (
    FAR,
    a_case,
    results,
    rows_of,
    two_environments,
)
from tests.bench.made_results import gather, measured


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2, 5))


def run(name: str) -> Run:
    now = datetime.now(UTC)
    return Run(name, "session", "mine", 0, now, now, True, "host", "m", {}, {})


def in_both(doubted: str = "") -> Results:
    """Of three backends, one of which is in the processes of both others."""
    items = []
    for environment, own, luck in (("east", "a", LUCK), ("west", "b", OTHER_LUCK)):
        for number, log in enumerate(luck):
            of = run(f"{environment}{number}")
            slow = math.log(1.5) if own == "a" else 0.0
            why = [Reason("busy", "others kept processors busy", "")] if doubted == own else []
            one = measured(case(own), math.exp(log + slow), of, why)
            both = measured(case("bridge"), math.exp(log + 3.0), of)
            items += [one, both]
    return gather(*items)


def rows(*, doubted: str = "") -> dict[str, Row]:
    """What a report says of them."""
    (section,) = build(in_both(doubted), baseline="b").sections
    return {row.case.backend: row for row in section.rows}


def test_a_report_takes_the_row_that_is_in_both_rows_processes_for_a_bridge() -> None:
    found = rows()
    a = found["a"]
    assert a.to_baseline is not None
    assert a.to_baseline.pairing is Pairing.BRIDGED
    assert a.to_baseline.ratio.mid == pytest.approx(1.5)
    assert a.to_baseline.verdict is Verdict.SLOWER
    # A wide interval of a time is the machine's luck, which the bridge takes off.
    assert a.ratio_doubts == ()
    bridged = found["bridge"].to_baseline
    assert bridged is not None
    assert bridged.paired
    first = found["b"]
    assert first.rank == 1
    assert first.fastest


def test_a_side_that_is_not_to_be_trusted_is_not_over_a_bridge_either() -> None:
    found = rows(doubted="a")
    assert "busy" in {doubt.code for doubt in found["a"].ratio_doubts}


def test_a_bridge_that_is_the_same_in_both_changes_no_ratio() -> None:
    found = results(ratio=1.5)
    (section,) = build(found, baseline="b").sections
    by_id = {row.case.id: row for row in section.rows}
    for row in rows_of(found):
        case = row.case.workload.batch - 2
        base, bridge = (by_id[a_case(name, case).id] for name in ("b", "bridge"))
        plain = compare(row.runs, base.runs, bridge.runs)
        ratio = row.to_baseline
        assert ratio is not None
        assert not ratio.uneven
        assert ratio.pairing is Pairing.BRIDGED
        assert (ratio.ratio, ratio.verdict, ratio.how) == (plain.ratio, plain.verdict, plain.how)
        assert ratio.apart is not None
        assert ratio.apart.cases == 10
    assert uneven_bridges(section.rows) == []


def test_each_device_is_asked_by_itself() -> None:
    items = [*two_environments(FAR, 1.1), *two_environments(0.0, 1.1, device="gpu:0", seed=2)]
    (section,) = build(gather(*items), baseline="b").sections
    said = {
        (row.case.device, row.to_baseline.uneven)
        for row in section.rows
        if row.case.backend == "a" and row.to_baseline is not None
    }
    assert said == {("cpu", True), ("gpu:0", False)}
    (line,) = over_bridges(section.rows)
    assert "in those of a on cpu (" in line
    assert "in those of a on gpu:0 (" in line
