"""``python -m bench.run scaling``: LSTM training on several devices, processes or machines at once.

This module knows the command: its options and what of them goes together, the sets of processes one
after the other, the file and the exit codes. ``replicas`` measures one set, ``table`` shows all.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bench.case.cases import Shape
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.machine import devices
from bench.machine.lock import HeldError, MachineLock
from bench.machine.reading import default_folder, expanded
from bench.records import study
from bench.render.escape import clean
from bench.session.progress import MEASURED, code_of
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.studies import table, tf_config
from bench.studies.data_parallel import (
    MIRRORED,
    SCALINGS,
    STRATEGIES,
    STRONG,
    WORKERS,
    DataParallelRequest,
)
from bench.studies.replicas import ReplicaPlan, measured
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
