"""Files of studies as tables: what processes measured of each side, compared with a baseline.

``scaling`` is measured today; ``lengths`` and ``denormals`` were, before they became suites.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cli import output
from bench.cli.command_line import UsageError
from bench.machine.fields import Field
from bench.records import study
from bench.records.study import Study
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import RATIO_INTERVAL, TIME_INTERVAL, compact_verdict, name
from bench.render.quantities import (
    count,
    listed,
    rate,
    seconds,
    seconds_range,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Block, Cell, Column, Document, Sheet, numbers
from bench.stats.intervals import case_interval
from bench.stats.ratios import RunSamples, compare

FORMATS = ("terminal", "markdown")

_BOUNDS = 10
"""Letters that an interval takes: 1.00-1.00."""


@dataclass(frozen=True)
class _Kind:
    """How records of one kind are compared.

    keys: fields that two compared records share. side: the field in which they differ. baseline: a
    side; empty for that of the question's first way and policy. adjacent: whether each side had a
    process of its own, one after the other. Times of sides with a ``batch`` are compared by
    sequence.
    """

    keys: tuple[str, ...]
    side: str
    baseline: str
    adjacent: bool = False


KINDS: Mapping[str, _Kind] = {
    "denormals": _Kind(("backend", "way"), "numbers", "ordinary"),
    "lengths": _Kind((), "stream", ""),
    "scaling": _Kind(("backend", "replicas"), "side", "one", adjacent=True),
}

_Records = list[tuple[int, Field]]


def deliver(paths: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Show the newest of the files' studies; what is not in the table, and why.

    Raises UsageError for files of several kinds, ResultError for what is no study.
    """
    found = [study.read(Path(each), KINDS) for each in paths]
    kinds = list(dict.fromkeys(each.kind for each in found))
    if len(kinds) > 1:
        raise UsageError(f"the files are of several studies, {listed(kinds)}: name those of one")
    if options.format not in FORMATS:
        raise UsageError(f"a study of {kinds[0]} is shown with --format {' or '.join(FORMATS)}")
    shown, problems = document(max(found, key=lambda each: each.run.started))
    output.as_asked(options, shown.terminal, {"markdown": shown.markdown})
    return problems


def document(found: Study) -> tuple[Document, list[str]]:
    """The table with what stands around it, and what is not in it and why.

    Raises UsageError where nothing was measured, ResultError for records that are none.
    """
    kind = KINDS[found.kind]
    problems: dict[str, None] = {}
    lines = list(_lines(found, kind, problems))
    if not lines:
        raise UsageError(f"nothing was measured: {next(iter(problems), 'no records')}")
    sheet = Sheet.of(
        [
            *(Column(each, names=each != "replicas") for each in (*kind.keys, kind.side)),
            *numbers("batch"),
            Column("time", right=True, least=_BOUNDS),
            *numbers("per second"),
            Column("times as fast", right=True, least=_BOUNDS),
            Column("verdict"),
        ],
        lines,
    ).without_empty()
    baseline = name(kind.baseline or _first(found))
    above = (
        f"{found.kind}: {count(len(found.answers), 'process')} on {name(found.run.machine)}, "
        f"{found.run.started:%Y-%m-%d %H:%M} UTC"
    )
    below = (
        f"With each time its {TIME_INTERVAL}, with each ratio its {RATIO_INTERVAL}. Times as fast: "
        f"compared with {baseline}{' by sequence' * kind.adjacent}, above 1 is faster."
    )
    notes = (f"Not measured: {clean(each, LONGEST_SENTENCE)}." for each in problems)
    around = [Block(lines=(each,), joined=True) for each in (f"{above}:", below, *notes)]
    return Document([around[0], Block(sheet=sheet), *around[1:]]), list(problems)


def _lines(found: Study, kind: _Kind, problems: dict[str, None]) -> Iterator[list[Cell | str]]:
    groups: dict[tuple[str, ...], dict[str, _Records]] = {}
    for number, answer in enumerate(found.answers):
        for record in answer:
            key = tuple(_text(record[each]) for each in kind.keys)
            side = record[kind.side].label().replace("-apart", "-unreduced")  # as it was named
            groups.setdefault(key, {}).setdefault(side, []).append((number, record))
    for key, sides in groups.items():
        failed = {
            side: text
            for side, records in sides.items()
            for _, each in records
            if (text := each["failed"].text())
        }
        problems |= {f"{', '.join((*key, side))}: {text}": None for side, text in failed.items()}
        baseline = kind.baseline or _first(found)
        there = baseline in sides and baseline not in failed
        base = _runs(sides[baseline], kind) if there else None
        for side, records in sorted(sides.items()):
            if side in failed:
                continue
            ours = _runs(records, kind)
            batch = _batch(records[0][1])
            time = case_interval([batch * run.samples for run in ours])
            ratio = None if base is None or side == baseline else compare(ours, base)
            yield [
                *(*key, side),
                str(batch) if records[0][1]["batch"].given else "",
                Cell(seconds(time.mid), seconds_range(time.low, time.high, time.mid)),
                rate(batch / time.mid) if records[0][1]["batch"].given else "",
                Cell(
                    times_as_fast(ratio.ratio.mid),
                    times_bounds(ratio.ratio.low, ratio.ratio.high),
                )
                if ratio
                else "",
                compact_verdict(ratio) if ratio else "",
            ]


def _first(found: Study) -> str:
    """The side of the first way that was requested with the first policy."""
    question = found.question
    policies = list(question["batches"].mapping())
    if question["policies"].given:  # in order: a file's keys are sorted
        policies = [each.label() for each in question["policies"].items()]
    ways = question["ways"].items()
    if not policies or not ways:
        raise question.error("ways and policies with batches", "asks for nothing")
    return f"{ways[0].label()} {policies[0]}"


def _text(field: Field) -> str:
    return str(field.integer(1)) if field.name.endswith("replicas") else field.label()


def _batch(record: Field) -> int:
    return record["batch"].integer(1) if record["batch"].given else 1


def _runs(records: _Records, kind: _Kind) -> list[RunSamples]:
    """What each process measured. Raises ResultError for samples or rounds that are none."""
    runs = []
    for number, record in records:
        samples, rounds = record["samples"].times(), record["rounds"].integers(0)
        if not samples or len(samples) != len(rounds) or len(set(rounds)) != len(rounds):
            raise record["rounds"].error("a round of its own for each sample", "does not fit")
        runs.append(
            RunSamples(
                str(number),
                np.array(samples) / _batch(record),
                np.array(rounds),
                adjacent=kind.adjacent,
                started=number,
            )
        )
    return runs
