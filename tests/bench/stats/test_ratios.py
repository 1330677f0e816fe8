"""Ratios of one case and over several, by every pairing of their sides."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from bench.render.messages import basis_text
from bench.stats import ratios
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.intervals import ALONE, REFERENCE_ALLOWANCE, VERDICT_CONFIDENCE
from bench.stats.ratios import RunSamples, compare, geometric_mean, paired_logs
from tests.bench.stats.made_processes import (
    BASE,
    EFFECTS,
    NEW,
    REFERENCE,
    paired,
    runs,
    runs_of,
    unpaired,
)

# The geometric mean over cases


def test_geometric_mean_of_separate_processes_adds_errors() -> None:
    six, seven = paired([0.01, -0.01] * 3), paired([0.02, -0.02] * 3 + [0.0])
    found = ratios.geometric_mean([six, seven])
    assert found.standard_error == pytest.approx((six.standard_error + seven.standard_error) / 2)
    assert found.degrees == min(six.degrees, seven.degrees)
    assert found.spread is None


def test_geometric_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no ratios"):
        ratios.geometric_mean([])


def test_geometric_mean_is_over_the_means_of_processes() -> None:
    wobble = (0.05, -0.05, 0.02, 0.0, -0.04, 0.02)
    up = compare(runs("east", np.add(EFFECTS, wobble).tolist()), BASE, REFERENCE)
    down = compare(runs("east", np.subtract(EFFECTS, wobble).tolist()), BASE, REFERENCE)
    found = geometric_mean([up, down])
    assert found.pairing is Pairing.BRIDGED
    assert found.ratio.mid == pytest.approx(1.0)
    # Opposite effects on the cases of a process cancel in its mean.
    assert found.standard_error < up.standard_error


def test_geometric_mean_of_several_is_their_mean() -> None:
    one, other = paired([0.1] * 6), paired([0.3] * 6)
    assert ratios.geometric_mean([one]) is one
    assert ratios.geometric_mean([one, other]).log_ratio == pytest.approx(0.2)


def test_all_slower_of_no_comparisons_is_false() -> None:
    assert ratios.all_slower([]) == []
    assert ratios.all_slower([[], []]) == [False, False]


def test_compare_outlying_process_is_excluded_and_counted() -> None:
    good = [0.10, 0.12, 0.11, 0.09, 0.10, 0.08, 0.11]
    found = paired([*good, 1.5])
    assert found.excluded == pytest.approx(1, abs=0.05)
    assert found.log_ratio == pytest.approx(np.mean(good), abs=0.01)
    assert found.spread == pytest.approx(np.std(good, ddof=1), rel=0.05)
    assert found.verdict is Verdict.SLOWER
    assert found.standard_error < 1.2 * paired(good).standard_error


def test_compare_single_process_finds_a_double_only() -> None:
    assert paired([math.log(2)]).verdict is Verdict.SLOWER
    assert paired([-math.log(2)]).verdict is Verdict.FASTER
    assert paired([math.log(1.5)]).verdict is Verdict.UNCLEAR
    assert paired([0.0]).verdict is Verdict.UNCLEAR  # never SAME: it cannot know


def test_compare_adjacent_processes_are_pairs() -> None:
    sides = [
        [replace(run, adjacent=True) for run in runs_of([log] * 6, rounds=False)]
        for log in (0.5, 0.0)
    ]
    found = ratios.compare(*sides)
    assert (found.pairing, found.paired, found.processes) == (Pairing.ADJACENT, True, 6)
    assert ratios.compare(*(side[:2] for side in sides)).allowance == 0.16


def test_compare_equal_processes_give_no_warning() -> None:
    assert paired([0.0] * 5).verdict is Verdict.UNCLEAR  # which may be chance
    assert paired([0.0] * 6).verdict is Verdict.SAME
    assert paired([0.0] * 6).p_slower() == 0.5
    assert paired([0.1] * 6).verdict is Verdict.SLOWER
    assert paired([0.1] * 6).p_slower() == pytest.approx(0)
    assert unpaired([0.0] * 6, [0.0] * 6).verdict is Verdict.SAME


@pytest.mark.parametrize(("rounds", "words"), [([0, 1], "shape"), ([0.5], "rounds: float")])
def test_run_samples_wrong_rounds_are_refused(rounds: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunSamples("a", np.array([1.0]), np.array(rounds))


@pytest.mark.parametrize("far", [0, 2**62])
def test_compare_all_pairs_have_their_own_shared_rounds(far: int) -> None:
    """The span of the rounds times the number of pairs exceeds an integer."""
    new = [RunSamples(str(at), np.array([2.0, 8.0]), np.array([0, 1 + far])) for at in range(3)]
    base = [
        RunSamples(str(at), np.array([1.0, 2.0]), np.array(rounds))
        for at, rounds in enumerate(([0, 5], [5, 1 + far], [5, 6]))
    ]
    log_new, log_base, errors = paired_logs(new, base)
    ratios = np.exp(log_new - log_base)
    assert ratios[:2] == pytest.approx([2, 4])
    assert np.isnan(ratios).tolist() == np.isnan(errors).tolist() == [False, False, True]


def test_compare_shared_drift_adds_no_uncertainty() -> None:
    drift = np.exp(np.linspace(0, 1, 25))
    rounds = np.arange(25)
    found = ratios.compare([RunSamples("a", 2 * drift, rounds)], [RunSamples("a", drift, rounds)])
    assert found.standard_error == pytest.approx(ALONE * Pairing.ALTERNATING.allowance)
    separate = ratios.compare([RunSamples("a", 2 * drift)], [RunSamples("a", drift)])
    assert separate.standard_error > 1.1 * ALONE * Pairing.SEQUENTIAL.allowance


def test_compare_over_a_reference_cancels_process_effects() -> None:
    found = compare(NEW, BASE, REFERENCE)
    assert found.pairing is Pairing.BRIDGED
    assert not found.paired
    assert found.ratio.mid == pytest.approx(1.5)
    assert found.verdict is Verdict.SLOWER
    assert compare(NEW, BASE).pairing is Pairing.UNPAIRED
    assert compare(NEW, BASE).verdict is Verdict.UNCLEAR
    assert "each measured with the same third case" in basis_text(found.basis)
    assert found.inverse.ratio.mid == pytest.approx(1 / 1.5)


def test_compare_over_a_reference_keeps_its_own_difference() -> None:
    found = compare(NEW, BASE, REFERENCE)
    # Equal processes have no error of their own.
    assert found.standard_error == pytest.approx(REFERENCE_ALLOWANCE, rel=1e-3)
    equal = compare(runs("east", EFFECTS), BASE, REFERENCE)
    # SAME within 2% needs less uncertainty than a reference has.
    assert equal.verdict is Verdict.UNCLEAR
    width = math.log(equal.ratio.high) - math.log(equal.ratio.low)
    normal = special.ndtri((1 + VERDICT_CONFIDENCE) / 2)
    assert width > 2 * normal * REFERENCE_ALLOWANCE


def test_compare_reference_on_one_side_is_none() -> None:
    assert compare(NEW, BASE, REFERENCE[:6]).pairing is Pairing.UNPAIRED


WIGGLE = 0.01 * np.array([-1.0, 0.6, 0.2, -0.4, 1.0, -0.4])


def sides_of(logs: npt.NDArray[np.float64]) -> list[list[RunSamples]]:
    return [
        [RunSamples(str(run), np.exp([value] * 2), np.arange(2)) for run, value in enumerate(side)]
        for side in logs
    ]


def groups_of(tables: Iterable[npt.NDArray[np.float64]]) -> list[list[Comparison]]:
    """Compare each with the shortest of ``logs [backends, processes]`` by its median."""
    sides = [sides_of(logs[np.argsort(np.median(logs, axis=1))]) for logs in tables]
    pairs = [(other, first) for first, *others in sides for other in others]
    found = iter(ratios.compare_all(pairs))
    return [[next(found) for _ in others] for _, *others in sides]


@pytest.mark.parametrize(
    "spread", [0.08, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.15))]
)
def test_fastest_with_an_equal_noisy_third_is_not_significant(spread: float) -> None:
    """The first and a noisy third are equal; a second is slower and steady."""
    rng = np.random.default_rng(round(1000 * spread))
    tables = []
    for _ in range(600):
        first, second = rng.normal(0, 0.005, 6), rng.normal(0.6 * spread, 0.005, 6)
        tables.append(np.stack([first, second, rng.normal(0, spread, 6)]))
    groups = groups_of(tables)
    false = np.mean(ratios.all_slower(groups))
    assert false <= 0.01
    # The rule before: only the next by its median.
    assert np.mean([group[0].verdict is Verdict.SLOWER for group in groups]) > 0.04


def test_fastest_if_true_is_significant() -> None:
    rng = np.random.default_rng(5)
    levels = np.array([0, 0.12, 0.2, 0.2, 0.3])[:, None]
    groups = groups_of(levels + rng.normal(0, 0.025, (5, 10)) for _ in range(200))
    assert np.mean(ratios.all_slower(groups)) >= 0.9


def test_false_rate_of_the_fastest_among_equals_is_low() -> None:
    rng = np.random.default_rng(6)
    groups = groups_of(rng.normal(0, 0.03, (5, 6)) for _ in range(400))
    assert np.mean(ratios.all_slower(groups)) <= 0.005


def test_fastest_of_one_comparison_follows_its_verdict() -> None:
    ((slower,),) = groups_of([np.stack([WIGGLE, WIGGLE[::-1] + 0.3])])
    assert slower.verdict is Verdict.SLOWER
    groups = [[slower], [], [slower.inverse], [slower, slower.inverse]]
    assert ratios.all_slower(groups) == [True, False, False, False]
