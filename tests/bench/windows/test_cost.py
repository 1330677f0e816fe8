"""The slope of memory over the window: exact on a line, and as sure as its interval says."""

from __future__ import annotations

import numpy as np
import pytest

from bench.windows.cost import bytes_per_timestep

WINDOWS = (3, 5, 10, 15, 30, 60, 120, 240, 480, 960)


def test_points_on_a_line_give_its_slope_exactly() -> None:
    found = bytes_per_timestep(WINDOWS, [5e8 + 4096 * window for window in WINDOWS])
    assert found is not None
    assert found.mid == pytest.approx(4096)
    assert found.low == pytest.approx(4096, rel=1e-6)
    assert found.high == pytest.approx(4096, rel=1e-6)
    assert found.confidence == 0.95


def test_the_interval_holds_the_true_slope_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        peaks = 1e7 + 5000.0 * np.array(WINDOWS) + generator.normal(0, 3e5, len(WINDOWS))
        found = bytes_per_timestep(WINDOWS, peaks.tolist())
        assert found is not None
        hits += found.low <= 5000 <= found.high
    assert 925 <= hits <= 975


def test_two_windows_give_a_slope_of_no_confidence() -> None:
    found = bytes_per_timestep([10, 20], [100.0, 400.0])
    assert found is not None
    assert (found.low, found.mid, found.high, found.confidence) == (30.0, 30.0, 30.0, 0.0)


@pytest.mark.parametrize("windows", [[], [10], [10, 10, 10]])
def test_without_two_different_windows_there_is_no_slope(windows: list[int]) -> None:
    assert bytes_per_timestep(windows, [1.0] * len(windows)) is None


def test_several_peaks_of_two_windows_have_an_interval() -> None:
    found = bytes_per_timestep([10, 10, 20, 20], [90.0, 110.0, 390.0, 410.0])
    assert found is not None
    assert found.mid == pytest.approx(30.0)
    assert found.low < 30 < found.high
