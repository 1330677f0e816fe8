"""Outlying nodes, in all cases or in one backend."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from bench.stats.outliers import FEWEST_NODES, outliers, outlying_times, p_outlying
from bench.stats.rows import Row, build
from research.nodes import WORLDS, World, report
from tests.bench.made_nodes import a_case, fleet, results

TIMES = {a_case(name, batch): 1.0 for name in ("keras", "loop", "scan") for batch in (1, 2, 4)}
FIVE = {"a": 0.01, "b": -0.02, "c": 0.0, "d": 0.02, "e": -0.01}


def rows(effect: Mapping[str, float], **facts: object) -> Sequence[Row]:
    (section,) = build(results(*fleet(effect, TIMES, **facts))).sections  # type: ignore[arg-type]
    return section.rows


def test_outlying_node_in_all_cases_is_named_once() -> None:
    (found,) = outliers(rows(FIVE | {"bad": math.log(1.31)}))
    assert (found.node, found.device, found.backend) == ("id of bad", "cpu", "")
    assert found.factor == pytest.approx(1.31, abs=0.03)
    assert (found.others, found.beyond, found.cases) == (5, 9, 9)


def test_outlying_backend_of_a_node_is_named() -> None:
    (found,) = outliers(rows(FIVE, moved={("c", "scan"): math.log(1.4)}))
    assert (found.node, found.backend, found.cases) == ("id of c", "scan", 3)
    assert found.factor == pytest.approx(1.4, abs=0.05)


def test_outlying_of_two_nodes_is_none() -> None:
    assert outliers(rows({"a": 0.0, "b": 2.0})) == []
    assert len(outliers(rows({"a": 0.0, "b": 0.01, "c": 2.0}))) == 1


def test_outlying_small_difference_is_not_named() -> None:
    equal = {str(place): 0.0 for place in range(40)}
    assert outliers(rows(equal | {"bad": 0.04}, spread=0.0005, own=0.0005)) == []


def test_outlying_device_of_a_node_is_named() -> None:
    both = {a_case("keras", batch, device): 1.0 for batch in (1, 2) for device in ("cpu", "gpu:0")}
    items = fleet(FIVE, both)
    slow = fleet({"bad": 0.0}, {case: 1.0 for case in both if case.device == "cpu"}, seed=2)
    slow += fleet({"bad": 0.5}, {case: 1.0 for case in both if case.device == "gpu:0"}, seed=3)
    (found,) = outliers(build(results(*items, *slow)).sections[0].rows)
    assert (found.node, found.device) == ("id of bad", "gpu:0")


def test_outlying_node_of_other_cases_is_not_judged() -> None:
    alone = fleet({"z": 3.0}, {a_case("keras", 64): 1.0})
    found = build(results(*fleet(FIVE, TIMES), *alone)).sections[0].rows
    assert outliers(found) == []


def test_outlying_node_of_one_process_must_be_far() -> None:
    assert outliers(rows(FIVE | {"bad": 0.3}, processes=1)) == []
    (found,) = outliers(rows(FIVE | {"bad": 1.5}, processes=1))
    assert found.node == "id of bad"


LOGS = st.floats(-1, 1).map(lambda value: round(value, 9))  # of times as they are measured


@given(st.lists(LOGS, min_size=FEWEST_NODES, max_size=12), st.floats(min_value=-5, max_value=5))
def test_p_values_depend_on_differences_only(values: list[float], moved: float) -> None:
    own = np.full(len(values), 0.001)
    p = p_outlying(np.array(values), own)
    assert np.all((p >= 0) & (p <= 1))
    assert p_outlying(np.array(values) + moved, own) == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert p_outlying(-np.array(values), own) == pytest.approx(p, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("nodes", [3, 10])
@pytest.mark.parametrize("world", ["nodes 2%, processes 5%", "nodes 5%, unbalanced"])
def test_false_rate_of_equal_nodes_is_low(world: str, nodes: int) -> None:
    rng = np.random.default_rng(7)
    named = sum(bool(outlying_times(report(WORLDS[world], nodes, rng))) for _ in range(200))
    # At 0.5%, six of 200 happen once in ten thousand.
    assert named <= 5


def test_power_finds_a_slow_node_of_five() -> None:
    rng = np.random.default_rng(8)
    found = [outlying_times(report(World(0.02), 5, rng, moved=0.6)) for _ in range(100)]
    named = [{(each.node, each.backend) for each in outliers} for outliers in found]
    assert sum(("0", "") in each for each in named) >= 90


def test_p_outlying_without_allowance_is_students_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.stats.outliers.RATIO_ALLOWANCE", 0.0)
    values, nothing = np.random.default_rng(9).normal(0, 0.1, 6), np.zeros(6)
    found = p_outlying(values, nothing)
    for place, value in enumerate(values):
        others = np.delete(values, place)
        assert found[place] == pytest.approx(ttest_ind([value], others).pvalue, rel=1e-9)
