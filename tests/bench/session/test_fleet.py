"""Test the loop over the machines of a cluster with real managers and simulated machines.

Machines fail, are preempted or measure nothing, and some cases kill their machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.case.loading import Suite
from bench.machine.environment import MachineKind
from bench.records.schema import ResultFile
from bench.render.messages import reason_line
from bench.session.cluster import GRACE, ClusterMember, Fleet
from bench.session.manager import Manager
from bench.session.session import Goal, Need, Work
from bench.session.workers import LostError
from tests.bench.session.made_sessions import B5, CASES, DIE, ScriptedWorker, World, case, session

SUITE = Suite("mine", "", Path("mine.toml"), (), {})


class Node(ScriptedWorker):
    """A worker on a machine that is lost, by itself or in a case."""

    def __init__(self, world: Cluster, work: Work, member: ClusterMember) -> None:
        super().__init__(world, work)
        self.cluster, self.member = world, member
        if member.name in world.mute_nodes:
            self.events = iter([4])

    def poll(self) -> int | None:
        if self.code == -9:
            raise LostError("its node died")
        if self.cluster.gone[self.member.name] <= self.cluster.time:
            raise LostError("it is gone", blame=not self.cluster.preempted)
        return super().poll()

    def kill(self) -> None:
        if self.member.name == self.cluster.unreachable:
            raise LostError("it cannot be reached")
        super().kill()

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        self.cluster.settled(self)
        return None if self.code == 4 else super().settle(outcomes)


@dataclass
class Post:
    """The executor of a machine."""

    world: Cluster
    member: ClusterMember

    def start(self, work: Work) -> Node:
        assert self.member.name not in self.world.working
        self.world.working.add(self.member.name)
        return Node(self.world, work, self.member)


@dataclass
class Cluster(World):
    """Where machines come from.

    failures: of a machine per hour. replaced: whether another comes for each that is lost.
    mute_nodes: those whose workers measure nothing.
    """

    machines: int = 4
    kinds: int = 1
    cases: tuple[Case, ...] = ()
    processes: int | None = 3
    failures: float = 0.0
    preempted: bool = True
    replaced: bool = True
    budget: float | None = None
    seed: int = 0
    mute_nodes: set[str] = field(default_factory=set)
    unreachable: str = ""
    gone: dict[str, float] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)
    working: set[str] = field(default_factory=set)
    coming: list[ClusterMember] = field(default_factory=list)
    waiting: bool = False

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        for number in range(self.machines):
            self.come(MachineKind(f"CPU {number % self.kinds}", 8, 0.0, (), "3", ()))

    def come(self, kind: MachineKind) -> None:
        rate = self.failures / 3600
        self.gone[f"node{len(self.gone)}"] = self.time + (
            self.random.expovariate(rate) if rate else math.inf
        )
        self.coming.append(ClusterMember(f"node{len(self.gone) - 1}", kind, "", SUITE))

    def arrived(self) -> Sequence[ClusterMember]:
        found, self.coming = self.coming, []
        return found

    def retire(self, member: ClusterMember, *, for_good: bool) -> None:
        if self.replaced and not for_good:
            self.come(member.kind)

    def settled(self, worker: Node) -> None:
        self.working.discard(worker.member.name)
        for each in worker.measured:
            self.places.setdefault(each.id, set()).add(worker.member.name)

    def open_manager(self, member: ClusterMember) -> Manager:
        manager = Manager(
            session(
                cases=self.cases,
                goal=Goal(processes=self.processes),
                budget=self.budget,
                case_limit=1000.0,
                fleet="s",
                kind=member.key,
            ),
            None,
            self,
            self.saved.append,
            lambda: self.time,
            seconds=self.seconds,
            needs=lambda backend: Need(),
        )
        manager.begin()
        return manager

    def fleet(self) -> Fleet:
        def post(member: ClusterMember, manager: Manager) -> Post:
            return Post(self, member)

        now = lambda: self.time  # noqa: E731
        return Fleet(self, self.open_manager, post, self.message, now, self.sleep)

    def run(self) -> Fleet:
        fleet = self.fleet()
        fleet.run()
        return fleet


def cases(groups: int = 3, backends: int = 2) -> tuple[Case, ...]:
    return tuple(case(f"b{b}", 5 + group) for group in range(groups) for b in range(backends))


def check(world: Cluster, fleet: Fleet) -> None:
    """Check that results are kept and counted, and that each case is measured or given up."""
    kept = sum(len(file.measurements) for file in world.files)
    counted = Counter[str]()
    for manager in (kind.manager for kind in fleet.kinds.values()):
        counts = {name: len(medians) for name, medians in manager.schedule.medians.items()}
        counted.update(counts)
        if not manager.schedule.finished:
            assert world.budget is not None or not world.replaced
            continue
        for name, number in counts.items():
            if manager.schedule.given_up(name):
                assert name in world.behaviour or (world.failures and not world.preempted)
            else:
                assert number == world.processes
    assert counted.total() == kept
    assert not world.working


@settings(max_examples=40)
@given(
    st.builds(
        Cluster,
        machines=st.integers(1, 6),
        kinds=st.integers(1, 3),
        cases=st.builds(cases, st.integers(1, 5), st.integers(1, 3)),
        processes=st.integers(1, 5),
        failures=st.sampled_from([0.0, 10.0, 100.0]),
        preempted=st.booleans(),
        behaviour=st.sampled_from([{}, {case("b0").id: DIE}, {case("b0").id: f"timed {DIE}"}]),
        budget=st.sampled_from([None, None, 5.0, 60.0]),
        seed=st.integers(0, 2**32),
    )
)
def test_fleet_with_failing_machines_measures_all_and_loses_nothing(world: Cluster) -> None:
    world.behaviour = dict(world.behaviour)
    check(world, world.run())
    assert world.budget is None or world.time <= world.budget + GRACE + 1.0


@pytest.mark.parametrize(("how", "lost"), [(DIE, 2), (f"timed {DIE}", 3)])
def test_fleet_with_a_case_that_kills_machines_gives_it_up(how: str, lost: int) -> None:
    """An interleaved case is found by measuring together, together again, and alone."""
    world = Cluster(cases=CASES, machines=1, processes=2, behaviour={B5.id: how})
    world.run()
    assert sum(" is lost: its node died" in text for text in world.messages) == lost
    assert world.outcomes == {B5.id: "crashed"}
    assert world.counts == {each.id: 0 if each == B5 else 2 for each in CASES}
    assert any(
        "was lost: its node died; measured again elsewhere" in text for text in world.messages
    )
    (reason,) = {reason_line(each.reason) for file in world.files for each in file.outcomes}
    assert "its node died" in reason


def test_fleet_with_a_machine_that_measures_nothing_leaves_it_out() -> None:
    world = Cluster(cases=cases(), mute_nodes={"node0", "node1"})
    fleet = world.run()
    check(world, fleet)
    left_out = [text for text in world.messages if "is no longer used" in text]
    assert len(left_out) == 2
    assert all("and measured nothing: it printed nothing" in text for text in left_out)


def test_fleet_that_lost_its_last_machine_waits_a_minute_for_another() -> None:
    world = Cluster(cases=cases(), machines=2, failures=2000.0, replaced=False)
    fleet = world.run()
    check(world, fleet)
    (kind,) = fleet.kinds.values()
    assert not kind.manager.schedule.finished
    assert sum(" is lost: it is gone" in text for text in world.messages) == 2
    assert world.time < max(world.gone.values()) + GRACE + 1.0


def test_fleet_spreads_replicates_over_all_machines() -> None:
    world = Cluster(cases=cases(groups=6), machines=6, processes=6)
    world.run()
    assert min(map(len, world.places.values())) >= 5


def test_fleet_interrupted_keeps_results_though_a_machine_is_unreachable() -> None:
    world = Cluster(cases=cases(groups=10), interrupt_at=20.0, unreachable="node1")
    fleet = world.fleet()
    with pytest.raises(KeyboardInterrupt):
        fleet.run()
    (kind,) = fleet.kinds.values()
    kept = sum(len(file.measurements) for file in world.files)
    assert kept > 0
    assert not any(kind.manager.schedule.running.cases[(), each.id] for each in world.cases)
    assert not world.working


def test_member_with_a_label_has_a_kind_and_a_safe_key() -> None:
    kind = MachineKind("EPYC", 8, 0.0, (), "3.11", ())
    assert ClusterMember("a", kind, "", SUITE).key == kind.id
    hostile = ClusterMember("a", kind, "../A 100\n" * 9, SUITE)
    assert set(hostile.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(f"20260101T000000Z-abcdef-{hostile.key}") <= 80
    assert str(ClusterMember("a", kind, "A100", SUITE)) == "EPYC, 8 processors (A100)"
    known = replace(kind, gpus=(("NVIDIA H100", "550"),))
    assert str(ClusterMember("a", known, "H100", SUITE)) == "EPYC, 8 processors, NVIDIA H100"
    assert ClusterMember("a", known, "H100", SUITE).key == f"{known.id}-h100"
