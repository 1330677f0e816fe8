"""The verdict of an interval, Holm's procedure, and how many processes an effect needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import comparison, intervals
from bench.stats.comparison import GATE_LEVEL, SAME_WITHIN, Verdict, holm, verdicts
from bench.stats.intervals import Estimates


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
def test_the_verdict_of_an_interval(low: float, high: float, verdict: Verdict) -> None:
    found = verdicts(np.log(np.array([low])), np.log(np.array([high])))
    assert Verdict(str(found[0])) is verdict


def test_an_interval_that_ends_at_an_edge_holds_it() -> None:
    edge = math.log1p(SAME_WITHIN)
    low, high = np.array([-edge, -0.1, 0.0]), np.array([edge, 0.0, 0.1])
    assert verdicts(low, high).tolist() == ["SAME", "UNCLEAR", "UNCLEAR"]


def test_a_gate_over_one_case_fails_just_where_the_interval_is_beyond_equality() -> None:
    estimate = Estimates(*(np.array([number]) for number in (0.1, 0.02, 5.0)))
    low, _ = estimate.bounds()
    assert estimate.p_slower(math.expm1(low[0])) == pytest.approx(GATE_LEVEL)


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


@pytest.mark.parametrize("p", [[math.nan], [-0.1], [1.1], [[0.5]]])
def test_holm_refuses_what_is_no_p_value(p: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(p)


@pytest.mark.parametrize(
    ("spread", "effect", "needed"),
    # As simulated (docs/verdicts.md); where it takes more than 200 it cannot be found.
    [
        *((0.013, 0.05, 6), (0.025, 0.05, 9), (0.035, 0.05, 13), (0.035, 0.03, 28)),
        *((0.027, 0.03, 18), (0.167, 0.05, 200), (0.168, 0.05, None), (0.29, 0.03, None)),
    ],
)
def test_how_many_processes_an_effect_needs(
    spread: float, effect: float, needed: int | None
) -> None:
    assert comparison.processes_needed(spread, effect) == needed
    assert comparison.processes_needed(0.0, effect) == intervals.ENOUGH_PROCESSES
