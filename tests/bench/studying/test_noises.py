"""The noises and worlds that the verdicts are tried on: each is what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from bench.studying import pairs
from bench.studying.noises import (
    BEYOND,
    LOG_SPREAD,
    NOISES,
    REFERENCE_LOG_SPREAD,
    REFERENCE_SPREAD,
    TYPICAL_SPREAD,
    as_measured,
    bad_cases,
    bad_processes,
    drift,
    one_side_skewed,
    paired_samples,
    unpaired_samples,
)
from tests.places import REFERENCE


@pytest.mark.parametrize("spread", [0.025, 0.035])
def test_paired_processes_spread_as_asked_and_share_their_luck(spread: float) -> None:
    samples = paired_samples(spread, 5, 2000, common_spread=0.10)
    new, base = (np.log(np.median(side, axis=2)).ravel() for side in (samples.new, samples.base))
    assert np.std(new - base) == pytest.approx(spread, rel=0.03)
    assert np.std(new) == pytest.approx(np.hypot(0.10, spread / np.sqrt(2)), rel=0.03)


def test_unpaired_processes_spread_as_asked_and_share_nothing() -> None:
    samples = unpaired_samples(0.10, 5, 2000)
    new, base = (np.log(np.median(side, axis=2)).ravel() for side in (samples.new, samples.base))
    assert np.std(new) == pytest.approx(0.10, rel=0.03)
    assert np.std(new - base) == pytest.approx(0.10 * np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_is_of_equals(noise: str) -> None:
    logs = NOISES[noise](np.random.default_rng(1), (4000, 6))
    assert logs.shape == (4000, 6)
    # A standard error of the median of 24,000 is under 1% of the spread of the middle half.
    middle = np.subtract(*np.quantile(logs, (0.75, 0.25)))
    assert abs(np.median(logs)) < 0.05 * middle


def test_the_noise_as_measured_spreads_as_it_says() -> None:
    logs = as_measured(np.random.default_rng(1), (4000, 50))
    spreads = np.log(logs.std(axis=1, ddof=1))
    assert np.exp(np.median(spreads)) == pytest.approx(TYPICAL_SPREAD, rel=0.03)
    # The estimate's own spread is of 49 degrees: 0.1.
    assert np.std(spreads) == pytest.approx(np.hypot(LOG_SPREAD, 0.1), rel=0.05)


def test_bad_processes_and_cases_are_a_tenth_and_a_drift_is_one() -> None:
    rng = np.random.default_rng(1)
    plain = np.mean(np.abs(as_measured(rng, (4000, 20))) > 0.25)
    bad = np.mean(np.abs(bad_processes(rng, (4000, 20))) > 0.25)
    alone = np.mean(np.abs(bad_cases(rng, (4000, 20))) > 0.25)
    assert plain < 0.003
    assert bad == pytest.approx(0.1 * 0.32, abs=0.006)  # beyond one standard deviation
    assert alone == pytest.approx(0.2 * 0.42, abs=0.015)  # beyond 0.83 means of an exponential
    moved = drift(rng, (4000, 20))
    assert np.mean(np.abs(moved[:, -1] - moved[:, 0])) > 2 * np.mean(
        np.abs(moved[:, 10] - moved[:, 9])
    )


@pytest.mark.parametrize(("name", "wanted"), [("AR(1), 0.1", 0.1), ("AR(1), 0.4", 0.4)])
def test_processes_resemble_the_one_before_as_much_as_is_said(name: str, wanted: float) -> None:
    logs = {**NOISES, **BEYOND}[name](np.random.default_rng(1), (4000, 30))
    apart = logs / logs.std(axis=1, keepdims=True)
    assert np.mean(apart[:, 1:] * apart[:, :-1]) == pytest.approx(wanted, abs=0.03)


def test_one_skewed_side_leaves_the_medians_equal_and_not_the_means() -> None:
    logs = one_side_skewed(np.random.default_rng(1), (4000, 30))
    assert np.median(logs) == pytest.approx(0, abs=0.001)
    assert np.mean(logs) > 0.01


def test_the_noise_as_in_the_reference_is_that_of_its_pairs() -> None:
    from bench.results.files import collect

    # Those that the study's row was made from.
    made_from = ("fused-*", "mine-*", "quick-*", "truncation-*")
    paths = sorted(path for each in made_from for path in REFERENCE.glob(each))
    found = pairs.pairs_of(collect(paths))
    spreads = [pair.spread for pair in found]
    # New reference results need new numbers, and the study anew.
    assert np.median(spreads) == pytest.approx(REFERENCE_SPREAD, rel=0.1)
    few = REFERENCE_SPREAD * np.exp(REFERENCE_LOG_SPREAD * np.array([-0.674, 0.674]))
    # An estimate from 6 processes spreads by itself, so that the quarters lie further out.
    assert np.quantile(spreads, 0.25) == pytest.approx(few[0], rel=0.25)
    assert np.quantile(spreads, 0.75) == pytest.approx(few[1], rel=0.25)
