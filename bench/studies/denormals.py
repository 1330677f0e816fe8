"""``python -m bench.run denormals``: what numbers too small to be normal cost each backend.

The same step is timed on ordinary numbers and on denormal ones, in alternating blocks.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.case.cases import Shape
from bench.cli import arguments, command_line
from bench.cli.output import CommandOutput
from bench.records.study import Study, shape_of
from bench.render import quantities
from bench.render.labels import RATIO_INTERVAL
from bench.render.labels import name as told_name
from bench.render.table import Column, Sheet, numbers
from bench.studies import processes
from bench.studies.comparisons import SideComparison, rows
from bench.worker.timing import Clock, first_use, recorded
from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, UnsupportedError, get_backend, reference
from lstm_impl.model import given_step
from lstm_impl.proof.comparison import error
from lstm_impl.spec import FloatArray
from lstm_impl.step import Step
from lstm_impl.workload import SEQUENCE_MODES, Inputs

ORDINARY, DENORMAL = "ordinary", "denormal"
SCALES: Mapping[str, float] = {ORDINARY: 1e-3, DENORMAL: 1e-39}
"""Of the initial state: far from one, so that tanh is linear in it, and in the middle of float32's
denormal numbers, 1.4e-45 to 1.2e-38."""

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

FORGET_BIAS = 4.0
"""A forget gate of 0.982: over 100 timesteps a state falls to a sixth, and stays denormal."""

RECURRENT = 0.005
"""Standard deviation of the recurrent kernel. What it adds to the cell in a timestep is a quarter
of its product with that, so that up to 200 units (a spectral radius of 0.07) no state grows."""

FLUSHED, KEPT = "flushed to zero", "kept"


@dataclass(frozen=True)
class DenormalsRequest:
    """Sizes, the mode, who computes, and seconds of timing each backend and scale."""

    batch: int
    timesteps: int
    inputs: int
    hidden: int
    mode: str
    backends: tuple[str, ...]
    flush: bool
    seconds: float
    seed: int


@dataclass(frozen=True)
class DenormalCase:
    """A network, what it is given, and the float64 reference's outputs, none denormal there."""

    spec: LSTMSpec
    weights: LSTMWeights
    inputs: Inputs
    y: FloatArray


def made(question: DenormalsRequest, scale: float) -> DenormalCase:
    """The network and its inputs with a state of this scale; all else is the same."""
    spec = LSTMSpec(question.inputs, question.hidden)
    rng = np.random.default_rng(question.seed)
    hidden = question.hidden
    weights = LSTMWeights.random(spec, question.seed)
    ((cell,),) = weights.layers
    recurrent = rng.normal(0.0, RECURRENT, cell.recurrent_kernel.shape).astype(np.float32)
    bias = np.zeros(4 * hidden, np.float32)
    bias[hidden : 2 * hidden] = FORGET_BIAS
    weights = LSTMWeights.from_arrays(spec, [cell.kernel, recurrent, bias])
    state_shape = (1, question.batch, hidden)
    h, c = ((scale * rng.uniform(0.5, 1.5, state_shape)).astype(np.float32) for _ in range(2))
    shape = (question.timesteps, question.batch)
    # What flows back is as small as the state, so that the gradients decay through it too.
    dy = (scale * rng.uniform(0.5, 1.5, (*shape, hidden))).astype(np.float32)
    x = np.zeros((*shape, question.inputs), np.float32)
    state = LSTMState(h, c)
    y, _ = reference.forward(spec, weights, x, state)
    return DenormalCase(spec, weights, Inputs(x, dy, state, None, None), y)


def denormal_part(array: FloatArray) -> float:
    """The part of an array's numbers that are denormal in float32 and not zero."""
    size = np.abs(widened(array))
    return float(np.mean((size > 0) & (size < SMALLEST_NORMAL)))


def widened(array: FloatArray) -> npt.NDArray[np.float64]:
    """In float64, by the bits of what is denormal: where they are flushed, reading makes them 0."""
    if array.dtype != np.float32:
        return np.asarray(array, np.float64)
    bits = np.ascontiguousarray(array).view(np.uint32)
    small = (bits & 0x7F80_0000) == 0
    sign = np.where(bits >> 31, -1.0, 1.0)
    of_bits = sign * (bits & 0x007F_FFFF).astype(np.float64) * 2.0**-149
    return np.where(small, of_bits, array.astype(np.float64))


