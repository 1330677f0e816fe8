"""Rows of a report that share no process are compared over one that shares some with each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from bench.case.cases import Case
from bench.records.schema import RecordedReason, Results, Run
from bench.render.messages import uneven_bridges
from bench.stats.comparison import Pairing, Verdict
from bench.stats.ratios import compare
from bench.stats.rows import (
    Row,
    all_doubts,
    build,
    compare_rows,
    doubts,
)
from bench.stats.trust import UNSTEADY_RATIO, Doubt, Validity
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_bridges import (
    FAR,
    a_case,
    results,
    rows_of,
    two_environments,
)
from tests.bench.made_results import gather, measured
from tests.bench.stats.made_processes import LUCK, OTHER_LUCK, runs


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2, 5))


def run(name: str) -> Run:
    now = datetime.now(UTC)
    return Run(name, "session", "mine", 0, now, now, True, "host", "m", {}, {})


BUSY = RecordedReason("busy", "others kept processors busy", "")


def in_both(doubted: str = "") -> Results:
    """Of three backends, one of which is in the processes of both others."""
    items = []
    for environment, own, luck in (("east", "a", LUCK), ("west", "b", OTHER_LUCK)):
        for number, log in enumerate(luck):
            of = run(f"{environment}{number}")
            slow = math.log(1.5) if own == "a" else 0.0
            why = [BUSY] if doubted == own else []
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
        told = ratio.ratio, ratio.verdict, ratio.basis
        assert told == (plain.ratio, plain.verdict, plain.basis)
        assert ratio.heterogeneity is not None
        assert ratio.heterogeneity.cases == 10
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


def a_row(
    backend: str,
    places: Sequence[str],
    invalid: Sequence[Doubt] = (),
    unsteady: bool = False,
) -> Row:
    """A row in processes of these environments, six of each; its time drifts where unsteady."""
    drift = np.exp(np.linspace(0, 1, 11)) if unsteady else np.ones(11)
    in_all = [run for place in places for run in runs(place, [0.0] * 6)]
    samples = tuple(replace(run, samples=run.samples * drift) for run in in_all)
    drifted = frozenset(run.run for run in samples) if unsteady else frozenset()
    return Row(
        case(backend), "measured", runs=samples, validity=Validity(tuple(invalid), unsteady=drifted)
    )


DOUBT = Doubt("busy", "others kept processors busy", "close them", 1, 1)


def test_bridge_is_in_most_processes_and_of_these_the_first_that_is_valid() -> None:
    places = {"few": "e", "bad": "ew", "good": "ew", "late": "ew"}
    items = [
        measured(case(name), time, run(f"{place}{n}"), [BUSY] if name == "bad" else [])
        for time, (name, in_places) in enumerate(places.items(), start=1)
        for place in in_places
        for n in range(6)
    ]
    (section,) = build(gather(*items)).sections
    assert [row.bridge and row.bridge.case.backend for row in section.rows] == [
        *("good", "good", None, "good")
    ]
    (section,) = build(gather(*(each for each in items if each.case.backend != "few"))).sections
    assert [(row.bridge, row.heterogeneity) for row in section.rows] == [(None, None)] * 3


def test_what_is_not_known_of_a_bridge_changes_no_ratio() -> None:
    both = a_row("c", ["east", "west"])
    east, west = (replace(a_row(*each), bridge=both) for each in (("a", ["east"]), ("b", ["west"])))
    found, paired = compare_rows([(east, west), (east, both)])
    assert (found.pairing, found.heterogeneity) == (Pairing.BRIDGED, None)
    assert paired.paired


def test_a_ratio_over_a_bridge_takes_what_is_doubtful_in_any_of_the_three() -> None:
    def doubted(east: Row, west: Row, both: Row) -> set[str]:
        east, west = (replace(row, bridge=both) for row in (east, west))
        return {doubt.code for doubt in all_doubts(east, west)}

    good = a_row("a", ["east"]), a_row("b", ["west"]), a_row("c", ["east", "west"])
    assert doubted(*good) == set()
    assert doubted(good[0], good[1], a_row("c", ["east", "west"], invalid=[DOUBT])) == {"busy"}
    assert doubted(a_row("a", ["east"], invalid=[DOUBT]), *good[1:]) == {"busy"}
    # Over a bridge that drifts with nobody neither side's ratio to it is one of its whole time.
    drifting = a_row("c", ["east", "west"], unsteady=True)
    assert doubted(good[0], good[1], drifting) == {UNSTEADY_RATIO}


def test_rows_that_share_processes_are_not_doubted_for_a_bridge() -> None:
    both, third = a_row("b", ["east", "west"]), a_row("c", ["east", "west", "far"], invalid=[DOUBT])
    east = a_row("a", ["east"])
    east, both = (replace(row, bridge=third) for row in (east, both))
    assert doubts(east, both) == ()
    far = replace(a_row("d", ["north"]), bridge=third)
    # It does not reach there.
    assert doubts(far, east) == doubts(east, far) == ()
