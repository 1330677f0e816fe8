"""Times and means over nodes: what their intervals stand on, and that they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bench.render.messages import basis_text
from bench.stats.intervals import (
    ALONE,
    LEAST_SPREAD,
    MOST_SPREAD,
    RATIO_ALLOWANCE,
    TIME_ALLOWANCE,
    Estimates,
    case_interval,
    means_over_nodes,
    node_intervals,
    pooled_spread,
    spread_between,
)

logs = st.floats(min_value=-3, max_value=3)


def runs(nodes: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    """A process for each log median."""
    return [(node, [math.exp(log)]) for node, all_logs in nodes.items() for log in all_logs]


def test_without_nodes_an_interval_is_that_of_the_processes_to_the_last_digit() -> None:
    samples = [[1.0, 1.1, 1.3], [1.2, 0.9], [1.05]]
    (found,) = node_intervals([[("", each) for each in samples]])
    assert found == case_interval(samples)


def test_one_node_says_nothing_of_others() -> None:
    (found,) = node_intervals([runs({"a": [0.0, 0.1, 0.2]})])
    plain = case_interval([[math.exp(each)] for each in (0.0, 0.1, 0.2)])
    assert (found.low, found.mid, found.high) == (plain.low, plain.mid, plain.high)
    assert (found.nodes, found.between) == (1, None)
    assert "how nodes differ is not included" in basis_text(found.basis)


def test_a_node_counts_once_however_many_processes_it_has() -> None:
    (few,) = node_intervals([runs({"a": [0.0], "b": [0.1], "c": [0.2]})])
    (many,) = node_intervals([runs({"a": [0.0] * 50, "b": [0.1], "c": [0.2]})])
    assert few.mid == many.mid == pytest.approx(math.exp(0.1))
    assert few.nodes == many.nodes == 3
    assert (few.processes, many.processes) == (3, 52)


def test_a_hundred_processes_on_two_nodes_know_two_nodes() -> None:
    (found,) = node_intervals([runs({"a": [0.0] * 50, "b": [0.01] * 50})])
    assert found.half_width > 0.1
    assert found.allowance == LEAST_SPREAD
    assert basis_text(found.basis).startswith("2 nodes, 100 processes: t-interval")


def test_with_six_nodes_the_bounds_are_their_medians() -> None:
    (found,) = node_intervals([runs({str(place): [0.1 * place] * 3 for place in range(6)})])
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(math.exp(0.5))
    assert found.allowance is None
    assert (
        basis_text(found.basis) == "6 nodes, 18 processes: order statistics of the nodes' medians"
    )


@given(st.lists(st.lists(logs, min_size=1, max_size=4), min_size=2, max_size=8), logs)
def test_an_interval_holds_its_middle_and_follows_the_unit(
    nodes: list[list[float]], unit: float
) -> None:
    named = {str(place): each for place, each in enumerate(nodes)}
    (found,) = node_intervals([runs(named)])
    assert found.low <= found.mid * (1 + 1e-12)
    assert found.mid <= found.high * (1 + 1e-12)
    (scaled,) = node_intervals(
        [runs({node: [log + unit for log in all_] for node, all_ in named.items()})]
    )
    assert scaled.mid == pytest.approx(found.mid * math.exp(unit), rel=1e-9)
    assert scaled.half_width == pytest.approx(found.half_width, rel=1e-6, abs=1e-9)


def test_what_nodes_differ_by_is_told_apart_from_what_processes_do() -> None:
    rng = np.random.default_rng(3)
    nodes = {
        str(place): list(luck + 0.05 * rng.standard_normal(20))
        for place, luck in enumerate(0.20 * rng.standard_normal(40))
    }
    (found,) = node_intervals([runs(nodes)])
    assert found.within == pytest.approx(0.05, rel=0.1)
    assert found.between == pytest.approx(0.20, rel=0.25)
    alike = {node: list(0.05 * rng.standard_normal(20)) for node in nodes}
    (found,) = node_intervals([runs(alike)])
    assert found.between is not None
    assert found.between < 0.01


def test_of_one_process_each_nobody_knows_what_nodes_differ_by() -> None:
    (found,) = node_intervals([runs({"a": [0.0], "b": [0.3]})])
    assert (found.between, found.within) == (None, None)
    assert spread_between(np.array([0.0, 0.3]), None) is None
    assert pooled_spread([None, None], [1, 1]) is None
    assert pooled_spread([None, 0.1], [1, 4]) == pytest.approx(0.1)


def test_of_two_that_are_far_apart_the_interval_is_no_wider_than_any_spread_asks_for() -> None:
    (found,) = node_intervals([runs({"a": [0.0], "b": [0.28]})])
    # Of one process each nobody knows how far processes spread: as far as any did.
    most = math.hypot(TIME_ALLOWANCE, MOST_SPREAD)
    half = special.ndtri(0.995) * most / math.sqrt(2)
    assert math.log(found.high) == pytest.approx(0.14 + half)
    assert math.log(found.low) == pytest.approx(0.14 - half)
    (near,) = node_intervals([runs({"a": [0.0], "b": [0.01]})])
    assert math.log(near.high) == pytest.approx(
        0.005 + special.stdtrit(1, 0.975) * LEAST_SPREAD / math.sqrt(2)
    )


# Means over nodes


def means(middles: list[float], error: float = 0.01) -> tuple[float, float, float]:
    """Middle and bounds."""
    each = np.array([middles])
    of_nodes = Estimates(each, np.full_like(each, error), np.full_like(each, 5.0))
    found = means_over_nodes(of_nodes, RATIO_ALLOWANCE)
    low, high = found.bounds()
    return float(found.middles[0]), float(low[0]), float(high[0])


@given(st.lists(logs, min_size=2, max_size=10), st.randoms())
def test_no_node_is_left_out_and_their_order_does_not_matter(
    middles: list[float], shuffle: object
) -> None:
    middle, low, high = means(middles)
    assert middle == pytest.approx(np.mean(middles), abs=1e-9)
    assert low <= middle <= high
    shuffle.shuffle(middles)  # type: ignore[attr-defined]
    assert means(middles) == (middle, low, high)


@given(st.lists(logs, min_size=6, max_size=12), st.floats(min_value=0, max_value=0.5))
def test_from_six_nodes_on_it_is_no_narrower_than_student_s(
    middles: list[float], error: float
) -> None:
    from scipy import special

    _, low, high = means(middles, error)
    count = len(middles)
    plain = special.stdtrit(count - 1, 0.9975) * np.std(middles, ddof=1) / math.sqrt(count)
    assert high - low >= 2 * plain * (1 - 1e-9)


def test_two_nodes_that_agree_are_not_believed_at_once() -> None:
    _, low, high = means([0.0, 0.0])
    assert high - low > 2 * 0.08
    _, low, high = means([0.0] * 10)
    assert high - low < 2 * 0.02


def test_one_node_is_allowed_what_one_can_be_off_by() -> None:
    of_node = Estimates(np.array([[0.2]]), np.array([[0.01]]), np.array([[5.0]]))
    found = means_over_nodes(of_node, RATIO_ALLOWANCE)
    assert found.middles[0] == 0.2
    assert found.errors[0] == pytest.approx(math.hypot(0.01, ALONE * RATIO_ALLOWANCE))
    assert np.isnan(found.spreads[0])


def test_bounds_that_no_number_holds_are_infinite_and_no_error() -> None:
    (found,) = node_intervals([[("a", [1e-300]), ("b", [1e300])]])
    assert found.low == 0.0
    assert math.isinf(found.high)
