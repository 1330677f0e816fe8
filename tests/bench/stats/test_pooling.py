"""From the samples of processes to a comparison: what is paired, allowed for, left out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.stats import ratios
from bench.stats.comparison import Pairing, Verdict
from bench.stats.ratios import RunSamples
from tests.bench.stats.made_processes import (
    paired,
    runs_of,
    unpaired,
)


def test_a_bad_process_is_left_out_and_counted() -> None:
    good = [0.10, 0.12, 0.11, 0.09, 0.10, 0.08, 0.11]
    found = paired([*good, 1.5])
    assert found.aside == pytest.approx(1, abs=0.05)
    assert found.log_ratio == pytest.approx(np.mean(good), abs=0.01)
    assert found.spread == pytest.approx(np.std(good, ddof=1), rel=0.05)
    assert found.verdict is Verdict.SLOWER
    assert found.standard_error < 1.2 * paired(good).standard_error


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


def test_processes_right_after_one_another_are_pairs_and_not_in_turn() -> None:
    sides = [
        [replace(run, adjacent=True) for run in runs_of([log] * 6, rounds=False)]
        for log in (0.5, 0.0)
    ]
    found = ratios.compare(*sides)
    assert (found.pairing, found.paired, found.processes) == (Pairing.ADJACENT, True, 6)
    assert ratios.compare(*(side[:2] for side in sides)).allowance == 0.16


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


def test_one_sample_a_process_is_trusted_less_than_many() -> None:
    one = ratios.compare([RunSamples("a", np.array([2.0]))], [RunSamples("b", np.array([1.0]))])
    many = unpaired([math.log(2)], [0.0])
    assert one.standard_error > 1.3 * many.standard_error
