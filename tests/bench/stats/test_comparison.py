"""Comparisons: inverses, p-values, verdicts, Holm's method and heterogeneity."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.render.messages import basis_text
from bench.stats import comparison, intervals
from bench.stats.comparison import (
    GATE_LEVEL,
    Heterogeneity,
    Pairing,
    Verdict,
    choose_basis,
    holm,
    loosest,
    verdicts,
)
from bench.stats.intervals import ALONE, ENOUGH_PROCESSES, Estimates, Interval
from bench.stats.ratios import with_verdicts
from tests.bench.stats.made_processes import paired


def test_p_value_agrees_with_the_interval_at_the_threshold() -> None:
    found = paired([0.01, 0.05, 0.03, 0.02, 0.06, 0.04])
    edge = found.ratio.low - 1
    assert found.p_slower(edge) == pytest.approx(GATE_LEVEL, rel=1e-6)
    few = paired([0.3, 0.3])
    assert few.p_slower(few.ratio.low - 1) == pytest.approx(GATE_LEVEL, rel=1e-6)


@given(st.floats(-700, 700), st.floats(1e-6, 1e3), st.floats(1, 1e6), st.booleans())
def test_inverse_of_the_inverse_is_equal(
    log: float, error: float, degrees: float, with_reference: bool
) -> None:
    estimate = Estimates(*(np.array([number]) for number in (log, error, degrees)))
    (found,) = with_verdicts(estimate, [choose_basis(Pairing.BRIDGED, 6, 6)])
    if with_reference:
        found = replace(found, heterogeneity=Heterogeneity("reference", "a", "b", 3, found))
    there, back = found.inverse, found.inverse.inverse
    assert (there.heterogeneity and there.heterogeneity.new) == ("b" if with_reference else None)
    assert there.log_ratio == -log
    assert there.ratio.low <= there.ratio.mid <= there.ratio.high
    assert (back.log_ratio, back.verdict, back.degrees) == (log, found.verdict, found.degrees)
    if found.ratio.low > 0 and math.isfinite(found.ratio.high):
        assert back.ratio.low == pytest.approx(found.ratio.low)
        assert back.ratio.high == pytest.approx(found.ratio.high)


# Heterogeneity


def a_heterogeneity(
    low: float, mid: float, high: float, cases: int = 10, name: str = "keras"
) -> Heterogeneity:
    found = replace(
        paired([math.log(mid)] * 6), log_ratio=math.log(mid), ratio=Interval(low, mid, high, 0.995)
    )
    return Heterogeneity(name, "torch", "onnx", cases, found)


@pytest.mark.parametrize(
    ("low", "high", "significant"),
    [
        (1.011, 1.2, True),
        (1.009, 1.2, False),
        (0.8, 0.989, True),
        (0.8, 0.991, False),
        (0.9, 1.1, False),
    ],
)
def test_reference_differs_if_its_interval_is_beyond_the_allowance(
    low: float, high: float, significant: bool
) -> None:
    tested = a_heterogeneity(low, math.sqrt(low * high), high)
    assert tested.significant is significant
    assert a_heterogeneity(1 / high, math.sqrt(1 / low / high), 1 / low).significant is significant
    assert replace(paired([0.0]), heterogeneity=tested).heterogeneous is significant
    assert not paired([0.0]).heterogeneous


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.90, 0.95, Verdict.FASTER),
        (1.05, 1.10, Verdict.SLOWER),
        (0.99, 1.01, Verdict.SAME),
        (0.99, 1.03, Verdict.UNCLEAR),
        (0.90, 1.10, Verdict.UNCLEAR),
        (1.005, 1.015, Verdict.SAME),  # seen, but too small to matter
        (0.985, 0.995, Verdict.SAME),
        (1.005, 1.03, Verdict.SLOWER),
        (0.97, 0.995, Verdict.FASTER),
    ],
)
def test_verdict_of_an_interval(low: float, high: float, verdict: Verdict) -> None:
    found = verdicts(np.log(np.array([low])), np.log(np.array([high])))
    assert Verdict(str(found[0])) is verdict


def test_holm_rejects_step_by_step_and_stops_at_the_first_failure() -> None:
    # At 0.05: 0.01 <= 0.05/4, 0.013 <= 0.05/3, 0.03 > 0.05/2 stops, so 0.04 <= 0.05/1 is kept.
    assert holm([0.04, 0.01, 0.03, 0.013], 0.05).tolist() == [False, True, False, True]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.2))
def test_holm_lies_between_bonferroni_and_no_correction(p: list[float], level: float) -> None:
    rejected = holm(p, level)
    values = np.array(p)
    assert np.all(rejected >= (values <= level / len(p)))
    assert np.all(rejected <= (values <= level))


@pytest.mark.parametrize(
    ("spread", "effect", "needed"),
    # As simulated (docs/verdicts.md); None if more than 200 are needed.
    [
        *((0.013, 0.05, 6), (0.025, 0.05, 9), (0.035, 0.05, 13), (0.035, 0.03, 28)),
        *((0.027, 0.03, 18), (0.167, 0.05, 200), (0.168, 0.05, None), (0.29, 0.03, None)),
    ],
)
def test_processes_needed_for_an_effect(spread: float, effect: float, needed: int | None) -> None:
    assert comparison.processes_needed(spread, effect) == needed
    assert comparison.processes_needed(0.0, effect) == intervals.ENOUGH_PROCESSES


@pytest.mark.parametrize("pairing", Pairing)
def test_allowance_is_zero_for_six_processes_and_largest_for_one(pairing: Pairing) -> None:
    processes, same, none, how = choose_basis(pairing, ENOUGH_PROCESSES)
    assert (processes, same, none) == (6, pairing, None)
    assert "allowance" not in basis_text(how)
    assert choose_basis(pairing, 5)[2] == choose_basis(pairing, 2)[2] == pairing.allowance
    assert choose_basis(pairing, 1)[2] == pytest.approx(ALONE * pairing.allowance)


def test_allowance_is_that_of_the_side_with_fewer_processes() -> None:
    assert choose_basis(Pairing.UNPAIRED, 9, 7)[:3] == (7, Pairing.UNPAIRED, None)
    assert choose_basis(Pairing.UNPAIRED, 3, 7)[:3] == (3, Pairing.UNPAIRED, 0.16)
    assert choose_basis(Pairing.UNPAIRED, 7, 3)[0] == 3


def test_allowance_grows_as_pairing_cancels_less_noise() -> None:
    for tight, loose in itertools.combinations(Pairing, 2):
        assert loosest([tight, loose]) is loosest([loose, tight]) is loose
    # Interleaved blocks have the least noise; adjacent processes have that of both.
    assert Pairing.ALTERNATING.allowance == min(each.allowance for each in Pairing)
    assert Pairing.ADJACENT.allowance == Pairing.UNPAIRED.allowance
