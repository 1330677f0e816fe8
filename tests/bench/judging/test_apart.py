"""A bridge that is not the same in two environments: found, told, and allowed for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judging.apart import allowing, most_apart
from bench.judging.basis import Pairing
from bench.judging.comparison import Apart, Comparison
from bench.judging.evenness import Evenness
from bench.judging.over_processes import judged
from bench.judging.process_means import BRIDGE_APART, Estimates
from bench.judging.ranking import build
from bench.judging.ratios import compare, geometric_mean
from bench.judging.rows import Row
from bench.judging.verdict import Verdict
from bench.results.files import collect
from bench.results.schema import Results
from bench.telling.headings import over_bridges, uneven_bridges
from bench.telling.verdict_words import spread_words, unclear
from tests.bench.judging.test_bridges import runs, shifted
from tests.bench.made_bridges import a_case, results, two_environments
from tests.bench.made_results import gather, measured
from tests.places import ROOT

FAR = math.log(1.3)
"""By which six processes surely show a bridge to be apart."""


def rows_of(found: Results, backend: str = "a") -> list[Row]:
    """A backend's rows in the report, held against the baseline b."""
    (section,) = build(found, baseline="b").sections
    return [row for row in section.rows if row.case.backend == backend and row.measured]


def ratios_of(found: Results, backend: str = "a") -> list[Comparison]:
    ratios = [row.to_baseline for row in rows_of(found, backend)]
    assert all(ratios)
    return [each for each in ratios if each is not None]


def apart_of(found: Results) -> Apart:
    """That of all its ratios, which is one and the same."""
    (apart,) = {id(each.apart): each.apart for each in ratios_of(found)}.values()
    assert apart is not None
    return apart


# -- found


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
    assert "over 1 case)" in found.note
    assert not apart_of(results(cases=1)).uneven


def test_a_bridge_s_only_case_in_both_is_what_its_evenness_stands_on() -> None:
    """What it did at other work, in one environment alone, says nothing of the difference."""
    found = results(
        FAR, 1.5, has=lambda environment, process, case: environment == "east" or case == 3
    )
    (ratio,) = [row.to_baseline for row in rows_of(found) if row.to_baseline is not None]
    assert ratio.apart is not None
    assert ratio.apart.cases == 1
    assert ratio.apart.found.log_ratio == pytest.approx(FAR, abs=0.06)


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
        return process < 7 or case % 2 == process % 2

    found = apart_of(results(FAR, processes=9, has=has))
    assert found.cases == 10
    assert found.found.processes == 7


@pytest.mark.parametrize("processes", [6, 12])
def test_processes_with_different_cases_are_taken_to_err_together(processes: int) -> None:
    found = apart_of(results(0.0, processes=processes, has=lambda _, p, case: p % 2 == case % 2))
    assert not found.uneven
    assert found.cases == 10
    assert "taken to err together" in found.found.how


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
    assert {each.apart.cases for each in ratios_of(found) if each.apart is not None} == {3}
    everywhere = results(FAR, invalid=range(10))
    assert all(each.apart is None for each in ratios_of(everywhere))
    # Then the ratios are INVALID themselves.
    assert all(row.ratio_doubts for row in rows_of(everywhere))


def test_of_two_bridges_the_even_one_is_not_accused_nor_its_ratios() -> None:
    bridges = dict.fromkeys(range(5), "good")
    found = results(FAR, 1.1, bridges=bridges, even=("good",))
    said = {}
    for row in rows_of(found):
        ratio = row.to_baseline
        assert ratio is not None
        assert ratio.apart is not None
        said[row.case.workload.batch - 2] = ratio.apart.bridge, ratio.uneven, ratio.verdict
    for case in range(5):
        assert said[case] == ("good", False, Verdict.SLOWER)
        assert said[5 + case] == ("bridge", True, Verdict.UNCLEAR)
    (section,) = build(found, baseline="b").sections
    (line,) = uneven_bridges(section.rows)
    assert line.startswith("Uneven bridge: bridge, over which a and b")


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
    evenness = Evenness([("a", both, False), ("b", both, False), ("bridge", both, False)])
    assert evenness.apart("bridge", "a", "b") is None
    assert evenness.apart("bridge", "a", "nobody") is None
    assert evenness.apart("nobody", "a", "b") is None