def verdict_on(ours: FloatArray, theirs: FloatArray) -> tuple[str, str]:
    """Whether a backend flushed denormal outputs or kept them, or why it is neither.

    Kept: near the reference, relative to its largest; denormal numbers have few digits. Flushed:
    zeros where the reference is denormal. Returns what it did and a problem, one of them empty.
    """
    ours = widened(ours)
    if not np.any(ours):
        return FLUSHED, ""
    off = error(ours, theirs)
    if off <= LOOSE:
        return KEPT, ""
    small = np.abs(theirs) < SMALLEST_NORMAL
    if np.all(ours[small] == 0) and error(ours[~small], theirs[~small]) <= LOOSE:
        return FLUSHED, ""
    return "", f"its outputs are off by {off:.2g} of the largest"


LOOSE = 0.01
"""Denormal numbers near 1e-40 have five digits and lose them to rounding in each step."""


def flush_here() -> str:
    """Have this thread, and all threads that it starts from now on, flush denormals to zero.

    By PyTorch, which sets the processor's two bits; on Linux a thread begins with those of the one
    that starts it. So this comes before any framework starts its threads. Returns why not, or an
    empty string.
    """
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed, which sets the processor's flags"
    done = torch.set_flush_denormal(True)
    return "" if done else "this processor cannot flush denormals"


# -- in a fresh process


def answer(question: DenormalsRequest) -> list[dict[str, Any]]:
    """A plain record for each backend and scale."""
    # Before anything is flushed: making small numbers, and reading them, is arithmetic too.
    cases = {scale: made(question, size) for scale, size in SCALES.items()}
    if question.flush and (problem := flush_here()):
        return [_record(name, scale, problem) for name in question.backends for scale in SCALES]
    records: list[dict[str, Any]] = []
    for name in question.backends:
        records += _measured(question, name, cases)
    return records


def _record(backend: str, scale: str, failed: str = "") -> dict[str, Any]:
    return {"backend": backend, "numbers": scale, "failed": failed, "samples": [], "rounds": []}


def _measured(
    question: DenormalsRequest, name: str, cases: Mapping[str, DenormalCase]
) -> list[dict[str, Any]]:
    records = {scale: _record(name, scale) for scale in SCALES}
    steps: dict[str, Step] = {}
    try:
        backend = get_backend(name)
        if not (available := backend.availability("cpu")):
            raise UnsupportedError(str(available))
        for scale, case in cases.items():
            model = backend.build(case.spec, case.weights, "cpu")
            steps[scale] = given_step(model, case.inputs, question.mode)
            first_use(steps[scale], Clock.system())
            _judge(records[scale], steps[scale], case.y)
    except UnsupportedError as refused:
        for record in records.values():
            record["failed"] = str(refused)
    if any(record["failed"] for record in records.values()):
        return list(records.values())
    for scale, record in recorded(steps, question.seconds, question.seed).items():
        records[scale] |= record
    return list(records.values())


def _judge(record: dict[str, Any], step: Step, theirs: FloatArray) -> None:
    """What of the reference's outputs is denormal, and what the backend made of them."""
    assert step.results is not None
    ours = step.results(step.run())["y"]
    record["denormal"] = denormal_part(theirs)
    if record["numbers"] == DENORMAL:
        record["did"], record["failed"] = verdict_on(ours, theirs)
    elif (off := error(widened(ours), theirs)) > LOOSE:
        record["failed"] = f"its outputs are off by {off:.2g} of the largest"


# -- in the process that asks

WAYS = ("as it is", "flushing")
"""Of a process to treat denormals; by turns."""


