"""The simulated streams are as they are said to be, and what is said of them has the true rates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bench.stats.comparison import Verdict
from research import percentiles
from research.percentiles import BLOCK, Stream, logs
from research.rules import TRIALS
from tests.research.documented import assert_near, assert_same


def slow_calls(stream: Stream, processes: int = 40, calls: int = 2000) -> npt.NDArray[np.bool_]:
    rng = np.random.default_rng(1)
    # Quick calls vary by a tenth, and a slow one takes twice as long or more.
    times = percentiles._latencies(rng, stream, processes, calls)
    return np.asarray(times > 1.6, dtype=np.bool_)


@pytest.mark.parametrize("run", [1, 10])
@pytest.mark.parametrize("slow", [0.05, 0.4])
def test_the_part_that_is_slow_is_as_asked_however_long_the_runs(slow: float, run: int) -> None:
    found = slow_calls(Stream(slow, run=run))
    assert found.mean() == pytest.approx(slow, rel=0.15)


def parts(stream: Stream) -> npt.NDArray[np.float64]:
    """The logs of the part of each stream in each process that is slow, ``[processes, 2]``."""
    found = np.mean(slow_calls(stream, 400, 2000), axis=2)
    return np.asarray(np.log(np.maximum(found, 1e-4)))


def test_processes_differ_for_both_streams_alike_and_for_each_by_itself() -> None:
    both, each = parts(Stream(0.05, common=0.5)), parts(Stream(0.05, own=0.5))
    assert np.std(both[:, 0]) == pytest.approx(0.5, rel=0.15)
    assert np.asarray(np.corrcoef(both.T))[0, 1] > 0.9
    assert np.std(each[:, 0]) == pytest.approx(0.5, rel=0.15)
    assert abs(np.asarray(np.corrcoef(each.T))[0, 1]) < 0.2
    assert np.std(parts(Stream(0.05))) < 0.15


def test_in_a_restless_process_ten_times_as_many_calls_are_slow_but_never_more_than_half() -> None:
    found = np.asarray(np.exp(parts(Stream(0.02, restless=0.25))))
    restless = found[:, 0] > 0.08
    assert np.mean(restless) == pytest.approx(0.25, abs=0.07)
    assert np.mean(found[restless]) == pytest.approx(0.2, rel=0.05)
    assert np.mean(found[~restless]) == pytest.approx(0.02, rel=0.1)
    assert np.exp(parts(Stream(0.2, restless=1.0))).max() < 0.56


def test_slow_calls_come_in_runs_where_they_are_to() -> None:
    def after_a_slow_one(run: int) -> float:
        found = slow_calls(Stream(0.05, run=run))
        return float(found[:, :, 1:][found[:, :, :-1]].mean())

    assert after_a_slow_one(1) < 0.1
    assert after_a_slow_one(10) > 0.8


def test_both_streams_share_what_the_machine_does() -> None:
    """A run of slow calls outlasts a block, and is then the other stream's."""
    found = slow_calls(Stream(0.02, run=200), processes=10, calls=4000)
    blocks = np.asarray(found.reshape(10, 2, -1, BLOCK).any(axis=3))
    both = np.corrcoef(blocks[:, 0].ravel(), blocks[:, 1].ravel())[0, 1]
    assert both > 0.8


def test_equal_streams_have_ratios_around_one_of_either_sign() -> None:
    found = logs(Stream(0.02, run=10, far=1.2), [90.0, 99.0], 700, 400)
    assert found.shape == (2, 400)
    assert abs(np.median(found, axis=1)).max() < 0.1
    assert np.all(np.mean(found > 0, axis=1) > 0.4)
    assert found[1].std() > 5 * found[0].std()


def test_a_clear_effect_is_found_and_equals_are_not_told_apart() -> None:
    (found,) = logs(Stream(0.001), [90.0], 700, 600)
    assert percentiles._cells(found, 6, 0.0, Verdict.FASTER, Verdict.SLOWER) <= 0.02
    assert percentiles._cells(found, 6, 0.5, Verdict.SLOWER) > 0.95


def test_the_tables_are_nearly_the_documentation_s() -> None:
    for sheet in percentiles.tables(5 * percentiles.CALL_SHARE).values():
        # Of 20 processes, and ten times as many calls, five trials leave two.
        assert_near(sheet, 2)


@pytest.mark.slow
def test_the_tables_are_those_of_the_documentation() -> None:
    for sheet in percentiles.tables(TRIALS).values():
        # Another version of SciPy may turn a comparison at the edge: a few in twenty thousand.
        assert_same(sheet, within=0.15)
