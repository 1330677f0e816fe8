"""Test the race on a fake clock: winners, early leavers, and busy machines."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl.call import Step
from lstm_impl.tuning.race import FIRST_LOOK, EntrantResult, fastest, race, ratio


class World:
    """A clock that only steps advance."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def step(self, duration: Callable[[], float], first: float = 0.0) -> Step:
        firsts = iter([first])

        def run() -> None:
            self.time += duration() + next(firsts, 0.0)

        return Step(run, lambda: None, lambda: None)

    def always(self, seconds: float, first: float = 0.0) -> Step:
        return self.step(lambda: seconds, first)


def test_race_fastest_wins_and_far_slower_leave_early() -> None:
    world = World()
    steps = {"slow": world.always(0.1), "fast": world.always(0.01), "near": world.always(0.0101)}
    ran = race(steps, 20.0, now=world.now)
    assert fastest({name: each.blocks for name, each in ran.items()}) == "fast"
    assert len(ran["slow"].blocks) == FIRST_LOOK
    assert len(ran["near"].blocks) == len(ran["fast"].blocks) > FIRST_LOOK
    assert ratio(ran["slow"].blocks, ran["fast"].blocks).mid == pytest.approx(10.0)


def test_race_after_a_pause_makes_an_untimed_call() -> None:
    world = World()
    asleep = False

    def rest() -> None:
        nonlocal asleep
        asleep = True

    def duration() -> float:
        nonlocal asleep
        took, asleep = (0.048 if asleep else 0.03), False
        return took

    ran = race({"a": world.step(duration), "b": world.always(0.04)}, 5.0, now=world.now, rest=rest)
    assert set(np.round(ran["a"].blocks, 9)) == {0.03}
    # A long call has none, which would double the time.
    world = World()
    race({"a": world.always(1.0)}, 0.0, now=world.now, rest=lambda: None)
    assert world.time == 2 + FIRST_LOOK


def test_race_budget_has_first_calls_and_late_entrants_are_named() -> None:
    world = World()
    steps = {"a": world.always(0.01, first=30.0), "b": world.always(0.001)}
    ran = race(steps, 20.0, now=world.now)
    assert ran["a"].first == pytest.approx(30.01)
    assert len(ran["a"].blocks) == FIRST_LOOK
    assert "no time was left" in ran["b"].problem


def _busy(rng: random.Random, level: float) -> Iterator[float]:
    """Return slowdowns of a busy machine from call to call: drift, bursts and rare long stops."""
    drift, burst = 0.0, 0
    while True:
        drift = 0.98 * drift + rng.gauss(0.0, 0.05 * level)
        burst = rng.randrange(5, 40) if rng.random() < 0.01 * level else max(0, burst - 1)
        stop = 20.0 * level if rng.random() < 0.002 else 0.0
        yield max(0.5, 1.0 + abs(rng.gauss(0.0, 0.03 * level)) + drift + stop + bool(burst) * level)


@pytest.mark.parametrize("level", [0.3, 1.0])
@pytest.mark.parametrize("races", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_race_on_a_busy_machine_is_seldom_over_3_percent_off(level: float, races: int) -> None:
    lost = 0
    for seed in range(races):
        rng = random.Random(seed)
        world, noise = World(), _busy(rng, level)
        true = {name: 0.004 * rng.uniform(1.0, 1.3) for name in "abcde"}
        steps = {
            name: world.step(partial(lambda mean, noise: mean * next(noise), mean, noise))
            for name, mean in true.items()
        }
        ran = race(steps, 10.0, seed, world.now)
        chosen = fastest({name: each.blocks for name, each in ran.items()})
        lost += true[chosen] > 1.03 * min(true.values())
    assert lost <= races // 20  # five in a hundred


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=300), st.floats(1e-6, 1e3))
def test_ratio_is_inside_its_interval_in_any_unit(blocks: list[float], unit: float) -> None:
    found = ratio([each * unit for each in blocks], [unit] * len(blocks))
    assert found.low <= found.mid <= found.high
    assert found.mid == pytest.approx(float(np.median(blocks)))


@pytest.mark.parametrize("rounds", [1, FIRST_LOOK, 7])
def test_race_failing_entrant_has_its_reason_in_any_round(rounds: int) -> None:
    world = World()
    calls = iter(range(100))

    def breaks() -> float:
        # Two calls come before the first round, and a call fills a block.
        if next(calls) == 1 + rounds:
            raise RuntimeError("broke\nwith a long trace")
        return 0.05

    def at_once() -> float:
        raise ValueError

    ran = race({"a": world.step(breaks)}, 10.0, now=world.now)
    assert ran == {"a": EntrantResult(problem="RuntimeError: broke")}
    calls = iter(range(100))
    steps = {"a": world.step(breaks), "b": world.always(0.05), "c": world.step(at_once)}
    ran = race(steps, 10.0, now=world.now)
    assert ran["a"] == EntrantResult(problem="RuntimeError: broke")
    assert len(ran["b"].blocks) >= FIRST_LOOK
    assert ran["c"] == EntrantResult(problem="ValueError")


def test_race_rounds_are_interleaved_in_random_order() -> None:
    world, turns, restarted = World(), list[str](), list[str]()

    def entrant(name: str) -> Step:
        def run() -> None:
            turns.append(name)
            world.time += 0.05

        return Step(run, lambda: None, lambda: None, restart=lambda: restarted.append(name))

    ran = race({name: entrant(name) for name in "abc"}, 2.0, now=world.now)
    assert {len(each.blocks) for each in ran.values()} == {12}
    blocks = turns[6:]  # two calls of each come before the race; one call fills a block
    assert restarted == blocks
    rounds = ["".join(blocks[k : k + 3]) for k in range(0, len(blocks), 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 3
