"""Ratios over nodes: paired in each node, and each node one number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.render.messages import basis_text
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.ratios import RunSamples, compare, compare_all, geometric_mean

logs = st.floats(min_value=-2, max_value=2)


def side(
    nodes: Mapping[str, Sequence[float]], *, name: str = "", rounds: bool = True
) -> list[RunSamples]:
    """A process for each log median; those of one node, number and name are one process."""
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


def ratio_of(ratios: Mapping[str, Sequence[float]], luck: Mapping[str, float]) -> Comparison:
    base = shifted(NOISE, luck)
    new = {
        node: [log + ratio for log, ratio in zip(base[node], ratios[node], strict=True)]
        for node in base
    }
    return compare(side(new), side(base))


def test_what_a_node_does_to_both_sides_is_no_part_of_their_ratio() -> None:
    quiet = ratio_of(RATIOS, dict.fromkeys(NOISE, 0.0))
    wild = ratio_of(RATIOS, {"a": 3.0, "b": -2.0, "c": 0.7})
    assert wild.ratio.low == pytest.approx(quiet.ratio.low)
    assert wild.ratio.high == pytest.approx(quiet.ratio.high)
    assert quiet.verdict is Verdict.SLOWER
    assert (quiet.nodes, quiet.processes, quiet.pairing) == (3, 10, Pairing.ALTERNATING)
    assert quiet.log_ratio == pytest.approx(np.mean([0.51, 0.50, 0.50]), abs=0.004)


def test_nodes_that_disagree_are_not_made_sure_by_many_processes() -> None:
    many = {"a": [0.0] * 40, "b": [0.0] * 40}
    apart = {"a": [0.3] * 40, "b": [-0.1] * 40}
    assert compare(side(apart), side(many)).verdict is Verdict.UNCLEAR
    # As if they were of one machine they would be.
    plain = [
        [RunSamples(run.run, run.samples, run.rounds) for run in side(each)]
        for each in (apart, many)
    ]
    assert compare(*plain).verdict is Verdict.SLOWER


def test_without_nodes_a_comparison_is_what_it_was() -> None:
    new, base = side({"": [0.5, 0.52, 0.47]}), side({"": [0.0, 0.01, 0.0]})
    assert compare(new, base).nodes == 0
    told = compare_all([(new, base), (side(RATIOS), side(NOISE)), (new, base)])
    assert [each.nodes for each in told] == [0, 3, 0]
    assert told[0] == told[2] == compare(new, base)


@given(
    st.lists(st.lists(st.tuples(logs, logs), min_size=1, max_size=3), min_size=1, max_size=7),
    st.booleans(),
)
def test_turned_around_it_is_its_own_inverse(
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


def test_processes_of_a_node_that_share_none_are_compared_inside_it() -> None:
    found = compare(
        side(shifted(NOISE, {"a": 3.5, "b": -1.5, "c": 1.2}), name="new"),
        side(shifted(NOISE, {"a": 3.0, "b": -2.0, "c": 0.7}), name="base"),
    )
    assert found.pairing is Pairing.UNPAIRED
    assert found.log_ratio == pytest.approx(0.5)
    assert found.nodes == 3


def test_cases_that_share_no_node_hardly_say_anything() -> None:
    found = compare(side({"a": [0.3] * 20}), side({"b": [0.0] * 20}))
    assert (found.pairing, found.nodes, found.verdict) == (Pairing.UNPAIRED, 1, Verdict.UNCLEAR)
    assert found.log_ratio == pytest.approx(0.3)
    assert "none with both" in basis_text(found.basis)
    assert compare(side({"a": [5.0] * 20}), side({"b": [0.0] * 20})).verdict is Verdict.SLOWER


def test_only_nodes_that_have_both_count() -> None:
    new, base = RATIOS | {"d": [9.0]}, dict(NOISE) | {"e": [-9.0]}
    found = compare(side(new), side(base))
    assert (found.nodes, set(found.by_node)) == (3, {"a", "b", "c"})


def test_one_node_in_common_allows_for_what_others_may_do() -> None:
    alone = compare(
        *(
            [RunSamples(run.run, run.samples, run.rounds) for run in side({"a": each["a"]})]
            for each in (RATIOS, NOISE)
        )
    )
    found = compare(side({"a": RATIOS["a"], "b": [0.0]}), side({"a": NOISE["a"], "c": [0.0]}))
    assert found.nodes == 1
    assert found.log_ratio == pytest.approx(alone.log_ratio)
    assert found.standard_error > alone.standard_error


def test_how_far_nodes_and_processes_spread_is_told_apart() -> None:
    rng = np.random.default_rng(5)
    luck = 0.15 * rng.standard_normal(40)
    new = {str(n): list(each + 0.03 * rng.standard_normal(12)) for n, each in enumerate(luck)}
    found = compare(side(new), side({node: [0.0] * 12 for node in new}))
    assert found.between == pytest.approx(0.15, rel=0.25)
    assert found.spread == pytest.approx(0.03, rel=0.15)
    assert found.allowance is None
    one_each = compare(side({"a": [0.1], "b": [0.2]}), side({"a": [0.0], "b": [0.0]}))
    assert (one_each.between, one_each.spread) == (None, None)


def test_a_mean_over_cases_is_that_of_each_node() -> None:
    luck = dict.fromkeys(NOISE, 0.0)
    cases = [ratio_of(RATIOS, luck), ratio_of(shifted(RATIOS, dict.fromkeys(RATIOS, 0.2)), luck)]
    whole = geometric_mean(cases)
    assert whole.nodes == 3
    assert whole.log_ratio == pytest.approx(np.mean([each.log_ratio for each in cases]))
    assert basis_text(whole.basis).startswith("2 cases: 3 nodes, ")
    # Cases of other nodes err together.
    other = compare(side({"a": [0.4], "z": [0.5]}), side({"a": [0.0], "z": [0.0]}))
    mixed = geometric_mean([cases[0], other])
    assert mixed.nodes == 2
    assert mixed.standard_error == pytest.approx(
        np.mean([cases[0].standard_error, other.standard_error])
    )
    assert "taken to err together" in basis_text(mixed.basis)


def test_times_beyond_every_number_make_no_error() -> None:
    found = compare(side({"a": [300.0], "b": [-300.0]}), side({"a": [0.0], "b": [0.0]}))
    assert found.verdict is Verdict.UNCLEAR
    assert math.isfinite(found.log_ratio)


def test_environments_on_the_same_nodes_are_compared_over_a_third_inside_each() -> None:
    luck = {"a": 3.0, "b": -2.0, "c": 0.7}
    new, base = side(shifted(RATIOS, luck), name="n"), side(shifted(NOISE, luck), name="b")
    ones = {node: [luck[node] + log for log in NOISE[node]] for node in NOISE}
    bridge = side(ones, name="n") + side(ones, name="b")
    found = compare(new, base, bridge)
    assert (found.pairing, found.nodes) == (Pairing.BRIDGED, 3)
    assert found.log_ratio == pytest.approx(0.5, abs=0.01)


def test_one_process_each_on_nodes_apart_shows_no_spread() -> None:
    assert compare(side({"a": [0.3]}), side({"b": [0.0]})).spread is None
    found = compare(side({"a": [0.3, 0.4]}), side({"b": [0.0, 0.2]}))
    assert found.spread == pytest.approx(np.std([0.0, 0.2], ddof=1), rel=0.01)
