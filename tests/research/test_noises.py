"""Test that the simulated noises have their medians and spreads."""

import math

import numpy as np
import pytest

from research import verdict_pairs
from research.noises import (
    LOG_SPREAD,
    NOISES,
    REFERENCE_LOG_SPREAD,
    REFERENCE_SPREAD,
    TYPICAL_SPREAD,
)
from tests.places import REFERENCE


@pytest.mark.parametrize("noise", NOISES)
def test_noise_of_both_sides_has_equal_medians(noise: str) -> None:
    logs = NOISES[noise](np.random.default_rng(1), (4000, 6))
    assert logs.shape == (4000, 6)
    # A standard error of the median of 24,000 is under 1% of the spread of the middle half.
    middle = np.subtract(*np.quantile(logs, (0.75, 0.25)))
    assert abs(np.median(logs)) < 0.05 * middle


TYPICAL = TYPICAL_SPREAD * math.exp(LOG_SPREAD**2)
"""The root mean square of the measured spreads."""

SPREADS = {
    "as measured": TYPICAL,
    "as in the reference": REFERENCE_SPREAD * math.exp(REFERENCE_LOG_SPREAD**2),
    "heavy tails": TYPICAL,
    # Six processes over three spreads.
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
def test_noise_has_the_stated_spread(noise: str) -> None:
    logs = NOISES[noise](np.random.default_rng(2), (20_000, 6))
    assert np.sqrt(np.mean(logs**2)) == pytest.approx(SPREADS[noise], rel=0.05)


def test_reference_noise_equals_that_of_its_pairs() -> None:
    from bench.records.files import collect

    # The pairs of the study's row.
    made_from = ("fused-*", "mine-*", "quick-*", "truncation-*")
    paths = sorted(path for each in made_from for path in REFERENCE.glob(each))
    found = verdict_pairs.find_pairs(collect(paths))
    spreads = [pair.spread for pair in found]
    # New reference results need new numbers and a new study.
    assert np.median(spreads) == pytest.approx(REFERENCE_SPREAD, rel=0.1)
    few = REFERENCE_SPREAD * np.exp(REFERENCE_LOG_SPREAD * np.array([-0.674, 0.674]))
    # Estimates from 6 processes vary, so that the quartiles are further out.
    assert np.quantile(spreads, 0.25) == pytest.approx(few[0], rel=0.25)
    assert np.quantile(spreads, 0.75) == pytest.approx(few[1], rel=0.25)
