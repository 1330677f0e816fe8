"""What is drawn for a fleet that is played."""

from __future__ import annotations

import math
from random import Random

import pytest

from bench.session.played import HOUR, exponential, measurement
from tests.bench.session.made_sessions import A5, run_of


@pytest.mark.parametrize("rate", [0.2, 2.0, 30.0])
def test_what_happens_so_often_an_hour_comes_after_its_part_of_one(rate: float) -> None:
    random = Random(1)
    drawn = [exponential(random, rate) for _ in range(10_000)]
    assert min(drawn) >= 0.0
    assert sum(drawn) / len(drawn) == pytest.approx(HOUR / rate, rel=0.05)


def test_what_never_happens_never_comes() -> None:
    assert exponential(Random(1), 0.0) == math.inf


def test_processes_differ_by_a_few_per_cent_and_samples_of_one_by_nothing() -> None:
    random = Random(1)
    drawn = [measurement(A5, run_of(number), random) for number in range(200)]
    assert all(each.valid and len(set(each.samples)) == 1 for each in drawn)
    levels = [each.samples[0] for each in drawn]
    assert 0.9 < min(levels) < 0.98
    assert 1.02 < max(levels) < 1.1
