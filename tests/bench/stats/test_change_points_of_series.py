"""Change points of series: found where they are, and not where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.stats import change_points as room
from bench.stats.change_points import EDGE, LEAST, LEVEL, ChangePoint, FloatArray, changes


def noise(count: int, sessions: int, seed: int = 1, spread: float = 0.02) -> FloatArray:
    return spread * np.random.default_rng(seed).standard_normal((count, sessions))


def places(found: list[ChangePoint], series: int = 0) -> list[int]:
    return sorted(each.at for each in found if each.series == series)


def test_a_step_is_found_where_it_is() -> None:
    series = noise(1, 30)
    series[0, 18:] += 0.2
    (found,) = changes(series)
    assert (found.series, found.at, found.until) == (0, 18, None)
    assert found.p <= LEVEL


def test_a_step_is_found_some_sessions_after_it() -> None:
    series = noise(1, 36)
    series[0, 30:] += 0.3
    assert places(changes(series[:, :31])) == []
    assert places(changes(series[:, :35])) == [30]


def test_what_was_slow_for_a_while_is_found_with_its_end() -> None:
    """No single place divides it from the rest: a step alone would not be found."""
    series = noise(1, 30)
    series[0, 10:20] += 0.2
    (found,) = changes(series)
    assert (found.at, found.until) == (10, 20)


def test_one_wild_session_is_no_change_and_hides_none() -> None:
    series = noise(2, 30)
    series[:, 7] += 3.0
    series[1, 18:] += 0.2
    found = changes(series)
    assert places(found, 0) == []
    assert places(found, 1) == [18]


def test_equals_are_called_changed_in_no_more_than_is_said() -> None:
    """Each history by itself; 200 of them, of which 10% are 20 and 1% are 2."""
    series = noise(200, 15, seed=3)
    assert 3 < sum(bool(changes(each[None, :], level=0.1)) for each in series) <= 30
    assert sum(bool(changes(each[None, :])) for each in series) <= 6


def test_of_many_series_judged_together_hardly_any_is_false() -> None:
    series = noise(100, 20, seed=4)
    assert len(changes(series)) <= 1
    series[:10, 12:] += 0.2
    found = changes(series, [0] * 100)
    assert {each.series for each in found} >= set(range(10))
    assert sum(each.series >= 10 for each in found) <= 1


def test_neighbours_that_resemble_each_other_raise_fewer_alarms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh = noise(50, 25, seed=5)
    for at in range(1, 25):
        fresh[:, at] += 0.7 * fresh[:, at - 1]

    def alarms() -> int:
        return sum(bool(changes(each[None, :])) for each in fresh)

    seen = alarms()
    monkeypatch.setattr(room, "_MOST_ALIKE", 0.0)
    assert seen < alarms() / 2


def test_series_of_one_family_show_together_how_much_neighbours_resemble() -> None:
    series = noise(30, 20, seed=6)
    series[:15] = np.cumsum(series[:15], axis=1)
    asked = [room._Series(row, np.arange(20), values) for row, values in enumerate(series)]
    shares = room._shares(asked, [0] * 15 + [1] * 15)
    assert shares[0] < 0.4
    assert shares[1] > 0.85


def test_a_short_history_and_one_without_noise_have_no_changes() -> None:
    short = noise(1, LEAST - 1)
    short[0, 5:] += 1.0
    assert changes(short) == []
    assert changes(np.zeros((2, 30))) == []
    assert changes(np.full((1, 30), np.nan)) == []
    assert changes(np.empty((0, 30))) == []


@settings(max_examples=25)
@example([1.0] * 4 + [0.0] * 9, 0.0, -1.0)
@given(
    st.lists(st.floats(-1, 1, allow_nan=False), min_size=LEAST, max_size=13),
    st.floats(-3, 3),
    st.sampled_from([-1.0, 0.25, 4.0]),
)
def test_neither_unit_nor_sign_nor_level_matters(
    values: list[float], level: float, factor: float
) -> None:
    series = np.round(np.array([values]), 3)
    found, other = changes(series), changes(level + factor * series)
    assert places(found) == places(other)
    assert [each.p for each in found] == pytest.approx([each.p for each in other])


@settings(max_examples=20)
@given(st.integers(LEAST, 40))
def test_every_place_leaves_enough_on_all_sides(n: int) -> None:
    starts, ends = room._places(n, "arcs")
    assert np.all(starts >= EDGE)
    assert np.all(ends - starts >= EDGE)
    assert np.all(n - ends >= EDGE)
    steps, last = room._places(n, "steps")
    assert steps.min() == EDGE
    assert steps.max() == n - EDGE
    assert np.all(last == n)


def test_the_statistic_is_the_square_of_students_t() -> None:
    from scipy.stats import ttest_ind

    values = noise(1, 15, seed=8)
    # Alternating, so that no value resembles its neighbour and nothing is taken off.
    values[0] += 0.1 * (-1.0) ** np.arange(15)
    starts, _ = room._places(15, "steps")
    found = room._judged(values[0], "steps", share=1.0, most=room._STAGES[0])
    wanted = [ttest_ind(values[0, :at], values[0, at:]).statistic ** 2 for at in starts]
    assert found.score == pytest.approx(max(wanted))
    assert found.start == starts[int(np.argmax(wanted))]
