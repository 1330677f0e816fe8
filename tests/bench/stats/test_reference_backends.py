"""Whether a backend is the same in the processes of two others: over all of its cases."""

from __future__ import annotations

import math

import pytest

from bench.records.files import collect
from bench.render.messages import basis_text, uneven_bridges, uneven_note
from bench.stats.comparison import Pairing, Verdict
from bench.stats.ratios import HeterogeneityTests
from bench.stats.rows import build
from tests.bench.made_bridges import (
    FAR,
    a_case,
    apart_of,
    ratios_of,
    results,
    rows_of,
    two_environments,
)
from tests.bench.made_results import gather, measured
from tests.bench.stats.made_processes import runs, shifted
from tests.places import ROOT


@pytest.mark.parametrize("apart", [FAR, -FAR])
def test_one_that_is_not_is_found_over_all_of_its_cases(apart: float) -> None:
    found = apart_of(results(apart))
    assert (found.bridge, found.new, found.base) == ("bridge", "a", "b")
    assert found.uneven
    assert found.cases == 10
    assert found.found.processes == 6
    assert found.found.pairing is Pairing.UNPAIRED
    assert found.found.log_ratio == pytest.approx(apart, abs=0.05)


def test_it_is_known_by_processes_and_not_by_cases() -> None:
    """A process's luck is common to its cases: a hundred of them show no more than ten."""
    few, many = (apart_of(results(FAR, cases=cases)).found for cases in (10, 100))
    assert many.standard_error == pytest.approx(few.standard_error, rel=0.5)
    assert many.degrees < 20


def test_one_case_is_enough_to_ask_it() -> None:
    found = apart_of(results(2 * FAR, cases=1))
    assert found.uneven
    assert found.cases == 1
    assert "over 1 case)" in uneven_note(found)
    assert not apart_of(results(cases=1)).uneven


def test_a_bridge_s_only_case_in_both_is_what_its_evenness_stands_on() -> None:
    """What it did at other work, in one environment alone, says nothing of the difference."""
    found = results(
        FAR, 1.5, has=lambda environment, process, case: environment == "east" or case == 3
    )
    (ratio,) = [row.to_baseline for row in rows_of(found) if row.to_baseline is not None]
    assert ratio.heterogeneity is not None
    assert ratio.heterogeneity.cases == 1
    assert ratio.heterogeneity.found.log_ratio == pytest.approx(FAR, abs=0.06)


def test_a_case_of_one_environment_only_tilts_nothing() -> None:
    plain = two_environments(ratio=1.5)
    # Ten times as slow, and in the processes of the east alone.
    slow = [
        measured(a_case("bridge", 90), 10.0, run)
        for run in {item.run.id: item.run for item in plain}.values()
        if "east" in run.id
    ]
    alone, beside = apart_of(gather(*plain)), apart_of(gather(*plain, *slow))
    assert beside.cases == alone.cases == 10
    assert beside.found.log_ratio == pytest.approx(alone.found.log_ratio)


def test_a_case_that_one_process_measured_by_the_way_does_not_count() -> None:
    """As where a backend's refusal is known from its second process on."""
    found = apart_of(
        results(FAR, has=lambda place, process, case: place == "west" or case < 5 or process == 0)
    )
    assert found.cases == 5
    assert found.uneven


def test_processes_that_lack_a_case_are_left_out_if_enough_have_all() -> None:
    def has(environment: str, process: int, case: int) -> bool:
        return process < 6 or case % 2 == process % 2

    found = apart_of(results(FAR, processes=9, has=has))
    assert found.cases == 10
    assert found.found.processes == 6


@pytest.mark.parametrize("processes", [6, 12])
def test_processes_with_different_cases_are_taken_to_err_together(processes: int) -> None:
    found = apart_of(results(0.0, processes=processes, has=lambda _, p, case: p % 2 == case % 2))
    assert not found.uneven
    assert found.cases == 10
    assert "taken to err together" in basis_text(found.found.basis)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_few_processes_accuse_nobody_of_what_they_cannot_show(processes: int) -> None:
    for seed in range(5):
        found = apart_of(results(0.1, processes=processes, seed=seed))
        assert not found.uneven
        assert found.found.allowance is not None


