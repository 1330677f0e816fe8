"""The mean over processes some of which may be bad: what it leaves out, and what it cannot know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import intervals as module
from bench.stats.intervals import (
    DEGREES,
    ENOUGH_PROCESSES,
    ENOUGH_SPREAD,
    TOO_WIDE,
    TOO_WIDE_UNTIL,
    FloatArray,
    Means,
    process_means,
)

ALLOWANCE = 0.05
logs = st.lists(st.floats(-3, 3).map(lambda value: round(value, 6)), min_size=1, max_size=25)


def of(values: list[float] | FloatArray, allowance: float = ALLOWANCE) -> Means:
    return process_means(np.array([values], dtype=np.float64), allowance)


def numbers(found: Means) -> list[float]:
    return [float(each[0]) for each in (found.middles, found.errors, found.degrees, found.aside)]


@given(logs, st.floats(-100, 100))
def test_a_constant_moves_the_middle_and_nothing_else(values: list[float], by: float) -> None:
    one, moved = numbers(of(values)), numbers(of([value + by for value in values]))
    assert moved == pytest.approx([one[0] + by, *one[1:]], rel=1e-6, abs=1e-6)


@given(logs)
def test_swapped_sides_turn_the_middle_round(values: list[float]) -> None:
    one, other = numbers(of(values)), numbers(of([-value for value in values]))
    assert other == pytest.approx([-one[0], *one[1:]], rel=1e-9, abs=1e-9)


@given(logs, st.randoms(use_true_random=False))
def test_the_order_of_processes_changes_not_even_the_last_digit(
    values: list[float], random: object
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert numbers(of(shuffled)) == numbers(of(values))


@given(st.lists(st.lists(st.floats(-2, 2), min_size=7, max_size=7), min_size=1, max_size=6))
def test_many_at_once_are_each_alone(table: list[list[float]]) -> None:
    found = process_means(np.array(table), ALLOWANCE)
    for index, row in enumerate(table):
        alone = numbers(of(row))
        assert [
            float(each[index]) for each in (found.middles, found.errors, found.degrees, found.aside)
        ] == pytest.approx(alone, rel=1e-9, abs=1e-12)


@given(logs)
def test_the_middle_lies_among_the_processes_and_the_error_is_a_number_above_0(
    values: list[float],
) -> None:
    middle, error, degrees, aside = numbers(of(values))
    assert min(values) - 1e-9 <= middle <= max(values) + 1e-9
    assert 0 < error < math.inf
    assert 0 < degrees <= DEGREES + len(values) - 1 + 1e-9
    assert -1e-9 <= aside < len(values)


@pytest.mark.parametrize("count", [6, 10, 20, 40])
def test_processes_that_spread_as_seen_before_have_the_mean_and_the_drawn_spread(
    count: int,
) -> None:
    values = 0.04 * np.linspace(-1, 1, count) + 0.1
    found = of(values)
    spread = float(np.std(values, ddof=1))
    drawn = (DEGREES * ENOUGH_SPREAD**2 + (count - 1) * spread**2) / (DEGREES + count - 1)
    narrower = 1 - TOO_WIDE * min(1, TOO_WIDE_UNTIL / count)
    assert found.middles[0] == pytest.approx(0.1)
    assert found.errors[0] == pytest.approx(narrower * math.sqrt(drawn / count), rel=0.01)
    assert found.degrees[0] == pytest.approx(DEGREES + count - 1, rel=0.01)
    assert found.spreads[0] == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("stray", [0.6, -0.6, 3.0, -40.0])
@pytest.mark.parametrize("count", [6, 10, 20])
def test_one_process_far_off_is_left_out_whole(count: int, stray: float) -> None:
    good = 0.02 * np.linspace(-1, 1, count)
    found = of([*good, stray])
    assert found.aside[0] == pytest.approx(1, abs=0.03)
    assert found.middles[0] == pytest.approx(0, abs=0.01)
    assert found.errors[0] == pytest.approx(of(good).errors[0], rel=0.10)


def test_processes_that_spread_more_than_seen_before_have_the_tails_of_the_plain_t_interval() -> (
    None
):
    values = 0.3 * np.array([-1.3, -0.6, -0.2, 0.2, 0.6, 1.3])
    found = of(values)
    assert found.degrees[0] == pytest.approx(5, abs=0.1)
    plain = (1 - TOO_WIDE) * np.std(values, ddof=1) / math.sqrt(6)
    assert found.errors[0] == pytest.approx(plain, rel=0.01)


def test_an_allowance_is_for_few_and_may_differ_from_case_to_case() -> None:
    few = process_means(np.zeros((2, 3)), np.array([0.05, 0.14]))
    assert few.errors[1] == pytest.approx(2.8 * few.errors[0])
    many = process_means(np.zeros((2, ENOUGH_PROCESSES)), np.array([0.05, 0.14]))
    assert many.errors[1] == many.errors[0]


@pytest.mark.parametrize("values", [[600.0, -600.0, 600.0], [0.0, 0.0, 1e5, -1e5, 1.0, 2.0, 3.0]])
def test_what_is_beyond_every_reason_gives_numbers_and_no_warning(values: list[float]) -> None:
    assert all(math.isfinite(number) for number in numbers(of(values)))


def test_what_would_be_falsely_sure_were_no_process_ever_bad_or_every_fifth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The share that is expected to be bad matters: at none the power goes, at many the truth."""
    rng = np.random.default_rng(3)
    spoiled = 0.04 * rng.standard_normal((4000, 20))
    spoiled += 0.25 * (rng.random(spoiled.shape) < 0.1) * rng.standard_normal(spoiled.shape)
    wide = 0.15 * rng.standard_normal((4000, 6))

    def found_and_false() -> tuple[float, float]:
        return (_outside(spoiled + math.log(1.05)), _outside(wide))

    power, false = found_and_false()
    assert power > 0.75
    assert false < 0.018
    monkeypatch.setattr(module, "BAD_SHARE", 1e-12)
    assert found_and_false()[0] < 0.62
    monkeypatch.setattr(module, "BAD_SHARE", 0.2)
    assert found_and_false()[1] > 0.018


def _outside(table: FloatArray) -> float:
    """How often the interval leaves equality out."""
    from scipy import special

    found = process_means(table, ALLOWANCE)
    half = special.stdtrit(found.degrees, 0.9975) * found.errors
    return float(np.mean(np.abs(found.middles) > half))
