"""Rows that share no process are compared over a reference that shares some with each."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bench.machine.reasons import Reason
from bench.records.schema import Results
from bench.render.messages import basis_text, heterogeneous_references
from bench.stats.comparison import Comparison, Heterogeneity, Pairing, Verdict
from bench.stats.intervals import REFERENCE_ALLOWANCE, Estimates
from bench.stats.ratios import (
    HeterogeneityTests,
    allow_for,
    compare,
    geometric_mean,
    most_heterogeneous,
    with_verdicts,
)
from bench.stats.trust import UNSTEADY_RATIO, Problem, Validity
from bench.verdicts.case_results import CaseResult
from bench.verdicts.ranking import RankedRow, Reference, all_problems, compare_rows, problems
from bench.verdicts.sections import build
from tests.bench.made_environments import (
    FAR,
    a_case,
    a_run,
    baseline_ratios,
    find_shared_heterogeneity,
    rank_rows,
    results,
    two_environments,
)
from tests.bench.made_reasons import recorded
from tests.bench.made_results import gather, measured
from tests.bench.stats.made_processes import EFFECTS, OTHER_EFFECTS, runs

BUSY = recorded("busy", "others kept processors busy", "")


def make_in_both(suspect: str = "") -> Results:
    """Make results of three backends, one of which is in the processes of both others."""
    items = []
    for environment, own, effect in (("east", "a", EFFECTS), ("west", "b", OTHER_EFFECTS)):
        for number, log in enumerate(effect):
            of = a_run(f"{environment}{number}")
            slow = math.log(1.5) if own == "a" else 0.0
            why = [BUSY] if suspect == own else []
            one = measured(a_case(own), math.exp(log + slow), of, why)
            both = measured(a_case("bridge"), math.exp(log + 3.0), of)
            items += [one, both]
    return gather(*items)


def rows(*, suspect: str = "") -> dict[str, RankedRow]:
    (section,) = build(make_in_both(suspect), baseline="b").sections
    return {row.case.backend: row for row in section.rows}


def test_report_takes_a_row_in_both_environments_as_reference() -> None:
    found = rows()
    a = found["a"]
    assert a.to_baseline is not None
    assert a.to_baseline.pairing is Pairing.BRIDGED
    assert a.to_baseline.ratio.mid == pytest.approx(1.5)
    assert a.to_baseline.verdict is Verdict.SLOWER
    # The interval of its time is wide, but the ratio to the reference is not.
    assert a.ratio_problems == ()
    over_reference = found["bridge"].to_baseline
    assert over_reference is not None
    assert over_reference.paired
    first = found["b"]
    assert first.rank == 1
    assert first.fastest


def test_reference_ratio_of_an_untrusted_side_is_untrusted() -> None:
    found = rows(suspect="a")
    assert "busy" in {problem.code for problem in found["a"].ratio_problems}


def test_reference_equal_in_both_changes_no_ratio() -> None:
    found = results(ratio=1.5)
    (section,) = build(found, baseline="b").sections
    by_id = {row.case.id: row for row in section.rows}
    for row in rank_rows(found):
        case = row.case.workload.batch - 2
        base, reference = (by_id[a_case(name, case).id] for name in ("b", "bridge"))
        plain = compare(row.result.runs, base.result.runs, reference.result.runs)
        ratio = row.to_baseline
        assert ratio is not None
        assert not ratio.heterogeneous
        assert ratio.pairing is Pairing.BRIDGED
        found_here = ratio.ratio, ratio.verdict, ratio.basis
        assert found_here == (plain.ratio, plain.verdict, plain.basis)
        assert ratio.heterogeneity is not None
        assert ratio.heterogeneity.cases == 10
    assert heterogeneous_references(section.rows) == []


def test_reference_of_each_device_is_judged_separately() -> None:
    items = [*two_environments(FAR, 1.1), *two_environments(0.0, 1.1, device="gpu:0", seed=2)]
    (section,) = build(gather(*items), baseline="b").sections
    shown = {
        (row.case.device, row.to_baseline.heterogeneous)
        for row in section.rows
        if row.case.backend == "a" and row.to_baseline is not None
    }
    assert shown == {("cpu", True), ("gpu:0", False)}


def a_row(
    backend: str, places: Sequence[str], invalid: Sequence[Problem] = (), unsteady: bool = False
) -> RankedRow:
    """Make a row in six processes of each of these environments; it drifts if unsteady."""
    drift = np.exp(np.linspace(0, 1, 11)) if unsteady else np.ones(11)
    in_all = [run for place in places for run in runs(place, [0.0] * 6)]
    samples = tuple(replace(run, samples=run.samples * drift) for run in in_all)
    drifted = frozenset(run.run for run in samples) if unsteady else frozenset()
    validity = Validity(tuple(invalid), unsteady=drifted)
    return RankedRow(CaseResult(a_case(backend), "measured", runs=samples, validity=validity))


def over(row: RankedRow, reference: RankedRow) -> RankedRow:
    """Return the row with a reference whose heterogeneity no other result tells."""
    return replace(row, reference=Reference(reference.result, HeterogeneityTests(())))


PROBLEM = Problem("busy", recorded("busy", "others kept processors busy", "close them"), 1, 1)


def test_reference_is_the_first_valid_of_the_most_frequent() -> None:
    places = {"few": "e", "bad": "ew", "good": "ew", "late": "ew"}
    items = [
        measured(a_case(name), time, a_run(f"{place}{n}"), [BUSY] if name == "bad" else [])
        for time, (name, in_places) in enumerate(places.items(), start=1)
        for place in in_places
        for n in range(6)
    ]
    (section,) = build(gather(*items)).sections
    found = [row.reference and row.reference.result.case.backend for row in section.rows]
    assert found == ["good"] * 4
    (section,) = build(gather(*(each for each in items if each.case.backend != "few"))).sections
    assert [row.reference for row in section.rows] == [None] * 3


def test_reference_without_rows_changes_no_ratio() -> None:
    both = a_row("c", ["east", "west"])
    east, west = (over(a_row(*each), both) for each in (("a", ["east"]), ("b", ["west"])))
    found, paired = compare_rows([(east, west), (east, both)])
    assert (found.pairing, found.heterogeneity) == (Pairing.BRIDGED, None)
    assert paired.paired


def test_reference_ratio_is_unreliable_if_any_of_three_rows_is() -> None:
    def suspect(east: RankedRow, west: RankedRow, both: RankedRow) -> set[str]:
        east, west = (over(row, both) for row in (east, west))
        return {problem.code for problem in all_problems(east, west)}

    good = a_row("a", ["east"]), a_row("b", ["west"]), a_row("c", ["east", "west"])
    assert suspect(*good) == set()
    assert suspect(good[0], good[1], a_row("c", ["east", "west"], invalid=[PROBLEM])) == {"busy"}
    assert suspect(a_row("a", ["east"], invalid=[PROBLEM]), *good[1:]) == {"busy"}
    # The ratio of either side to a drifting reference is unsteady.
    drifting = a_row("c", ["east", "west"], unsteady=True)
    assert suspect(good[0], good[1], drifting) == {UNSTEADY_RATIO}


def test_reference_has_no_problem_for_rows_sharing_processes() -> None:
    both, third = (
        a_row("b", ["east", "west"]),
        a_row("c", ["east", "west", "far"], invalid=[PROBLEM]),
    )
    east = a_row("a", ["east"])
    east, both = (over(row, third) for row in (east, both))
    assert problems(east, both) == ()
    far = over(a_row("d", ["north"]), third)
    # The reference is not in the processes of both.
    assert problems(far, east) == problems(east, far) == ()


@pytest.mark.parametrize("difference", [FAR, -FAR])
def test_differing_reference_is_found_over_all_its_cases(difference: float) -> None:
    found = find_shared_heterogeneity(results(difference))
    assert (found.reference, found.new, found.base) == ("bridge", "a", "b")
    assert found.significant
    assert found.cases == 10
    assert found.found.processes == 6
    assert found.found.pairing is Pairing.UNPAIRED
    assert found.found.log_ratio == pytest.approx(difference, abs=0.05)


def test_reference_case_of_a_single_process_is_excluded() -> None:
    """A backend's refusal, say, is known from its second process on."""
    found = find_shared_heterogeneity(
        results(FAR, has=lambda place, process, case: place == "west" or case < 5 or process == 0)
    )
    assert found.cases == 5
    assert found.significant


