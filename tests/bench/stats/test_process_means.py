"""Means over processes, some of which may be outlying."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import intervals
from bench.stats.comparison import (
    PLAIN_MEAN_OPPOSED,
    PROCESSES_CORRELATED,
    PROCESSES_SHIFTED,
    Verdict,
)
from bench.stats.ratios import RunSamples, compare
from research.noises import Noise, autoregressive_noise, draw_measured, shift, sticky_noise
from research.rules import DIFFERENT, paired_verdicts, rate
from tests.bench.stats.made_processes import slowly

ALLOWANCE = 0.05
logs = st.lists(st.floats(-3, 3).map(lambda value: round(value, 6)), min_size=1, max_size=25)


def of(values: list[float] | intervals.FloatArray, allowance: float = ALLOWANCE) -> intervals.Means:
    return intervals.process_means(np.array([values], dtype=np.float64), allowance)


def numbers(found: intervals.Means) -> list[float]:
    return [float(each[0]) for each in (found.middles, found.errors, found.degrees, found.excluded)]


@given(logs, st.floats(-100, 100))
def test_process_means_constant_shifts_the_middle_only(values: list[float], by: float) -> None:
    one, moved = numbers(of(values)), numbers(of([value + by for value in values]))
    assert moved == pytest.approx([one[0] + by, *one[1:]], rel=1e-6, abs=1e-6)


@given(logs)
def test_process_means_swapped_sides_negate_the_middle(values: list[float]) -> None:
    one, other = numbers(of(values)), numbers(of([-value for value in values]))
    assert other == pytest.approx([-one[0], *one[1:]], rel=1e-9, abs=1e-9)


@given(logs, st.randoms(use_true_random=False))
def test_process_means_do_not_depend_on_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert numbers(of(shuffled)) == numbers(of(values))


@given(st.lists(st.lists(st.floats(-2, 2), min_size=7, max_size=7), min_size=1, max_size=6))
def test_process_means_of_many_equal_each_alone(table: list[list[float]]) -> None:
    found = intervals.process_means(np.array(table), ALLOWANCE)
    for index, row in enumerate(table):
        alone = numbers(of(row))
        assert [
            float(each[index])
            for each in (found.middles, found.errors, found.degrees, found.excluded)
        ] == pytest.approx(alone, rel=1e-9, abs=1e-12)


@given(logs)
def test_process_means_middle_is_inside_and_error_positive(values: list[float]) -> None:
    middle, error, degrees, aside = numbers(of(values))
    assert min(values) - 1e-9 <= middle <= max(values) + 1e-9
    assert 0 < error < math.inf
    assert 0 < degrees <= intervals.DEGREES + len(values) - 1 + 1e-9
    assert -1e-9 <= aside < len(values)


@pytest.mark.parametrize("count", [6, 10, 20, 40])
def test_process_means_of_usual_spread_are_the_plain_mean(count: int) -> None:
    values = 0.04 * np.linspace(-1, 1, count) + 0.1
    found = of(values)
    spread = float(np.std(values, ddof=1))
    variance = (intervals.DEGREES * intervals.ENOUGH_SPREAD**2 + (count - 1) * spread**2) / (
        intervals.DEGREES + count - 1
    )
    narrower = 1 - intervals.TOO_WIDE * min(1, intervals.TOO_WIDE_UNTIL / count)
    assert found.middles[0] == pytest.approx(0.1)
    assert found.errors[0] == pytest.approx(narrower * math.sqrt(variance / count), rel=0.01)
    assert found.degrees[0] == pytest.approx(intervals.DEGREES + count - 1, rel=0.01)
    assert found.spreads[0] == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("stray", [0.6, -0.6, 3.0, -40.0])
@pytest.mark.parametrize("count", [6, 10, 20])
def test_process_means_exclude_a_far_outlier(count: int, stray: float) -> None:
    good = 0.02 * np.linspace(-1, 1, count)
    found = of([*good, stray])
    assert found.excluded[0] == pytest.approx(1, abs=0.03)
    assert found.middles[0] == pytest.approx(0, abs=0.01)
    assert found.errors[0] == pytest.approx(of(good).errors[0], rel=0.10)


def test_process_means_of_wide_spread_use_the_plain_t_interval() -> None:
    values = 0.3 * np.array([-1.3, -0.6, -0.2, 0.2, 0.6, 1.3])
    found = of(values)
    assert found.degrees[0] == pytest.approx(5, abs=0.1)
    plain = (1 - intervals.TOO_WIDE) * np.std(values, ddof=1) / math.sqrt(6)
    assert found.errors[0] == pytest.approx(plain, rel=0.01)


def test_process_means_allowance_is_for_few_processes() -> None:
    few = intervals.process_means(np.zeros((2, 3)), np.array([0.05, 0.14]))
    assert few.errors[1] == pytest.approx(2.8 * few.errors[0])
    many = intervals.process_means(
        np.zeros((2, intervals.ENOUGH_PROCESSES)), np.array([0.05, 0.14])
    )
    assert many.errors[1] == many.errors[0]


@pytest.mark.parametrize("values", [[600.0, -600.0, 600.0], [0.0, 0.0, 1e5, -1e5, 1.0, 2.0, 3.0]])
def test_process_means_of_extreme_values_give_no_warning(values: list[float]) -> None:
    assert all(math.isfinite(number) for number in numbers(of(values)))


NOISE = [0.010, -0.012, 0.004, -0.006, 0.009, -0.004]
STEP = [0.02 + each for each in NOISE] + [0.08 + each for each in NOISE]
"""Twelve log ratios of a session that shift by 6% half-way."""


def sides(
    logs: Sequence[float], started: Sequence[float] | None = None, paired: bool = True
) -> tuple[list[RunSamples], list[RunSamples]]:
    found = []
    for scale, name in ((1.0, "new"), (0.0, "base")):
        found.append(
            [
                RunSamples(
                    f"{run}" if paired else f"{name} {run}",
                    np.full(7, 0.01 * math.exp(scale * log)),
                    np.arange(7) if paired else None,
                    started=None if started is None else started[run],
                )
                for run, log in enumerate(logs)
            ]
        )
    return found[0], found[1]


@pytest.mark.parametrize(
    ("noise", "processes", "most"),
    [
        (shift(0.06), 10, 0.042),
        (shift(0.06), 20, 0.068),
        (shift(0.06, 0.25), 10, 0.15),
        (shift(0.06, 0.25), 20, 0.26),
        (shift(0.06, 0.75), 20, 0.02),
        (shift(0.06, 0.25, 0.75), 20, 0.075),
        (shift(0.06, 0.25, spread=0.02), 20, 0.02),
        (shift(0.06, 0.25, 0.75, spread=0.02), 20, 0.005),
        (sticky_noise(0.8), 20, 0.12),
        (autoregressive_noise(0.3), 20, 0.027),
        (autoregressive_noise(0.5), 20, 0.05),
        slowly(autoregressive_noise(0.5), 50, 0.02),
    ],
)
def test_order_of_processes_reduces_false_verdicts_of_sides_that_shift(
    noise: Noise, processes: int, most: float
) -> None:
    (found,) = paired_verdicts([0.0], noise, processes)
    (without,) = paired_verdicts([0.0], noise, processes, in_order=False)
    assert rate(found, *DIFFERENT) <= most < rate(without, *DIFFERENT)


@pytest.mark.parametrize(("effect", "processes", "most"), [(0.10, 6, 0.01), (0.05, 20, 0.055)])
def test_order_of_processes_costs_little_power(effect: float, processes: int, most: float) -> None:
    found, without = (
        rate(paired_verdicts([effect], draw_measured, processes, in_order=known)[0], Verdict.SLOWER)
        for known in (True, False)
    )
    assert without - most <= found <= without


QUARTER = [*NOISE, *(0.06 + each for each in 3 * NOISE)]
MIDDLE = [*NOISE, *(0.08 + each for each in 2 * NOISE), *NOISE]


@pytest.mark.parametrize("logs", [QUARTER, QUARTER[::-1], MIDDLE], ids=["early", "late", "middle"])
@pytest.mark.parametrize("paired", [True, False])
def test_shift_of_a_part_makes_the_verdict_unclear(logs: list[float], paired: bool) -> None:
    known = list(range(len(logs)))
    found = compare(*sides(logs, known, paired))
    (reason,) = found.reasons
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PROCESSES_SHIFTED)
    assert reason.values["shift"] == pytest.approx(math.expm1(max(logs) - max(NOISE)), rel=0.1)
    assert found.ratio.low < 1 < found.ratio.high
    mixed = random.Random(3).sample(known, len(known))
    assert compare(*sides(logs, mixed, paired)).verdict is Verdict.SLOWER


def test_small_shift_leaves_the_verdict_on_a_large_difference() -> None:
    logs = [0.3 + each for each in QUARTER]
    found = compare(*sides(logs, range(len(logs))))
    assert (found.verdict, found.reasons) == (Verdict.SLOWER, ())


def test_correlated_processes_make_the_verdict_unclear() -> None:
    """Slow waves of three processes each have no part that shifted."""
    waves = [0.045 + 0.05 * (-1) ** (at // 3) for at in range(24)]
    found = compare(*sides(waves, range(24)))
    means = intervals.process_means(np.array([waves]), ALLOWANCE, in_order=True)
    assert means.shifts[0] == 0
    assert means.correlations[0] == pytest.approx(0.4, abs=0.1)
    widened = means.errors[0] / means.steady_errors[0]
    # The mean of a matrix of correlations is the variance of the mean of such values.
    apart = np.abs(np.subtract.outer(range(24), range(24)))
    assert widened == pytest.approx(math.sqrt(24 * np.mean(means.correlations[0] ** apart)))
    (reason,) = found.reasons
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PROCESSES_CORRELATED)
    alternating = [0.045 + 0.05 * (-1) ** at for at in range(24)]
    assert intervals.process_means(np.array([alternating]), ALLOWANCE, in_order=True).errors[
        0
    ] == pytest.approx(of(alternating).errors[0])


@pytest.mark.parametrize("count", [6, 7, 10, 20, 50, 300])
def test_parts_of_a_session_are_about_its_quarters_and_its_half(count: int) -> None:
    starts, ends = intervals._parts(count)
    assert len({*zip(starts.tolist(), ends.tolist(), strict=True)}) == starts.size <= 25 * count
    from_first = starts == 0
    assert min(ends[from_first]) == max(2, round(count / 4)) == count - max(ends[from_first])
    inside = (ends - starts)[~from_first]
    assert np.all(np.minimum(inside, count - inside) >= 0.45 * count - 0.5)
    assert max(ends) < count


@given(logs.filter(lambda values: len(values) >= intervals.ENOUGH_PROCESSES))
def test_order_never_narrows_an_interval(values: list[float]) -> None:
    without, known = (
        intervals.process_means(np.array([values]), ALLOWANCE, in_order)
        for in_order in (False, True)
    )
    assert known.errors[0] >= without.errors[0]
    assert known.middles[0] == without.middles[0]
    backwards = intervals.process_means(np.array([values[::-1]]), ALLOWANCE, in_order=True)
    assert backwards.errors[0] == pytest.approx(known.errors[0], rel=1e-6)


def test_shift_during_the_session_makes_the_verdict_unclear() -> None:
    new, base = sides(STEP, range(12))
    found = compare(new, base)
    (reason,) = found.reasons
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PROCESSES_SHIFTED)
    assert reason.values["shift"] == pytest.approx(math.expm1(0.06), rel=0.1)
    assert found.ratio.low < 1 < found.ratio.high
    assert found.p_slower() > 0.0025


@pytest.mark.parametrize(
    "started", [None, [each * 7 % 12 for each in range(12)]], ids=["unknown", "mixed"]
)
def test_verdict_without_order_or_shift_is_firm(started: Sequence[float] | None) -> None:
    found = compare(*sides(STEP, started))
    assert (found.verdict, found.reasons) == (Verdict.SLOWER, ())


def test_runs_are_ordered_by_their_start() -> None:
    new, base = sides(STEP, range(12))
    random.Random(1).shuffle(new)
    random.Random(2).shuffle(base)
    found = compare(new, base)
    assert found.reasons == compare(*sides(STEP, range(12))).reasons != ()
    assert list(found.new_logs) == [str(run) for run in range(12)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("paired", [True, False])
def test_verdict_is_unclear_if_the_plain_mean_disagrees(sign: int, paired: bool) -> None:
    good = 0.05 if paired else 0.3
    logs = [good, good + 0.003, good - 0.002, good + 0.001, -3 * good, -2 * good]
    found = compare(*sides([sign * each for each in logs], paired=paired))
    (reason,) = found.reasons
    assert found.log_ratio * sign > 0 > np.mean(logs)
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PLAIN_MEAN_OPPOSED)
    assert reason.values["ratio"] == pytest.approx(math.exp(sign * np.mean(logs)))
    agreeing = compare(*sides([sign * each for each in [*logs[:5], good]], paired=paired))
    assert agreeing.verdict is (Verdict.SLOWER if sign > 0 else Verdict.FASTER)
