"""Run ``python -m tools.study FILE...``: show the studies that earlier versions wrote.

``scaling``, ``lengths`` and ``denormals`` were studies before they became suites. Their files are
in the folder of results but hold no times of cases, so the commands that read results skip them.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cli import arguments, command_line, output
from bench.machine.fields import Field, file_error
from bench.machine.reading import parse_json, regular_bytes
from bench.records.digest import CHANGED, is_changed
from bench.records.schema import Run, parse_run
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import RATIO_INTERVAL, TIME_INTERVAL, compact_verdict, name
from bench.render.quantities import (
    count,
    rate,
    seconds,
    seconds_range,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Block, Column, Document, TableCell, TextTable, numbers
from bench.schema.decoding import decode
from bench.schema.types import Count, Seconds
from bench.stats.intervals import case_interval
from bench.stats.ratios import RunSamples, compare

SCHEMA = 1
"""The version of the files that this command reads."""


@dataclass(frozen=True)
class Study:
    """Hold a study: what was measured, the request, and the records of each process."""

    kind: str
    run: Run
    question: Field
    answers: tuple[tuple[Field, ...], ...]


def read(path: Path, kinds: Collection[str]) -> Study:
    """Read the study in a file, which must be of one of these kinds.

    Raises
    ------
    ResultError
        If the file is not such a study, whatever its bytes are.
    """
    try:
        root = Field(path, "", parse_json(path, regular_bytes(path)))
    except RecursionError:
        raise file_error(path, "is nested too deeply to be a study") from None
    kind = root["study"].choice(kinds)
    if root["schema"].integer(1) != SCHEMA:
        raise root["schema"].error(f"{SCHEMA}, which this version knows")
    answers = tuple(tuple(each.items()) for each in root["answers"].items())
    if not answers or not all(answers):
        raise root["answers"].error("an answer with records from each process")
    run = parse_run(root["run"])
    if is_changed(root.mapping()):
        raise file_error(path, CHANGED)
    return Study(kind, run, root["question"], answers)


_BOUNDS = 10
"""The width of an interval in characters, such as 1.00-1.00."""


@dataclass(frozen=True)
class _Kind:
    """Describe how to compare the records of one kind of study.

    If the records have a ``batch``, their times are compared for each sequence.

    Attributes
    ----------
    keys
        The fields that two compared records share.
    side
        The field in which they differ.
    baseline
        The side with which the others are compared. If it is empty, it is the question's first way
        and policy.
    adjacent
        Whether each side had a process of its own, one after the other.
    """

    keys: tuple[str, ...]
    side: str
    baseline: str = ""
    adjacent: bool = False


KINDS: Mapping[str, _Kind] = {
    "denormals": _Kind(("backend", "way"), "numbers", "ordinary"),
    "lengths": _Kind((), "stream"),
    "scaling": _Kind(("backend", "replicas"), "side", "one", adjacent=True),
}

_Records = list[tuple[int, Field]]
"""The records of one side, each with the number of its process."""


def compose_blocks(found: Study) -> list[Block]:
    """Return the table, a line above it, and lines below it with what is missing and why.

    Raises
    ------
    ResultError
        If the records are not those of such a study.
    """
    kind = KINDS[found.kind]
    baseline = kind.baseline or _find_baseline(found)
    problems: dict[str, None] = {}
    table = TextTable.of(
        [
            *(Column(each, names=each != "replicas") for each in (*kind.keys, kind.side)),
            *numbers("batch"),
            Column("time", right=True, least=_BOUNDS),
            *numbers("per second"),
            Column("times as fast", right=True, least=_BOUNDS),
            Column("verdict"),
        ],
        list(_compose_lines(found, kind, baseline, problems)),
    ).without_empty()
    above = (
        f"{found.kind}: {count(len(found.answers), 'process')} on {name(found.run.machine)}, "
        f"{found.run.started:%Y-%m-%d %H:%M} UTC:"
    )
    below = (
        f"With each time its {TIME_INTERVAL}, with each ratio its {RATIO_INTERVAL}. Times as fast: "
        f"compared with {name(baseline)}{' by sequence' * kind.adjacent}, above 1 is faster."
    )
    notes = (f"Not measured: {clean(each, LONGEST_SENTENCE)}." for each in problems)
    first, *rest = (Block(lines=(each,), joined=True) for each in (above, below, *notes))
    return [first, Block(table=table), *rest]


def _compose_lines(
    found: Study, kind: _Kind, baseline: str, problems: dict[str, None]
) -> Iterator[list[TableCell | str]]:
    groups: dict[tuple[str, ...], dict[str, _Records]] = {}
    for number, answer in enumerate(found.answers):
        for record in answer:
            key = tuple(_read_text(record[each]) for each in kind.keys)
            side = record[kind.side].label().replace("-apart", "-unreduced")  # its earlier name
            groups.setdefault(key, {}).setdefault(side, []).append((number, record))
    for key, sides in groups.items():
        measured = {}
        for side, records in sides.items():
            failures = [text for _, each in records if (text := each["failed"].text())]
            problems |= {f"{', '.join((*key, side))}: {text}": None for text in failures}
            if not failures:
                measured[side] = _parse_runs(records, kind)
        base = measured.get(baseline)
        for side, runs in sorted(measured.items()):
            record = sides[side][0][1]
            batch, given = _read_batch(record), record["batch"].given
            time = case_interval([batch * run.samples for run in runs])
            line: list[TableCell | str] = [
                *(*key, side),
                str(batch) * given,
                TableCell(seconds(time.mid), seconds_range(time.low, time.high, time.mid)),
                rate(batch / time.mid) * given,
            ]
            if base is None or side == baseline:
                yield [*line, "", ""]
                continue
            found_ratio = compare(runs, base)
            ratio = found_ratio.ratio
            times = TableCell(times_as_fast(ratio.mid), times_bounds(ratio.low, ratio.high))
            yield [*line, times, compact_verdict(found_ratio)]


def _find_baseline(found: Study) -> str:
    """Return the side of the question's first way and policy."""
    question = found.question
    policies = list(question["batches"].mapping())
    if question["policies"].given:  # The list keeps the order, whereas a file sorts its keys.
        policies = [each.label() for each in question["policies"].items()]
    ways = question["ways"].items()
    if not policies or not ways:
        raise question.error("ways and policies with batches", "asks for nothing")
    return f"{ways[0].label()} {policies[0]}"