def test_one_process_a_side_shows_what_nothing_else_explains() -> None:
    assert apart_of(results(math.log(9), processes=1)).uneven


def test_cases_at_which_the_bridge_was_disturbed_say_nothing_of_it() -> None:
    found = results(FAR, invalid=range(7))
    assert {
        each.heterogeneity.cases for each in ratios_of(found) if each.heterogeneity is not None
    } == {3}
    everywhere = results(FAR, invalid=range(10))
    assert all(each.heterogeneity is None for each in ratios_of(everywhere))
    # Then the ratios are INVALID themselves.
    assert all(row.ratio_doubts for row in rows_of(everywhere))


def test_of_two_bridges_the_even_one_is_not_accused_nor_its_ratios() -> None:
    bridges = dict.fromkeys(range(5), "good")
    found = results(FAR, 1.1, bridges=bridges, even=("good",))
    said = {}
    for row in rows_of(found):
        ratio = row.to_baseline
        assert ratio is not None
        assert ratio.heterogeneity is not None
        said[row.case.workload.batch - 2] = ratio.heterogeneity.bridge, ratio.uneven, ratio.verdict
    for case in range(5):
        assert said[case] == ("good", False, Verdict.SLOWER)
        assert said[5 + case] == ("bridge", True, Verdict.UNCLEAR)
    (section,) = build(found, baseline="b").sections
    (line,) = uneven_bridges(section.rows)
    assert line.startswith("Uneven bridge: bridge, over which a and b")


def test_on_several_machines_of_one_kind_it_is_asked_inside_each() -> None:
    hosts = ("one", "two", "three")
    found = results(FAR, 1.1, processes=18, hosts=hosts)
    apart = apart_of(found)
    assert apart.found.nodes == 3
    assert apart.uneven
    assert all(each.verdict is Verdict.UNCLEAR for each in ratios_of(found))
    even = results(0.0, 1.3, processes=18, hosts=hosts)
    assert not apart_of(even).uneven
    assert all(each.verdict is Verdict.SLOWER for each in ratios_of(even))


def test_backends_that_were_never_apart_have_no_difference() -> None:
    both = runs("east", [0.0] * 6)
    evenness = HeterogeneityTests([("a", both, False), ("b", both, False), ("bridge", both, False)])
    assert evenness.between("bridge", "a", "b") is None
    assert evenness.between("bridge", "a", "nobody") is None
    assert evenness.between("nobody", "a", "b") is None


def test_the_same_is_found_from_either_side() -> None:
    east, west = runs("east", [0.0, 0.01, 0.02, 0.0, 0.03, 0.01]), runs("west", [0.3] * 6)
    both = [*runs("east", shifted([0.0] * 6, 1.0)), *runs("west", shifted([0.3] * 6, 1.2))]
    one, other = (
        HeterogeneityTests([("a", east, False), ("b", west, False), ("bridge", both, False)])
        for _ in range(2)
    )
    there, back = one.between("bridge", "a", "b"), other.between("bridge", "b", "a")
    assert there is not None
    assert back is not None
    assert there.found.log_ratio == pytest.approx(-back.found.log_ratio)
    assert one.between("bridge", "b", "a") == there.inverse
    assert there.uneven
    assert there.inverse.uneven


def test_the_reference_says_of_each_ratio_over_a_bridge_how_even_that_is() -> None:
    found = collect(sorted((ROOT / "results" / "reference").glob("keras-backends-*.json")))
    assert not found.errors
    (section,) = build(found).sections
    bridged = [
        row.to_baseline
        for row in section.rows
        if row.to_baseline is not None and row.to_baseline.pairing is Pairing.BRIDGED
    ]
    assert bridged
    for ratio in bridged:
        assert ratio.heterogeneity is not None
        assert ratio.heterogeneity.cases >= 5
        assert ratio.heterogeneity.found.processes >= 6
        low, high = ratio.heterogeneity.found.ratio.low, ratio.heterogeneity.found.ratio.high
        assert ratio.uneven == (low > 1.01 or high < 1 / 1.01)
    told = uneven_bridges(section.rows)
    assert told or not any(ratio.uneven for ratio in bridged)