def test_the_same_is_found_from_either_side() -> None:
    east, west = runs("east", [0.0, 0.01, 0.02, 0.0, 0.03, 0.01]), runs("west", [0.3] * 6)
    both = [*runs("east", shifted([0.0] * 6, 1.0)), *runs("west", shifted([0.3] * 6, 1.2))]
    one, other = (
        Evenness([("a", east, False), ("b", west, False), ("bridge", both, False)])
        for _ in range(2)
    )
    there, back = one.apart("bridge", "a", "b"), other.apart("bridge", "b", "a")
    assert there is not None
    assert back is not None
    assert there.found.log_ratio == pytest.approx(-back.found.log_ratio)
    assert one.apart("bridge", "b", "a") == there.inverse
    assert there.uneven
    assert there.inverse.uneven


# -- allowed for


@pytest.mark.parametrize("apart", [FAR, -FAR])
@pytest.mark.parametrize("ratio", [1.0, 1.1, 1 / 1.1, 1.25])
def test_no_ratio_nearer_to_1_than_its_bridge_is_to_itself_has_a_word(
    apart: float, ratio: float
) -> None:
    for each in ratios_of(results(apart, ratio)):
        assert each.uneven
        off = abs(each.apart.found.log_ratio) if each.apart else 0.0
        word = each.verdict in (Verdict.FASTER, Verdict.SLOWER)
        assert not word or abs(each.log_ratio) > off
    if ratio == 1.0:
        assert {each.verdict for each in ratios_of(results(apart, ratio))} == {Verdict.UNCLEAR}


def test_a_ratio_that_is_far_beyond_it_keeps_its_word() -> None:
    assert {each.verdict for each in ratios_of(results(FAR, 4.0))} == {Verdict.SLOWER}
    assert {each.verdict for each in ratios_of(results(FAR, 0.25))} == {Verdict.FASTER}


def test_nobody_is_the_fastest_by_what_the_bridge_may_be_off() -> None:
    for apart, first in ((0.0, True), (-FAR, False)):
        (section,) = build(results(apart, 1 / 1.05), baseline="b").sections
        ranked = [row for row in section.rows if row.rank == 1]
        assert [row.fastest for row in ranked] == [first] * 10


def comparison(log: float, error: float, degrees: float) -> Comparison:
    basis = 6, Pairing.BRIDGED, None, "a test"
    estimate = Estimates(np.array([log]), np.array([error]), np.array([degrees]))
    (found,) = judged(estimate, [basis])
    return found


def a_bridge(log: float, error: float, degrees: float = 10.0) -> Apart:
    return Apart("bridge", "a", "b", 10, comparison(log, error, degrees))


LOGS = st.floats(-1.0, 1.0)
ERRORS = st.floats(1e-4, 0.3)
DEGREES = st.floats(2.0, 1e6) | st.just(math.inf)


@given(LOGS, ERRORS, DEGREES, LOGS, ERRORS, DEGREES)
def test_an_interval_is_wider_by_the_difference_and_no_word_is_within_it(
    log: float, error: float, degrees: float, off: float, own: float, free: float
) -> None:
    found, apart = comparison(log, error, degrees), a_bridge(off, own, free)
    told = allowing(found, [apart])
    assert told.apart is apart
    if not apart.uneven:
        assert (told.ratio, told.verdict) == (found.ratio, found.verdict)
        return
    assert told.log_ratio == found.log_ratio
    assert told.ratio.mid == found.ratio.mid
    half = math.log(told.ratio.high) - log
    assert half == pytest.approx(log - math.log(told.ratio.low), abs=1e-9)
    # As much wider as the difference, at the least, and by its doubt.
    assert half >= abs(off) * (1 - 1e-9)
    assert math.log(told.ratio.high) >= math.log(found.ratio.high) + abs(off) * (1 - 1e-9)
    if told.verdict in (Verdict.FASTER, Verdict.SLOWER):
        assert abs(log) > abs(off) * (1 - 1e-9)
        assert told.verdict is found.verdict
    else:
        assert told.verdict is Verdict.UNCLEAR
    # Interval, word and p-value are of one t distribution.
    p = min(told.p_slower(), told.inverse.p_slower())
    assert (p < 0.0025) == (told.verdict is not Verdict.UNCLEAR) or p == pytest.approx(0.0025)


