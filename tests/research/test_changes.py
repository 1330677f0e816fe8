"""Test the study of change points: its worlds and its promised rates."""

import numpy as np
import pytest

from bench.stats.change_points import Scope, change_events
from research import changes
from research.changes import BEFORE, EFFECTS, NAMES, OUTSIDE, WORLDS


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", ["as measured", "a third is missing", "restless machine, 10%"])
def test_false_rate_of_a_history_without_a_change_is_low(name: str) -> None:
    """One in a hundred is promised; of 20 histories at most one."""
    draws = rng(5)
    found = [change_events(WORLDS[name].draw(draws, 20), NAMES) for _ in range(20)]
    assert sum(map(bool, found)) <= 1


def test_change_of_machine_is_no_change_of_backends() -> None:
    draws = rng(6)
    world = WORLDS["another machine from the middle on"]
    found = [change_events(world.draw(draws, 30), NAMES) for _ in range(4)]
    assert all(each[0].scope is Scope.ALL for each in found)


@pytest.mark.parametrize("name", EFFECTS)
def test_true_change_is_found_and_named(name: str) -> None:
    effect = EFFECTS[name]
    assert changes._detection_rate(effect, 0.20, 7, trials=5) >= 0.8
    assert BEFORE == 30


def test_tables_have_a_row_for_each_world_and_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LENGTHS", (12,))
    monkeypatch.setattr(changes, "NIGHTS", (12,))
    monkeypatch.setattr(changes, "AFTER", (3,))
    monkeypatch.setattr(changes, "DRIFTS", (20,))
    made = changes.tables(1)
    assert len(made["False changes"].lines) == len(WORLDS) + len(OUTSIDE)
    assert len(made["Found changes"].lines) == 3 * len(EFFECTS)
    assert len(made["Found drifts"].lines) == 2
