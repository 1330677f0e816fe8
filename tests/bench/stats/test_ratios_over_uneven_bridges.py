"""What a ratio allows for over a bridge that is not the same in two environments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bench.render.labels import spread_words
from bench.render.messages import basis_text, unclear
from bench.stats.comparison import Comparison, Heterogeneity, Pairing, Verdict
from bench.stats.intervals import BRIDGE_APART, Estimates, Reason
from bench.stats.ratios import allowing, geometric_mean, judged, most_heterogeneous
from bench.stats.rows import build
from tests.bench.made_bridges import FAR, ratios_of, results


@pytest.mark.parametrize("apart", [FAR, -FAR])
@pytest.mark.parametrize("ratio", [1.0, 1.1, 1 / 1.1, 1.25])
def test_no_ratio_nearer_to_1_than_its_bridge_is_to_itself_has_a_word(
    apart: float, ratio: float
) -> None:
    for each in ratios_of(results(apart, ratio)):
        assert each.uneven
        off = abs(each.heterogeneity.found.log_ratio) if each.heterogeneity else 0.0
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
    basis = 6, Pairing.BRIDGED, None, Reason("of_its_samples")
    estimate = Estimates(np.array([log]), np.array([error]), np.array([degrees]))
    (found,) = judged(estimate, [basis])
    return found


def a_bridge(log: float, error: float, degrees: float = 10.0) -> Heterogeneity:
    return Heterogeneity("bridge", "a", "b", 10, comparison(log, error, degrees))


LOGS = st.floats(-1.0, 1.0)
ERRORS = st.floats(1e-4, 0.3)
DEGREES = st.floats(2.0, 1e6) | st.just(math.inf)


@given(LOGS, ERRORS, DEGREES, LOGS, ERRORS, DEGREES)
def test_an_interval_is_wider_by_the_difference_and_no_word_is_within_it(
    log: float, error: float, degrees: float, off: float, own: float, free: float
) -> None:
    found, apart = comparison(log, error, degrees), a_bridge(off, own, free)
    told = allowing(found, [apart])
    assert told.heterogeneity is apart
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
    assert one.inverse.heterogeneity == apart.inverse
    assert one.uneven is other.uneven


def test_what_is_known_of_no_bridge_changes_nothing() -> None:
    found = comparison(0.1, 0.01, 8.0)
    assert allowing(found, [None]) == found
    assert most_heterogeneous([None, None]) is None
    even, far = a_bridge(0.2, 0.2), a_bridge(-0.1, 0.01)
    assert most_heterogeneous([None, even, far]) is far


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
    assert half.heterogeneity is not None
    assert half.heterogeneity.bridge == "bridge"
    widths = [math.log(each.ratio.high) - math.log(each.ratio.low) for each in (half, whole)]
    assert widths[0] < widths[1]
    assert widths[0] >= FAR * 0.8  # half of the difference, to either side


def test_a_mean_of_cases_of_different_processes_has_it_too() -> None:
    found = ratios_of(results(FAR, 1.1, processes=12, has=lambda _, p, case: p % 2 == case % 2))
    assert all(each.uneven for each in found) == any(each.uneven for each in found)
    mean = geometric_mean(found)
    assert "taken to err together" in basis_text(mean.basis)
    assert mean.uneven is found[0].uneven
    if mean.uneven:
        assert mean.verdict is Verdict.UNCLEAR


def test_more_processes_are_not_advised_where_they_do_not_help() -> None:
    ratios = ratios_of(results(FAR, 1.1))
    assert {each.verdict for each in ratios} == {Verdict.UNCLEAR}
    assert unclear(ratios) == []
    assert all(each.spread is not None and spread_words(each) == "" for each in ratios)


def test_cases_are_off_by_the_mean_of_their_bridges_differences() -> None:
    """One without an uneven bridge is off by nothing: of two cases it is half."""
    found, sure = comparison(0.5, 0.01, 1e9), a_bridge(0.2, 1e-6, 1e9)
    plain = math.log(found.ratio.high) - 0.5
    for aparts, by, told in (([sure], 0.2, "22%"), ([sure, None], 0.1, "11%")):
        wide = allowing(found, aparts)
        assert math.log(wide.ratio.high) - 0.5 == pytest.approx(plain + by, abs=1e-4)
        assert basis_text(wide.basis).endswith(
            f"; {told} more each way, by which the third case differs from itself"
        )
    # What is not known of the bridge is not known of the ratio.
    doubtful = allowing(found, [a_bridge(0.2, 0.02, 1e9), None])
    assert doubtful.standard_error == pytest.approx(
        math.hypot(0.01, 0.01) + 0.1 / special.ndtri(0.9975), rel=1e-3
    )