def test_reference_incomplete_processes_are_excluded() -> None:
    def has(environment: str, process: int, case: int) -> bool:
        return process < 6 or case % 2 == process % 2

    found = find_shared_heterogeneity(results(FAR, processes=9, has=has))
    assert found.cases == 10
    assert found.found.processes == 6


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_reference_of_few_processes_is_not_significant(processes: int) -> None:
    for seed in range(5):
        found = find_shared_heterogeneity(results(0.1, processes=processes, seed=seed))
        assert not found.significant
        assert found.found.allowance is not None


def test_reference_disturbed_cases_are_excluded() -> None:
    found = results(FAR, invalid=range(7))
    assert {
        each.heterogeneity.cases
        for each in baseline_ratios(found)
        if each.heterogeneity is not None
    } == {3}
    everywhere = results(FAR, invalid=range(10))
    assert all(each.heterogeneity is None for each in baseline_ratios(everywhere))
    assert all(row.ratio_problems for row in rank_rows(everywhere))


def test_equal_reference_next_to_a_differing_one_is_not_named() -> None:
    references = dict.fromkeys(range(5), "good")
    found = results(FAR, 1.1, references=references, equal=("good",))
    shown = {}
    for row in rank_rows(found):
        ratio = row.to_baseline
        assert ratio is not None
        assert ratio.heterogeneity is not None
        shown[row.case.workload.batch - 2] = (
            ratio.heterogeneity.reference,
            ratio.heterogeneous,
            ratio.verdict,
        )
    for case in range(5):
        assert shown[case] == ("good", False, Verdict.SLOWER)
        assert shown[5 + case] == ("bridge", True, Verdict.UNCLEAR)
    (section,) = build(found, baseline="b").sections
    (line,) = heterogeneous_references(section.rows)
    assert line.startswith("Heterogeneous reference: bridge, through which a and b")


