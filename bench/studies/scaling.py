"""``python -m bench.run scaling``: LSTM training on several devices, processes or machines at once.

A set of fresh processes is one replica alone, the team of several, and where they are of this
machine one process with all of the team's processors. They live at the same time and work in turn:
while one measures, the others wait for an order, or for the team's first step, and take no
processor. So the sides' blocks alternate, as in all timing here. ``table`` shows what several sets
found.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.case.cases import Shape
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.machine import devices
from bench.machine.lock import HeldError, MachineLock
from bench.machine.process_pool import FailedError, Launch, PoolError, ProcessPool
from bench.machine.reading import default_folder, expanded
from bench.records import study
from bench.render.escape import clean
from bench.session.progress import MEASURED, code_of
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.studies import table, tf_config
from bench.studies.data_parallel import (
    CORES,
    MIRRORED,
    ONE,
    STRATEGIES,
    TEAM,
    WORKERS,
    DataParallelRequest,
    DataParallelSide,
    sides,
)
from bench.studies.tf_config import ClusterAddress
from lstm_impl.backends.tensorflow import data_parallel
from lstm_impl.registry import get_backend

KIND = "scaling"
SHAPE = "b32-t50-i64-h128"
BACKENDS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("keras", "while_loop+hoisted", "fused_cpu"),
    "gpu": ("keras", "cudnn", "while_loop+hoisted"),
}
LIMIT = 180.0
"""Seconds for an order: TensorFlow's import in all processes at once, or the reference's gradients
of a large batch, take some tens on a busy machine; what hangs is ended then."""

ROUNDS = 15
"""Blocks of each side in a set: a median whose interval holds with 96% between the 4th and the 12th
of them. The same number on all machines, whatever their clocks say."""

MOST_CALLS = 10_000

WORKER = ("-m", "bench.studies.data_parallel")

NAMES = {ONE: "one replica alone", CORES: "one replica on all processors"}

EPILOG = """\
One replica alone is held against several, in fresh processes that work in turn. Each step's
gradients are proven equal to the float64 reference's on the whole batch before it is timed. On a
CPU each replica has processors of its own, and one replica alone has as many.
docs/data_parallel.md explains the table.

With TF_CONFIG set, this machine has the worker that it names: start the same command with the same
options on every machine. Worker 0 writes the results.

exit codes: 0 all was measured; 1 something was not measured, or a worker died or hung
(a line says which); 2 bad input; 3 the results cannot be written; 4 another run measures on this
machine (--force goes on); 130 stopped
"""


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
                    failed, samples = _backend(pool, plan, backend, own)
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
    pool: ProcessPool, plan: ReplicaPlan, backend: str, own: Sequence[DataParallelSide]
) -> tuple[dict[DataParallelSide, str], dict[str, list[float]]]:
    """Why sides of a backend have no times, and the times of those that have."""
    proofs: dict[str, str] = {}
    order: dict[str, object] = {"do": "build", "backend": backend}
    what = f"while it built {backend}"
    answers = pool.ask(dict.fromkeys(pool.pids, order), plan.limit, what).values()
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

    def block(side: DataParallelSide, calls: int) -> float:
        order = {"do": "block", "side": side.name, "calls": calls}
        by_name = {name: order for name in pool.pids if _world(name) == side.world}
        limit = plan.limit + plan.question.seconds
        found = pool.ask(by_name, limit, f"while it was timed ({side.name})")
        return float(next(iter(found.values()))["seconds"])

    return {}, timed(block, own, plan.question.seconds, plan.question.seed)


def timed(
    block: Callable[[DataParallelSide, int], float],
    own: Sequence[DataParallelSide],
    seconds: float,
    seed: int,
) -> dict[str, list[float]]:
    """The seconds of a step in each block, of every side by name.

    block: the seconds of so many steps. In each round every side has a block, in an order of its
    own; what is decided here depends on nothing but a team's own times and ``seed``, so that
    several machines decide the same.
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


def _world(name: str) -> str:
    return next((world for world, known in NAMES.items() if known == name), TEAM)


# -- starting


