"""The study of the verdicts: that its worlds are what they say, and its rivals what they are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import verdict_pairs, verdict_study
from bench.judging.verdict import Verdict
from bench.studying import bridges, pairs, percentiles, pictures, rules, verdicts
from bench.studying.noises import (
    BEYOND,
    LOG_SPREAD,
    NOISES,
    REFERENCE_LOG_SPREAD,
    REFERENCE_SPREAD,
    TYPICAL_SPREAD,
    Samples,
    as_measured,
    bad_cases,
    bad_processes,
    drift,
    one_side_skewed,
    paired_samples,
    unpaired_samples,
)
from bench.studying.rules import rate
from bench.telling import drawing
from bench.telling.sheet import Sheet
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


# The noises: each is what its name says


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


# The rules


def few(trials: int = 40) -> list[Samples]:
    """Small worlds, some with an effect, in which a rule sometimes fires and sometimes not."""
    worlds = [paired_samples(0.035, 3, trials), unpaired_samples(0.05, 3, trials)]
    return [world.slowed(effect) for world in worlds for effect in (0.0, 0.03)]


def test_the_mann_whitney_rule_is_scipy_s_test() -> None:
    from scipy.stats import mannwhitneyu

    for world in few():
        expected = [
            mannwhitneyu(
                new.ravel(), base.ravel(), method="asymptotic", use_continuity=False
            ).pvalue
            < 0.01
            for new, base in zip(world.new, world.base, strict=True)
        ]
        assert rules.mann_whitney_rule(world).tolist() == expected
        assert 0 < sum(expected) < len(expected)


def test_the_pyperf_rule_is_student_s_test_at_95_percent() -> None:
    from scipy.stats import ttest_ind

    for world in few():
        expected = [
            ttest_ind(new.ravel(), base.ravel(), equal_var=True).pvalue <= 0.05
            for new, base in zip(world.new, world.base, strict=True)
        ]
        assert rules.pyperf_rule(world).tolist() == expected
        assert 0 < sum(expected) < len(expected)


def test_the_pytest_benchmark_rule_is_its_own_regression_check() -> None:
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


def test_the_bootstrap_rule_agrees_with_scipy_s_percentile_bootstrap() -> None:
    from scipy.stats import bootstrap

    world = paired_samples(0.035, 6, 60).slowed(0.03)
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
def test_the_verdict_rule_says_what_compare_says(processes: int, paired: bool) -> None:
    world = (
        paired_samples(0.035, processes, 40) if paired else unpaired_samples(0.03, processes, 40)
    )
    # About where half of them are found.
    effects = {(2, True): 0.24, (6, True): 0.09, (2, False): 0.70, (6, False): 0.07}
    world = world.slowed(effects[processes, paired])
    expected = [
        rules._compared(world, trial).verdict in (Verdict.FASTER, Verdict.SLOWER)
        for trial in range(40)
    ]
    assert rules.verdict_rule(world).tolist() == expected
    assert 0 < sum(expected) < len(expected)


# What the documentation claims of the rivals: on data of equals, all samples and processes given.

TRIALS = 2000


@pytest.fixture(scope="module")
def worlds() -> SimpleNamespace:
    return SimpleNamespace(
        paired=paired_samples(0.035, 6, TRIALS),
        unpaired=unpaired_samples(0.10, 6, TRIALS),
    )


def test_the_verdict_is_false_in_at_most_one_percent_of_raw_comparisons(
    worlds: SimpleNamespace,
) -> None:
    assert np.mean(rules.verdict_rule(worlds.paired)) <= 0.01
    assert np.mean(rules.verdict_rule(worlds.unpaired)) <= 0.01


def test_a_percentile_bootstrap_over_six_processes_is_false_several_times_as_often(
    worlds: SimpleNamespace,
) -> None:
    assert np.mean(rules.bootstrap_rule(worlds.paired)) >= 0.03
    assert np.mean(rules.bootstrap_rule(worlds.unpaired)) >= 0.03


def test_a_pooled_mann_whitney_test_is_false_in_a_quarter_of_comparisons_and_more(
    worlds: SimpleNamespace,
) -> None:
    assert np.mean(rules.mann_whitney_rule(worlds.paired)) >= 0.25
    assert np.mean(rules.mann_whitney_rule(worlds.unpaired)) >= 0.5


def test_pyperf_s_test_on_pooled_values_is_false_in_a_third_of_comparisons_and_more(
    worlds: SimpleNamespace,
) -> None:
    assert np.mean(rules.pyperf_rule(worlds.paired)) >= 0.33
    assert np.mean(rules.pyperf_rule(worlds.unpaired)) >= 0.5


def test_a_limit_on_the_mean_fails_equals_of_separate_processes_in_a_quarter_and_more(
    worlds: SimpleNamespace,
) -> None:
    assert np.mean(rules.pytest_benchmark_rule(worlds.unpaired)) >= 0.25
    # And it misses half of what is exactly at its limit, whatever the processes.
    missed = 1 - np.mean(rules.pytest_benchmark_rule(worlds.unpaired.slowed(0.05)))
    assert 0.4 <= missed <= 0.6


# How many processes an effect needs


@pytest.mark.parametrize(
    ("effect", "spread", "paired"),
    [
        (0.05, 0.025, True),
        (0.20, 0.10, False),
        pytest.param(0.10, 0.10, False, marks=pytest.mark.slow),
        pytest.param(0.03, 0.042, True, marks=pytest.mark.slow),
        pytest.param(0.03, 0.06, True, marks=pytest.mark.slow),
    ],
)
def test_the_processes_needed_are_enough_in_simulation_and_one_fewer_is_not(
    effect: float, spread: float, paired: bool
) -> None:
    count = rules.processes_needed(effect, spread, paired)
    assert count is not None

    def found(processes: int) -> float:
        if paired:
            (said,) = rules.paired_verdicts([effect], spread, processes, seed=3)
        else:
            (said,) = rules.unpaired_verdicts(
                [effect], (spread, spread), (processes, processes), seed=3
            )
        return rate(said, Verdict.SLOWER)

    # 4,000 comparisons or a formula told, and 20,000 are asked: both err by up to 1%.
    assert found(count) >= 0.88
    assert found(count - 1) < 0.915


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an effect needs is drawn from few comparisons, and kept for nobody else."""
    monkeypatch.setattr(rules, "RIVAL_TRIALS", 5)
    monkeypatch.setattr(rules, "_findable", functools.cache(rules._findable.__wrapped__))


