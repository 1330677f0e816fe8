"""Batches of sequences whose lengths differ: what each policy pads, and that edges are optimal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import batching as plans
from bench.stats.batching import (
    BatchCost,
    BatchPlan,
    Lengths,
    bucketed,
    equal_edges,
    longest,
    optimal_edges,
)

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=24).map(lambda each: np.array(each))
BATCHES = st.integers(1, 6)
COSTS = st.floats(0, 10, allow_subnormal=False)
LINES = st.builds(BatchCost, COSTS, COSTS, COSTS)


def brute(lengths: Lengths, batch: int, line: BatchCost, most: int) -> float:
    """The least steady cost of any buckets, by trying all of them."""
    different = np.unique(lengths).tolist()
    inner, top = different[:-1], different[-1]
    return min(
        bucketed(lengths, batch, [*edges, top], "tried").steady(line)
        for count in range(min(most, len(different)))
        for edges in itertools.combinations(inner, count)
    )


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=14).map(np.array),
    BATCHES,
    LINES,
    st.integers(1, 4),
)
def test_optimal_edges_cost_what_trying_all_of_them_finds(
    lengths: Lengths, batch: int, line: BatchCost, most: int
) -> None:
    found = optimal_edges(lengths, batch, line, most)
    costs = [bucketed(lengths, batch, edges, "").steady(line) for edges in found.values()]
    assert min(costs) == pytest.approx(brute(lengths, batch, line, most), abs=1e-9)


@given(LENGTHS, BATCHES, LINES)
def test_more_buckets_that_are_kept_cost_less_and_none_cost_more_than_equal_counts(
    lengths: Lengths, batch: int, line: BatchCost
) -> None:
    found = optimal_edges(lengths, batch, line, 5)
    costs = [bucketed(lengths, batch, edges, "").steady(line) for edges in found.values()]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(costs))
    for buckets in range(1, 6):
        equal = bucketed(lengths, batch, equal_edges(lengths, buckets), "").steady(line)
        assert min(costs) <= equal + 1e-9


def every(lengths: Lengths, batch: int, line: BatchCost, most: int) -> list[BatchPlan]:
    return [*plans.fixed(lengths, batch, most), *plans.optimal(lengths, batch, line, most)]


@given(LENGTHS, BATCHES, LINES)
def test_no_policy_costs_less_than_no_padding_nor_more_than_all_of_it(
    lengths: Lengths, batch: int, line: BatchCost
) -> None:
    whole = longest(lengths, batch)
    # As if sequences could be cut and joined to full rows.
    least = line.fixed * whole.count + line.per_timestep * lengths.sum() / batch
    for plan in every(lengths, batch, line, 5):
        assert plan.steady(line) >= least - 1e-9
        assert plan.valid == lengths.sum()
        assert plan.computed >= plan.valid
        assert 0 <= plan.padding < 1
        assert max(plan.batches) == lengths.max()
        assert plan.cost(line) == pytest.approx(plan.steady(line) + plan.shapes * line.shape)
    assert plans.per_batch(lengths, batch).steady(line) <= whole.steady(line) + 1e-9


@given(LENGTHS, BATCHES)
def test_every_sequence_has_a_row_that_is_long_enough(lengths: Lengths, batch: int) -> None:
    for plan in every(lengths, batch, BatchCost(1, 1), 4):
        for least in np.unique(lengths):
            rows = batch * sum(n for steps, n in plan.batches.items() if steps >= least)
            assert rows >= np.sum(lengths >= least)


def test_a_bucket_takes_the_sequences_up_to_its_edge() -> None:
    plan = bucketed(np.array([1, 5, 5, 6, 9]), 2, [5, 9], "by hand")
    assert plan == BatchPlan("by hand", {5: 2, 9: 1}, 2, 26, (5, 9))
    assert plan.computed == 2 * (2 * 5 + 9)
    assert plan.shapes == 2


def test_an_edge_without_a_sequence_is_no_bucket_and_one_bucket_is_no_policy() -> None:
    assert bucketed(np.array([1, 9]), 2, [1, 5, 9], "").edges == (1, 9)
    assert plans.optimal(np.array([5, 5, 5]), 2, BatchCost(1, 1), 4) == []


def test_as_the_sequences_come_each_batch_has_its_own_longest() -> None:
    plan = plans.per_batch(np.array([3, 1, 2, 2, 7]), 2)
    assert plan.batches == {2: 1, 3: 1, 7: 1}


def test_equal_counts_are_equal_and_repeated_lengths_share_an_edge() -> None:
    assert equal_edges(np.arange(1, 101), 4) == (25, 50, 75, 100)
    assert equal_edges(np.array([4, 4, 4, 9]), 4) == (4, 9)


def test_a_fixed_cost_makes_buckets_fewer_and_a_costly_timestep_makes_them_more() -> None:
    lengths = np.repeat([1, 10], [9, 9])  # two buckets make one batch more
    fewer = optimal_edges(lengths, 8, BatchCost(100, 0.001), 8)
    more = optimal_edges(lengths, 8, BatchCost(0, 1), 8)
    assert max(fewer) < max(more)


@pytest.mark.parametrize("edges", [[], [5], [9, 5], [5, 5, 9]])
def test_edges_that_do_not_hold_all_are_refused(edges: list[int]) -> None:
    with pytest.raises(ValueError, match="wrong edges"):
        bucketed(np.array([1, 9]), 2, edges, "")


@pytest.mark.parametrize("line", [(-1, 0, 0), (0, float("nan"), 0), (0, 0, float("inf"))])
def test_a_cost_that_is_none_is_refused(line: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="negative or infinite"):
        BatchCost(*line)


@pytest.mark.parametrize(("lengths", "batch"), [([], 1), ([0], 1), ([1], 0)])
def test_what_is_no_lengths_or_no_batch_is_refused(lengths: list[int], batch: int) -> None:
    with pytest.raises(ValueError, match="length below 1"):
        longest(np.array(lengths, np.int64), batch)


def test_many_different_lengths_are_near_the_optimum_and_hold_all() -> None:
    lengths = np.random.default_rng(0).integers(1, 20_000, 30_000)
    edges = optimal_edges(lengths, 32, BatchCost(1e-3, 1e-5), 3)[3]
    assert edges[-1] == lengths.max()
    # Uniform lengths: thirds of the range.
    assert np.allclose(edges[:2], (6_667, 13_333), rtol=0.02)


@given(LENGTHS, BATCHES)
def test_the_batches_that_are_arranged_are_those_that_are_counted(
    lengths: Lengths, batch: int
) -> None:
    for plan in every(lengths, batch, BatchCost(1, 1), 4):
        found = plans.arranged(lengths, plan)
        counted: dict[int, int] = {}
        for each in found:
            assert len(each.sequences) <= batch
            assert lengths[list(each.sequences)].max() <= each.timesteps
            counted[each.timesteps] = counted.get(each.timesteps, 0) + 1
        assert counted == dict(plan.batches)
        assert sorted(n for each in found for n in each.sequences) == list(range(lengths.size))
