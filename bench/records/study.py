"""Read the files of studies, which earlier versions wrote: several processes' answers.

They lie in the folder of results and hold no times of cases, so their readers skip them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.machine.fields import Field, error_at
from bench.machine.reading import parse_json, regular_bytes
from bench.records.digest import CHANGED, changed
from bench.records.schema import Run, parse_run

SCHEMA = 1


@dataclass(frozen=True)
class Study:
    """kind: what was measured. question: the request. answers: records of each process."""

    kind: str
    run: Run
    question: Field
    answers: tuple[tuple[Field, ...], ...]


def read(path: Path, kinds: Collection[str]) -> Study:
    """Return the study, of one of these kinds, in a file.

    Raises ResultError, whatever the bytes are.
    """
    try:
        root = Field(path, "", parse_json(path, regular_bytes(path)))
    except RecursionError:
        raise error_at(path, "is nested too deeply to be a study") from None
    kind = root["study"].one_of(kinds)
    if root["schema"].integer(1) != SCHEMA:
        raise root["schema"].error(f"{SCHEMA}, which this version knows")
    answers = tuple(tuple(each.items()) for each in root["answers"].items())
    if not answers or not all(answers):
        raise root["answers"].error("an answer with records from each process")
    run = parse_run(root["run"])
    if changed(root.mapping()):
        raise error_at(path, CHANGED)
    return Study(kind, run, root["question"], answers)
