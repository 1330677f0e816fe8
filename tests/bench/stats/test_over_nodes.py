"""Intervals of times and of ratios over nodes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bench.render.messages import basis_text
from bench.stats import intervals
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.ratios import RunSamples, compare, geometric_mean

logs = st.floats(min_value=-3, max_value=3)


def runs(nodes: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    return [(node, [math.exp(log)]) for node, all_logs in nodes.items() for log in all_logs]


def test_interval_of_one_node_is_not_over_nodes() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0, 0.1, 0.2]})])
    plain = intervals.case_interval([[math.exp(each)] for each in (0.0, 0.1, 0.2)])
    assert (found.low, found.mid, found.high) == (plain.low, plain.mid, plain.high)
    assert (found.nodes, found.between) == (1, None)
    assert "how nodes differ is not included" in basis_text(found.basis)


def test_node_counts_once_for_any_number_of_processes() -> None:
    (few,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.1], "c": [0.2]})])
    (many,) = intervals.case_intervals([runs({"a": [0.0] * 50, "b": [0.1], "c": [0.2]})])
    assert few.mid == many.mid == pytest.approx(math.exp(0.1))
    assert few.nodes == many.nodes == 3
    assert (few.processes, many.processes) == (3, 52)


@given(st.lists(st.lists(logs, min_size=1, max_size=4), min_size=2, max_size=8), logs)
def test_interval_over_nodes_has_its_middle_in_any_unit(
    nodes: list[list[float]], unit: float
) -> None:
    named = {str(place): each for place, each in enumerate(nodes)}
    (found,) = intervals.case_intervals([runs(named)])
    assert found.low <= found.mid * (1 + 1e-12)
    assert found.mid <= found.high * (1 + 1e-12)
    (scaled,) = intervals.case_intervals(
        [runs({node: [log + unit for log in all_] for node, all_ in named.items()})]
    )
    assert scaled.mid == pytest.approx(found.mid * math.exp(unit), rel=1e-9)
    assert scaled.half_width == pytest.approx(found.half_width, rel=1e-6, abs=1e-9)


def test_variance_between_nodes_is_separated_from_processes() -> None:
    rng = np.random.default_rng(3)
    nodes = {
        str(place): list(effect + 0.05 * rng.standard_normal(20))
        for place, effect in enumerate(0.20 * rng.standard_normal(40))
    }
    (found,) = intervals.case_intervals([runs(nodes)])
    assert found.within == pytest.approx(0.05, rel=0.1)
    assert found.between == pytest.approx(0.20, rel=0.25)
    alike = {node: list(0.05 * rng.standard_normal(20)) for node in nodes}
    (found,) = intervals.case_intervals([runs(alike)])
    assert found.between is not None
    assert found.between < 0.01


def test_variance_between_nodes_of_one_process_is_unknown() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.3]})])
    assert (found.between, found.within) == (None, None)
    assert intervals.spread_between(np.array([0.0, 0.3]), None) is None
    assert intervals.pooled_spread([None, None], [1, 1]) is None
    assert intervals.pooled_spread([None, 0.1], [1, 4]) == pytest.approx(0.1)


def test_interval_of_two_differing_nodes_is_bounded() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.28]})])
    # The spread of single processes is taken to be the largest that was seen.
    most = math.hypot(intervals.TIME_ALLOWANCE, intervals.MOST_SPREAD)
    half = special.ndtri(0.995) * most / math.sqrt(2)
    assert math.log(found.high) == pytest.approx(0.14 + half)
    assert math.log(found.low) == pytest.approx(0.14 - half)
    (near,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.01]})])
    assert math.log(near.high) == pytest.approx(
        0.005 + special.stdtrit(1, 0.975) * intervals.LEAST_SPREAD / math.sqrt(2)
    )


# Means over nodes


def means(middles: list[float], error: float = 0.01) -> tuple[float, float, float]:
    each = np.array([middles])
    of_nodes = intervals.Estimates(each, np.full_like(each, error), np.full_like(each, 5.0))
    found = intervals.means_over_nodes(of_nodes, intervals.RATIO_ALLOWANCE)
    low, high = found.bounds()
    return float(found.middles[0]), float(low[0]), float(high[0])


@given(st.lists(logs, min_size=2, max_size=10), st.randoms())
def test_interval_uses_each_node_in_any_order(middles: list[float], shuffle: object) -> None:
    middle, low, high = means(middles)
    assert middle == pytest.approx(np.mean(middles), abs=1e-9)
    assert low <= middle <= high
    shuffle.shuffle(middles)  # type: ignore[attr-defined]
    assert means(middles) == (middle, low, high)


@given(st.lists(logs, min_size=6, max_size=12), st.floats(min_value=0, max_value=0.5))
def test_interval_of_six_nodes_is_at_least_students(middles: list[float], error: float) -> None:
    from scipy import special

    _, low, high = means(middles, error)
    count = len(middles)
    plain = special.stdtrit(count - 1, 0.9975) * np.std(middles, ddof=1) / math.sqrt(count)
    assert high - low >= 2 * plain * (1 - 1e-9)


def side(
    nodes: Mapping[str, Sequence[float]], *, name: str = "", rounds: bool = True
) -> list[RunSamples]:
    """Make a process for each log median; those of one node, number and name are one process."""
    wiggle = 0.01 * np.linspace(-1, 1, 11)
    return [
        RunSamples(
            f"{name}{node}-{number}",
            np.exp(log + wiggle),
            np.arange(11) if rounds else None,
            node=node,
        )
        for node, medians in nodes.items()
        for number, log in enumerate(medians)
    ]


def shifted(
    nodes: Mapping[str, Sequence[float]], by: Mapping[str, float]
) -> dict[str, list[float]]:
    return {node: [log + by[node] for log in medians] for node, medians in nodes.items()}


NOISE = {"a": [0.0, 0.02, -0.01], "b": [0.01, 0.0, -0.02], "c": [0.0, 0.01, 0.02, 0.03]}
RATIOS = {"a": [0.50, 0.52, 0.51], "b": [0.49, 0.51, 0.50], "c": [0.52, 0.50, 0.48, 0.50]}


def ratio_of(ratios: Mapping[str, Sequence[float]], effect: Mapping[str, float]) -> Comparison:
    base = shifted(NOISE, effect)
    new = {
        node: [log + ratio for log, ratio in zip(base[node], ratios[node], strict=True)]
        for node in base
    }
    return compare(side(new), side(base))


def test_ratio_excludes_what_nodes_do_to_both_sides() -> None:
    quiet = ratio_of(RATIOS, dict.fromkeys(NOISE, 0.0))
    wild = ratio_of(RATIOS, {"a": 3.0, "b": -2.0, "c": 0.7})
    assert wild.ratio.low == pytest.approx(quiet.ratio.low)
    assert wild.ratio.high == pytest.approx(quiet.ratio.high)
    assert quiet.verdict is Verdict.SLOWER
    assert (quiet.nodes, quiet.processes, quiet.pairing) == (3, 10, Pairing.ALTERNATING)
    assert quiet.log_ratio == pytest.approx(np.mean([0.51, 0.50, 0.50]), abs=0.004)


def test_ratio_of_disagreeing_nodes_is_unclear() -> None:
    many = {"a": [0.0] * 40, "b": [0.0] * 40}
    differing = {"a": [0.3] * 40, "b": [-0.1] * 40}
    assert compare(side(differing), side(many)).verdict is Verdict.UNCLEAR
    # The verdict is firm if all processes are of one machine.
    plain = [
        [RunSamples(run.run, run.samples, run.rounds) for run in side(each)]
        for each in (differing, many)
    ]
    assert compare(*plain).verdict is Verdict.SLOWER


@given(
    st.lists(st.lists(st.tuples(logs, logs), min_size=1, max_size=3), min_size=1, max_size=7),
    st.booleans(),
)
def test_ratio_over_nodes_inverts_with_its_sides(
    nodes: list[list[tuple[float, float]]], paired: bool
) -> None:
    new = {str(place): [log for log, _ in each] for place, each in enumerate(nodes)}
    base = {str(place): [log for _, log in each] for place, each in enumerate(nodes)}
    sides = side(new, name="" if paired else "new"), side(base)
    one, other = compare(*sides), compare(*sides[::-1]).inverse
    assert one.log_ratio == pytest.approx(other.log_ratio, abs=1e-9)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-6, abs=1e-12)
    assert one.verdict == other.verdict
    assert one.by_node.keys() == other.by_node.keys()
    assert one.nodes == len(nodes)


def test_ratio_without_shared_nodes_is_wide() -> None:
    found = compare(side({"a": [0.3] * 20}), side({"b": [0.0] * 20}))
    assert (found.pairing, found.nodes, found.verdict) == (Pairing.UNPAIRED, 1, Verdict.UNCLEAR)
    assert found.log_ratio == pytest.approx(0.3)
    assert "none with both" in basis_text(found.basis)
    assert compare(side({"a": [5.0] * 20}), side({"b": [0.0] * 20})).verdict is Verdict.SLOWER


def test_ratio_uses_nodes_with_both_sides() -> None:
    new, base = RATIOS | {"d": [9.0]}, dict(NOISE) | {"e": [-9.0]}
    found = compare(side(new), side(base))
    assert (found.nodes, set(found.by_node)) == (3, {"a", "b", "c"})


def test_mean_over_cases_is_taken_within_nodes() -> None:
    effect = dict.fromkeys(NOISE, 0.0)
    cases = [
        ratio_of(RATIOS, effect),
        ratio_of(shifted(RATIOS, dict.fromkeys(RATIOS, 0.2)), effect),
    ]
    mean = geometric_mean(cases)
    assert mean.nodes == 3
    assert mean.log_ratio == pytest.approx(np.mean([each.log_ratio for each in cases]))
    assert basis_text(mean.basis).startswith("2 cases: 3 nodes, ")
    # The errors of cases of other nodes are taken as dependent.
    other = compare(side({"a": [0.4], "z": [0.5]}), side({"a": [0.0], "z": [0.0]}))
    mixed = geometric_mean([cases[0], other])
    assert mixed.nodes == 2
    assert mixed.standard_error == pytest.approx(
        np.mean([cases[0].standard_error, other.standard_error])
    )
    assert "taken to err together" in basis_text(mixed.basis)
