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
from dataclasses import asdict, dataclass
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
    SCALINGS,
    STRATEGIES,
    STRONG,
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

TRIES = 3
"""Sets of ports, if others were quicker to take them."""

_TAKEN = ("Could not start gRPC server", "Address already in use")
"""What TensorFlow says where it cannot listen."""

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
(told in a line); 2 bad input; 3 the results cannot be written; 4 another run measures on this
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
    plans = planned(options, given)
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
            for plan in planned(options, given, number):
                what = f"set {number + 1} of {options.processes}, {plan.question.replicas} replicas"
                tell = functools.partial(print, f"{what}:", file=sys.stderr)
                answers.append(measured(plan, tell))
    if given is not None and given.index > 0:
        print(f"worker {given.index}: done; worker 0 has the results", file=sys.stderr)
        return MEASURED
    found = study.document(KIND, started, _document(options, plans, given), answers)
    path = study.save(found, folder)
    print(f"written: {path}", file=sys.stderr)
    problems = table.deliver([str(path)], options)
    for problem in problems:
        print(f"not measured: {clean(problem, 1000)}", file=sys.stderr)
    return 1 if problems else MEASURED


def _document(
    options: argparse.Namespace, plans: Sequence[ReplicaPlan], given: ClusterAddress | None
) -> dict[str, Any]:
    """What was asked, as it stands in the file: no addresses, which are nobody else's."""
    return {
        **asdict(plans[0].question),
        "seed": options.seed,
        "replicas": [plan.question.replicas for plan in plans],
        "threads": [plan.question.threads for plan in plans],
        "machines": 1 if given is None else len(given.workers),
    }


# -- what is measured


def planned(
    options: argparse.Namespace, given: ClusterAddress | None, number: int = 0
) -> list[ReplicaPlan]:
    """The sets of one repetition: one for each number of replicas.

    number: of the repetition, which has inputs of its own.

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
    chosen = tuple(scaling for scaling in SCALINGS if getattr(options, scaling)) or SCALINGS
    plans = []
    for replicas in _replicas(options, given):
        if STRONG in chosen and shape.batch % replicas:
            below = shape.batch // replicas * replicas
            raise UsageError(
                f"--shape {shape}: {replicas} replicas cannot share a batch of {shape.batch} "
                f"equally; take {below or replicas}{f' or {below + replicas}' if below else ''}, "
                "or --weak alone"
            )
        processors = _processors(options, given, replicas)
        question = DataParallelRequest(
            shape.batch,
            shape.timesteps,
            shape.inputs,
            shape.hidden,
            tuple(backends),
            replicas,
            strategy,
            options.device,
            chosen,
            len(processors) // replicas,
            options.seconds,
            options.seed + number,
        )
        plans.append(ReplicaPlan(question, options.limit, given, processors))
    return plans


def _replicas(options: argparse.Namespace, given: ClusterAddress | None) -> list[int]:
    """How many replicas are requested: those above one, each once, in order."""
    gpus = devices.gpu_facts().visible if options.device == "gpu" else 0
    if options.device == "gpu" and (missing := devices.explain_missing("gpu:0")):
        raise UsageError(f"--device gpu: {missing}")
    if given is not None:
        if options.replicas is not None:
            raise UsageError(
                "--replicas does not go with TF_CONFIG, which names the workers: leave it out"
            )
        return [len(given.workers) * max(1, gpus)]
    usual = (2,) if options.device == "cpu" else (gpus,)
    requested = sorted(set(usual if options.replicas is None else options.replicas))
    if requested[0] < 1:
        raise UsageError(f"--replicas {requested[0]}: expected whole numbers from 1 on")
    found = [each for each in requested if each > 1]
    if not found:
        why = "this machine has one GPU" if options.replicas is None else "one shares nothing"
        raise UsageError(f"--replicas 1: {why}; ask for 2 or more, where there are so many devices")
    if options.device == "gpu" and (missing := devices.explain_missing(f"gpu:{found[-1] - 1}")):
        raise UsageError(f"--replicas {found[-1]}: each needs a GPU of its own, and {missing}")
    return found


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
    arguments.add_values(parser, ("backends", "NAMES", arguments.names, which))
    parser.add_argument(
        "--replicas",
        type=arguments.wholes,
        metavar="N,...",
        help="how many share the work; one alone is always measured beside them (default: 2 on a "
        "CPU, or every GPU)",
    )
    arguments.add_flags(
        parser,
        weak="each replica has a whole batch",
        strong="they share one (default: weak and strong)",
    )
    shape = "of one replica alone, as case ids spell it"
    arguments.add_usual(parser, ("shape", "SHAPE", str, SHAPE, shape))
    strategy = (
        "workers: a process for each replica; mirrored: one process, several devices (default: "
        "workers on a CPU and with TF_CONFIG, mirrored on GPUs)"
    )
    arguments.add_choice(parser, "device", ("cpu", "gpu"), usual="cpu")
    arguments.add_choice(parser, "strategy", STRATEGIES, strategy)
    limit = "that whatever a worker is told may take, before all are ended"
    arguments.add_usual(
        parser,
        ("processes", "N", arguments.whole(1, 10_000), ENOUGH_PROCESSES, "sets of fresh ones"),
        ("seconds", "TIME", arguments.seconds, 0.5, "of timing each side in each set"),
        ("limit", "TIME", arguments.seconds, LIMIT, limit),
        ("seed", "N", arguments.whole(0, 2**53), 0, ""),
    )
    parser.add_argument("--results", metavar="DIR", help="where the file is written (results/)")
    arguments.add_flags(parser, force="measure beside another run all the same")
    arguments.add_output(parser, table.FORMATS)
    return parser
