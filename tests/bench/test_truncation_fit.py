"""The line through the costs of windows: exact on exact data, honest about noise and misfits."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import SEQUENTIAL_ALLOWANCE, UNPAIRED_ALLOWANCE
from bench.truncation_fit import Fit, fit, fit_line, small_past

WINDOWS = (3, 5, 10, 15, 30, 60, 120, 240, 480, 960)

fixed_costs = st.floats(1e-7, 1e-1)
slopes = st.floats(1e-8, 1e-2)


def exact(fixed: float, slope: float, processes: int = 6) -> dict[int, dict[str, float]]:
    return {k: {str(p): fixed + slope * k for p in range(processes)} for k in WINDOWS}


def noisy(
    rng: np.random.Generator, fixed: float, slope: float, processes: int, noise: float, luck: float
) -> dict[int, dict[str, float]]:
    """Times with errors of each, and the luck of each process in all of its times."""
    lucks = np.exp(luck * rng.standard_normal(processes))
    return {
        k: {
            str(p): (fixed + slope * k) * lucks[p] * np.exp(noise * rng.standard_normal())
            for p in range(processes)
        }
        for k in WINDOWS
    }


def fitted(times: Mapping[int, Mapping[str, float]]) -> Fit:
    found = fit(times)
    assert found is not None
    return found


@settings(deadline=None)
@given(fixed_costs, slopes, st.integers(1, 8))
def test_an_exact_line_is_recovered(fixed: float, slope: float, processes: int) -> None:
    found = fitted(exact(fixed, slope, processes))
    assert found.line.fixed == pytest.approx(fixed, rel=1e-6, abs=1e-9 * slope)
    assert found.line.per_timestep == pytest.approx(slope, rel=1e-6, abs=1e-12 * fixed)
    assert found.fixed is not None
    assert found.per_timestep is not None
    assert found.small_past is not None
    assert found.small_past.mid == pytest.approx(19 * fixed / slope, rel=1e-5)
    assert found.fixed_share(19 * fixed / slope) == pytest.approx(0.05, rel=1e-5)
    assert abs(found.misfit.residual) < 1e-6
    assert found.processes == processes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_other_units_of_time_and_length_change_nothing_but_the_units(
    seed: int, time: float, length: float
) -> None:
    rng = np.random.default_rng(seed)
    x = np.array(WINDOWS, dtype=float)
    t = (2e-4 + 1e-5 * x) * np.exp(0.05 * rng.standard_normal(x.size))
    one, other = fit_line(x, t), fit_line(length * x, time * t)
    assert other.fixed == pytest.approx(time * one.fixed, rel=1e-6)
    assert other.per_timestep == pytest.approx(time / length * one.per_timestep, rel=1e-6)
    assert other.scatter == pytest.approx(one.scatter, rel=1e-6)
    assert small_past(other) == pytest.approx(length * small_past(one), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-4, 1e4))
def test_intervals_are_in_the_same_unit_as_their_middle(seed: int, scale: float) -> None:
    for processes in (3, 8):
        times = noisy(np.random.default_rng(seed), 2e-4, 1e-5, processes, 0.05, 0.05)
        one = fitted(times)
        other = fitted({k: {p: scale * t for p, t in found.items()} for k, found in times.items()})
        for name in ("fixed", "per_timestep", "small_past", "late"):
            mine, theirs = getattr(one, name), getattr(other, name)
            factor = scale if name in ("fixed", "per_timestep") else 1.0
            assert theirs.low == pytest.approx(factor * mine.low, rel=1e-5, abs=factor * 1e-12)
            assert theirs.high == pytest.approx(factor * mine.high, rel=1e-5)


@pytest.mark.parametrize("processes", [6, 10])
def test_intervals_hold_the_truth_as_often_as_they_say(processes: int) -> None:
    rng = np.random.default_rng(processes)
    repetitions, fixed, slope = 400, 3e-4, 2e-5
    hits = np.zeros(3)
    for _ in range(repetitions):
        found = fitted(noisy(rng, fixed, slope, processes, 0.03, 0.05))
        for index, (interval, truth) in enumerate(
            (
                (found.fixed, fixed),
                (found.per_timestep, slope),
                (found.small_past, 19 * fixed / slope),
            )
        ):
            assert interval is not None
            assert interval.allowance is None
            hits[index] += interval.low <= truth <= interval.high
    # 95% of 400 with a standard deviation of 1.1%; three of them either way.
    assert np.all(hits / repetitions > 0.915)
    assert np.all(hits / repetitions < 0.985)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_with_few_processes_an_allowance_widens_the_intervals_and_is_named(processes: int) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        found = fitted(noisy(rng, 3e-4, 2e-5, processes, 0.05, 0.2))
        assert found.fixed is not None
        assert found.small_past is not None
        assert found.fixed.allowance == UNPAIRED_ALLOWANCE
        assert found.small_past.allowance == SEQUENTIAL_ALLOWANCE
        assert f"{processes} process" in found.fixed.how
        assert "allowance of 29%" in found.fixed.how
        assert "allowance of 15%" in found.small_past.how
        hits += found.fixed.low <= 3e-4 <= found.fixed.high
    assert hits >= 90
    exactly = fitted(exact(3e-4, 2e-5, processes)).per_timestep
    assert exactly is not None
    assert exactly.half_width >= 1.9 * UNPAIRED_ALLOWANCE / np.sqrt(processes)


def test_short_and_long_windows_weigh_alike_in_relative_errors() -> None:
    """Plain least squares would take the fixed cost from the errors of the long windows."""
    t = np.array([2e-4 + 1e-5 * k for k in WINDOWS])
    t[-1] *= 1.05
    assert fit_line(WINDOWS, t).fixed == pytest.approx(2e-4, rel=0.06)
    plain = np.polyfit(WINDOWS, t, 1)[1]
    assert abs(plain - 2e-4) > 0.3e-4


def test_a_timestep_that_costs_more_in_long_windows_is_a_misfit_and_told_where() -> None:
    times = exact(1e-4, 1e-5)
    times[960] = {process: 1.5 * time for process, time in times[960].items()}
    found = fitted(times)
    assert found.misfit.window == 960
    assert found.misfit.residual > 0.2
    assert found.late is not None
    assert found.late.low > 1.5
    assert found.late.mid == pytest.approx(1.9, abs=0.3)


def test_of_one_process_what_long_windows_cost_is_no_surer_than_its_times() -> None:
    times = {k: {"0": 1e-4 + 1e-5 * k} for k in WINDOWS}
    late = fitted(times).late
    assert late is not None
    # 15% of the last time is 30% of its difference to one of half the length, twice as much at 95%.
    assert late.mid == pytest.approx(1.0)
    assert late.high - late.mid == pytest.approx(1.96 * 0.15 * 2, rel=0.02)


def test_times_that_are_far_from_every_line_are_no_line() -> None:
    times = exact(1e-4, 1e-5)
    assert fitted(times).is_line
    times[30] = {process: 10 * time for process, time in times[30].items()}
    found = fitted(times)
    assert not found.is_line
    assert found.misfit.window == 30


def test_a_line_without_a_fixed_cost_says_that_every_window_will_do() -> None:
    found = fitted({k: {str(p): 1e-5 * k**1.05 for p in range(6)} for k in WINDOWS})
    assert found.line.fixed < 0
    assert found.small_past is not None
    assert found.small_past.mid == 0
    assert found.fixed_share(3) == 0


def test_times_that_do_not_grow_leave_no_window_that_is_long_enough() -> None:
    found = fitted({k: {str(p): 1e-3 - 1e-7 * k for p in range(6)} for k in WINDOWS})
    assert found.small_past is None
    assert found.small_past_mid == np.inf


def test_a_process_without_every_window_is_left_out_and_counted() -> None:
    times = exact(1e-4, 1e-5, 7)
    del times[960]["3"]
    times[3]["3"] = 1.0
    found = fitted(times)
    assert (found.processes, found.left_out) == (6, 1)
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-6)


def test_where_no_process_has_every_window_there_is_a_line_but_no_interval() -> None:
    times = exact(1e-4, 1e-5, 2)
    del times[960]["0"], times[3]["1"]
    found = fitted(times)
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-6)
    assert (found.fixed, found.per_timestep, found.small_past, found.late) == (None,) * 4
    assert (found.processes, found.left_out) == (0, 2)


def test_a_shorter_last_window_is_counted_by_the_mean_length() -> None:
    """A stream of 100 in windows of 30 is four steps on 25 timesteps each, on average."""
    times = {k: {"0": 1e-4 + 1e-5 * x} for k, x in ((10, 10), (30, 25), (100, 100))}
    found = fit(times, {10: 10, 30: 25, 100: 100})
    assert found is not None
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-9)
    assert found.line.per_timestep == pytest.approx(1e-5, rel=1e-9)


def test_two_windows_make_no_line() -> None:
    assert fit({3: {"0": 1.0}, 5: {"0": 2.0}}) is None
    assert fit({}) is None
    with pytest.raises(ValueError, match="3 different windows; there are 2"):
        fit_line([3, 5, 5], [1.0, 2.0, 2.0])


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="times are not all finite and above 0"):
        fit_line([1, 2, 3], [1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="lengths are not all"):
        fit_line([0, 2, 3], [1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="one time for each"):
        fit_line([1, 2, 3], [1.0, 1.0])