def measure(options: argparse.Namespace) -> processes.Answers | None:
    """The question and the answers; None if a process died, which is reported."""
    for backend in options.backend:
        get_backend(backend)
    question = DenormalsRequest(
        **asdict(Shape.parse(options.shape)),
        mode=options.mode,
        backends=tuple(options.backend),
        flush=False,
        seconds=options.seconds,
        seed=options.seed,
    )
    questions = [
        {**asdict(question), "flush": way == WAYS[1], "seed": seed}
        for seed in range(question.seed, question.seed + options.processes)
        for way in WAYS
    ]
    answers = processes.asked_in_turn("bench.studies.denormals", questions, quiet=True)
    if answers is None:
        return None
    ways = WAYS * options.processes
    return asdict(question), [
        [{**record, "way": way} for record in found]
        for way, found in zip(ways, answers, strict=True)
    ]


def command_output(found: Study) -> tuple[CommandOutput, list[str]]:
    """The table, with what stands above and below it, and what is not in it and why."""
    table, missing = rows(found.answers, ("way", "backend"), "numbers", ORDINARY)
    problems = list(map(str, missing))
    processes.check(table, problems)
    first, *rest = _notes(found)
    return CommandOutput((), ((first, _sheet(table, found)),), tuple(rest)), problems


def _sheet(table: Sequence[SideComparison], found: Study) -> Sheet:
    did = _did(found)
    return Sheet.of(
        [
            Column("backend", names=True),
            *map(Column, ("process", "denormals are")),
            *numbers("ordinary numbers", "times as long with denormals"),
            *map(Column, (RATIO_INTERVAL, "verdict")),
        ],
        [
            [
                each.key[1],
                each.key[0],
                did.get(each.key, ""),
                quantities.seconds(each.base_seconds),
                f"{each.comparison.ratio.mid:.3g}",
                f"{each.comparison.ratio.low:.3g}–{each.comparison.ratio.high:.3g}",
                str(each.comparison.verdict),
            ]
            for each in sorted(table, key=lambda each: (each.key[1], each.key[0]))
        ],
    )


def _did(found: Study) -> dict[tuple[str, ...], str]:
    """What each backend made of denormals, by process and backend: of several things, all."""
    seen: dict[tuple[str, ...], dict[str, None]] = {}
    for record in (record for answer in found.answers for record in answer):
        if record["did"].given and record["did"].text():
            key = record["way"].label(), record["backend"].label()
            seen.setdefault(key, {})[record["did"].text()] = None
    return {key: " or ".join(sorted(each)) for key, each in seen.items()}


def _notes(found: Study) -> list[str]:
    """What was measured where, and that there were denormals."""
    question = found.question
    parts = [
        record["denormal"].number(0.0, 1.0)
        for answer in found.answers
        for record in answer
        if record["numbers"].label() == DENORMAL and record["denormal"].given
    ]
    lines = [
        f"{shape_of(question)}, {told_name(question['mode'].label())}; "
        f"{quantities.count(len(found.answers), 'process')} on "
        f"{told_name(found.run.machine)}, {found.run.started:%Y-%m-%d %H:%M} UTC"
    ]
    if parts:
        much = "All" if min(parts) >= 1.0 else f"At least {min(parts):.0%}"
        lines.append(
            f"{much} of the outputs of the float64 reference are denormal in float32; flushed: the "
            "backend's are zero there, kept: they are the reference's."
        )
    return lines


# -- the command

BACKENDS = ("keras", "while_loop+hoisted", "while_loop+xla", "torch", "jax_scan", "onnxruntime")

EPILOG = """\
Ratios are denormal / ordinary of the same process: 1 is no cost. With 6 processes of a kind or more
the interval comes from the processes themselves. Half of the processes flush denormals to zero: the
thread that starts all others is told so before any framework is imported.

exit codes: 0 all was measured; 1 something was not measured (told in a line); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    work = functools.partial(processes.ended, "denormals", measure, command_output)
    return processes.run(_parser(), DenormalsRequest, answer, work, words)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "run denormals", "Time the same step on ordinary and on denormal numbers.", EPILOG
    )
    arguments.add_usual(parser, ("shape", "SHAPE", str, "b8-t100-i64-h64", "as case ids spell it"))
    parser.add_argument("--backend", nargs="+", default=list(BACKENDS), help="%(default)s")
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, usual="inference")
    processes.add_study(parser)
    processes.add_processes(parser, 0.5, "timing a backend on each kind", "of each kind")
    return parser


if __name__ == "__main__":
    command_line.end(main)
