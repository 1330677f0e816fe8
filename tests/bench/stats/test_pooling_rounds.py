"""What one process says of a ratio: only rounds that both sides have, and its doubt."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats import ratios
from bench.stats.comparison import Pairing
from bench.stats.intervals import ALONE
from bench.stats.ratios import RunSamples, paired_logs


def within_run(new: RunSamples, base: RunSamples) -> float:
    log_new, log_base, _ = paired_logs([new], [base])
    return float(log_new[0] - log_base[0])


def test_only_shared_rounds_count_within_a_run() -> None:
    new = RunSamples("a", np.array([2.0, 2.2, 9.0]), np.array([0, 1, 2]))
    base = RunSamples("a", np.array([1.0, 1.1, 50.0]), np.array([0, 1, 7]))
    assert within_run(new, base) == pytest.approx(math.log(2))


def test_sides_without_a_shared_round_have_no_ratio_within_a_run() -> None:
    sides = [RunSamples("a", np.array([1.0]), np.array([number])) for number in (0, 1)]
    assert math.isnan(within_run(*sides))


@pytest.mark.parametrize(("rounds", "words"), [([0, 1], "shape"), ([0.5], "rounds: float")])
def test_rounds_that_do_not_fit_the_samples_are_refused(rounds: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunSamples("a", np.array([1.0]), np.array(rounds))


@pytest.mark.parametrize("samples", [[], [0.0], [-1.0], [math.nan], [math.inf]])
def test_samples_that_are_no_times_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="samples"):
        RunSamples("a", np.array(samples))


def test_out_of_turn_rounds_mean_nothing_and_the_node_is_the_same() -> None:
    run = RunSamples("a", np.array([1.0]), np.array([0]), node="n").out_of_turn
    assert (run.run, run.rounds, run.node) == ("a", None, "n")


@pytest.mark.parametrize("far", [0, 2**62])
def test_each_pair_of_many_has_its_own_shared_rounds(far: int) -> None:
    """Numbers of rounds so far apart that none for each round of each pair fits an integer."""
    new = [RunSamples(str(at), np.array([2.0, 8.0]), np.array([0, 1 + far])) for at in range(3)]
    base = [
        RunSamples(str(at), np.array([1.0, 2.0]), np.array(rounds))
        for at, rounds in enumerate(([0, 5], [5, 1 + far], [5, 6]))
    ]
    log_new, log_base, errors = paired_logs(new, base)
    ratios = np.exp(log_new - log_base)
    assert ratios[:2] == pytest.approx([2, 4])
    assert np.isnan(ratios).tolist() == np.isnan(errors).tolist() == [False, False, True]


def test_a_drift_that_both_sides_follow_adds_no_doubt() -> None:
    drift = np.exp(np.linspace(0, 1, 25))
    rounds = np.arange(25)
    found = ratios.compare([RunSamples("a", 2 * drift, rounds)], [RunSamples("a", drift, rounds)])
    assert found.standard_error == pytest.approx(ALONE * Pairing.ALTERNATING.allowance)
    apart = ratios.compare([RunSamples("a", 2 * drift)], [RunSamples("a", drift)])
    assert apart.standard_error > 1.1 * ALONE * Pairing.SEQUENTIAL.allowance


def test_several_samples_of_a_round_are_one_pair() -> None:
    rounds = np.repeat(np.arange(8), 3)
    drift = np.exp(np.repeat(np.linspace(0, 1, 8), 3))
    found = ratios.compare(
        [RunSamples("a", 2 * drift[::-1], rounds[::-1])],
        [RunSamples("a", drift[::3], rounds[::3])],
    )
    assert found.ratio.mid == pytest.approx(2)
    assert found.standard_error == pytest.approx(ALONE * Pairing.ALTERNATING.allowance)
