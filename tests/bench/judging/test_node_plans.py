"""Whether more nodes or more processes help: by the rule that judges them."""

from __future__ import annotations

import math

import pytest

from bench.judging.node_plans import MOST_NODES, findable, plan


def test_more_of_either_finds_less() -> None:
    by_nodes = [findable(nodes, 6, 0.03, 0.05) for nodes in (1, 2, 3, 5, 8, 20, 50)]
    assert by_nodes == sorted(by_nodes, reverse=True)
    by_processes = [findable(8, processes, 0.03, 0.05) for processes in (6, 10, 30, 100)]
    assert by_processes == sorted(by_processes, reverse=True)


def test_where_nodes_differ_more_processes_do_not_help() -> None:
    found = plan(0.05, 6, 6, between=0.05, within=0.03)
    assert found.processes is None
    assert found.nodes is not None
    assert findable(found.nodes, 6, 0.05, 0.03) <= math.log(1.05)
    assert findable(found.nodes - 1, 6, 0.05, 0.03) > math.log(1.05)


def test_where_processes_differ_both_help() -> None:
    found = plan(0.05, 6, 2, between=0.0, within=0.10)
    assert found.processes is not None
    assert 2 < found.processes < 100
    assert found.nodes is not None
    assert found.nodes > 6


def test_what_is_there_may_be_enough_and_may_never_be() -> None:
    assert plan(0.5, 10, 6, 0.01, 0.03).nodes == 10
    assert plan(0.5, 10, 6, 0.01, 0.03).processes == 6
    never = plan(0.01, 3, 6, 0.3, 0.03)
    assert (never.nodes, never.processes) == (None, None)
    assert MOST_NODES == 50


@pytest.mark.parametrize("within", [0.0, 1e-6])
def test_what_does_not_spread_at_all_is_no_error(within: float) -> None:
    assert 0 < findable(3, 1, 0.0, within) < 1
