"""One set of processes: what is decided in it, and what a wrong or a dead one comes to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bench.machine.process_pool import PoolError
from bench.studies import scaling
from bench.studies.data_parallel import (
    TEAM,
    DataParallelRequest,
    DataParallelSide,
    sides,
)
from bench.studies.scaling import ROUNDS, ReplicaPlan, measured, timed
from bench.studies.tf_config import ClusterAddress

BACKEND = "while_loop+hoisted"
QUESTION = DataParallelRequest(
    *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", threads=1, seconds=0.01, seed=0
)
LIMIT = 300.0
"""Seconds that no machine needs for an order here."""


def clock(
    seconds: Mapping[str, float], told: list[tuple[str, int]]
) -> Callable[[DataParallelSide, int], float]:
    def block(side: DataParallelSide, calls: int) -> float:
        if side.world == TEAM:
            told.append((side.name, calls))
        return seconds.get(side.world, 1e-3) * calls

    return block


def test_each_side_has_a_block_in_every_round_that_fills_its_time() -> None:
    told: list[tuple[str, int]] = []
    own = sides(QUESTION, cores=True)
    found = timed(clock({}, told), own, seconds=ROUNDS * 0.02, seed=0)
    for side in own:
        assert found[side.name] == [pytest.approx(1e-3)] * ROUNDS
    assert {calls for _, calls in told} == {1, 20}
    names = [name for name, _ in told][-2 * ROUNDS :]
    orders = set(zip(names[::2], names[1::2], strict=True))
    assert orders == {("weak", "strong"), ("strong", "weak")}, "in an order of its own each round"


def test_machines_with_clocks_of_their_own_tell_their_team_the_same() -> None:
    """What one replica alone takes differs from machine to machine; a team's times do not."""
    here: list[tuple[str, int]] = []
    there: list[tuple[str, int]] = []
    own = sides(QUESTION, cores=False)
    timed(clock({"one": 1e-4, TEAM: 3e-3}, here), own, 0.3, seed=5)
    timed(clock({"one": 9e-1, TEAM: 3e-3}, there), own, 0.3, seed=5)
    assert here == there


def test_each_replica_of_this_machine_has_processors_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_CONFIG", "whatever")
    question = DataParallelRequest(
        *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", threads=2, seconds=1.0, seed=0
    )
    plan = ReplicaPlan(question, LIMIT, processors=(3, 4, 5, 6))
    members = {each[0]: each for each in scaling._members(plan)}
    assert {name: each[4] for name, each in members.items()} == {
        "one replica alone": [3, 4],
        "one replica on all processors": [3, 4, 5, 6],
        "worker 0": [3, 4],
        "worker 1": [5, 6],
    }
    for name, (*_, environment) in members.items():
        # Whoever is alone must not wait for a team, and no process may take a GPU.
        assert ("TF_CONFIG" in environment) == name.startswith("worker")
        assert environment["CUDA_VISIBLE_DEVICES"] == "-1"


def test_of_a_cluster_this_machine_starts_its_own_worker_alone() -> None:
    plan = ReplicaPlan(QUESTION, LIMIT, ClusterAddress(("a:1", "b:2"), 1, "{}"))
    names = [each[0] for each in scaling._members(plan)]
    assert names == ["one replica alone", "worker 1"]


