"""Test the rules of this suite and of other tools on the same data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.stats.comparison import Verdict
from research import rules
from research.noises import Samples, paired_samples, unpaired_samples
from research.rules import rate
from research.verdicts import STATES

Times = npt.NDArray[Any]


def few(trials: int = 40) -> list[Samples]:
    """Return small worlds, some with an effect, that a rule sometimes finds."""
    worlds = [paired_samples(0.035, 3, trials), unpaired_samples(0.05, 3, trials)]
    return [world.slow_down(effect) for world in worlds for effect in (0.0, 0.03)]


def test_plain_t_rule_is_student_on_ratios_and_welch_on_medians() -> None:
    from scipy.stats import ttest_1samp, ttest_ind

    paired = paired_samples(0.035, 6, 60).slow_down(0.05)
    apart = unpaired_samples(0.05, 6, 60).slow_down(0.1)
    logs = [
        [np.log(np.median(side, axis=2)) for side in (of.new, of.base)] for of in (paired, apart)
    ]
    found = (
        (paired, ttest_1samp(logs[0][0] - logs[0][1], 0, axis=1)),
        (apart, ttest_ind(*logs[1], axis=1, equal_var=False)),
    )
    for world, test in found:
        expected = (np.asarray(test.pvalue) < 0.005).tolist()
        assert rules.t_rule(world).tolist() == expected
        assert 0 < sum(expected) < len(expected)


def mann_whitney(new: Times, base: Times) -> bool:
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(new.ravel(), base.ravel(), method="asymptotic", use_continuity=False)
    return bool(found.pvalue < 0.01)


def student(new: Times, base: Times) -> bool:
    from scipy.stats import ttest_ind

    return bool(ttest_ind(new.ravel(), base.ravel(), equal_var=True).pvalue <= 0.05)


@pytest.mark.parametrize(
    ("rule", "definition"),
    [(rules.mann_whitney_rule, mann_whitney), (rules.pyperf_rule, student)],
    ids=["mann_whitney", "pyperf"],
)
def test_rule_of_all_samples_equals_scipys_test(
    rule: Callable[[Samples], Times], definition: Callable[[Times, Times], bool]
) -> None:
    for world in few():
        expected = list(map(definition, world.new, world.base))
        assert rule(world).tolist() == expected
        assert 0 < sum(expected) < len(expected)


def test_pytest_benchmark_rule_is_its_regression_check() -> None:
    from pytest_benchmark.utils import PercentageRegressionCheck

    check = PercentageRegressionCheck("mean", 5)
    said: list[bool] = []
    for world in few():
        expected = [
            bool(check.fails({"mean": new[0].mean()}, {"mean": base[0].mean()}))
            for new, base in zip(world.new, world.base, strict=True)
        ]
        assert rules.pytest_benchmark_rule(world).tolist() == expected
        said += expected
    assert 0 < sum(said) < len(said)


def test_bootstrap_rule_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    world = paired_samples(0.035, 6, 60).slow_down(0.03)
    logs = np.log(np.median(world.new, axis=2) / np.median(world.base, axis=2))
    expected = []
    for row in logs:
        found = bootstrap(
            (row,), np.mean, confidence_level=0.99, method="percentile", rng=1, n_resamples=4000
        ).confidence_interval
        expected.append(found.low > 0 or found.high < 0)
    agree = rules.bootstrap_rule(world) == np.array(expected)
    assert (
        np.mean(agree) >= 0.95
    )  # the resamples are random: a case at the edge may fall either way
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("processes", [2, 6])
@pytest.mark.parametrize("paired", [True, False])
def test_verdict_rule_equals_compare(processes: int, paired: bool) -> None:
    world = (
        paired_samples(0.035, processes, 40) if paired else unpaired_samples(0.03, processes, 40)
    )
    # About half of them are found.
    effects = {(2, True): 0.24, (6, True): 0.09, (2, False): 0.70, (6, False): 0.07}
    world = world.slow_down(effects[processes, paired])
    expected = [
        rules._compare(world, trial).verdict in (Verdict.FASTER, Verdict.SLOWER)
        for trial in range(40)
    ]
    assert rules.verdict_rule(world).tolist() == expected
    assert 0 < sum(expected) < len(expected)


# Interleaved environments


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("spread", [0.03, 0.10])
def test_false_rate_of_equal_environments_is_about_one_percent(state: str, spread: float) -> None:
    machine = STATES[state]
    (paired,), _ = rules.interleaved_verdicts([0.0], spread, machine, 10, trials=4000)
    assert rate(paired, Verdict.FASTER, Verdict.SLOWER) <= 0.015
