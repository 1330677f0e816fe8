"""Test the study of nodes: its worlds and its promised rates."""

import numpy as np
import pytest

from bench.stats.comparison import Verdict
from research.nodes import NODES, WORLDS, coverage_rate, draw, means, pool_means
from research.rules import rate, verdicts

TRIALS = 2_000
DIFFERENT = (Verdict.FASTER, Verdict.SLOWER)


@pytest.mark.parametrize("name", WORLDS)
def test_world_has_the_stated_spread(name: str) -> None:
    world = WORLDS[name]
    logs = draw(world, 5, 4000)
    assert [node.shape for node in logs] == [(4000, world.size(each)) for each in range(5)]
    if world.bad or world.tails:
        return
    within = [np.std(node, axis=1, ddof=1) for node in logs if node.shape[1] > 2]
    for each in within:
        assert np.sqrt(np.mean(each**2)) == pytest.approx(world.processes, rel=0.1)
    whole = np.std(logs[0][:, 0])
    assert whole == pytest.approx(np.hypot(world.nodes, world.processes), rel=0.1)


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("name", WORLDS)
def test_interval_of_a_time_has_its_coverage(name: str, nodes: int) -> None:
    """The standard error of 95% over ``TRIALS`` trials is 0.5%."""
    assert coverage_rate(draw(WORLDS[name], nodes, TRIALS)) >= 0.925


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("name", WORLDS)
def test_false_rates_of_equals_are_low_on_any_number_of_nodes(name: str, nodes: int) -> None:
    found = means(draw(WORLDS[name], nodes, TRIALS))
    # 1% is promised; 2.5% of 2,000 is seven standard errors above that.
    assert rate(verdicts(found), *DIFFERENT) <= 0.025


def test_pooled_nodes_would_call_equals_different() -> None:
    logs = draw(WORLDS["nodes 5%, processes 5%"], 5, TRIALS)
    assert rate(verdicts(pool_means(logs)), *DIFFERENT) > 0.1
    assert rate(verdicts(means(logs)), *DIFFERENT) < 0.02
