"""Test the study of percentiles: its streams and its rates."""

import numpy as np
import numpy.typing as npt
import pytest

from bench.stats.comparison import Verdict
from research import percentiles
from research.percentiles import Stream, logs


def slow_calls(stream: Stream, processes: int = 40, calls: int = 2000) -> npt.NDArray[np.bool_]:
    rng = np.random.default_rng(1)
    # Quick calls vary by a tenth, and slow ones take at least twice as long.
    times = percentiles._latencies(rng, stream, processes, calls)
    return np.asarray(times > 1.6, dtype=np.bool_)


@pytest.mark.parametrize("run", [1, 10])
@pytest.mark.parametrize("slow", [0.05, 0.4])
def test_slow_part_is_as_requested_for_any_length_of_runs(slow: float, run: int) -> None:
    found = slow_calls(Stream(slow, run=run))
    assert found.mean() == pytest.approx(slow, rel=0.15)


def test_clear_effect_is_found_and_equals_are_not() -> None:
    (found,) = logs(Stream(0.001), [90.0], 700, 600)
    assert percentiles._cells(found, 6, 0.0, Verdict.FASTER, Verdict.SLOWER) <= 0.02
    assert percentiles._cells(found, 6, 0.5, Verdict.SLOWER) > 0.95