def _started(plan: ReplicaPlan) -> ProcessPool:
    """A pool that has started: TensorFlow imported, the team joined, the same request for all."""
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
            if not answer["same"]:
                raise MismatchError(
                    "the workers have different options: start the command on every "
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


# -- the command


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(words)
    command_line.write_any_letter()
    return code_of(
        functools.partial(_run, options),
        held="--force goes on all the same",
        stopped="stopped; nothing was written",
    )


def _run(options: argparse.Namespace) -> int:
    given = tf_config.given(os.environ)
    plan = planned(options, given)
    folder = expanded(options.results or default_folder())
    started = datetime.now(UTC)
    with MachineLock() as lock:
        try:
            lock.acquire(KIND)
        except HeldError:
            if not options.force:
                raise
        answers = []
        for number in range(options.processes):
            what = f"set {number + 1} of {options.processes}, {plan.question.replicas} replicas:"
            # Each repetition has inputs of its own.
            question = replace(plan.question, seed=options.seed + number)
            tell = functools.partial(print, what, file=sys.stderr)
            answers.append(measured(replace(plan, question=question), tell))
    if given is not None and given.index > 0:
        print(f"worker {given.index}: done; worker 0 has the results", file=sys.stderr)
        return MEASURED
    # No addresses: they are of no use to others.
    request = {**asdict(plan.question), "machines": 1 if given is None else len(given.workers)}
    path = study.save(study.document(KIND, started, request, answers), folder)
    print(f"written: {path}", file=sys.stderr)
    problems = table.deliver([str(path)], options)
    for problem in problems:
        print(f"not measured: {clean(problem, 1000)}", file=sys.stderr)
    return 1 if problems else MEASURED


def planned(options: argparse.Namespace, given: ClusterAddress | None) -> ReplicaPlan:
    """What is measured, by the options and ``TF_CONFIG``.

    Raises UsageError for options that do not go together, or that ask for what is not here,
    UnsupportedError for a backend that is none of TensorFlow's, InputError for no shape.
    """
    shape = Shape.parse(options.shape)
    strategy = options.strategy
    if strategy is None:
        strategy = MIRRORED if options.device == "gpu" and given is None else WORKERS
    if given is not None and strategy != WORKERS:
        raise UsageError(
            "--strategy mirrored is of one machine, and TF_CONFIG names several workers: leave one "
            "of the two out"
        )
    backends = options.backends or BACKENDS[options.device]
    for each in backends:
        data_parallel.check(get_backend(each))
    replicas = _replicas(options, given)
    if shape.batch % replicas:
        below = shape.batch // replicas * replicas
        raise UsageError(
            f"--shape {shape}: {replicas} replicas cannot share a batch of {shape.batch} "
            f"equally; take {below or replicas}{f' or {below + replicas}' if below else ''}"
        )
    processors = _processors(options, given, replicas)
    question = DataParallelRequest(
        **asdict(shape),
        backends=tuple(backends),
        replicas=replicas,
        strategy=strategy,
        device=options.device,
        threads=len(processors) // replicas,
        seconds=options.seconds,
        seed=options.seed,
    )
    return ReplicaPlan(question, options.limit, given, processors)


def _replicas(options: argparse.Namespace, given: ClusterAddress | None) -> int:
    gpus = devices.gpu_facts().visible if options.device == "gpu" else 0
    if options.device == "gpu" and (missing := devices.explain_missing("gpu:0")):
        raise UsageError(f"--device gpu: {missing}")
    if given is not None:
        if options.replicas is not None:
            raise UsageError(
                "--replicas does not go with TF_CONFIG, which names the workers: leave it out"
            )
        return len(given.workers) * max(1, gpus)
    replicas = int(options.replicas or gpus or 2)
    if replicas < 2:
        why = "this machine has one GPU" if options.replicas is None else "one shares nothing"
        raise UsageError(f"--replicas 1: {why}; ask for 2 or more, where there are so many devices")
    if options.device == "gpu" and (missing := devices.explain_missing(f"gpu:{replicas - 1}")):
        raise UsageError(f"--replicas {replicas}: each needs a GPU of its own, and {missing}")
    return replicas


def _processors(
    options: argparse.Namespace, given: ClusterAddress | None, replicas: int
) -> tuple[int, ...]:
    """This machine's processors that so many replicas share out; none where they need not."""
    if options.device == "gpu" or given is not None or not hasattr(os, "sched_getaffinity"):
        return ()
    here = sorted(os.sched_getaffinity(0))
    if replicas > len(here):
        raise UsageError(
            f"--replicas {replicas}: each needs a processor of its own, and this process may use "
            f"{len(here)}"
        )
    return tuple(here[: len(here) // replicas * replicas])


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "run scaling", "Train an LSTM on several devices at once, and say what that gains.", EPILOG
    )
    cpu, gpu = (", ".join(BACKENDS[device]) for device in ("cpu", "gpu"))
    which = f"TensorFlow's, separated by commas (default: {cpu}; on GPUs {gpu})"
    replicas = "how many share the work, compared with one (default: 2 on a CPU, or every GPU)"
    arguments.add_values(
        parser,
        ("backends", "NAMES", arguments.names, which),
        ("replicas", "N", arguments.whole(1), replicas),
    )
    shape = "of one replica alone, as in case ids"
    arguments.add_usual(parser, ("shape", "SHAPE", str, SHAPE, shape))
    strategy = (
        "workers: a process for each replica; mirrored: one process, several devices (default: "
        "workers on a CPU and with TF_CONFIG, mirrored on GPUs)"
    )
    arguments.add_choice(parser, "device", ("cpu", "gpu"), usual="cpu")
    arguments.add_choice(parser, "strategy", STRATEGIES, strategy)
    limit = "that one order to a worker may take, before all are ended"
    arguments.add_usual(
        parser,
        ("processes", "N", arguments.whole(1, 10_000), ENOUGH_PROCESSES, "sets of fresh ones"),
        ("seconds", "TIME", arguments.seconds, 0.5, "of timing each side in each set"),
        ("limit", "TIME", arguments.seconds, LIMIT, limit),
        ("seed", "N", arguments.whole(0, 2**53), 0, ""),
    )
    parser.add_argument("--results", metavar="DIR", help="where the file is written (results/)")
    arguments.add_flags(parser, force="measure while another run does")
    arguments.add_output(parser, table.FORMATS)
    return parser
