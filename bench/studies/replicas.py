"""One set of fresh processes for data-parallel training: started, proven, timed, ended.

A set is one replica alone, the team of several, and where they are of this machine one process with
all of the team's processors. They live at the same time and work in turn: while one has the floor
the others wait for an order, or for the team's first step, and take no processor. So the sides'
blocks alternate, as in all timing here, though they are of different processes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.machine.process_pool import FailedError, Launch, PoolError, ProcessPool
from bench.studies import tf_config
from bench.studies.data_parallel import (
    CORES,
    MIRRORED,
    ONE,
    TEAM,
    DataParallelRequest,
    DataParallelSide,
    sides,
)
from bench.studies.tf_config import ClusterAddress

ROUNDS = 15
"""Blocks of each side in a set: a median whose interval holds with 96% between the 4th and the 12th
of them. The same number on all machines, whatever their clocks say."""

MOST_CALLS = 10_000

TRIES = 3
"""Sets of ports, if others were quicker to take them."""

_TAKEN = ("Could not start gRPC server", "Address already in use")
"""What TensorFlow says where it cannot listen."""

WORKER = ("-m", "bench.studies.data_parallel")

NAMES = {ONE: "one replica alone", CORES: "one replica on all processors"}


class MismatchError(PoolError):
    """The workers of several machines do not do the same."""


@dataclass(frozen=True)
class ReplicaPlan:
    """Where a set runs.

    cluster: that of ``TF_CONFIG``, in which this machine has one worker; None for a team of this
    machine. processors: of this machine that the replicas share out; empty leaves them where they
    are. limit: seconds for each order.
    """

    question: DataParallelRequest
    limit: float
    cluster: ClusterAddress | None = None
    processors: tuple[int, ...] = ()

    def share(self, first: int, count: int) -> list[int]:
        """The processors of so many replicas, from the first on."""
        each = self.question.threads
        return list(self.processors[first * each : (first + count) * each])


def measured(plan: ReplicaPlan, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of one set. tell: says what it does.

    A backend that one of the processes cannot compute has its reason in its records, and the others
    go on in a new set. Raises PoolError where a process died or hung: that is nobody's result.
    """
    records, waiting = [], list(plan.question.backends)
    own = sides(plan.question, cores=bool(plan.processors))
    while waiting:
        with _started(plan) as pool:
            broken = False
            while waiting and not broken:
                backend = waiting.pop(0)
                tell(backend)
                try:
                    failed, samples = _backend(_Floor(pool, plan), backend, own)
                except FailedError as error:
                    # What it left behind is nothing for the next.
                    failed, samples, broken = dict.fromkeys(own, error.said), {}, True
                for side in own:
                    found = samples.get(side.name, [])
                    records.append(
                        {
                            "backend": backend,
                            "replicas": plan.question.replicas,
                            "side": side.name,
                            "batch": side.batch,
                            "failed": failed.get(side, ""),
                            "samples": found,
                            "rounds": list(range(len(found))),
                        }
                    )
    return records


def _backend(
    floor: _Floor, backend: str, own: Sequence[DataParallelSide]
) -> tuple[dict[DataParallelSide, str], dict[str, list[float]]]:
    """Why sides of a backend have no times, and the times of those that have."""
    proofs: dict[str, str] = {}
    order = {"do": "build", "backend": backend}
    answers = floor.all(order, f"while it built {backend}").values()
    for answer in answers:
        if answer["refused"]:
            return dict.fromkeys(own, answer["refused"]), {}
    for answer in answers:
        for name, failure in answer["proofs"].items():
            proofs[name] = proofs.get(name) or failure
    if failures := [each for each in proofs.values() if each]:
        # Not one number next to a sum that is wrong.
        since = f"not timed, since: {failures[0]}"
        return {side: proofs[side.name] or since for side in own}, {}
    return {}, timed(floor.block, own, floor.plan.question.seconds, floor.plan.question.seed)


