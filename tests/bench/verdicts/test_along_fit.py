"""The line through the costs of windows, on exact, noisy and bent times."""

import functools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.render.messages import basis_text
from bench.stats.intervals import UNPAIRED_ALLOWANCE, FloatArray
from bench.verdicts.along import Fit, _Lines, fit

WINDOWS = (3, 5, 10, 15, 30, 60, 120, 240, 480, 960)

fixed_costs = st.floats(1e-7, 1e-1)
slopes = st.floats(1e-8, 1e-2)


def exact(fixed: float, slope: float, processes: int = 6) -> dict[int, dict[str, float]]:
    return {k: {str(p): fixed + slope * k for p in range(processes)} for k in WINDOWS}


def noisy(
    rng: np.random.Generator,
    fixed: float,
    slope: float,
    processes: int,
    noise: float,
    of_all: float,
) -> dict[int, dict[str, float]]:
    effects = np.exp(of_all * rng.standard_normal(processes))
    return {
        k: {
            str(p): (fixed + slope * k) * effects[p] * np.exp(noise * rng.standard_normal())
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
def test_fit_exact_line_is_recovered(fixed: float, slope: float, processes: int) -> None:
    found = fitted(exact(fixed, slope, processes))
    assert found.line.fixed == pytest.approx(fixed, rel=1e-6, abs=1e-9 * slope)
    assert found.line.per_timestep == pytest.approx(slope, rel=1e-6, abs=1e-12 * fixed)
    assert found.fixed is not None
    assert found.per_timestep is not None
    assert not found.bent
    assert abs(found.residual) < 1e-6
    assert found.processes == processes


@pytest.mark.parametrize("processes", [6, 10])
def test_fit_intervals_have_their_coverage(processes: int) -> None:
    rng = np.random.default_rng(processes)
    repetitions, fixed, slope = 100, 3e-4, 2e-5
    hits = np.zeros(2)
    for _ in range(repetitions):
        found = fitted(noisy(rng, fixed, slope, processes, 0.03, 0.05))
        for index, (interval, truth) in enumerate(
            ((found.fixed, fixed), (found.per_timestep, slope))
        ):
            assert interval is not None
            assert interval.allowance is None
            hits[index] += interval.low <= truth <= interval.high
    # 95% of 100 with a standard deviation of 2.2%, less three of these. A false bend, in some 5%,
    # only widens.
    assert np.all(hits / repetitions > 0.88)
    assert np.all(hits / repetitions < 1.0)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_fit_few_processes_widen_intervals_by_a_named_allowance(processes: int) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(50):
        found = fitted(noisy(rng, 3e-4, 2e-5, processes, 0.05, 0.2))
        assert found.fixed is not None
        assert found.fixed.allowance == UNPAIRED_ALLOWANCE
        assert f"{processes} process" in basis_text(found.fixed.basis)
        assert "allowance of 29%" in basis_text(found.fixed.basis)
        hits += found.fixed.low <= 3e-4 <= found.fixed.high
    assert hits >= 43  # 95% of 50, less three standard deviations
    exactly = fitted(exact(3e-4, 2e-5, processes)).per_timestep
    assert exactly is not None
    assert exactly.half_width >= 1.9 * UNPAIRED_ALLOWANCE / np.sqrt(processes)


def test_fit_weighs_short_and_long_windows_equally() -> None:
    """Plain least squares would take the fixed cost from the errors of the long windows."""
    t = np.array([2e-4 + 1e-5 * k for k in WINDOWS])
    t[-1] *= 1.05
    found = fitted({k: {"0": float(time)} for k, time in zip(WINDOWS, t, strict=True)})
    assert found.line.fixed == pytest.approx(2e-4, rel=0.06)
    plain = np.polyfit(WINDOWS, t, 1)[1]
    assert abs(plain - 2e-4) > 0.3e-4


K = np.array(WINDOWS, dtype=float)

BENT = {
    # Seconds of a step: more beyond a cache, two slopes, and a curve.
    "cache": 8e-4 + 1.5e-4 * K * np.where(K >= 120, 1.15, 1.0),
    "two slopes": 8e-4 + 1.4e-4 * np.minimum(K, 30) + 1.9e-4 * np.maximum(K - 30, 0),
    "root": 5e-4 + 2e-4 * np.sqrt(K) + 1.5e-4 * K,
}


def fit_curve(
    rng: np.random.Generator, curve: FloatArray, processes: int, noise: float
) -> dict[int, dict[str, float]]:
    effects = np.exp(0.05 * rng.standard_normal(processes))
    table = curve * effects[:, None] * np.exp(noise * rng.standard_normal((processes, K.size)))
    return {
        k: {str(p): float(table[p, at]) for p in range(processes)} for at, k in enumerate(WINDOWS)
    }


@functools.cache
def fit_noisy(curve: str, repetitions: int = 60) -> list[Fit]:
    rng = np.random.default_rng(1)
    return [fitted(fit_curve(rng, BENT[curve], 10, 0.02)) for _ in range(repetitions)]


@pytest.mark.parametrize("some", [slice(0, 5), slice(0, 6), slice(4, None), slice(5, None)])
@pytest.mark.parametrize("curve", BENT)
def test_fit_of_no_line_has_bounds_over_its_parts(curve: str, some: slice) -> None:
    """Return lines of the short windows, up to 30 or 60, and of the long ones from there on."""
    fixed, slope = _Lines.through(K[some], BENT[curve][None, some]).mean
    fits, hits = fit_noisy(curve), np.zeros(2)
    for found in fits:
        assert found.fixed is not None
        assert found.per_timestep is not None
        assert found.bent
        hits[0] += found.fixed.low <= fixed <= found.fixed.high
        hits[1] += found.per_timestep.low <= slope <= found.per_timestep.high
    # 95%, less three standard deviations of a share of 60; over processes alone it is 0 to 20%.
    assert np.all(hits / len(fits) >= 0.865)


def test_fit_of_a_true_line_has_narrow_bounds() -> None:
    rng = np.random.default_rng(2)
    widths, bent = [], 0
    for _ in range(100):
        found = fitted(fit_curve(rng, 8e-4 + 1.5e-4 * K, 10, 0.02))
        assert found.fixed is not None
        widths.append(found.fixed.half_width)
        bent += found.bent
    # Processes that differ by 5%: 5% / sqrt(10) * 2.26 = 3.6%.
    assert np.median(widths) < 0.045
    assert bent / 100 < 0.12


def test_fit_few_processes_have_bounds_over_the_parts() -> None:
    curve = BENT["two slopes"]
    found = fitted({k: {"0": float(t)} for k, t in zip(WINDOWS, curve, strict=True)})
    assert found.fixed is not None
    assert not found.bent
    assert found.fixed.low <= 8e-4 - 30 * 5e-5 + 1e-9
    assert found.fixed.high >= 8e-4


def test_fit_negligible_difference_is_still_a_line() -> None:
    """Significant without noise, but under 1% at every window."""
    curve = 8e-4 + 1.5e-4 * K * np.where(K >= 120, 1.001, 1.0)
    found = fitted(
        {k: {str(p): float(t) for p in range(6)} for k, t in zip(WINDOWS, curve, strict=True)}
    )
    assert not found.bent


def test_fit_times_far_from_each_line_are_no_line() -> None:
    times = exact(1e-4, 1e-5)
    assert fitted(times).is_line
    times[30] = {process: 10 * time for process, time in times[30].items()}
    found = fitted(times)
    assert not found.is_line
    assert found.worst == 30


def test_fit_incomplete_process_is_excluded_and_counted() -> None:
    times = exact(1e-4, 1e-5, 7)
    del times[960]["3"]
    times[3]["3"] = 1.0
    found = fitted(times)
    assert (found.processes, found.left_out) == (6, 1)
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-6)


def test_fit_only_incomplete_processes_have_no_interval() -> None:
    times = exact(1e-4, 1e-5, 2)
    del times[960]["0"], times[3]["1"]
    found = fitted(times)
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-6)
    assert (found.fixed, found.per_timestep, found.bent) == (None, None, False)
    assert (found.processes, found.left_out) == (0, 2)


def test_fit_shorter_last_window_counts_by_mean_length() -> None:
    """A stream of 100 in windows of 30 has four steps, of 25 timesteps on average."""
    times = {k: {"0": 1e-4 + 1e-5 * x} for k, x in ((10, 10), (30, 25), (100, 100))}
    found = fit(times, {10: 10, 30: 25, 100: 100})
    assert found is not None
    assert found.line.fixed == pytest.approx(1e-4, rel=1e-9)
    assert found.line.per_timestep == pytest.approx(1e-5, rel=1e-9)


def test_fit_two_windows_make_no_line() -> None:
    assert fit({3: {"0": 1.0}, 5: {"0": 2.0}}) is None
    assert fit({}) is None
