"""Changes of the machine, of backends and of cases in times over sessions."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.stats import change_points
from bench.stats.change_points import (
    LEAST,
    ChangeEvent,
    ChangePoint,
    FloatArray,
    Scope,
    change_events,
    changes,
    enough,
)
from bench.stats.comparison import Verdict

BACKENDS = ("keras", "scan", "torch")


def history(
    backends: Sequence[str] = BACKENDS,
    cases: int = 4,
    sessions: int = 30,
    seed: int = 1,
    spread: float = 0.02,
    machine: float = 0.03,
) -> tuple[FloatArray, list[str]]:
    """Return log times ``[cases, sessions]``: levels of cases, effects of sessions, and noise."""
    rng = np.random.default_rng(seed)
    names = [name for name in backends for _ in range(cases)]
    levels = rng.normal(0, 2, (len(names), 1))
    shared = machine * rng.standard_normal(sessions)
    return levels + shared + spread * rng.standard_normal((len(names), sessions)), names


def rows(names: Sequence[str], *wanted: str) -> list[int]:
    return [row for row, name in enumerate(names) if name in wanted]


def moved(found: ChangeEvent, names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names[row] for row in found.rows))


def only(found: Sequence[ChangeEvent]) -> ChangeEvent:
    assert len(found) == 1, found
    return found[0]


def test_change_points_of_equal_sessions_are_none() -> None:
    assert change_events(*history()) == []


def test_change_of_all_cases_is_of_the_machine() -> None:
    logs, names = history()
    logs[:, 18:] += math.log(1.2)
    found = only(change_events(logs, names))
    assert (found.scope, found.before, found.at) == (Scope.ALL, 17, 18)
    assert found.rows == tuple(range(12))
    assert found.ratio.low < 1.2 < found.ratio.high
    assert found.verdict is Verdict.SLOWER


def test_change_of_the_machine_may_differ_between_cases() -> None:
    logs, names = history()
    logs[:, 18:] += np.linspace(0.10, 0.25, 12)[:, None]
    assert change_events(logs, names)[0].scope is Scope.ALL
    assert {each.at for each in change_events(logs, names)} == {18}


@pytest.mark.parametrize("backends", [("keras", "scan"), BACKENDS, (*BACKENDS, "jax")])
@pytest.mark.parametrize("cases", [1, 4])
def test_change_of_all_cases_of_a_backend_is_of_the_backend(
    backends: Sequence[str], cases: int
) -> None:
    logs, names = history(backends, cases)
    here = rows(names, "scan")
    logs[here, 18:] += math.log(1.25)
    found = only(change_events(logs, names))
    assert (found.scope, moved(found, names), found.at) == (Scope.BACKENDS, ["scan"], 18)
    assert found.rows == tuple(here)
    assert found.ratio.mid == pytest.approx(1.25, rel=0.03)


def test_change_of_most_backends_is_not_of_the_machine() -> None:
    logs, names = history(machine=0.01)
    logs[rows(names, "keras", "scan"), 18:] += math.log(1.25)
    found = only(change_events(logs, names))
    assert (found.scope, moved(found, names)) == (Scope.BACKENDS, ["keras", "scan"])
    assert found.ratio.mid == pytest.approx(1.25, rel=0.03)


def test_change_of_one_case_is_of_the_case() -> None:
    logs, names = history()
    logs[5, 18:] -= math.log(1.3)
    found = only(change_events(logs, names))
    assert (found.scope, found.rows) == (Scope.CASES, (5,))
    assert found.verdict is Verdict.FASTER
    assert found.ratio.mid == pytest.approx(1 / 1.3, rel=0.03)


def test_changes_of_machine_and_backend_at_once_are_separated() -> None:
    logs, names = history()
    logs[:, 18:] += math.log(1.2)
    logs[rows(names, "torch"), 18:] += math.log(1.5)
    machine, backend = change_events(logs, names)
    assert (machine.scope, machine.at) == (Scope.ALL, 18)
    assert (backend.scope, moved(backend, names), backend.at) == (Scope.BACKENDS, ["torch"], 18)
    assert backend.ratio.mid == pytest.approx(1.5, rel=0.03)  # relative to the others


def test_change_taken_back_is_reverted() -> None:
    logs, names = history(sessions=40)
    logs[rows(names, "scan"), 12:24] += math.log(1.3)
    first, second = change_events(logs, names)
    assert (first.at, first.reverted, first.verdict) == (12, 24, Verdict.SLOWER)
    assert (second.at, second.reverted, second.verdict) == (24, None, Verdict.FASTER)


def test_case_missing_in_some_sessions_changes_no_other() -> None:
    logs, names = history()
    logs[4:8, 18:] += math.log(1.25)
    logs[0, :15] = np.nan  # measured only later
    logs[9, 20:] = np.nan  # and one no more
    logs[5, ::3] = np.nan
    found = only(change_events(logs, names))
    assert (found.scope, moved(found, names), found.at) == (Scope.BACKENDS, ["scan"], 18)
    assert found.ratio.mid == pytest.approx(1.25, rel=0.04)


def test_small_change_is_not_reported() -> None:
    logs, names = history(spread=0.001, machine=0.0)
    logs[rows(names, "scan"), 18:] += 0.01
    assert change_events(logs, names) == []


def test_short_history_has_its_note() -> None:
    logs, names = history(sessions=LEAST - 1)
    logs[:, 5:] += 1.0
    assert not enough(logs)
    assert change_events(logs, names) == []
    assert enough(history(sessions=LEAST)[0])


def test_change_points_do_not_depend_on_the_order_of_cases() -> None:
    logs, names = history()
    logs[rows(names, "scan"), 18:] += math.log(1.25)
    order = np.random.default_rng(2).permutation(len(names))
    turned = change_events(logs[order], [names[row] for row in order])
    here, there = only(change_events(logs, names)), only(turned)
    assert here.ratio.mid == pytest.approx(there.ratio.mid)
    assert here.at == there.at
    assert sorted(order[list(there.rows)].tolist()) == list(here.rows)


def test_removed_shift_next_to_a_change_adds_no_change() -> None:
    """The level of a few sessions, subtracted from all later ones, would be a false change."""
    for seed in (1, 4):
        logs, names = history(cases=10, sessions=50, seed=seed)
        logs[rows(names, "scan"), 20:] += math.log(1.2)
        logs[7, 35:] += 0.3
        logs[:, 42:] += 0.3
        found = change_events(logs, names)
        assert [each.scope for each in found] == [Scope.BACKENDS, Scope.CASES, Scope.ALL]
        assert [each.at for each in found] == pytest.approx([20, 35, 42], abs=1)


def test_change_is_not_reverted_by_a_minority_of_its_cases() -> None:
    logs, names = history(cases=3, sessions=40)
    scan = rows(names, "scan")
    logs[scan, 12:] += math.log(1.4)
    logs[scan[0], 26:] -= math.log(1.4)
    first, *_, last = change_events(logs, names)
    assert (first.rows, first.reverted) == (tuple(scan), None)
    assert (last.rows, last.verdict) == ((scan[0],), Verdict.FASTER)


# Series


def noise(count: int, sessions: int, seed: int = 1, spread: float = 0.02) -> FloatArray:
    return spread * np.random.default_rng(seed).standard_normal((count, sessions))


def places(found: list[ChangePoint], series: int = 0) -> list[int]:
    return sorted(each.at for each in found if each.series == series)


def test_step_is_found_after_some_sessions() -> None:
    series = noise(1, 36)
    series[0, 30:] += 0.3
    assert places(changes(series[:, :31])) == []
    assert places(changes(series[:, :35])) == [30]


def test_temporary_slowdown_is_found_with_its_end() -> None:
    """No single place divides the series, so that a step alone is not found."""
    series = noise(1, 30)
    series[0, 10:20] += 0.2
    (found,) = changes(series)
    assert (found.at, found.until) == (10, 20)


def test_outlying_session_is_no_change_and_hides_none() -> None:
    series = noise(2, 30)
    series[:, 7] += 3.0
    series[1, 18:] += 0.2
    found = changes(series)
    assert places(found, 0) == []
    assert places(found, 1) == [18]


def test_false_rate_of_equal_sessions_is_as_stated() -> None:
    """Of 200 separate series, 10% are 20 and 1% are 2."""
    series = noise(200, 15, seed=3)
    assert 3 < sum(bool(changes(each[None, :], level=0.1)) for each in series) <= 30
    assert sum(bool(changes(each[None, :])) for each in series) <= 6


def test_false_rate_over_many_series_is_low() -> None:
    series = noise(100, 20, seed=4)
    assert len(changes(series)) <= 1
    series[:10, 12:] += 0.2
    found = changes(series, [0] * 100)
    assert {each.series for each in found} >= set(range(10))
    assert sum(each.series >= 10 for each in found) <= 1


def test_correlated_sessions_raise_fewer_false_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = noise(50, 25, seed=5)
    for at in range(1, 25):
        fresh[:, at] += 0.7 * fresh[:, at - 1]

    def alarms() -> int:
        return sum(bool(changes(each[None, :])) for each in fresh)

    seen = alarms()
    monkeypatch.setattr(change_points, "_MOST_CORRELATED", 0.0)
    assert seen < alarms() / 2


def test_short_or_noiseless_history_has_no_changes() -> None:
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
def test_steps_do_not_depend_on_unit_sign_or_level(
    values: list[float], level: float, factor: float
) -> None:
    series = np.round(np.array([values]), 3)
    found, other = changes(series), changes(level + factor * series)
    assert places(found) == places(other)
    assert [each.p for each in found] == pytest.approx([each.p for each in other])


def test_statistic_is_the_square_of_students_t() -> None:
    from scipy.stats import ttest_ind

    values = noise(1, 15, seed=8)
    # Alternating, so that there is no autocorrelation to correct.
    values[0] += 0.1 * (-1.0) ** np.arange(15)
    starts, _ = change_points._places(15, "steps")
    found = change_points._permutation_test(
        values[0], "steps", share=1.0, most=change_points._STAGES[0]
    )
    wanted = [ttest_ind(values[0, :at], values[0, at:]).statistic ** 2 for at in starts]
    assert found.score == pytest.approx(max(wanted))
    assert found.start == starts[int(np.argmax(wanted))]


@pytest.mark.parametrize("sessions", [40, 150])
@pytest.mark.parametrize("moving", [("scan",), BACKENDS])
def test_slow_drift_is_one_trend_and_no_step(sessions: int, moving: Sequence[str]) -> None:
    logs, names = history(sessions=sessions)
    here = rows(names, *moving)
    logs[here] += np.linspace(0, math.log(1.2), sessions)
    found = only(change_events(logs, names))
    assert found.gradual
    assert (found.before, found.at, found.rows) == (0, sessions - 1, tuple(here))
    assert found.ratio.mid == pytest.approx(1.2, rel=0.06)
    assert found.verdict is Verdict.SLOWER


@pytest.mark.parametrize("steps", [1, 3])
def test_staircase_is_no_trend(steps: int) -> None:
    logs, names = history(sessions=60)
    for step in range(1, steps + 1):
        logs[rows(names, "scan"), 60 * step // (steps + 1) :] += math.log(1.15)
    found = change_events(logs, names)
    assert not any(each.gradual for each in found)
    assert len(found) == steps


def test_trend_over_missing_sessions_is_found_and_equals_have_none() -> None:
    series = noise(1, 60)
    series[0] += np.linspace(0, 0.15, 60)
    series[0, 10:30] = np.nan
    (found,) = changes(series)
    assert found.gradual
    assert not any(each.gradual for each in changes(noise(150, 30, seed=9)))
