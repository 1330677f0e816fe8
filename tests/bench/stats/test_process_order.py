"""The order of processes, and outlying ones: no verdict that rests on either."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from bench.stats.comparison import PLAIN_MEAN_OPPOSED, PROCESSES_SHIFTED, Verdict
from bench.stats.ratios import RunSamples, compare
from research.noises import Noise, as_measured, autoregressive, shift
from research.rules import DIFFERENT, paired_verdicts, rate

NOISE = [0.010, -0.012, 0.004, -0.006, 0.009, -0.004]
STEP = [0.02 + each for each in NOISE] + [0.08 + each for each in NOISE]
"""Twelve log ratios of a session whose sides shift apart by 6% half-way."""


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
        (shift(0.06), 10, 0.03),
        (shift(0.06), 20, 0.04),
        (autoregressive(0.3), 10, 0.022),
        (autoregressive(0.3), 20, 0.031),
    ],
)
def test_order_of_processes_reduces_false_verdicts_of_sides_that_shift(
    noise: Noise, processes: int, most: float
) -> None:
    (found,) = paired_verdicts([0.0], noise, processes)
    (without,) = paired_verdicts([0.0], noise, processes, in_order=False)
    assert rate(found, *DIFFERENT) <= most < rate(without, *DIFFERENT)


@pytest.mark.parametrize(("effect", "processes", "most"), [(0.10, 6, 0.01), (0.05, 20, 0.045)])
def test_order_of_processes_costs_little_power(effect: float, processes: int, most: float) -> None:
    found, without = (
        rate(paired_verdicts([effect], as_measured, processes, in_order=known)[0], Verdict.SLOWER)
        for known in (True, False)
    )
    assert without - most <= found <= without


def test_shift_during_the_session_makes_the_verdict_unclear_and_is_the_reason() -> None:
    new, base = sides(STEP, range(12))
    found = compare(new, base)
    (reason,) = found.reasons
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PROCESSES_SHIFTED)
    assert reason.values["shift"] == pytest.approx(math.expm1(0.06))
    assert found.ratio.low < 1 < found.ratio.high
    assert found.p_slower() > 0.0025


@pytest.mark.parametrize(
    "started", [None, [each * 7 % 12 for each in range(12)]], ids=["unknown", "mixed"]
)
def test_processes_without_an_order_or_that_do_not_shift_in_it_have_a_firm_verdict(
    started: Sequence[float] | None,
) -> None:
    found = compare(*sides(STEP, started))
    assert (found.verdict, found.reasons) == (Verdict.SLOWER, ())


def test_runs_are_put_in_the_order_in_which_they_started() -> None:
    new, base = sides(STEP, range(12))
    random.Random(1).shuffle(new)
    random.Random(2).shuffle(base)
    found = compare(new, base)
    assert found.reasons == compare(*sides(STEP, range(12))).reasons != ()
    assert list(found.new_logs) == [str(run) for run in range(12)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("paired", [True, False])
def test_verdict_is_unclear_where_outliers_give_the_plain_mean_the_other_sign(
    sign: int, paired: bool
) -> None:
    good = 0.05 if paired else 0.3
    logs = [good, good + 0.003, good - 0.002, good + 0.001, -3 * good, -2 * good]
    found = compare(*sides([sign * each for each in logs], paired=paired))
    (reason,) = found.reasons
    assert found.log_ratio * sign > 0 > np.mean(logs)
    assert (found.verdict, reason.code) == (Verdict.UNCLEAR, PLAIN_MEAN_OPPOSED)
    assert reason.values["ratio"] == pytest.approx(math.exp(sign * np.mean(logs)))
    agreeing = compare(*sides([sign * each for each in [*logs[:5], good]], paired=paired))
    assert agreeing.verdict is (Verdict.SLOWER if sign > 0 else Verdict.FASTER)