def timed(
    block: Callable[[DataParallelSide, int], float],
    own: Sequence[DataParallelSide],
    seconds: float,
    seed: int,
) -> dict[str, list[float]]:
    """The seconds of a step in each block, of every side by name.

    block: the seconds of so many steps. In each round every side has a block, in an order of its
    own; what is decided here depends on nothing but a team's own times and ``seed``, so that
    several machines decide alike.
    """
    calls: dict[str, int] = {}
    for side in own:
        block(side, 1)  # traced, and run once for the proof; now its memory is there, too
        step = min(block(side, 1) for _ in range(3))
        calls[side.name] = max(1, min(MOST_CALLS, round(seconds / ROUNDS / max(step, 1e-9))))
        block(side, calls[side.name])
    order = random.Random(seed)
    samples: dict[str, list[float]] = {side.name: [] for side in own}
    for _ in range(ROUNDS):
        turn = list(own)
        order.shuffle(turn)
        for side in turn:
            count = calls[side.name]
            samples[side.name].append(block(side, count) / count)
    return samples


@dataclass(frozen=True)
class _Floor:
    """Who of a set is told to work: one side at a time."""

    pool: ProcessPool
    plan: ReplicaPlan

    def all(self, order: Mapping[str, object], what: str) -> dict[str, Any]:
        """Everybody's answers to the same order."""
        return self.pool.ask(dict.fromkeys(self.pool.pids, order), self.plan.limit, what)

    def block(self, side: DataParallelSide, calls: int) -> float:
        """Seconds of so many steps of a side."""
        order = {"do": "block", "side": side.name, "calls": calls}
        by_name = {name: order for name in self.pool.pids if _world(name) == side.world}
        limit = self.plan.limit + self.plan.question.seconds
        answers = self.pool.ask(by_name, limit, f"while it was timed ({side.name})")
        return float(next(iter(answers.values()))["seconds"])


def _world(name: str) -> str:
    return next((world for world, known in NAMES.items() if known == name), TEAM)


# -- starting


def _started(plan: ReplicaPlan) -> ProcessPool:
    """A pool that has started: TensorFlow imported, the team joined, all asked the same."""
    for _ in range(TRIES - 1 if plan.cluster is None else 0):
        try:
            return _start(plan)
        except FailedError as error:
            if not any(words in error.said for words in _TAKEN):
                raise
    return _start(plan)


def _start(plan: ReplicaPlan) -> ProcessPool:
    question = plan.question
    launches, orders = {}, {}
    for name, world, index, workers, processors, environment in _members(plan):
        launches[name] = Launch(WORKER, environment)
        orders[name] = {
            "do": "start",
            "question": asdict(question),
            "world": world,
            "index": index,
            "workers": workers,
            "processors": processors,
            "threads": len(processors),
        }
    pool = ProcessPool(launches)
    try:
        answers = pool.ask(orders, plan.limit, "while its workers came together")
        for name, answer in answers.items():
            if _world(name) != TEAM:
                continue
            if not answer["alike"]:
                raise MismatchError(
                    "the workers were asked for different things: start the command on every "
                    "machine with the same options"
                )
            if answer["replicas"] != question.replicas:
                raise MismatchError(
                    f"{name} finds {answer['replicas']} replicas, expected {question.replicas}: "
                    "every machine must have the same number of devices"
                )
    except BaseException:
        pool.close()
        raise
    return pool


def _members(plan: ReplicaPlan) -> Iterator[tuple[str, str, int, int, list[int], dict[str, str]]]:
    """Of each process: its name, world, place, how many there are, processors and environment."""
    question = plan.question
    usual = {key: each for key, each in os.environ.items() if key != tf_config.VARIABLE}
    if question.device == "cpu":
        # TensorFlow would take a GPU for each replica where there are any.
        usual["CUDA_VISIBLE_DEVICES"] = "-1"
    yield NAMES[ONE], ONE, 0, 1, plan.share(0, 1), usual
    if plan.processors:  # then one process has all of the team's
        yield NAMES[CORES], CORES, 0, 1, plan.share(0, question.replicas), usual
    if question.strategy == MIRRORED:
        yield "the replicas", TEAM, 0, 1, plan.share(0, question.replicas), usual
        return
    team = [plan.cluster] if plan.cluster is not None else tf_config.here(question.replicas)
    for each in team:
        variables = {**usual, tf_config.VARIABLE: each.variable}
        mine = plan.share(0 if plan.cluster is not None else each.index, 1)
        if question.device == "gpu" and plan.cluster is None:
            variables["CUDA_VISIBLE_DEVICES"] = _gpu(each.index)
        yield f"worker {each.index}", TEAM, each.index, len(each.workers), mine, variables


def _gpu(index: int) -> str:
    """What one process of several may see of this machine's GPUs."""
    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return visible[index] if index < len(visible) else str(index)
