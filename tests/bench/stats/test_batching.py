"""Policies of batching: their batches and costs, and which is advised from measured cases."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.cli.output import plain_text
from bench.render import recommend as shown
from bench.stats import recommend as plans
from bench.stats.intervals import case_interval
from bench.stats.ratios import RunSamples
from bench.stats.recommend import (
    Advice,
    BatchCost,
    Lengths,
    NoAdvice,
    Query,
    advise,
    bucketed,
    equal_edges,
    longest,
    optimal_edges,
)
from bench.stats.rows import MEASURED, Row, Section
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import a_run

MINE = np.array([5, 9, 12, 30, 33, 40, 80, 95, 100] * 20)
QUESTION = Query(0, 8, 64)


def row(backend: str, timesteps: int, seconds: float, once: float = 0.0, **more: Any) -> Row:
    """A case that was never measured: six processes, in which a batch takes about so long."""
    spec = LSTMSpec(16, more.pop("hidden", 64), bidirectional=more.pop("bidirectional", False))
    case = Case(backend, spec, Workload(8, timesteps, "training", **more))
    samples = [seconds * (1 + 0.01 * k) * np.linspace(0.999, 1.001, 9) for k in range(6)]
    return Row(
        case,
        MEASURED,
        runs=tuple(RunSamples(f"r{k}", each) for k, each in enumerate(samples)),
        interval=case_interval(samples),
        setup={"trace_s": once / 2, "compile_s": once / 2},
    )


def section(
    costs: dict[str, tuple[float, float]],
    once: float = 0.0,
    steps: Sequence[int] = (10, 50, 100),
    **more: Any,
) -> Section:
    """Backends with the fixed cost of a batch and that of each of its timesteps."""
    rows = [
        row(backend, timesteps, fixed + each * timesteps, once, **more)
        for backend, (fixed, each) in costs.items()
        for timesteps in steps
    ]
    return Section(tuple(a_run(k) for k in range(6)), tuple(rows), "")


def found(*sections: Section, passes: int = 1) -> Advice:
    answer = advise(QUESTION, MINE, sections, passes)
    assert isinstance(answer, Advice), answer
    return answer


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=24).map(lambda each: np.array(each))
BATCHES = st.integers(1, 6)
COSTS = st.floats(0, 10, allow_subnormal=False)
LINES = st.builds(BatchCost, COSTS, COSTS, COSTS)


def brute(lengths: Lengths, batch: int, cost: BatchCost, most: int) -> float:
    """The least steady cost of any buckets, by trying all of them."""
    different = np.unique(lengths).tolist()
    inner, top = different[:-1], different[-1]
    return min(
        bucketed(lengths, batch, [*edges, top], "tried").steady(cost)
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
    lengths: Lengths, batch: int, cost: BatchCost, most: int
) -> None:
    found = optimal_edges(lengths, batch, cost, most)
    costs = [bucketed(lengths, batch, edges, "").steady(cost) for edges in found.values()]
    assert min(costs) == pytest.approx(brute(lengths, batch, cost, most), abs=1e-9)


@given(LENGTHS, BATCHES, LINES)
def test_more_buckets_that_are_kept_cost_less_and_none_cost_more_than_equal_counts(
    lengths: Lengths, batch: int, cost: BatchCost
) -> None:
    found = optimal_edges(lengths, batch, cost, 5)
    costs = [bucketed(lengths, batch, edges, "").steady(cost) for edges in found.values()]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(costs))
    for buckets in range(1, 6):
        equal = bucketed(lengths, batch, equal_edges(lengths, buckets), "").steady(cost)
        assert min(costs) <= equal + 1e-9


@given(LENGTHS, BATCHES, LINES)
def test_every_policy_counts_batches_that_hold_all_sequences_once(
    lengths: Lengths, batch: int, cost: BatchCost
) -> None:
    edges = optimal_edges(lengths, batch, cost, 4).values()
    whole, each = longest(lengths, batch), plans.per_batch(lengths, batch)
    # As if sequences could be cut and joined to full rows.
    least = cost.fixed * whole.count + cost.per_timestep * lengths.sum() / batch
    for plan in (whole, each, *(bucketed(lengths, batch, some, "optimal") for some in edges)):
        assert plan.steady(cost) >= least - 1e-9
        assert 0 <= plan.padding < 1
        for longer in np.unique(lengths):
            rows = batch * sum(n for steps, n in plan.batches.items() if steps >= longer)
            assert rows >= np.sum(lengths >= longer)
    assert each.steady(cost) <= whole.steady(cost) + 1e-9


def test_many_different_lengths_are_near_the_optimum_and_hold_all() -> None:
    lengths = np.random.default_rng(0).integers(1, 20_000, 30_000)
    edges = optimal_edges(lengths, 32, BatchCost(1e-3, 1e-5), 3)[3]
    assert edges[-1] == lengths.max()
    # Uniform lengths: thirds of the range.
    assert np.allclose(edges[:2], (6_667, 13_333), rtol=0.02)


def test_a_backend_without_new_shape_costs_takes_buckets_and_saves_padding() -> None:
    answer = found(section({"while_loop": (1e-3, 1e-3)}))
    (only,) = answer.backends
    assert only.best.edges
    assert only.best.padding < 0.2
    assert only.line.shape == 0


def test_of_policies_that_cost_about_the_same_the_one_with_the_fewest_shapes_is_taken() -> None:
    (only,) = found(section({"while_loop": (1e-3, 1e-3)})).backends
    cheapest = min(plan.cost(only.line) for plan in only.plans)
    near = [plan for plan in only.plans if plan.cost(only.line) <= 1.02 * cheapest]
    assert len(near) > 1
    assert only.best.shapes == min(plan.shapes for plan in near)


def test_an_unknown_backend_is_taken_to_trace_each_length_again() -> None:
    assert plans.each_length_anew("somebody_else's")
    assert plans.each_length_anew("while_loop+xla")
    assert not plans.each_length_anew("while_loop")
    assert not plans.each_length_anew("torch")
    assert plans.each_length_anew("cudnn")  # its op tries its algorithms at each
    assert not plans.each_length_anew("cudnn+lengths")
    assert not plans.each_length_anew("cudnn+untuned")


def test_the_nearest_shape_answers_and_one_that_is_far_does_not() -> None:
    near, exact = (
        section({"torch": (1, 1)}, hidden=80),
        section({"torch": (1e-3, 1e-3)}),
    )
    assert found(near, exact).section is exact
    far = section({"torch": (1, 1)}, hidden=128)
    assert isinstance(advise(QUESTION, MINE, [far]), NoAdvice)


def test_where_each_new_shape_costs_much_one_is_kept_and_many_passes_pay_it_back() -> None:
    there = section({"while_loop+xla": (1e-3, 1e-3)}, once=3.0)
    (once,) = found(there).backends
    assert (once.line.shape, once.best.shapes) == (3.0, 1)
    (often,) = found(there, passes=10_000).backends
    assert often.best.shapes > 3


@pytest.mark.parametrize(
    "more",
    [
        {"mode": "inference"},
        {"device": "gpu:0"},
        {"dtype": "float64"},
        {"num_layers": 2},
    ],
)
def test_other_work_is_no_answer(more: dict[str, Any]) -> None:
    there = [section({"torch": (1e-3, 1e-3)})]
    assert advise(replace(QUESTION, **more), MINE, there) == NoAdvice()


@pytest.mark.parametrize("more", [{"steps": (10, 50)}, {"min_length": 2}, {"bidirectional": True}])
def test_two_lengths_padded_cases_and_both_directions_are_no_line(more: dict[str, Any]) -> None:
    assert advise(QUESTION, MINE, [section({"torch": (1e-3, 1e-3)}, **more)]) == NoAdvice()


def test_sequences_far_longer_than_any_measured_are_refused_with_the_command_to_measure() -> None:
    answer = advise(QUESTION, np.array([5, 201]), [section({"torch": (1e-3, 1e-3)})])
    assert answer == NoAdvice(longest=201)
    text = plain_text(shown.batching(QUESTION, answer, "bench.run lengths mine.txt").terminal)
    assert "the longest of these sequences has 201" in text
    assert text.endswith("To measure it\n  bench.run lengths mine.txt\n")


def test_the_answer_is_shown_with_what_it_stands_on_and_as_data() -> None:
    answer = found(section({"while_loop": (0.0, 1e-3)}, hidden=80))
    (only,) = answer.backends
    cost = only.best.cost(only.line)
    gain = longest(MINE, 8).cost(only.line) / cost
    text = shown.batching(QUESTION, answer, "x").markdown()
    assert text.startswith("## while_loop, ")
    assert f"{gain:.3g} times as fast as padding all to the longest" in text
    assert "padded to the batch's longest" in text
    assert "| `while_loop` |" in text
    assert "A near shape: hidden 80 for 64." in text
    assert "Modelled, not measured" in text
    data = json.loads(shown.batching_json(QUESTION, answer, "x"))
    assert data["modelled"]
    assert data["backends"][0]["policies"][0]["cost_s"] == pytest.approx(cost)
