"""Cases of processes that share nothing but a third case: a ratio of ratios."""

from __future__ import annotations

import math

import pytest
from scipy import special

from bench.render.messages import basis_text
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import BRIDGE_APART, VERDICT_CONFIDENCE
from bench.stats.ratios import compare
from tests.bench.stats.made_processes import BASE, BRIDGE, LUCK, NEW, OTHER_LUCK, runs, shifted


def test_the_luck_of_processes_is_no_part_of_a_ratio_over_a_bridge() -> None:
    found = compare(NEW, BASE, BRIDGE)
    assert found.pairing is Pairing.BRIDGED
    assert not found.paired
    assert found.ratio.mid == pytest.approx(1.5)
    assert found.verdict is Verdict.SLOWER
    assert compare(NEW, BASE).pairing is Pairing.UNPAIRED
    assert compare(NEW, BASE).verdict is Verdict.UNCLEAR
    assert "each measured with the same third case" in basis_text(found.basis)
    assert found.inverse.ratio.mid == pytest.approx(1 / 1.5)


def test_what_the_bridge_itself_may_differ_is_left_in_doubt() -> None:
    found = compare(NEW, BASE, BRIDGE)
    # Processes that agree exactly have no doubt of their own.
    assert found.standard_error == pytest.approx(BRIDGE_APART, rel=1e-3)
    equal = compare(runs("east", LUCK), BASE, BRIDGE)
    assert equal.verdict is Verdict.UNCLEAR  # SAME within 2% is more than a bridge can carry
    width = math.log(equal.ratio.high) - math.log(equal.ratio.low)
    normal = special.ndtri((1 + VERDICT_CONFIDENCE) / 2)
    assert width > 2 * normal * BRIDGE_APART


def test_processes_that_the_bridge_does_not_share_do_not_count() -> None:
    stray = runs("far", [5.0])
    found = compare([*NEW, *stray], BASE, BRIDGE)
    assert found.processes == 6
    assert found.ratio.mid == pytest.approx(1.5)


def test_a_bridge_that_does_not_reach_both_sides_is_none() -> None:
    assert compare(NEW, BASE, BRIDGE[:6]).pairing is Pairing.UNPAIRED


def test_cases_that_share_processes_need_no_bridge() -> None:
    assert compare(NEW, runs("east", LUCK), BRIDGE).pairing is Pairing.ALTERNATING


def test_fewer_than_six_processes_on_a_side_bring_an_allowance() -> None:
    found = compare(NEW[:3], BASE, BRIDGE)
    assert found.processes == 3
    assert found.allowance == Pairing.BRIDGED.allowance
    assert found.standard_error > compare(NEW, BASE, BRIDGE).standard_error


def test_a_bridge_without_rounds_is_compared_by_medians() -> None:
    bridge = runs("east", shifted(LUCK, 1.0), rounds=False)
    bridge += runs("west", shifted(OTHER_LUCK, 1.0), rounds=False)
    assert compare(NEW, BASE, bridge).ratio.mid == pytest.approx(1.5)
