"""Percentiles are of the samples of good processes, and are told only where they can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judging.columns import COLUMNS
from bench.judging.intervals import FEWEST_BEYOND, PERCENTILES, percentiles
from bench.judging.ranking import build
from bench.judging.table import records
from bench.results.schema import Measurement, Reason, Run
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

NOW = datetime(2025, 1, 31, tzinfo=UTC)
BUSY = Reason("busy", "others kept the processors busy", "close what else runs")
UNSTEADY = Reason("not_steady", "the halves differ", "give it more time")


@given(st.lists(st.floats(1e-6, 1e3), min_size=100, max_size=300), st.integers(1, 99))
def test_they_are_those_of_all_samples_together(samples: list[float], cut: int) -> None:
    found = percentiles([np.array(samples[:cut]), np.array(samples[cut:])])
    expected = np.percentile(samples, PERCENTILES)
    assert list(found) == list(PERCENTILES)
    assert list(found.values()) == pytest.approx(list(expected))


@pytest.mark.parametrize(
    ("count", "told"), [(0, []), (19, []), (20, [25, 75]), (99, [25, 75]), (100, [5, 25, 75, 95])]
)
def test_what_fewer_than_five_samples_lie_beyond_is_not_told(count: int, told: list[int]) -> None:
    samples = [np.linspace(1.0, 2.0, count)] if count else []
    assert list(percentiles(samples)) == told


def test_a_disturbed_process_is_left_out_and_one_that_spreads_by_itself_is_not() -> None:
    case = Case("keras", LSTMSpec(3, 4), Workload(2, 10))

    def process(number: int, low: float, *reasons: Reason) -> Measurement:
        run = Run(f"r{number}", "s", "x", 0, NOW, NOW, True, "host", "m", {}, {})
        samples = np.linspace(low, low + 1, 60)
        item = measured(case, 1.0, run, reasons)
        return replace(item, samples=samples, rounds=np.arange(60))

    items = [process(0, 1.0), process(1, 2.0, UNSTEADY), process(2, 100.0, BUSY)]
    (row,) = records(build(gather(*items)))
    both = np.concatenate([np.linspace(1.0, 2.0, 60), np.linspace(2.0, 3.0, 60)])
    for part in PERCENTILES:
        assert row[f"p{part}_s"] == pytest.approx(np.percentile(both, part))
    (alone,) = records(build(gather(items[2])))
    assert [alone[f"p{part}_s"] for part in PERCENTILES] == [None] * 4
    for part in PERCENTILES:
        needed = round(100 * FEWEST_BEYOND / min(part, 100 - part))
        assert COLUMNS[f"p{part}_s"].meaning.endswith(f"fewer than {needed} samples")
