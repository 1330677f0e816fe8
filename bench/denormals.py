"""``python -m bench.denormals``: what numbers too small to be normal cost each backend.

The same step is timed on ordinary numbers and on denormal ones, in alternating blocks, in fresh
processes that leave the processor as it is and in others that flush denormals to zero from their
start. Beside the times stands what each backend made of them. ``measuring.denormals`` knows the
case; this room knows the processes and the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.judging.beside import Beside, rows
from bench.measuring import denormals
from bench.measuring.denormals import DENORMAL, ORDINARY, Question
from bench.results.study import Study, shape_of
from bench.suites.sizes import Shape
from bench.telling import arguments, command_line, quantities, studies
from bench.telling.command_line import UsageError
from bench.telling.headings import name
from bench.telling.inert import clean
from bench.telling.marks import RATIO_INTERVAL
from bench.telling.sheet import Column, Sheet
from bench.telling.told import Told
from lstm_impl.registry import get_backend
from lstm_impl.workload import SEQUENCE_MODES

KIND = "denormals"
BACKENDS = ("keras", "while_loop+hoisted", "while_loop+xla", "torch", "jax_scan", "onnxruntime")
AS_IT_IS, FLUSHED = "as it is", "flushing"

EPILOG = """\
Ratios are denormal / ordinary of the same process: 1 is no cost. With 6 processes of a kind or more
the interval comes from the processes themselves. Half of the processes flush denormals to zero: the
thread that starts all others is told so before any framework is imported.

exit codes: 0 all was measured, or shown; 1 something was not measured (told in a line); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return studies.run(_parser(), Question, denormals.answer, _denormals, words)


def _denormals(options: argparse.Namespace) -> int:
    return studies.ended(
        KIND, options, lambda: _asked(options), lambda found: _show(found, options)
    )


def _asked(options: argparse.Namespace) -> studies.Asked | None:
    question = _question(options)
    answers = _ask(question, options.processes)
    return None if answers is None else (asdict(question), answers)


def _ask(question: Question, processes: int) -> list[list[dict[str, Any]]] | None:
    """The answers of fresh processes, by turns of both kinds; None if one died, which is told."""
    kinds = [number % 2 == 1 for number in range(2 * processes)]
    questions = [
        {**asdict(question), "flush": flush, "seed": question.seed + number // 2}
        for number, flush in enumerate(kinds)
    ]
    answers = studies.asked_in_turn("bench.denormals", questions, quiet=True)
    return answers and [
        [{**record, "way": FLUSHED if flush else AS_IT_IS} for record in found]
        for flush, found in zip(kinds, answers, strict=True)
    ]


def _question(options: argparse.Namespace) -> Question:
    for backend in options.backend:
        get_backend(backend)
    shape = Shape.parse(options.shape)
    return Question(
        shape.batch,
        shape.timesteps,
        shape.inputs,
        shape.hidden,
        options.mode,
        tuple(options.backend),
        False,
        options.seconds,
        options.seed,
    )


# -- the table


def _show(found: Study, options: argparse.Namespace) -> list[str]:
    """Deliver the table and return what is not in it and why; the notes below it say so, too."""
    table, missing = rows(found.answers, ("way", "backend"), "numbers", ORDINARY)
    problems = list(map(str, missing))
    if not table:
        raise UsageError(f"nothing was measured: {problems[0] if problems else 'no records'}")
    first, *rest = _notes(found)
    rest += [f"Not measured: {clean(each)}." for each in problems]
    Told((), ((first, _sheet(table, found)),), tuple(rest)).deliver(options)
    return problems


def _sheet(table: Sequence[Beside], found: Study) -> Sheet:
    did = _did(found)
    return Sheet.of(
        [
            Column("backend", names=True),
            Column("process"),
            Column("denormals are"),
            Column("ordinary numbers", right=True),
            Column("times as long with denormals", right=True),
            Column(RATIO_INTERVAL),
            Column("verdict"),
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
        f"{shape_of(question)}, {name(question['mode'].label())}; "
        f"{quantities.count(len(found.answers), 'process')} on "
        f"{name(found.run.host)}, {found.run.started:%Y-%m-%d %H:%M} UTC"
    ]
    if parts:
        much = "All" if min(parts) >= 1.0 else f"At least {min(parts):.0%}"
        lines.append(
            f"{much} of the outputs of the float64 reference are denormal in float32; flushed: the "
            "backend's are zero there, kept: they are the reference's."
        )
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "denormals", "Time the same step on ordinary and on denormal numbers.", EPILOG
    )
    parser.add_argument(
        "--shape", default="b8-t100-i64-h64", help="as case ids spell it (default: %(default)s)"
    )
    parser.add_argument("--backend", nargs="+", default=list(BACKENDS), help="%(default)s")
    parser.add_argument("--mode", choices=SEQUENCE_MODES, default="inference")
    studies.add_study(parser)
    studies.add_processes(parser, 0.5, "timing a backend on either kind of numbers", "of each kind")
    return parser


if __name__ == "__main__":
    command_line.end(main)
