"""The study of change points: its worlds are what they say, and the promises hold in them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats.change_points import Scope, movements
from research import changes
from research.changes import (
    BEFORE,
    EFFECTS,
    NAMES,
    OUTSIDE,
    WORLDS,
    World,
    exchanged,
    missing,
    wandering,
)
from tests.research.documented import assert_same


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", [*WORLDS, *OUTSIDE])
def test_a_world_draws_a_history_of_every_case(name: str) -> None:
    logs = {**WORLDS, **OUTSIDE}[name].draw(rng(), 30)
    assert logs.shape == (len(NAMES), 30)
    assert np.isfinite(logs).any(axis=1).all()


def test_the_luck_of_a_session_is_common_to_its_cases() -> None:
    quiet = World(noise=lambda rng, shape: np.zeros(shape)).draw(rng(), 30)
    apart = quiet - quiet[:, :1]
    assert np.allclose(apart, apart[0])
    assert np.std(apart[0]) > 0.01


@pytest.mark.parametrize("unequal", [False, True])
def test_a_machine_that_wanders_resembles_itself_and_less_after_a_pause(unequal: bool) -> None:
    luck = np.array([wandering(0.8, unequal)(rng(seed), 60) for seed in range(300)])
    alike = np.mean(luck[:, 1:] * luck[:, :-1]) / np.mean(luck**2)
    # After k nights, geometric with 0.4, 0.8**k is 0.62 in the mean.
    assert alike == pytest.approx(0.62 if unequal else 0.8, abs=0.04)


def test_changes_of_a_world_are_what_they_are_called() -> None:
    logs = np.zeros((len(NAMES), 30))
    exchanged(rng(), logs)
    assert np.all(logs[:, :15] == 0)
    assert np.all((logs[:, 15:] <= -0.1) & (logs[:, 15:] >= -0.3))
    logs = np.zeros((len(NAMES), 30))
    missing(rng(), logs)
    assert np.isnan(logs).mean() == pytest.approx(0.36, abs=0.08)
    assert np.isnan(logs[0, :10]).all()


@pytest.mark.parametrize("name", ["as measured", "a third is missing", "restless machine, 10%"])
def test_in_a_history_without_a_change_hardly_any_is_found(name: str) -> None:
    """One in a hundred is promised; of 20 histories at most one."""
    draws = rng(5)
    found = [movements(WORLDS[name].draw(draws, 20), NAMES) for _ in range(20)]
    assert sum(map(bool, found)) <= 1


def test_another_machine_is_not_taken_for_changes_of_backends() -> None:
    draws = rng(6)
    world = WORLDS["another machine from the middle on"]
    found = [movements(world.draw(draws, 30), NAMES) for _ in range(4)]
    assert all(each[0].scope is Scope.ALL for each in found)


@pytest.mark.parametrize("name", EFFECTS)
def test_a_true_change_is_found_and_called_what_it_is(name: str) -> None:
    effect = EFFECTS[name]
    assert changes._found(effect, 0.20, 7, trials=5) >= 0.8
    assert BEFORE == 30


def test_the_tables_have_a_row_for_every_world_and_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LENGTHS", (12,))
    monkeypatch.setattr(changes, "NIGHTS", (12,))
    monkeypatch.setattr(changes, "AFTER", (3,))
    made = changes.tables(1)
    assert len(made["False changes"].lines) == len(WORLDS) + len(OUTSIDE)
    assert len(made["Found changes"].lines) == 3 * len(EFFECTS)


@pytest.mark.slow
def test_the_tables_are_those_of_the_documentation() -> None:
    # Another processor may turn a comparison at the edge: that of one history in fifty.
    for sheet in changes.tables(changes.TRIALS).values():
        assert_same(sheet, within=2.01)
