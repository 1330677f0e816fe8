"""The cheapest windows, and the memory of each timestep."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.ratios import SEQUENTIAL_ALLOWANCE
from bench.verdicts import along
from tests.bench import made_windows as made

WINDOWS = (3, 5, 10, 15, 30, 60, 120, 240, 480)
K = np.array(WINDOWS, float)

CURVES = {
    # Seconds of a timestep: a line, one that costs more beyond a cache, and two slopes.
    "line": 8e-4 / K + 1.5e-4,
    "cache": 8e-4 / K + 1.5e-4 * np.where(K >= 240, 1.12, 1.0),
    "two slopes": (8e-4 + 1.4e-4 * np.minimum(K, 30) + 1.9e-4 * np.maximum(K - 30, 0)) / K,
}


def of(costs: np.ndarray, processes: int = 6) -> dict[int, dict[str, float]]:
    return {
        k: {str(p): float(cost) for p in range(processes)}
        for k, cost in zip(WINDOWS, costs, strict=True)
    }


def noisy(
    rng: np.random.Generator, costs: np.ndarray, processes: int, noise: float
) -> dict[int, dict[str, float]]:
    effect = np.exp(0.1 * rng.standard_normal(processes))
    table = costs * effect[:, None] * np.exp(noise * rng.standard_normal((processes, len(costs))))
    return {
        k: {str(p): float(table[p, at]) for p in range(processes)} for at, k in enumerate(WINDOWS)
    }


def found(times: dict[int, dict[str, float]]) -> along.Cheapest:
    answer = along.cheapest(times)
    assert answer is not None
    return answer


def test_saturation_is_the_first_window_with_only_near_best_after() -> None:
    answer = found(of(np.array([9, 5, 3, 2, 1.2, 1.04, 1.02, 1.0, 1.03])))
    assert (answer.best, answer.first, answer.first_low, answer.first_high) == (240, 60, 60, 60)
    assert answer.last == 480
    assert answer.slower_later == ()
    assert answer.over[30].mid == pytest.approx(1.2)


def test_saturation_names_longer_windows_that_cost_more() -> None:
    answer = found(of(np.array([9, 5, 3, 2, 1.2, 1.0, 1.02, 1.09, 1.12])))
    assert (answer.first, answer.last) == (60, 120)
    assert answer.slower_later == (240, 480)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("processes", [6, 10])
def test_saturation_bounds_have_their_coverage(curve: str, processes: int) -> None:
    rng = np.random.default_rng(processes)
    truth = found(of(CURVES[curve])).first
    repetitions, hits = 300, 0
    for _ in range(repetitions):
        answer = found(noisy(rng, CURVES[curve], processes, 0.03))
        hits += answer.first_low <= truth <= answer.first_high
    assert hits / repetitions > 0.915  # 95%, less three standard deviations of a share of 300


def test_saturation_with_few_processes_is_seldom_significant() -> None:
    times = of(np.array([9, 5, 3, 2, 1.2, 1.04, 1.02, 1.0, 1.03]), processes=1)
    answer = found(times)
    assert answer.over[30].allowance == SEQUENTIAL_ALLOWANCE
    assert (answer.first_low, answer.first, answer.first_high) == (30, 60, 240)
    late = found(of(np.array([9, 5, 3, 2, 1.2, 1.0, 1.02, 1.09, 1.12]), processes=1))
    assert (late.last, late.last_high, late.slower_later) == (120, 480, ())
    assert answer.over[240].half_width == 0  # of the best over itself


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e-1), min_size=9, max_size=9), st.integers(1, 8), st.floats(1e-3, 1e3)
)
def test_saturation_is_inside_its_bounds_in_any_unit(
    costs: list[float], processes: int, unit: float
) -> None:
    rng = np.random.default_rng(0)
    times = noisy(rng, np.array(costs), processes, 0.02)
    answer = found(times)
    assert answer.first_low <= answer.first <= answer.first_high <= answer.best
    assert answer.best <= answer.last <= answer.last_high
    other = found({k: {p: unit * t for p, t in each.items()} for k, each in times.items()})
    assert (other.first, other.first_low, other.first_high) == (
        answer.first,
        answer.first_low,
        answer.first_high,
    )


# -- streams


def test_series_line_of_each_backend_equals_its_costs(stream: along.AxisSeries) -> None:
    assert {cost.backend for cost in stream.backends} == set(made.COSTS)
    for cost in stream.backends:
        truth = made.COSTS[cost.backend]
        assert cost.fit is not None
        assert cost.fit.line.fixed == pytest.approx(truth.fixed, rel=0.03)
        assert cost.fit.line.per_timestep == pytest.approx(truth.per_timestep, rel=0.03)
        assert cost.fit.processes == 6
        assert cost.memory_slope is not None
        assert cost.memory_slope.mid == pytest.approx(truth.bytes_per_timestep)


def test_series_step_is_one_window_of_the_stream(tmp_path: Path) -> None:
    """A stream of 100 timesteps in windows of 30 has four steps, the last on 10 timesteps."""
    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    paths = made.write_windows(tmp_path, costs, (10, 30, 100), timesteps=100, noise=0.0)
    (found,) = made.read_streams(paths)
    (cost,) = found.backends
    assert [along.steps(row.case) for row in cost.rows] == [10, 4, 1]
    step, timestep = (
        along.step_interval(cost.rows[1].result),
        along.unit_interval(cost.rows[1].result),
    )
    assert step is not None
    assert timestep is not None
    assert step.mid == pytest.approx(1e-3 + 1e-4 * 25)
    assert timestep.mid == pytest.approx(step.mid / 25)
    assert cost.fit is not None
    assert cost.fit.line.fixed == pytest.approx(1e-3)
    assert cost.fit.line.per_timestep == pytest.approx(1e-4)


# -- memory


LONGER = (*WINDOWS, 960)


def test_series_slope_interval_has_its_coverage() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        peaks = 1e7 + 5000.0 * np.array(LONGER) + generator.normal(0, 3e5, len(LONGER))
        found = along.bytes_per_unit(dict(zip(LONGER, peaks.tolist(), strict=True)))
        assert found is not None
        hits += found.low <= 5000 <= found.high
    assert 925 <= hits <= 975


def test_series_of_one_window_has_no_slope() -> None:
    assert along.bytes_per_unit({10: 1.0}) is None
