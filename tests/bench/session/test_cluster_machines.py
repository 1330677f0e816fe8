"""Test the nodes of a cluster with a fake of Ray."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.case.loading import Suite, SuiteChoice
from bench.cli.command_line import UsageError
from bench.machine.environment import MachineKind
from bench.session import cluster, stub
from bench.session.workers import LostError
from tests.bench.session.made_answers import Clock

SUITE = Suite("mine", "", Path("mine.toml"), (), {})
REQUEST = cluster.NodeRequest("mine", None, SuiteChoice())


class RayError(Exception):
    """The errors of Ray that are distinguished."""


class GetTimeoutError(RayError):
    pass


class RayActorError(RayError):
    preempted = False


class ActorUnavailableError(RayActorError):
    pass


class RayTaskError(RayError):
    cause: Exception | None = None


def facts() -> tuple[str, cluster.ClusterMember]:
    kind = MachineKind("EPYC", 8, 0.0, (), "3.11", ())
    return "", cluster.ClusterMember("", kind, "", SUITE, ("gpu:0",))


class Actor:
    """An actor: its requests and answers; an error is raised, None is pending."""

    def __init__(self, ray: Ray, options: Mapping[str, Any]) -> None:
        self.options = options
        self.requests: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"ready": ray.answer}
        self.ready = SimpleNamespace(remote=lambda *words: self._ask("ready", *words))
        self.call = SimpleNamespace(remote=self._ask)

    def _ask(self, method: str, *words: Any) -> Callable[[], Any]:
        if isinstance(self.answers.get("call"), RayError):
            raise self.answers["call"]
        self.requests.append((method, *words))
        return lambda: self.answers.get(method)


class Ray:
    """A module ``ray`` whose nodes are made up."""

    exceptions = SimpleNamespace(
        RayError=RayError,
        GetTimeoutError=GetTimeoutError,
        ActorUnavailableError=ActorUnavailableError,
        RayActorError=RayActorError,
        RayTaskError=RayTaskError,
    )
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(
            NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft)
        )
    )

    def __init__(self) -> None:
        self.there: list[dict[str, Any]] = []
        self.looks = 0
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.answer: Any = facts()
        self.ended = False

    def lend(self, number: int, alive: bool = True, **more: Any) -> None:
        node = {"NodeManagerHostname": "node", "NodeID": f"{number:06}abc", "Alive": alive}
        self.there.append({**node, "Resources": {"CPU": 4.0}, **more})

    def nodes(self) -> list[dict[str, Any]]:
        self.looks += 1
        return self.there

    def remote(self, kind: type) -> Any:
        assert kind is stub.Stub

        def options(**options: Any) -> Any:
            def made() -> Actor:
                self.actors.append(Actor(self, options))
                return self.actors[-1]

            return SimpleNamespace(remote=made)

        return SimpleNamespace(options=options)

    def wait(self, references: list[Callable[[], Any]], timeout: float) -> tuple[list[Any], None]:
        return [each for each in references if each() is not None], None

    def get(self, reference: Callable[[], Any], timeout: float) -> Any:
        found = reference()
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)
        raise RayError("it is gone already")

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    monkeypatch.setattr(cluster, "_ray", lambda: made)
    monkeypatch.setattr(cluster, "_connect", lambda ray, address: None)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def nodes(ray: Ray, clock: Clock, messages: list[str]) -> cluster.ClusterMachines:
    return cluster.ClusterMachines("auto", REQUEST, messages.append, clock)


def names(found: list[cluster.ClusterMember]) -> list[str]:
    return [each.name for each in found]


def looked(nodes: cluster.ClusterMachines, clock: Clock) -> list[cluster.ClusterMember]:
    clock.time += cluster.NODES_EVERY
    return list(nodes.arrived())


def test_arrived_reserves_complete_nodes_and_sends_the_request(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock
) -> None:
    ray.lend(1, Resources={"CPU": 4.0, "GPU": 2.0}, Labels={"ray.io/accelerator-type": "H100"})
    ray.lend(2, Resources={"CPU": 2.0, "accelerator_type:A100": 1.0, "memory": 5.0})
    ray.lend(3, alive=False)
    ray.lend(4, Resources={"memory": 5.0})
    ray.lend(5, Resources=None)
    first, second = looked(nodes, clock)
    assert names([first, second]) == ["node#000001", "node#000002"]
    assert (first.label, second.label) == ("H100", "A100")
    assert (first.suite, first.absent, str(first.kind)) == (SUITE, ("gpu:0",), "EPYC, 8 processors")
    options = [actor.options for actor in ray.actors]
    assert [each["num_cpus"] for each in options] == [4.0, 2.0]
    assert [each["num_gpus"] for each in options] == [2.0, 0]
    assert [each["scheduling_strategy"] for each in options] == [
        ("000001abc", False),
        ("000002abc", False),
    ]
    ((method, code, request),) = ray.actors[0].requests
    assert (method, code) == ("ready", stub.fingerprint())
    assert pickle.loads(request) == (cluster.NodeAgent, REQUEST)
    nodes.handle(second).ask("look", 3)
    assert ray.actors[1].requests[1:] == [("look", 3)]
    assert looked(nodes, clock) == []  # a member arrives once


def test_arrived_with_an_unsuitable_node_leaves_it_out_for_good(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock, messages: list[str]
) -> None:
    ray.answer = ("another version of the suite", None)
    ray.lend(1)
    for _ in range(3):
        assert looked(nodes, clock) == []
    assert messages == ["node#000001 is left out: another version of the suite"]
    assert ray.killed == ray.actors
    assert len(ray.actors) == 1


def test_arrived_with_a_dead_node_tries_it_a_limited_number_of_times(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock, messages: list[str]
) -> None:
    ray.answer = RayActorError("a\nThe actor died.")
    ray.lend(1)
    for _ in range(cluster.LIVES + 2):
        assert looked(nodes, clock) == []
    assert messages == ["node#000001 is left out: The actor died."] * cluster.LIVES
    assert len(ray.actors) == cluster.LIVES


@pytest.mark.parametrize(("for_good", "again"), [(True, []), (False, ["node#000001"])])
def test_retire_unless_for_good_lets_a_node_return_once(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock, for_good: bool, again: list[str]
) -> None:
    ray.lend(1)
    (member,) = looked(nodes, clock)
    nodes.retire(member, for_good=for_good)
    assert ray.killed == ray.actors
    assert names(looked(nodes, clock)) == again
    nodes.retire(member, for_good=False)
    assert looked(nodes, clock) == []


def test_waiting_has_a_limit_for_first_and_for_requested_nodes(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock, messages: list[str]
) -> None:
    assert nodes.waiting
    clock.time = cluster.FIRST
    assert not nodes.waiting
    ray.answer = None
    ray.lend(1)
    assert looked(nodes, clock) == []
    clock.time += cluster.PATIENCE - 1.0
    assert nodes.waiting
    clock.time += 1.0
    assert not nodes.waiting
    assert messages == []
    for _ in range(2):
        looked(nodes, clock)
    assert messages == [
        "node#000001 is not free yet: other work of the cluster or another run uses it"
    ]
    ray.actors[0].answers["ready"] = facts()
    assert names(looked(nodes, clock)) == ["node#000001"]


def test_close_releases_all_nodes(nodes: cluster.ClusterMachines, ray: Ray, clock: Clock) -> None:
    for number in (1, 2):
        ray.lend(number)
    assert len(looked(nodes, clock)) == 2
    ray.answer = None
    ray.lend(3)
    looked(nodes, clock)
    first, gone, unready = ray.actors
    gone.answers["call"] = RayActorError("it died")
    with nodes:
        pass
    assert first.requests[1:] == [("close",)]
    assert unready.requests[1:] == []
    assert ray.killed == ray.actors
    assert ray.ended


PREEMPTED = RayActorError("gone")
PREEMPTED.preempted = True
THERE = RayTaskError("a\nlong\ntrace")
THERE.cause = ValueError("no such method\nat all")


@pytest.mark.parametrize(
    ("error", "why", "blame"),
    [
        (GetTimeoutError("?"), "the node did not answer within 5 s", False),
        (ActorUnavailableError("?"), "the node cannot be reached any more", True),
        (RayActorError("names\n\n the node died \n"), "the node died", True),
        (RayActorError(""), "RayActorError", True),
        (PREEMPTED, "the node was preempted", False),
        (THERE, "on the node, no such method", False),
        (RayError("first\nsecond"), "first", False),
    ],
)
def test_answer_with_any_ray_error_raises_lost_error_with_its_cause(
    nodes: cluster.ClusterMachines, ray: Ray, clock: Clock, error: Exception, why: str, blame: bool
) -> None:
    ray.lend(1)
    (member,) = looked(nodes, clock)
    node = nodes.handle(member)
    ray.actors[0].answers["look"] = error
    answer = node.ask("look")
    assert answer.ready()
    with pytest.raises(LostError) as lost:
        answer.get(5.0)
    assert (str(lost.value), lost.value.blame) == (why, blame)
    ray.actors[0].answers["call"] = RayError("it is gone")
    with pytest.raises(LostError, match="it is gone"):
        node.ask("look")


@pytest.mark.parametrize(
    "address", ["smoke", "host", "host:", ":6379", "host:0", "host:99999", "host:x", "ray://x", " "]
)
def test_check_with_a_malformed_address_raises_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a cluster; write HOST:PORT"):
        cluster._check(address)


def test_check_where_nobody_listens_raises_usage_error_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:"):
        cluster._check(f"127.0.0.1:{port}")
    with pytest.raises(UsageError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:"):
        cluster._check(f"ray://127.0.0.1:{port}")
