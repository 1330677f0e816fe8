"""The loop: machines that come to nothing, that come back, and what the fleet says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.case.loading import Suite
from bench.machine.facts import MachineKind
from bench.records.schema import ResultFile
from bench.session.cluster import GRACE, ClusterMember, Fleet
from bench.session.manager import Manager
from bench.session.session import Work
from bench.session.workers import LostError
from tests.bench.session.made_fleets import Game, World, _Post, _Worker, play


class Mute(_Worker):
    """A worker that ends at once, with an error and nothing else."""

    def poll(self) -> int | None:
        return 4

    def lines(self) -> Sequence[Mapping[str, object]]:
        return []

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        self._leave()
        return None

    def last_words(self) -> str:
        return "ERROR: no such option\n"


class Partly(Game):
    """A world in which some machines cannot measure."""

    def __init__(self, world: World, broken: int) -> None:
        super().__init__(world)
        self.mute = {f"node{number}" for number in range(broken)}

    def post(self, member: ClusterMember, manager: Manager) -> _Post:
        game, machine = self, self._here[member.name]

        class Post(_Post):
            def start(self, work: Work) -> _Worker:
                if member.name not in game.mute:
                    return super().start(work)
                return Mute(game, machine, manager.session, work)

        return Post(self, machine, manager.session)


def played(game: Game) -> Fleet:
    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep)
    fleet.run()
    return fleet


def test_a_machine_whose_processes_come_to_nothing_is_left_out_and_the_others_go_on() -> None:
    game = Partly(World(machines=4, replaced=False), broken=2)
    fleet = played(game)
    (manager,) = fleet.managers.values()
    assert manager.schedule.finished
    told = [text for text in game.told if "is left out" in text]
    assert len(told) == 2
    assert all("measured nothing: ERROR: no such option" in text for text in told)
    assert set(game.counts.values()) == {6}


def test_where_all_come_to_nothing_the_fleet_ends_and_has_the_error() -> None:
    game = Partly(World(machines=3, replaced=False), broken=3)
    fleet = played(game)
    assert game.time <= GRACE + 1.0
    assert [str(error) for error in fleet.errors.values()]
    assert not game.counts


def test_a_kind_that_lost_its_last_machine_is_waited_for_and_no_longer_than_a_minute() -> None:
    game = Game(World(machines=1, preemptions=1000.0, replaced=False))
    fleet = played(game)
    (manager,) = fleet.managers.values()
    assert not manager.schedule.finished
    assert not game._here
    assert game.played.lost == 1
    assert game.time < 300.0 + GRACE


def test_machines_are_told_when_they_come_and_when_they_go() -> None:
    game = Game(World(machines=1, preemptions=60.0, seed=3))
    played(game)
    came = [text for text in game.told if " measures: CPU 0, 8 processors" in text]
    gone = [text for text in game.told if " is lost: it is gone" in text]
    assert gone
    assert len(came) == len(gone) + 1  # the last is there at the end


def test_an_error_in_one_process_ends_the_others_and_keeps_what_they_have() -> None:
    game = Game(World(machines=4))
    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep)
    settled = game.settled
    files: list[object] = []

    def full(worker: _Worker, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        files.append(worker)
        if len(files) == 1:
            raise OSError("the disk is full")
        return settled(worker, outcomes)

    game.settled = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk is full"):
        fleet.run()
    assert len(files) == 4


def test_a_hurry_that_fails_does_not_keep_the_others_from_ending() -> None:
    game = Game(World(machines=3))

    class Post(_Post):
        def hurry(self) -> None:
            if self._machine.member.name == "node1":
                self._machine.gone = game.time

    def sleep(seconds: float) -> None:
        game.sleep(seconds)
        if game.time > 20.0:
            raise KeyboardInterrupt

    def post(member: ClusterMember, manager: Manager) -> Post:
        return Post(game, game._here[member.name], manager.session)

    class Gone(_Worker):
        def kill(self) -> None:
            super().kill()
            raise LostError("it cannot be reached")

    def start(self: _Post, work: Work) -> _Worker:
        self._machine.worker = Gone(game, self._machine, self._session, work)
        return self._machine.worker

    Post.start = start  # type: ignore[method-assign]
    fleet = Fleet(game, game.manager, post, game.message, lambda: game.time, sleep)
    with pytest.raises(KeyboardInterrupt):
        fleet.run()
    kept = sum(len(file.measurements) for files in game.files.values() for file in files)
    assert kept == sum(game.counts.values())


def test_labels_make_kinds_and_harmless_names() -> None:
    kind = MachineKind("EPYC", 8, 0.0, (), "3.11", ())
    suite = Suite("s", "", Path("s.toml"), (), {})
    assert ClusterMember("a", kind, "", suite).key == kind.id
    hostile = ClusterMember("a", kind, "../A 100\n" * 9, suite)
    assert set(hostile.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(f"20260101T000000Z-abcdef-{hostile.key}") <= 80
    assert str(ClusterMember("a", kind, "A100", suite)) == "EPYC, 8 processors (A100)"
    known = replace(kind, gpus=(("NVIDIA H100", "550"),))
    assert str(ClusterMember("a", known, "H100", suite)) == "EPYC, 8 processors, NVIDIA H100"
    assert ClusterMember("a", known, "H100", suite).key == f"{known.id}-h100"


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
    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep)
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
    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep)
    fleet.run()
    assert all(manager.schedule.finished for manager in fleet.managers.values())
    assert sum("is lost" in told for told in game.told) == 2


def test_replicates_come_from_as_many_machines_as_there_are() -> None:
    game = Game(World(machines=6, groups=6, backends=2, processes=6))
    Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep).run()
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

    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, sleep)
    with pytest.raises(KeyboardInterrupt):
        fleet.run()
    kept = sum(len(file.measurements) for files in game.files.values() for file in files)
    assert kept == sum(game.counts.values()) > 0
    (manager,) = fleet.managers.values()
    assert not any(manager.schedule.flights.of((), case.id) for case in game.cases)
    assert not any(machine.worker for machine in game._here.values())