def test_gpus_are_dealt_out_from_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [scaling._gpu(index) for index in range(2)] == ["4", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [scaling._gpu(index) for index in range(2)] == ["0", "1"]


# -- with TensorFlow


def processors(count: int) -> tuple[int, ...]:
    here = sorted(os.sched_getaffinity(0))
    if len(here) < count:
        pytest.skip(f"two replicas need two processors; this process may use {len(here)}")
    return tuple(here[:count])


def by_side(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["side"]: each for each in records}


def assert_proven_and_timed(
    found: dict[str, dict[str, Any]], question: DataParallelRequest, *, cores: bool
) -> None:
    assert set(found) == {side.name for side in sides(question, cores=cores)}
    for record in found.values():
        assert record["failed"] == ""
        assert len(record["samples"]) == ROUNDS
        assert min(record["samples"]) > 0


@pytest.mark.slow
def test_two_processes_are_proven_and_timed_against_one() -> None:
    pytest.importorskip("tensorflow")
    found = by_side(
        measured(ReplicaPlan(QUESTION, LIMIT, processors=processors(2)), lambda _: None)
    )
    assert_proven_and_timed(found, QUESTION, cores=True)


WRONG = """
from bench.machine import process_pool
from bench.studies import data_parallel

class Context:
    def __init__(self, tf, real, mean):
        self._tf, self._real, self._mean = tf, real, mean

    def all_reduce(self, how, value):
        if not isinstance(value, list):
            return self._real.all_reduce(how, value)
        if self._mean:
            return self._real.all_reduce(self._tf.distribute.ReduceOp.MEAN, value)
        return value

class Worker(data_parallel.StepWorker):
    def _build(self, order):
        tf = self._tf
        real = tf.distribute.get_replica_context
        if order["backend"] != "static_unroll":
            mean = order["backend"] == "block_lstm"
            tf.distribute.get_replica_context = lambda: Context(tf, real(), mean)
        try:
            return super()._build(order)
        finally:
            tf.distribute.get_replica_context = real

process_pool.serve(Worker())
"""
"""One alone adds up as it should: of another gradients are a mean, of a third each its own."""


# Those of which a step is soonest traced: what is wrong here is done to the sum of any of them.
MIRRORED = DataParallelRequest(
    *(4, 3, 2, 4),
    ("block_lstm", "static_unroll", "numpy", "static_unroll+hoisted"),
    2,
    "mirrored",
    "cpu",
    threads=1,
    seconds=0.01,
    seed=0,
)


@pytest.fixture(scope="module")
def mirrored() -> list[dict[str, Any]]:
    """The records of four backends on logical devices, of which two are wrong and one has no op.

    Without a process that has all processors: each takes as long as importing TensorFlow.
    """
    pytest.importorskip("tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "WORKER", ("-c", WRONG))
        return measured(ReplicaPlan(MIRRORED, LIMIT), lambda _: None)


def of_backend(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [each for each in records if each["backend"] == name]


@pytest.mark.parametrize(
    "backend", ["block_lstm", "static_unroll+hoisted"], ids=["a mean", "each its own"]
)
def test_a_wrong_reduction_gets_no_time(backend: str, mirrored: list[dict[str, Any]]) -> None:
    found = by_side(of_backend(mirrored, backend))
    assert "differs from the reference's on the whole batch" in found["weak"]["failed"]
    assert found["one"]["failed"].startswith("not timed, since: ")
    assert not any(record["samples"] for record in found.values())


def test_mirrored_replicas_are_those_of_logical_devices(mirrored: list[dict[str, Any]]) -> None:
    found = by_side(of_backend(mirrored, "static_unroll"))
    assert_proven_and_timed(found, MIRRORED, cores=False)
    refused = of_backend(mirrored, "numpy")
    assert refused
    assert all("tf.distribute" in each["failed"] for each in refused)


# -- workers that are played

WRONG_ON_ALL = """
from bench.machine import process_pool

class Worker:
    def __call__(self, order):
        if order["do"] == "start":
            self.world = order["world"]
            return {"replicas": 2, "same": True}
        assert order["do"] == "build", "it is timed all the same"
        cores = ["weak-cores", "strong-cores"]
        names = {"one": ["one"], "team": ["weak", "strong"], "cores": cores}
        return {"refused": "", "proofs": {
            name: "cores is wrong" if self.world == "cores" else ""
            for name in names[self.world]
        }}

process_pool.serve(Worker())
"""
"""They compute nothing; the one that has all processors says of itself that it is wrong."""


def test_no_side_is_timed_with_one_that_is_wrong_on_all_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "WORKER", ("-c", WRONG_ON_ALL))
    plan = ReplicaPlan(replace(MIRRORED, backends=(BACKEND,)), LIMIT, processors=(0, 1))
    found = by_side(measured(plan, lambda _: None))
    assert {name: each["failed"] for name, each in found.items()} == {
        **dict.fromkeys(["one", "weak", "strong"], "not timed, since: cores is wrong"),
        **dict.fromkeys(["weak-cores", "strong-cores"], "cores is wrong"),
    }
    assert not any(each["samples"] for each in found.values())


PLAYED = """
import os
from bench.machine import process_pool

class Worker:
    def __call__(self, order):
        if order["do"] == "start":
            self.second = (order["world"], order["index"]) == ("team", 1)
            return {"replicas": 2, "same": True}
        if order["do"] == "build":
            return {"refused": "", "proofs": dict.fromkeys(["one", "weak", "strong"], "")}
        if self.second and order["calls"] > 1:
            os.kill(os.getpid(), 9)
        return {"seconds": 1e-3 * order["calls"]}

process_pool.serve(Worker())
"""
"""A worker that computes nothing, and is killed in the end."""


def test_a_worker_that_is_killed_ends_the_set_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "WORKER", ("-c", PLAYED))
    question = DataParallelRequest(
        *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", threads=1, seconds=3.0, seed=0
    )
    with pytest.raises(PoolError, match=r"worker 1 was ended by SIGKILL .* while it was timed"):
        measured(ReplicaPlan(question, LIMIT), lambda _: None)