def test_reference_on_several_machines_is_tested_within_each() -> None:
    hosts = ("one", "two", "three")
    found = results(FAR, 1.1, processes=18, hosts=hosts)
    tested = find_shared_heterogeneity(found)
    assert tested.found.nodes == 3
    assert tested.significant
    assert all(each.verdict is Verdict.UNCLEAR for each in baseline_ratios(found))
    equal = results(0.0, 1.3, processes=18, hosts=hosts)
    assert not find_shared_heterogeneity(equal).significant
    assert all(each.verdict is Verdict.SLOWER for each in baseline_ratios(equal))


@pytest.mark.parametrize("difference", [FAR, -FAR])
@pytest.mark.parametrize("ratio", [1.0, 1.1, 1 / 1.1, 1.25])
def test_ratio_within_the_reference_difference_is_unclear(difference: float, ratio: float) -> None:
    for each in baseline_ratios(results(difference, ratio)):
        assert each.heterogeneous
        off = abs(each.heterogeneity.found.log_ratio) if each.heterogeneity else 0.0
        firm = each.verdict in (Verdict.FASTER, Verdict.SLOWER)
        assert not firm or abs(each.log_ratio) > off
    if ratio == 1.0:
        assert {each.verdict for each in baseline_ratios(results(difference, ratio))} == {
            Verdict.UNCLEAR
        }


def comparison(log: float, error: float, degrees: float) -> Comparison:
    basis = 6, Pairing.BRIDGED, None, Reason("of_its_samples")
    estimate = Estimates(np.array([log]), np.array([error]), np.array([degrees]))
    (found,) = with_verdicts(estimate, [basis])
    return found


