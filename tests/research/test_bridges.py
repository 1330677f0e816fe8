"""Test the study of bridges with small simulations of its rates."""

import math

import numpy as np
import pytest

from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import process_means
from bench.stats.ratios import HeterogeneityTests, difference
from research import bridges
from research.bridges import detection_rate, judge
from research.noises import draw_outlying_processes
from research.rules import rate
from tests.bench.stats.made_processes import runs

TRIALS = 4000
"""Trials, of which a rate of 1% has a standard error of 0.16%."""

WORDS = (Verdict.FASTER, Verdict.SLOWER)


@pytest.mark.parametrize(
    "noise", [0.03, 0.10, 0.29, draw_outlying_processes], ids=["3%", "10%", "29%", "outlying"]
)
@pytest.mark.parametrize("processes", [1, 2, 3, 6, 10, 20])
def test_false_rate_of_an_equal_reference_is_at_most_one_percent(
    noise: float, processes: int
) -> None:
    # Two and three that spread by 29% agree by chance more often.
    most = 0.02 if noise == 0.29 and processes < 6 else 0.0125
    assert detection_rate(0.0, noise, processes, trials=TRIALS) <= most


@pytest.mark.parametrize("difference", [0.10, 0.20])
@pytest.mark.parametrize("noise", [0.03, 0.10])
def test_equals_over_a_differing_reference_are_unclear(difference: float, noise: float) -> None:
    (found,) = judge([0.0], difference, noise, 20, trials=TRIALS)
    assert found.uneven.any()
    called = rate(found.checked[found.uneven], *WORDS)
    assert called <= 0.0125
    # Nearly all of them would be called different without the check.
    assert rate(found.unchecked, *WORDS) > 0.9
    assert rate(found.checked, *WORDS) < rate(found.unchecked, *WORDS) or noise == 0.10


def test_study_finds_a_differing_reference_as_the_report_does() -> None:
    """The same draws, as one case without noise of its own, in ``HeterogeneityTests``."""
    trials, processes, noise = 60, 6, 0.05
    rng = np.random.default_rng(3)
    logs = noise * rng.standard_normal((2, trials, processes))
    logs[0] += math.log(1.25) * (np.arange(trials) % 2)[:, None]
    sides = [process_means(side, Pairing.UNPAIRED.allowance) for side in logs]
    said = bridges.uneven(difference(*sides)).tolist()
    found = []
    for new, base in zip(*logs, strict=True):
        both = [*runs("east", new), *runs("west", base)]
        cases = [("a", runs("east", new), False), ("b", runs("west", base), False)]
        tested = HeterogeneityTests([*cases, ("bridge", both, False)]).between("bridge", "a", "b")
        assert tested is not None
        found.append(tested.significant)
    assert found == said
    assert any(found)
    assert not all(found)