def test_an_effect_that_no_reasonable_number_finds_has_no_number(soon: None) -> None:
    assert rules.processes_needed(0.001, 0.29, paired=False) is None


# Real pairs


def test_real_pairs_are_told_with_what_the_promises_cover(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verdict_pairs.main([str(REFERENCE)]) == 0
    out = capsys.readouterr().out
    assert "pairs of 6 processes or more" in out
    assert "| training, larger batches" in out
    assert "5% with 20 processes, in 90%" in out


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


def test_the_largest_spread_is_where_the_power_is_what_was_asked() -> None:
    most = pairs.largest_spread(0.05, 20, 0.8)
    (found,) = rules.paired_verdicts([0.05], most, 20, seed=9)
    assert rate(found, Verdict.SLOWER) == pytest.approx(0.8, abs=0.025)


def test_results_without_a_pair_are_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert verdict_pairs.main([str(tmp_path / "empty")]) == 2
    assert "error: no" in capsys.readouterr().err


# Two environments in turn


@pytest.mark.parametrize("state", verdicts.STATES)
@pytest.mark.parametrize("spread", [0.03, 0.10])
def test_equal_environments_are_called_different_in_about_one_percent(
    state: str, spread: float
) -> None:
    machine = verdicts.STATES[state]
    (paired,), _ = rules.in_turn_verdicts([0.0], spread, machine, 10, trials=4000)
    assert rate(paired, Verdict.FASTER, Verdict.SLOWER) <= 0.015


def test_turns_find_what_the_machine_s_wandering_hides_from_separate_processes() -> None:
    machine = verdicts.STATES["wandering by 10%"]
    (paired,), (apart,) = rules.in_turn_verdicts([0.05], 0.02, machine, 20, trials=1000)
    told = [rate(each, Verdict.SLOWER) for each in (paired, apart)]
    assert told[0] > told[1] + 0.2


def test_a_machine_that_slows_down_steadily_slows_neither_side_more() -> None:
    """The second of a turn is the first of the next: what is left is of two processes in twenty."""
    machine = verdicts.STATES["slower by 20% from first to last"]
    (paired,), _ = rules.in_turn_verdicts([0.0], 0.0001, machine, 10, trials=10)
    assert rate(paired, Verdict.FASTER, Verdict.SLOWER) == 0


# The command


def test_the_command_prints_its_tables_and_draws_its_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    folder = tmp_path / "new" / "pictures"
    made: dict[str, Sheet] = {}

    def kept(tables: Callable[[int], dict[str, Sheet]], trials: int) -> dict[str, Sheet]:
        made.update(found := tables(trials))
        return found

    for room in (verdicts, bridges, percentiles):
        monkeypatch.setattr(room, "tables", functools.partial(kept, room.tables))
    assert verdict_study.main(["--trials", "5", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert len(made) > 15
    assert out == "".join(f"{each}\n\n{made[each].markdown(aligned=True)}\n\n" for each in made)
    drawn = sorted(path.name for path in folder.iterdir())
    assert drawn == sorted(pictures.pictures(5))
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_made_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for room in (verdicts, bridges, percentiles):
        monkeypatch.setattr(room, "tables", lambda trials: {})
    assert verdict_study.main(["--trials", "5", "--output", str(tmp_path / "file" / "sub")]) == 2
    err = capsys.readouterr().err
    assert "cannot be written" in err
    assert err.count("\n") == 1


def test_without_matplotlib_the_pictures_are_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert verdict_study.main(["--output", str(tmp_path)]) == 2
    assert "a picture needs matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("trials", ["0", "-1", "many"])
def test_trials_that_are_no_number_are_refused(
    trials: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        verdict_study.main([f"--trials={trials}"])
    assert caught.value.code == 2
    assert "is no whole number of at least 1" in capsys.readouterr().err
