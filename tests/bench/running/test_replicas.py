"""One set of processes: what is decided in it, and what a wrong or a dead one comes to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bench.machine.cluster import Cluster
from bench.machine.crew import CrewError
from bench.measuring.scaling import SCALINGS, TEAM, WEAK, Question, Side, sides
from bench.running import replicas
from bench.running.replicas import ROUNDS, Plan, measured, timed

BACKEND = "while_loop+hoisted"
QUESTION = Question(
    *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", SCALINGS, threads=1, seconds=0.01, seed=0
)
LIMIT = 300.0
"""Seconds that no machine needs for an order here."""


def clock(
    seconds: Mapping[str, float], told: list[tuple[str, int]]
) -> Callable[[Side, int], float]:
    def block(side: Side, calls: int) -> float:
        if side.world == TEAM:
            told.append((side.name, calls))
        return seconds.get(side.world, 1e-3) * calls

    return block


def test_each_side_has_a_block_in_every_round_that_fills_its_time() -> None:
    told: list[tuple[str, int]] = []
    own = sides(QUESTION, cores=True)
    found = timed(clock({}, told), own, seconds=ROUNDS * 0.02, seed=0)
    for side in own:
        calls, samples = found[side.name]
        assert calls == 20
        assert samples == [pytest.approx(1e-3)] * ROUNDS
    first = [name for name, _ in told][-2 * 4 :]
    assert len(set(first)) == 4, "in an order of its own each round"


def test_machines_with_clocks_of_their_own_tell_their_team_the_same() -> None:
    """What one replica alone takes differs from machine to machine; a team's times do not."""
    here: list[tuple[str, int]] = []
    there: list[tuple[str, int]] = []
    own = sides(QUESTION, cores=False)
    timed(clock({"one": 1e-4, TEAM: 3e-3}, here), own, 0.3, seed=5)
    timed(clock({"one": 9e-1, TEAM: 3e-3}, there), own, 0.3, seed=5)
    assert here == there


def test_a_step_that_is_longer_than_its_time_is_measured_all_the_same() -> None:
    found = timed(clock({"one": 9.0}, []), sides(QUESTION, cores=False), 0.1, seed=0)
    assert found["one"] == (1, [9.0] * ROUNDS)


def test_each_replica_of_this_machine_has_processors_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_CONFIG", "whatever")
    question = Question(
        *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", SCALINGS, threads=2, seconds=1.0, seed=0
    )
    plan = Plan(question, LIMIT, processors=(3, 4, 5, 6))
    members = {each[0]: each for each in replicas._members(plan)}
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
    plan = Plan(QUESTION, LIMIT, Cluster(("a:1", "b:2"), 1))
    names = [each[0] for each in replicas._members(plan)]
    assert names == ["one replica alone", "worker 1"]


def test_gpus_are_dealt_out_from_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [replicas._gpu(index) for index in range(2)] == ["4", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [replicas._gpu(index) for index in range(2)] == ["0", "1"]


# -- with TensorFlow


def processors(count: int) -> tuple[int, ...]:
    here = sorted(os.sched_getaffinity(0))
    if len(here) < count:
        pytest.skip(f"two replicas need two processors; this process may use {len(here)}")
    return tuple(here[:count])


def by_side(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["side"]: each for each in records}


def test_two_processes_are_proven_and_timed_beside_one() -> None:
    pytest.importorskip("tensorflow")
    found = by_side(measured(Plan(QUESTION, LIMIT, processors=processors(2)), lambda _: None))
    assert set(found) == {side.name for side in sides(QUESTION, cores=True)}
    for name, record in found.items():
        assert record["failed"] == ""
        assert len(record["samples"]) == ROUNDS
        assert min(record["samples"]) > 0
        assert record["errors"].keys() == record["bounds"].keys()
        assert all(record["errors"][key] <= record["bounds"][key] for key in record["errors"])
        assert "dlayer0.forward.kernel" in record["errors"]
        shared = name in SCALINGS
        assert len(record["shares"]) == (2 if shared else 0)
        assert not shared or any(share > 0 for share in record["shares"]), "no collective was seen"


WRONG = """
import sys
from bench.machine import crew
from bench.measuring import scaling_worker
from lstm_impl.backends import data_parallel

import tensorflow as tf

class Context:
    def __init__(self, real):
        self._real = real

    def all_reduce(self, how, value):
        if not isinstance(value, list):
            return self._real.all_reduce(how, value)
        if {mean}:
            return self._real.all_reduce(tf.distribute.ReduceOp.MEAN, value)
        return value

class Worker(scaling_worker.Worker):
    def _start(self, order):
        real = tf.distribute.get_replica_context
        tf.distribute.get_replica_context = lambda: Context(real())
        return super()._start(order)

crew.serve(Worker())
"""


@pytest.mark.parametrize("mean", [True, False], ids=["a mean", "each its own"])
def test_a_wrong_reduction_gets_no_time(mean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(replicas, "WORKER", ("-c", WRONG.format(mean=mean)))
    question = Question(
        *(4, 3, 2, 4), (BACKEND,), 2, "mirrored", "cpu", (WEAK,), threads=1, seconds=0.01, seed=0
    )
    found = by_side(measured(Plan(question, LIMIT, processors=processors(2)), lambda _: None))
    assert "differs from the reference's on the whole batch" in found["weak"]["failed"]
    for name in ("one", "weak-apart", "weak-cores"):
        assert found[name]["failed"].startswith("not timed, since: ")
    assert not any(record["samples"] for record in found.values())


def test_mirrored_replicas_are_those_of_logical_devices() -> None:
    pytest.importorskip("tensorflow")
    question = Question(
        *(4, 3, 2, 4),
        ("keras", "numpy"),
        2,
        "mirrored",
        "cpu",
        (WEAK,),
        threads=1,
        seconds=0.01,
        seed=0,
    )
    records = measured(Plan(question, LIMIT, processors=processors(2)), lambda _: None)
    found = by_side([each for each in records if each["backend"] == "keras"])
    assert not any(record["failed"] for record in found.values())
    assert len(found["weak"]["samples"]) == ROUNDS
    refused = [each for each in records if each["backend"] == "numpy"]
    assert refused
    assert all("tf.distribute" in each["failed"] for each in refused)


def test_a_worker_that_is_killed_ends_the_set_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorflow")
    code = """
import os
from bench.machine import crew
from bench.measuring import scaling_worker

class Worker(scaling_worker.Worker):
    def _block(self, order):
        if self._world == "team" and self._index == 1 and order["calls"] > 1:
            os.kill(os.getpid(), 9)
        return super()._block(order)

crew.serve(Worker())
"""
    monkeypatch.setattr(replicas, "WORKER", ("-c", code))
    question = Question(
        *(4, 3, 2, 4), (BACKEND,), 2, "workers", "cpu", (WEAK,), threads=1, seconds=3.0, seed=0
    )
    with pytest.raises(CrewError, match=r"worker 1 was ended by SIGKILL .* while it was timed"):
        measured(Plan(question, LIMIT, processors=processors(2)), lambda _: None)