def _read_text(field: Field) -> str:
    return str(field.integer(1)) if field.name.endswith("replicas") else field.label()


def _read_batch(record: Field) -> int:
    return record["batch"].integer(1) if record["batch"].given else 1


def _parse_runs(records: _Records, kind: _Kind) -> list[RunSamples]:
    """Return the samples of each process. Raise ResultError if samples or rounds are wrong."""
    runs = []
    for number, record in records:
        samples = decode(record["samples"], list[Seconds])
        rounds = decode(record["rounds"], list[Count])
        if not samples or len(samples) != len(rounds) or len(set(rounds)) != len(rounds):
            raise record["rounds"].error("a round of its own for each sample", "does not fit")
        times = np.array(samples) / _read_batch(record)
        runs.append(
            RunSamples(str(number), times, np.array(rounds), adjacent=kind.adjacent, started=number)
        )
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command_line.run(_parser(), _show, argv)


def _show(options: argparse.Namespace) -> int:
    found = [read(path, KINDS) for path in options.paths]
    document = Document([block for each in found for block in compose_blocks(each)])
    output.deliver(options, document.terminal, {"markdown": document.markdown})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser("tools.study", "Show the studies that earlier versions wrote.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="a file of a study")
    arguments.add_output(parser, ("terminal", "markdown"))
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
