"""Fleets that are played: whatever happens to machines, every case gets its processes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.session.loop import Fleet
from bench.session.played import World
from bench.session.simulated import Game, play

WORLDS = st.builds(
    World,
    machines=st.integers(1, 12),
    kinds=st.integers(1, 3),
    groups=st.integers(1, 5),
    backends=st.integers(1, 3),
    processes=st.integers(1, 7) | st.none(),
    failures=st.sampled_from([0.0, 1.0, 5.0]),
    preemptions=st.sampled_from([0.0, 5.0, 30.0]),
    late=st.sampled_from([0.0, 0.5, 1.0]),
    slow=st.sampled_from([0.0, 0.5]),
    culprits=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**32),
)


# The clock of the game once went past the next process of a machine that had just ended one.
FREED = World(
    machines=3, kinds=2, groups=1, backends=1, processes=2, failures=1.0, preemptions=30.0, late=1.0
)


@settings(max_examples=25)
@given(WORLDS)
@example(FREED)
def test_whatever_happens_every_case_gets_its_processes_and_nothing_is_lost(world: World) -> None:
    assert play(world).broken == []


@settings(max_examples=10)
@given(WORLDS, st.sampled_from([1.0, 60.0, 600.0]))
def test_a_budget_ends_it_and_where_nothing_is_replaced_it_ends_too(
    world: World, budget: float
) -> None:
    played = play(replace(world, budget=budget, replaced=False))
    assert played.broken == []
    assert played.seconds <= budget + 700.0  # machines come for ten minutes, and are waited for


def test_a_fleet_that_lost_all_its_machines_says_what_it_kept() -> None:
    game = Game(World(machines=2, preemptions=100.0, replaced=False, groups=20))
    fleet = Fleet(game, game.manager, game.post, game.tell, lambda: game.time, game.sleep)
    fleet.run()
    (manager,) = fleet.managers.values()
    assert not manager.schedule.finished
    assert sum(map(len, manager.schedule.medians.values())) == sum(game.counts.values())
    assert sum("is lost" in told for told in game.told) == 2


def test_a_machine_that_is_gone_at_its_first_look_was_there_too() -> None:
    game = Game(World(machines=5, kinds=2, groups=1, backends=1, processes=2, replaced=False))
    times = {"node0": (0.0, 15.0), "node2": (70.0, 70.0), "node4": (125.0, math.inf)}
    for machine in game.coming:  # those of the other kind come and end between
        machine.came, machine.gone = times.get(machine.member.name, (80.0, math.inf))
    fleet = Fleet(game, game.manager, game.post, game.tell, lambda: game.time, game.sleep)
    fleet.run()
    assert all(manager.schedule.finished for manager in fleet.managers.values())
    assert sum("is lost" in told for told in game.told) == 2


def test_replicates_come_from_as_many_machines_as_there_are() -> None:
    game = Game(World(machines=6, groups=6, backends=2, processes=6))
    Fleet(game, game.manager, game.post, game.tell, lambda: game.time, game.sleep).run()
    assert min(map(len, game.places.values())) >= 5


def test_twice_the_machines_take_about_half_the_time() -> None:
    world = World(groups=40, backends=3, processes=6)
    times = [play(replace(world, machines=machines)).seconds for machines in (4, 8, 16)]
    assert times[0] > 1.7 * times[1] > 1.7 * 1.7 * times[2]


def test_slow_machines_do_not_hold_up_the_others() -> None:
    world = World(machines=20, groups=40, backends=3, processes=6)
    assert play(replace(world, slow=0.1)).seconds < 2.0 * play(world).seconds


def test_an_interrupted_fleet_keeps_what_came_and_leaves_no_process() -> None:
    game = Game(World(machines=5, groups=10))

    def sleep(seconds: float) -> None:
        game.sleep(seconds)
        if game.time > 40.0:
            raise KeyboardInterrupt

    fleet = Fleet(game, game.manager, game.post, game.tell, lambda: game.time, sleep)
    with pytest.raises(KeyboardInterrupt):
        fleet.run()
    kept = sum(len(file.measurements) for files in game.files.values() for file in files)
    assert kept == sum(game.counts.values()) > 0
    (manager,) = fleet.managers.values()
    assert not any(manager.schedule.flights.of((), case.id) for case in game.cases)
    assert not any(machine.worker for machine in game._here.values())
