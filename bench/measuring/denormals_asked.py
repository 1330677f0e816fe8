"""What ``bench.denormals`` asks of fresh processes, and the table of what they answer.

Half of the processes leave the processor as it is, and half flush denormals to zero from their
start. Beside the times stands what each backend made of denormals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from bench.judging.beside import Beside, rows
from bench.measuring.denormals import DENORMAL, ORDINARY, Question
from bench.results.study import Study, shape_of
from bench.suites.sizes import Shape
from bench.telling import quantities, studies
from bench.telling.headings import name
from bench.telling.marks import RATIO_INTERVAL
from bench.telling.sheet import Column, Sheet
from bench.telling.told import Told
from lstm_impl.registry import get_backend

WAYS = ("as it is", "flushing")
"""Of a process to treat denormals; by turns."""


def asked(options: argparse.Namespace) -> studies.Asked | None:
    """The question and the answers; None if a process died, which is told."""
    for backend in options.backend:
        get_backend(backend)
    shape = Shape.parse(options.shape)
    question = Question(
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
    questions = [
        {**asdict(question), "flush": way == WAYS[1], "seed": seed}
        for seed in range(question.seed, question.seed + options.processes)
        for way in WAYS
    ]
    answers = studies.asked_in_turn("bench.denormals", questions, quiet=True)
    if answers is None:
        return None
    ways = WAYS * options.processes
    return asdict(question), [
        [{**record, "way": way} for record in found]
        for way, found in zip(ways, answers, strict=True)
    ]


def told(found: Study) -> tuple[Told, list[str]]:
    """The table, with what stands above and below it, and what is not in it and why."""
    table, missing = rows(found.answers, ("way", "backend"), "numbers", ORDINARY)
    problems = list(map(str, missing))
    studies.check(table, problems)
    first, *rest = _notes(found)
    return Told((), ((first, _sheet(table, found)),), tuple(rest)), problems


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
