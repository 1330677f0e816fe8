"""Percentiles of calls: how many calls they need, their coverage, and their comparison."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from bench.render.messages import basis_text
from bench.stats import latency
from bench.stats.comparison import Comparison, Verdict
from bench.stats.intervals import Interval
from bench.stats.ratios import RunSamples
from bench.worker.timing import StreamConditions
from tests.bench.made_results import measured
from tests.bench.made_streams import a_run, a_stream, streamed


@pytest.mark.parametrize(("part", "calls"), [(50.0, 11), (90.0, 64), (99.0, 662), (99.9, 6636)])
def test_fewest_calls_leave_two_beyond_with_99_percent(part: float, calls: int) -> None:
    assert latency.fewest_calls(part) == calls
    beyond = 1 - part / 100
    assert stats.binom.cdf(1, calls, beyond) <= 0.01 < stats.binom.cdf(1, calls - 1, beyond)


@pytest.mark.parametrize("count", [64, 100, 997, 6636, 20000])
@pytest.mark.parametrize("part", latency.PARTS)
def test_percentile_bounds_are_the_nearest_ranks(part: float, count: int) -> None:
    found = latency.percentile(np.arange(1.0, count + 1), part)
    if count < latency.fewest_calls(part):
        assert found is None
        return
    assert found is not None
    below = partial(stats.binom.cdf, n=count, p=part / 100)
    low, high = int(found.low), int(found.high)
    assert found.confidence == pytest.approx(below(high - 1) - below(low - 1), abs=1e-9)
    assert found.confidence >= 0.95 - 1e-9
    # No narrower ranks have the coverage.
    assert below(low - 1) <= 0.025 < below(low)
    assert below(high - 1) >= 0.975 > below(high - 2)
    assert found.mid == int(np.ceil(round(part / 100 * count, 6)))


def test_percentile_interval_covers_for_any_distribution() -> None:
    rng = np.random.default_rng(3)
    # P(X > x) is (1 + x)**-a for Pareto and exp(-x) for the exponential distribution.
    for sizes, true in (
        (rng.pareto(1.1, (1000, 700)), 0.01 ** (-1 / 1.1) - 1),
        (rng.exponential(1.0, (1000, 700)), -np.log(0.01)),
    ):
        inside = 0
        for calls in sizes:
            found = latency.percentile(np.sort(calls), 99.0)
            assert found is not None
            inside += found.low <= true <= found.high
        # 1,000 of at least 95%: four standard errors are 2.8%.
        assert inside >= 922


def make_percentiles(*mids: float) -> list[dict[float, Interval]]:
    return [{99.0: Interval(0.9 * mid, mid, 1.2 * mid, 0.96)} for mid in mids]


def test_percentile_over_processes_is_the_median_of_theirs() -> None:
    found = latency.over_processes(make_percentiles(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 90.0))
    assert list(found) == [99.0]
    assert (found[99.0].low, found[99.0].mid, found[99.0].high) == (1.0, 4.0, 90.0)
    assert found[99.0].processes == 7


def test_percentile_of_one_process_has_its_own_interval() -> None:
    (found,) = latency.over_processes(make_percentiles(2.0)).values()
    assert (found.low, found.mid, found.high, found.confidence) == (1.8, 2.0, 2.4, 0.96)
    assert "its own calls" in basis_text(found.basis)


def test_percentile_process_with_few_calls_is_excluded() -> None:
    found = latency.over_processes([*make_percentiles(1.0, 2.0, 3.0), {}])
    assert (found[99.0].mid, found[99.0].processes) == (2.0, 3)
    # Those with the most calls are the quickest, and no percentile is of these alone.
    assert latency.over_processes([*make_percentiles(1.0, 3.0), {}]) == {}


def stream(values: Iterable[float], name: str = "run", nodes: int = 0) -> latency.StreamProcesses:
    runs = [
        RunSamples(
            f"{name}{n}", np.array([value]), np.array([0]), node=f"{n % nodes}" if nodes else ""
        )
        for n, value in enumerate(values)
    ]
    by_process = {**dict.fromkeys(latency.PARTS, ()), 99.0: runs}
    return latency.StreamProcesses(1, {}, {}, 1.0, 0, None, None, by_process)


def ratio(new: latency.StreamProcesses, base: latency.StreamProcesses) -> Comparison | None:
    (found,) = latency.compare_percentiles([(new, base)])
    return found.get(99.0)


def test_percentile_ratio_is_judged_by_process() -> None:
    """The processes differ by far more than the sides do, and both sides equally."""
    base = [1.0, 2.0, 0.5, 4.0, 1.5, 3.0]
    new = [1.2 * each * (1 + 0.004 * n) for n, each in enumerate(base)]
    found = ratio(stream(new), stream(base))
    assert found is not None
    assert found.verdict is Verdict.SLOWER
    assert found.ratio.mid == pytest.approx(1.2, rel=0.02)


def test_percentile_of_few_processes_or_nodes_has_no_verdict() -> None:
    six, other = stream([2.0] * 6), stream([1.0] * 6)
    assert ratio(stream([2.0] * 5), stream([1.0] * 5)) is ratio(stream([]), six) is None
    # Six on each side, of which five are shared, are five.
    renamed = replace(other.by_process[99.0][0], run="x")
    shared = {**other.by_process, 99.0: [renamed, *other.by_process[99.0][1:]]}
    assert ratio(six, replace(other, by_process=shared)) is None
    assert ratio(stream([2.0] * 12, nodes=5), stream([1.0] * 12, nodes=5)) is None
    assert ratio(stream([2.0] * 12, nodes=6), stream([1.0] * 12, nodes=6)) is not None


def test_percentile_other_pairs_are_judged_next_to_a_short_one() -> None:
    few, good = (stream([1.0]), stream([1.0])), (stream([2.0] * 6), stream([1.0] * 6))
    assert [list(each) for each in latency.compare_percentiles([few, good, few])] == [
        [],
        [99.0],
        [],
    ]


def test_percentile_separate_processes_are_unpaired() -> None:
    base = stream([1.0 + 0.01 * n for n in range(6)], "base")
    found = ratio(stream([2.0 + 0.01 * n for n in range(6)], "new"), base)
    assert found is not None
    assert not found.paired
    assert found.verdict is Verdict.SLOWER


# A stream in its processes


def test_calls_of_no_stream_are_none() -> None:
    assert latency.combine_streams([measured(a_stream("keras"), 1e-4, a_run(0))], {}) is None


def test_calls_of_all_processes_are_pooled() -> None:
    case = a_stream("keras", period=1e-3)
    beside = [StreamConditions(load=load, deadline=1.2e-4) for load in (0, 2)]
    items = [
        streamed(case, a_run(number), 1e-4, 4.0, 100 * (number + 1), each)
        for number, each in enumerate(beside)
    ]
    found = latency.combine_streams(items, {})
    assert found is not None
    each = [item.streaming for item in items]
    assert (found.calls, found.load, found.deadline) == (300, 2, 1.2e-4)
    assert found.missed == sum(calls.missed for calls in each if calls) > 0
    assert found.most == max(calls.latency.most for calls in each if calls)
    assert len(found.histograms) == 2
    # 100 calls have no 99th percentile, and one of two processes is too few.
    assert list(found.latency) == list(found.service) == [50.0, 90.0]
    runs = {part: [each.run for each in runs] for part, runs in found.by_process.items()}
    both = ["session-0", "session-1"]
    assert runs == {50.0: both, 90.0: both, 99.0: [], 99.9: []}
