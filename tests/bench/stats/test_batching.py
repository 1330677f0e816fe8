"""Policies of batching: their batches and costs, and which is advised from measured cases."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import batching as advice
from bench.stats import batching as plans
from bench.stats.batching import (
    BatchCost,
    BatchingQuery,
    BatchPlan,
    Lengths,
    NoAdvice,
    advise,
    bucketed,
    equal_edges,
    longest,
    optimal_edges,
    regret,
)
from bench.stats.rows import Section
from tests.bench.made_lines import a_question, found, line, row, section
from tests.bench.made_results import a_run

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


def test_a_backend_without_new_shape_costs_takes_buckets_and_saves_padding() -> None:
    answer = found(a_question(), section({"while_loop": line(1e-3, 1e-3)}))
    (only,) = answer.backends
    assert only.best.edges
    assert only.best.padding < 0.2
    assert not only.recorded.anew
    assert only.recorded.line.shape == 0


def test_where_each_new_shape_costs_much_one_is_kept_and_many_passes_pay_it_back() -> None:
    there = section({"while_loop+xla": line(1e-3, 1e-3)}, once=3.0)
    (once,) = found(a_question(), there).backends
    assert once.best.shapes == 1
    (often,) = found(a_question(passes=10_000), there).backends
    assert often.best.shapes > 3


def test_the_backend_whose_best_policy_is_cheapest_comes_first() -> None:
    there = section({"torch": line(5e-3, 1e-3), "while_loop": line(1e-3, 1e-4)})
    assert [each.recorded.backend for each in found(a_question(), there).backends] == [
        "while_loop",
        "torch",
    ]


def test_of_policies_that_cost_about_the_same_the_one_with_the_fewest_shapes_is_taken() -> None:
    (only,) = found(a_question(), section({"while_loop": line(1e-3, 1e-3)})).backends
    cheapest = min(plan.cost(only.recorded.line) for plan in only.plans)
    near = [plan for plan in only.plans if plan.cost(only.recorded.line) <= 1.02 * cheapest]
    assert len(near) > 1
    assert only.best.shapes == min(plan.shapes for plan in near)


def test_an_unknown_backend_is_taken_to_trace_each_length_anew() -> None:
    assert advice.each_length_anew("somebody_else's")
    assert advice.each_length_anew("while_loop+xla")
    assert not advice.each_length_anew("while_loop")
    assert not advice.each_length_anew("torch")
    assert advice.each_length_anew("cudnn")  # its op tries its algorithms at each
    assert not advice.each_length_anew("cudnn+lengths")
    assert not advice.each_length_anew("cudnn+untuned")


def test_the_nearest_shape_answers_and_one_that_is_far_does_not() -> None:
    near, exact = (
        section({"torch": line(1, 1)}, hidden=80),
        section({"torch": line(1e-3, 1e-3)}),
    )
    assert found(a_question(), near, exact).section is exact
    far = section({"torch": line(1, 1)}, hidden=128)
    assert isinstance(advise(a_question(), [far]), NoAdvice)


@pytest.mark.parametrize(
    "more",
    [{"mode": "inference"}, {"device": "gpu:0"}, {"dtype": "float64"}, {"num_layers": 2}],
)
def test_other_work_is_no_answer(more: dict[str, Any]) -> None:
    answer = advise(a_question(**more), [section({"torch": line(1e-3, 1e-3)})])
    assert answer == NoAdvice()


def test_sequences_far_longer_than_any_measured_are_refused() -> None:
    question = BatchingQuery(np.array([5, 201]), 8, 64)
    answer = advise(question, [section({"torch": line(1e-3, 1e-3)})])
    assert answer == NoAdvice(longest=201)


def test_two_lengths_padded_cases_and_both_directions_are_no_line() -> None:
    two = Section((a_run(0),), tuple(row("torch", t, 1e-3 * t) for t in (10, 50)), "")
    padded = section({"torch": line(1e-3, 1e-3)}, min_length=2)
    both_ways = [
        replace(each, case=replace(each.case, spec=replace(each.case.spec, bidirectional=True)))
        for each in section({"torch": line(1e-3, 1e-3)}).rows
    ]
    sections = [two, padded, Section((a_run(0),), tuple(both_ways), "")]
    assert isinstance(advise(a_question(), sections), NoAdvice)


def test_a_new_shape_costs_the_middle_of_what_was_recorded_between_its_extremes() -> None:
    rows = [
        row("while_loop+xla", t, 1e-3 * t, once) for t, once in ((10, 2.0), (50, 6.0), (90, 3.0))
    ]
    (known,) = advice.recorded(rows)
    assert known.low is not None
    assert known.high is not None
    assert (known.low.shape, known.line.shape, known.high.shape) == (2.0, 3.0, 6.0)


def test_a_cost_too_small_to_be_seen_is_none_and_not_less() -> None:
    (known,) = advice.recorded([row("torch", t, 1e-3 * t - 1e-3) for t in (10, 50, 90)])
    assert known.fit.line.fixed < 0
    assert known.line.fixed == 0


def test_of_shapes_as_near_the_one_with_the_most_backends_answers() -> None:
    few = section({"torch": line(1e-3, 1e-3)})
    many = section({"torch": line(1e-3, 1e-3), "while_loop": line(1e-3, 1e-3)})
    assert found(a_question(), few, many).section is many
    assert found(a_question(), many, few).section is many


SMALL = st.floats(0.1, 10)


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=12).map(np.array),
    st.tuples(SMALL, SMALL, SMALL, SMALL, SMALL, SMALL),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_no_line_within_the_bounds_loses_more_than_the_bound(
    lengths: Lengths, bounds: tuple[float, ...], where: tuple[float, float, float]
) -> None:
    pairs = [sorted(bounds[k : k + 2]) for k in (0, 2, 4)]
    low, high = (BatchCost(*(pair[side] for pair in pairs)) for side in (0, 1))
    middle = BatchCost(*(sum(pair) / 2 for pair in pairs))
    question = BatchingQuery(lengths, 3, 64, most=4)
    chosen = min(every(lengths, 3, middle, 4), key=lambda plan: plan.cost(middle))
    bound = regret(chosen, question, low, high, plans.fixed(lengths, 3, 4))
    true = BatchCost(
        *(pair[0] + part * (pair[1] - pair[0]) for pair, part in zip(pairs, where, strict=True))
    )
    best = min(plan.cost(true) for plan in every(lengths, 3, true, 4))
    assert chosen.cost(true) <= best * (1 + bound) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("low", "high", "worst"),
    [
        # Two buckets make one batch more: where batches cost more than timesteps they lose.
        (BatchCost(1, 1), BatchCost(20, 1), 102 / 90 - 1),
        (BatchCost(20, 1), BatchCost(20, 10), 102 / 90 - 1),
        (BatchCost(1, 1, 0), BatchCost(1, 1, 20), (26 + 40) / (33 + 20) - 1),
        (BatchCost(1, 1), BatchCost(2, 1), 0),
    ],
)
def test_the_bound_is_what_is_lost_in_the_worst_corner(
    low: BatchCost, high: BatchCost, worst: float
) -> None:
    lengths = np.tile([10, 1], 9)  # any batch as they come has a long one
    chosen = plans.bucketed(lengths, 8, [1, 10], "two")
    question = BatchingQuery(lengths, 8, 64, most=2)
    static = plans.fixed(lengths, 8, 2)
    assert regret(chosen, question, low, high, static) == pytest.approx(worst)
