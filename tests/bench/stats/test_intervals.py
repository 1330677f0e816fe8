"""Intervals of times within one process and over several, and percentiles of samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import intervals
from bench.stats.intervals import PERCENTILES, percentiles
from bench.stats.ratios import RunSamples
from tests.bench.stats.made_processes import samples, slowly


@given(samples)
def test_median_interval_is_of_the_samples_in_their_order(values: list[float]) -> None:
    found = intervals.median_interval(values)
    ranks = intervals.median_interval(np.arange(1, len(values) + 1))
    ordered = sorted(values)
    assert (found.low, found.high) == (ordered[int(ranks.low) - 1], ordered[int(ranks.high) - 1])
    assert found.mid == pytest.approx(float(np.median(values)), rel=1e-12)
    assert found.confidence == ranks.confidence


@pytest.mark.parametrize("count", range(1, 31))
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.995])
def test_median_interval_is_the_narrowest_of_enough_confidence(
    count: int, confidence: float
) -> None:
    def covered(rank: int) -> float:
        inside = sum(math.comb(count, k) for k in range(rank, count - rank + 1))
        return inside / float(2**count)

    found = intervals.median_interval(np.arange(1, count + 1), confidence)
    rank = int(found.low)
    assert found.confidence == pytest.approx(covered(rank), abs=1e-12)
    if covered(1) >= confidence:
        assert found.confidence >= confidence
        assert rank == count // 2 or covered(rank + 1) < confidence
    else:
        assert rank == 1


def test_median_interval_of_skewed_samples_has_its_coverage() -> None:
    rng = np.random.default_rng(1)
    draws = rng.lognormal(0.0, 1.0, (4000, 20))
    offsets = np.arange(4001) * 20
    low, _, high, confidence = intervals.median_intervals(draws.ravel(), offsets)
    covered = np.mean((low <= 1) & (high >= 1))
    assert covered == pytest.approx(confidence[0], abs=0.012)
    assert confidence[0] >= 0.95


@given(st.lists(samples, min_size=1, max_size=8))
def test_median_intervals_of_many_cases_equal_each_alone(cases: list[list[float]]) -> None:
    values = np.array(list(itertools.chain.from_iterable(cases)))
    offsets = np.cumsum([0, *map(len, cases)])
    columns = intervals.median_intervals(values, offsets)
    for index, case in enumerate(cases):
        alone = intervals.median_interval(case)
        row = tuple(float(column[index]) for column in columns)
        assert row == (alone.low, alone.mid, alone.high, alone.confidence)


def test_medians_of_huge_and_tiny_times_stay_finite() -> None:
    assert intervals.median_interval([1.7e308, 1.7e308]).mid == 1.7e308
    assert intervals.median_interval([5e-324, 5e-324]).mid == 5e-324


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "samples: empty"),
        ([1.0, 0.0], r"samples\[1\] is 0.0"),
        ([-1.0], r"samples\[0\] is -1.0"),
        ([1.0, 2.0, math.nan], r"samples\[2\] is nan"),
        ([math.inf], r"samples\[0\] is inf"),
        ([[1.0]], r"shape \(1, 1\)"),
        (["fast"], "samples: not numbers"),
    ],
)
def test_case_interval_invalid_samples_are_refused(values: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        intervals.median_interval(values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words):
        RunSamples("a", values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words.replace("samples", "run 1 samples", 1)):
        intervals.case_interval([[1.0], values])  # type: ignore[list-item]


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_median_interval_invalid_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        intervals.median_interval([1.0, 2.0], confidence)


def test_median_intervals_wrong_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        intervals.median_intervals(np.array([1.0]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="offsets end at 1"):
        intervals.median_intervals(np.array([1.0, 2.0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="not finite"):
        intervals.median_intervals(np.array([1.0, math.nan]), np.array([0, 2]))


@pytest.mark.parametrize("spread", [0.03, slowly(0.08), slowly(0.15), 0.29])
@pytest.mark.parametrize("count", [2, 3, slowly(4), 5, 6, 9])
def test_case_interval_has_its_coverage_at_seen_spreads(spread: float, count: int) -> None:
    rng = np.random.default_rng(count)
    draws = np.exp(rng.normal(0, spread, (4000, count)))
    found = intervals.case_intervals([[("", [value]) for value in row] for row in draws])
    covered = np.mean([each.low <= 1 <= each.high for each in found])
    assert covered >= 0.937  # 94.5%, less two standard errors of 4000 trials


def test_case_interval_of_few_processes_covers_with_outliers() -> None:
    rng = np.random.default_rng(1)
    logs = rng.normal(0, 0.05, (4000, 4)) + 0.3 * (rng.random((4000, 4)) < 0.1)
    found = intervals.case_intervals([[("", [value]) for value in row] for row in np.exp(logs)])
    assert np.mean([each.low <= 1 <= each.high for each in found]) >= 0.95


def test_inverse_of_a_ratio_is_a_speed_or_infinite() -> None:
    assert (intervals.speed(0.5), intervals.speed(0.0)) == (2.0, math.inf)


# Steady states


@pytest.mark.parametrize(
    ("samples", "agree"),
    [
        ([1.0] * 5, None),
        ([1.0] * 6, True),
        ([1.0] * 10 + [1.04] * 10, True),  # a difference, too small to matter
        ([1.0] * 10 + [1.2] * 10, False),
        ([1.2] * 10 + [1.0] * 10, False),
        ([3.0, 2.0, 1.9, 1.0, 1.0, 1.0], False),
        ([1.0, 1.5, 2.0, 1.1, 1.6, 1.7, 2.2, 1.2, 1.4, 2.1, 1.3, 1.6], True),  # noise
    ],
)
def test_halves_agree_unless_beyond_noise(samples: list[float], agree: bool | None) -> None:
    assert intervals.halves_agree(samples) is agree


def test_relative_half_width_is_of_the_further_bound() -> None:
    assert intervals.relative_half_width([1.0] * 5) == math.inf
    assert intervals.relative_half_width([8.0, 9.0, 10.0, 10.0, 11.0, 15.0]) == pytest.approx(0.5)
    assert intervals.relative_half_width([5.0, 9.0, 10.0, 10.0, 11.0, 12.0]) == pytest.approx(0.5)


# Percentiles


@settings(max_examples=20)
@given(st.lists(st.floats(1e-6, 1e3), min_size=100, max_size=200), st.integers(1, 99))
def test_percentiles_are_those_of_all_samples(samples: list[float], cut: int) -> None:
    found = percentiles([np.array(samples[:cut]), np.array(samples[cut:])])
    expected = np.percentile(samples, PERCENTILES)
    assert list(found) == list(PERCENTILES)
    assert list(found.values()) == pytest.approx(list(expected))


@pytest.mark.parametrize(
    ("count", "known"), [(0, []), (19, []), (20, [25, 75]), (99, [25, 75]), (100, [5, 25, 75, 95])]
)
def test_percentiles_need_five_samples_beyond(count: int, known: list[int]) -> None:
    samples = [np.linspace(1.0, 2.0, count)] if count else []
    assert list(percentiles(samples)) == known
