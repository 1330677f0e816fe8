"""Records of fresh processes next to those of a baseline: ratios over processes, with verdicts.

A record is what one process measured of one thing: samples with the alternating rounds they were
taken in, or why there are none. This module knows records, not what they are of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.machine.fields import Field
from bench.stats.comparison import Comparison
from bench.stats.intervals import CaseInterval, case_interval
from bench.stats.ratios import RunSamples, compare


@dataclass(frozen=True)
class SideComparison:
    """One side against the baseline of its key.

    key: what both are of. seconds: of a step, with the interval; base_seconds: the baseline's.
    comparison: this side over the baseline; above 1 it takes longer.
    """

    key: tuple[str, ...]
    side: str
    seconds: CaseInterval
    base_seconds: float
    comparison: Comparison


@dataclass(frozen=True)
class UnmeasuredSide:
    """A side, or the baseline, that has no time, and why."""

    key: tuple[str, ...]
    side: str
    why: str

    def __str__(self) -> str:
        return f"{', '.join((*self.key, self.side))}: {self.why}"


def fields(answers: Sequence[Sequence[Mapping[str, object]]]) -> list[list[Field]]:
    """The records of processes that have just answered, as they would be read from a file."""
    root = Field(Path("the answers"), "", answers)
    return [answer.items() for answer in root.items()]


def rows(
    answers: Sequence[Sequence[Field]], keys: Sequence[str], side: str, baseline: str
) -> tuple[list[SideComparison], list[UnmeasuredSide]]:
    """A row for each key and side but the baseline, and why what is missing was not measured.

    keys, side: names of fields. baseline: the side that others are held against.

    Raises ResultError for a record that is none.
    """
    found: dict[tuple[str, ...], dict[str, list[tuple[int, Field]]]] = {}
    for number, answer in enumerate(answers):
        for record in answer:
            key = tuple(record[each].label() for each in keys)
            sides = found.setdefault(key, {})
            sides.setdefault(record[side].label(), []).append((number, record))
    table: list[SideComparison] = []
    problems: list[UnmeasuredSide] = []
    for key, sides in found.items():
        base = sides.get(baseline, [])
        for name, records in sides.items():
            failed = [text for _, each in (*records, *base) if (text := each["failed"].text())]
            if failed or not base:
                why = failed[0] if failed else f"there is no {baseline} beside it"
                problems.append(UnmeasuredSide(key, name, why))
            elif name != baseline:
                ours, theirs = runs(records), runs(base)
                table.append(
                    SideComparison(
                        key,
                        name,
                        case_interval([each.samples for each in ours]),
                        case_interval([each.samples for each in theirs]).mid,
                        compare(ours, theirs),
                    )
                )
    return table, problems


def runs(records: Sequence[tuple[int, Field]]) -> list[RunSamples]:
    """What each process measured. Raises ResultError for samples or rounds that are none."""
    made = []
    for number, record in records:
        samples, rounds = timed(record)
        made.append(RunSamples(str(number), np.array(samples), np.array(rounds), started=number))
    return made


def timed(record: Field) -> tuple[list[float], list[int]]:
    """A record's samples, in seconds, and the round of each. Raises ResultError for none."""
    samples, rounds = record["samples"].times(), record["rounds"].integers(0)
    if not samples or len(samples) != len(rounds) or len(set(rounds)) != len(rounds):
        raise record["rounds"].error("a round of its own for each sample", "does not fit")
    return samples, rounds
