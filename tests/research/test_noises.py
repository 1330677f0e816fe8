"""The noises and worlds that the verdicts are tried on: each is what its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from research import pairs
from research.noises import (
    BEYOND,
    LOG_SPREAD,
    NOISES,
    REFERENCE_LOG_SPREAD,
    REFERENCE_SPREAD,
    TYPICAL_SPREAD,
    FloatArray,
    Noise,
    as_measured,
    bad_cases,
    bad_processes,
    drawn,
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


TYPICAL = TYPICAL_SPREAD * math.exp(LOG_SPREAD**2)
"""The root mean square of what spreads as measured."""

SPREADS = {
    "as measured": TYPICAL,
    "as in the reference": REFERENCE_SPREAD * math.exp(REFERENCE_LOG_SPREAD**2),
    "heavy tails": TYPICAL,
    # Six on a way of three spreads.
    "drift": TYPICAL * math.sqrt(1 + 1.5**2 * np.mean(np.linspace(-1, 1, 6) ** 2)),
    "AR(1), 0.1": TYPICAL,
    "two states, 8% apart": math.hypot(0.04, TYPICAL / 2),
    "a bad process in ten": math.hypot(TYPICAL, 0.25 * math.sqrt(0.1)),
    # The square of an exponential is twice that of its mean.
    "a bad case in ten": math.sqrt(TYPICAL**2 + 2 * (0.1 * 2 * 0.3**2 - 0.03**2)),
    "one side three times as noisy": TYPICAL * math.sqrt(10),
    "both sides skewed": TYPICAL,
    **{name: float(name.split()[1][:-1]) / 100 for name in NOISES if name.startswith("spread ")},
}


@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_spreads_as_it_says(noise: str) -> None:
    logs = NOISES[noise](np.random.default_rng(2), (20_000, 6))
    assert np.sqrt(np.mean(logs**2)) == pytest.approx(SPREADS[noise], rel=0.05)


def test_heavy_tails_are_further_out_than_a_normal_noise_s() -> None:
    heavy, normal = (
        NOISES[name](np.random.default_rng(2), (20_000, 6))
        for name in ("heavy tails", "as measured")
    )
    assert np.mean(np.abs(heavy) > 0.3) > 3 * np.mean(np.abs(normal) > 0.3)
    assert np.median(np.abs(heavy)) < np.median(np.abs(normal))


def test_a_single_process_of_a_drift_is_anywhere_on_the_way() -> None:
    many, one = (drift(np.random.default_rng(3), (20_000, count)) for count in (50, 1))
    assert np.std(one) == pytest.approx(np.std(many), rel=0.03)


def test_a_number_is_the_spread_of_a_normal_noise_and_a_noise_is_itself() -> None:
    def draw(noise: float | Noise) -> FloatArray:
        return drawn(noise, np.random.default_rng(4), (3, 5))

    assert np.array_equal(draw(0.1), 0.1 * np.random.default_rng(4).standard_normal((3, 5)))
    assert np.array_equal(draw(drift), drift(np.random.default_rng(4), (3, 5)))


def test_what_is_slowed_is_slower_in_every_sample_of_the_new_side() -> None:
    samples = paired_samples(0.035, 2, 3)
    slowed = samples.slowed(0.1)
    assert slowed.new == pytest.approx(1.1 * samples.new)
    assert slowed.base is samples.base
    assert slowed.paired
    assert not unpaired_samples(0.1, 2, 3).slowed(0.1).paired
    new, base = samples.logs
    assert new == pytest.approx(np.log(np.median(samples.new, axis=2)))
    assert base == pytest.approx(np.log(np.median(samples.base, axis=2)))


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
    from bench.records.files import collect

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
