"""From the samples of processes to a comparison: what is paired, allowed for, left out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.render.messages import basis_text
from bench.stats import ratios
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import ALONE, TOO_WIDE, process_means
from bench.stats.pooling import RunSamples
from tests.bench.stats.made_processes import (
    paired,
    runs_of,
    unpaired,
)


def test_six_paired_processes_get_the_t_interval_on_their_log_ratios() -> None:
    logs = np.array([-0.40, 0.55, 0.30, 0.15, -0.20, 0.05])  # far beyond what was seen before
    found = paired(logs.tolist())
    # t with 5 degrees at 0.9975, tabulated, less what is taken off for counting by likelihood.
    half = 4.773341 * np.std(logs, ddof=1) / math.sqrt(6) * (1 - TOO_WIDE)
    assert math.log(found.ratio.mid) == pytest.approx(np.mean(logs), abs=0.002)
    assert math.log(found.ratio.high / found.ratio.mid) == pytest.approx(half, rel=0.01)
    assert math.log(found.ratio.mid / found.ratio.low) == pytest.approx(half, rel=0.01)
    assert (found.processes, found.pairing, found.allowance) == (6, Pairing.ALTERNATING, None)
    assert found.paired
    assert found.spread == pytest.approx(np.std(logs, ddof=1), rel=0.01)
    assert found.aside == pytest.approx(0, abs=0.01)
    assert basis_text(found.basis) == (
        "6 processes, alternating blocks: t-interval on their log ratios, bad processes left out"
    )


def test_a_bad_process_is_left_out_and_counted() -> None:
    good = [0.10, 0.12, 0.11, 0.09, 0.10, 0.08, 0.11]
    found = paired([*good, 1.5])
    assert found.aside == pytest.approx(1, abs=0.05)
    assert found.log_ratio == pytest.approx(np.mean(good), abs=0.01)
    assert found.spread == pytest.approx(np.std(good, ddof=1), rel=0.05)
    assert found.verdict is Verdict.SLOWER
    assert found.standard_error < 1.2 * paired(good).standard_error


@pytest.mark.parametrize(
    ("rounds", "allowance", "words"),
    [(True, 0.05, "5%"), (False, 0.08, "8%")],
)
def test_few_paired_processes_get_the_allowance_of_how_they_were_measured(
    rounds: bool, allowance: float, words: str
) -> None:
    found = paired([0.5, 0.5, 0.5, 0.5], rounds=rounds)
    own = process_means(np.full((1, 4), 0.5), allowance)
    within = found.standard_error**2 - float(own.errors[0]) ** 2
    assert 0 <= within < 1e-4
    assert found.allowance == allowance
    assert f"allowance of {words} for the spread between processes added" in basis_text(found.basis)
    one = paired([0.5], rounds=rounds)
    assert one.allowance == pytest.approx(1.4 * allowance)
    assert f"allowance of {140 * allowance:.2g}% for what one process can be off by" in basis_text(
        one.basis
    )
    assert one.spread is None


def test_few_processes_that_spread_beyond_the_allowance_widen_the_interval() -> None:
    assert paired([-0.4, 0.4]).standard_error > 5 * paired([0.0, 0.0]).standard_error


def test_a_single_process_finds_a_double_but_not_a_half_more() -> None:
    assert paired([math.log(2)]).verdict is Verdict.SLOWER
    assert paired([-math.log(2)]).verdict is Verdict.FASTER
    assert paired([math.log(1.5)]).verdict is Verdict.UNCLEAR
    assert paired([0.0]).verdict is Verdict.UNCLEAR  # never SAME: it cannot know


def test_separate_single_processes_need_more_than_threefold() -> None:
    assert unpaired([math.log(3)], [0.0]).verdict is Verdict.UNCLEAR
    assert unpaired([math.log(4)], [0.0]).verdict is Verdict.SLOWER
    assert unpaired([-math.log(4)], [0.0]).verdict is Verdict.FASTER


def test_unpaired_processes_get_welch_s_interval() -> None:
    new = np.array([0.30, 0.10, 0.20, 0.25, 0.15, 0.20])
    base = np.array([0.00, 0.01, 0.02, 0.01, 0.00, 0.02, 0.01])
    found = unpaired(new.tolist(), base.tolist())
    sides = [process_means(np.array([side]), Pairing.UNPAIRED.allowance) for side in (new, base)]
    (a, b), (u, v) = ([float(m.errors[0]) for m in sides], [float(m.degrees[0]) for m in sides])
    assert found.standard_error == pytest.approx(math.hypot(a, b))
    assert found.degrees == pytest.approx((a**2 + b**2) ** 2 / (a**4 / u + b**4 / v))
    assert found.log_ratio == pytest.approx(float((sides[0].middles - sides[1].middles)[0]))
    assert (found.processes, found.pairing, found.allowance) == (6, Pairing.UNPAIRED, None)
    assert not found.paired
    assert found.spread == pytest.approx(np.std(new, ddof=1), rel=0.02)
    assert basis_text(found.basis).startswith("6 against 7 processes, unpaired: Welch")


def test_one_side_with_too_few_processes_brings_the_allowance() -> None:
    found = unpaired([0.0] * 9, [0.0])
    alone = ALONE * Pairing.UNPAIRED.allowance
    assert found.allowance == pytest.approx(alone)
    assert found.standard_error == pytest.approx(alone, rel=0.01)
    assert basis_text(found.basis) == (
        "9 against 1 process, unpaired: allowance of 22% for what one process can be off by"
    )
    assert found.spread is None


def test_only_shared_runs_count_where_there_are_any() -> None:
    base = runs_of([0.0, 0.0])
    new = [*runs_of([0.5, 0.5]), *runs_of([9.0], name="stray")]
    found = ratios.compare(new, base)
    assert found.paired
    assert found.processes == 2
    assert found.ratio.mid == pytest.approx(math.exp(0.5))


def test_processes_right_after_one_another_are_pairs_and_not_in_turn() -> None:
    sides = [
        [replace(run, adjacent=True) for run in runs_of([log] * 6, rounds=False)]
        for log in (0.5, 0.0)
    ]
    found = ratios.compare(*sides)
    assert (found.pairing, found.paired, found.processes) == (Pairing.ADJACENT, True, 6)
    assert ratios.compare(*(side[:2] for side in sides)).allowance == 0.16


def test_one_process_without_a_shared_round_and_none_is_in_turn() -> None:
    new, base = runs_of([0.5] * 6), runs_of([0.0] * 6)
    new[3] = replace(new[3], rounds=np.arange(11) + 100)
    found = ratios.compare(new, base)
    assert found.pairing is Pairing.SEQUENTIAL
    assert found.ratio.mid == pytest.approx(math.exp(0.5))


def test_one_process_given_twice_is_refused_as_two() -> None:
    run = runs_of([0.0])[0]
    with pytest.raises(ValueError, match="base: 'run-0' twice"):
        ratios.compare([run], [run, run])


def test_a_side_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="new: no run"):
        ratios.compare([], runs_of([0.0]))


def test_processes_that_agree_exactly_give_a_verdict_and_no_warning() -> None:
    assert paired([0.0] * 5).verdict is Verdict.UNCLEAR  # which may be chance
    assert paired([0.0] * 6).verdict is Verdict.SAME
    assert paired([0.0] * 6).p_slower() == 0.5
    assert paired([0.1] * 6).verdict is Verdict.SLOWER
    assert paired([0.1] * 6).p_slower() == pytest.approx(0)
    assert unpaired([0.0] * 6, [0.0] * 6).verdict is Verdict.SAME


def test_bounds_beyond_every_float_are_infinite_not_an_error() -> None:
    found = unpaired([600.0, -600.0], [0.0])
    assert found.ratio.high == math.inf
    assert found.verdict is Verdict.UNCLEAR


def test_the_noise_within_several_processes_averages_out() -> None:
    loud = [runs_of([0.0] * count, spread=1.0, rounds=False) for count in (1, 4)]
    own = [
        ratios.compare(side, side).standard_error ** 2
        - float(process_means(np.zeros((1, len(side))), Pairing.SEQUENTIAL.allowance).errors[0])
        ** 2
        for side in loud
    ]
    assert own[0] > 0.01
    assert own[1] == pytest.approx(own[0] / 4)


def test_one_sample_a_process_is_trusted_less_than_many() -> None:
    one = ratios.compare([RunSamples("a", np.array([2.0]))], [RunSamples("b", np.array([1.0]))])
    many = unpaired([math.log(2)], [0.0])
    assert one.standard_error > 1.3 * many.standard_error