@given(LOGS, ERRORS, LOGS, ERRORS)
def test_exchanging_the_sides_exchanges_what_is_said(
    log: float, error: float, off: float, own: float
) -> None:
    found, apart = comparison(log, error, 8.0), a_bridge(off, own)
    one, other = allowing(found, [apart]), allowing(found.inverse, [apart.inverse])
    assert one.inverse.verdict is other.verdict
    assert one.inverse.ratio.low == pytest.approx(other.ratio.low)
    assert one.inverse.apart == apart.inverse
    assert one.uneven is other.uneven


def test_what_is_known_of_no_bridge_changes_nothing() -> None:
    found = comparison(0.1, 0.01, 8.0)
    assert allowing(found, [None]) == found
    assert most_apart([None, None]) is None
    even, far = a_bridge(0.2, 0.2), a_bridge(-0.1, 0.01)
    assert most_apart([None, even, far]) is far


def test_a_mean_over_cases_is_no_surer_of_the_bridge_than_each_of_them() -> None:
    found = ratios_of(results(FAR, 1.1))
    mean = geometric_mean(found)
    assert mean.verdict is Verdict.UNCLEAR
    assert mean.uneven
    assert math.log(mean.ratio.high) - mean.log_ratio >= abs(FAR) * 0.8
    even = geometric_mean(ratios_of(results(0.0, 1.1)))
    assert even.verdict is Verdict.SLOWER
    assert even.standard_error >= BRIDGE_APART  # which no number of cases makes less


def test_a_mean_takes_the_share_of_the_cases_that_are_over_an_uneven_bridge() -> None:
    bridges = dict.fromkeys(range(5), "good")
    half = geometric_mean(ratios_of(results(FAR, 1.0, bridges=bridges, even=("good",))))
    whole = geometric_mean(ratios_of(results(FAR, 1.0)))
    assert half.uneven
    assert half.apart is not None
    assert half.apart.bridge == "bridge"
    widths = [math.log(each.ratio.high) - math.log(each.ratio.low) for each in (half, whole)]
    assert widths[0] < widths[1]
    assert widths[0] >= FAR * 0.8  # half of the difference, to either side


def test_a_mean_of_cases_of_different_processes_has_it_too() -> None:
    found = ratios_of(results(FAR, 1.1, processes=12, has=lambda _, p, case: p % 2 == case % 2))
    assert all(each.uneven for each in found) == any(each.uneven for each in found)
    mean = geometric_mean(found)
    assert "taken to err together" in mean.how
    assert mean.uneven is found[0].uneven
    if mean.uneven:
        assert mean.verdict is Verdict.UNCLEAR


# -- told


def test_a_line_says_by_how_much_it_differs_and_what_to_do() -> None:
    (section,) = build(results(FAR, 1.1), baseline="b").sections
    (line,) = uneven_bridges(section.rows)
    apart = apart_of(results(FAR, 1.1))
    assert f"took itself {apart.found.ratio.mid:.2f} times as long in the processes of a" in line
    assert "as in those of b (" in line
    assert "over 10 cases)" in line
    assert "1% is allowed for" in line
    assert f"wider by {apart.by} each way" in line
    assert "--processes" in line
    assert "--backends" in line
    assert "\n" not in line


def test_how_even_it_is_is_told_of_an_even_one_too() -> None:
    (section,) = build(results(0.0, 1.1), baseline="b").sections
    (line,) = over_bridges(section.rows)
    assert line.startswith("Over bridge, which is in the processes of both sides: the ratios of a,")
    assert "; bridge itself took " in line
    assert "times as long in those of a (" in line
    assert line.endswith("over 10 cases) as in the baseline's")


def test_more_processes_are_not_advised_where_they_do_not_help() -> None:
    ratios = ratios_of(results(FAR, 1.1))
    assert {each.verdict for each in ratios} == {Verdict.UNCLEAR}
    assert unclear(ratios) == []
    assert all(each.spread is not None and spread_words(each) == "" for each in ratios)


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
        assert ratio.apart is not None
        assert ratio.apart.cases >= 5
        assert ratio.apart.found.processes >= 6
        low, high = ratio.apart.found.ratio.low, ratio.apart.found.ratio.high
        assert ratio.uneven == (low > 1.01 or high < 1 / 1.01)
    told = uneven_bridges(section.rows)
    assert told or not any(ratio.uneven for ratio in bridged)