def a_heterogeneity(log: float, error: float, degrees: float = 10.0) -> Heterogeneity:
    return Heterogeneity("bridge", "a", "b", 10, comparison(log, error, degrees))


LOGS = st.floats(-1.0, 1.0)
ERRORS = st.floats(1e-4, 0.3)
ERRORS_OVER_REFERENCE = st.floats(REFERENCE_ALLOWANCE, 0.3)
"""With the allowance that makes a ratio over a reference never SAME."""
DEGREES = st.floats(2.0, 1e6)


@given(LOGS, ERRORS_OVER_REFERENCE, DEGREES, LOGS, ERRORS, DEGREES)
def test_interval_is_widened_by_the_reference_difference(
    log: float, error: float, degrees: float, off: float, own: float, free: float
) -> None:
    found, tested = comparison(log, error, degrees), a_heterogeneity(off, own, free)
    wide = allow_for(found, [tested])
    assert wide.heterogeneity is tested
    if not tested.significant:
        assert (wide.ratio, wide.verdict) == (found.ratio, found.verdict)
        return
    assert wide.log_ratio == found.log_ratio
    assert wide.ratio.mid == found.ratio.mid
    half = math.log(wide.ratio.high) - log
    assert half == pytest.approx(log - math.log(wide.ratio.low), abs=1e-9)
    # At least as much wider as the difference.
    assert half >= abs(off) * (1 - 1e-9)
    assert math.log(wide.ratio.high) >= math.log(found.ratio.high) + abs(off) * (1 - 1e-9)
    if wide.verdict in (Verdict.FASTER, Verdict.SLOWER):
        assert abs(log) > abs(off) * (1 - 1e-9)
        assert wide.verdict is found.verdict
    else:
        assert wide.verdict is Verdict.UNCLEAR
    # Interval, verdict and p-value are of one t distribution.
    p = min(wide.p_slower(), wide.inverse.p_slower())
    assert (p < 0.0025) == (wide.verdict is not Verdict.UNCLEAR) or p == pytest.approx(0.0025)


def test_ratio_without_heterogeneity_is_unchanged() -> None:
    found = comparison(0.1, 0.01, 8.0)
    assert allow_for(found, [None]) == found
    assert most_heterogeneous([None, None]) is None
    equal, far = a_heterogeneity(0.2, 0.2), a_heterogeneity(-0.1, 0.01)
    assert most_heterogeneous([None, equal, far]) is far


def test_mean_is_as_uncertain_of_the_reference_as_each_case() -> None:
    found = baseline_ratios(results(FAR, 1.1))
    mean = geometric_mean(found)
    assert mean.verdict is Verdict.UNCLEAR
    assert mean.heterogeneous
    assert math.log(mean.ratio.high) - mean.log_ratio >= abs(FAR) * 0.8
    equal = geometric_mean(baseline_ratios(results(0.0, 1.1)))
    assert equal.verdict is Verdict.SLOWER
    assert equal.standard_error >= REFERENCE_ALLOWANCE  # which no number of cases makes less


def test_mean_is_off_by_the_mean_reference_difference() -> None:
    """Of two cases, one of which has a heterogeneous reference, it is off by half."""
    found, exact = comparison(0.5, 0.01, 1e9), a_heterogeneity(0.2, 1e-6, 1e9)
    plain = math.log(found.ratio.high) - 0.5
    for tests, by, text in (([exact], 0.2, "22%"), ([exact, None], 0.1, "11%")):
        wide = allow_for(found, tests)
        assert math.log(wide.ratio.high) - 0.5 == pytest.approx(plain + by, abs=1e-4)
        assert basis_text(wide.basis).endswith(
            f", {text} more each way, by which the third case differs from itself"
        )
    # The uncertainty of the reference is part of that of the ratio.
    unreliable = allow_for(found, [a_heterogeneity(0.2, 0.02, 1e9), None])
    assert unreliable.standard_error == pytest.approx(
        math.hypot(0.01, 0.01) + 0.1 / special.ndtri(0.9975), rel=1e-3
    )
