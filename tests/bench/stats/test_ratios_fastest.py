"""Who is called the fastest: only what is FASTER than every other, judged together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bench.stats import ratios
from bench.stats.comparison import Comparison, Verdict
from bench.stats.ratios import RunSamples

WIGGLE = 0.01 * np.array([-1.0, 0.6, 0.2, -0.4, 1.0, -0.4])


def sides_of(logs: npt.NDArray[np.float64]) -> list[list[RunSamples]]:
    """Of each of ``logs [backends, processes]`` the processes, in which they took turns."""
    return [
        [RunSamples(str(run), np.exp([value] * 2), np.arange(2)) for run, value in enumerate(side)]
        for side in logs
    ]


def a_group(logs: npt.NDArray[np.float64]) -> list[Comparison]:
    """What each other takes over the shortest of ``logs [backends, processes]`` by its median."""
    first, *others = sides_of(logs[np.argsort(np.median(logs, axis=1))])
    return ratios.compare_all([(other, first) for other in others])


@pytest.mark.parametrize(
    "spread",
    [0.08, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.15))],
)
def test_a_third_that_is_equal_and_noisy_leaves_no_star(spread: float) -> None:
    """The first and a noisy third are equal, a second is slower and steady: who is FASTER?"""
    rng = np.random.default_rng(round(1000 * spread))
    groups = []
    for _ in range(600):
        first, second = rng.normal(0, 0.005, 6), rng.normal(0.6 * spread, 0.005, 6)
        groups.append(a_group(np.stack([first, second, rng.normal(0, spread, 6)])))
    false = np.mean(ratios.all_slower(groups))
    assert false <= 0.01
    # What was asked before: only the next by its median.
    assert np.mean([group[0].verdict is Verdict.SLOWER for group in groups]) > 0.04


def test_a_true_fastest_gets_its_star() -> None:
    rng = np.random.default_rng(5)
    groups = [
        a_group(np.stack([rng.normal(level, 0.025, 10) for level in (0, 0.12, 0.2, 0.2, 0.3)]))
        for _ in range(200)
    ]
    assert np.mean(ratios.all_slower(groups)) >= 0.9


def test_among_many_equals_the_first_is_hardly_ever_called_the_fastest() -> None:
    rng = np.random.default_rng(6)
    groups = [a_group(rng.normal(0, 0.03, (5, 6))) for _ in range(400)]
    assert np.mean(ratios.all_slower(groups)) <= 0.005


def test_one_comparison_is_judged_by_its_verdict_and_none_is_no_star() -> None:
    (slower,) = a_group(np.stack([WIGGLE, WIGGLE[::-1] + 0.3]))
    assert slower.verdict is Verdict.SLOWER
    assert ratios.all_slower([[slower], [], [slower.inverse], [slower, slower.inverse]]) == [
        True,
        False,
        False,
        False,
    ]


def test_a_difference_that_one_comparison_shows_may_not_be_enough_among_many() -> None:
    (just,) = a_group(np.stack([0 * WIGGLE, WIGGLE + 0.025]))
    assert just.verdict is Verdict.SLOWER
    assert ratios.all_slower([[just]]) == [True]
    assert ratios.all_slower([[just] * 20]) == [False]
