"""The file of a study: what several fresh processes answered to one question.

It lies in the folder of results and holds no times of cases, so their readers skip it. What is in
an answer is the study's own to check.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import environment
from bench.machine.fields import Field, error_at
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write
from bench.records.digest import CHANGED, changed, with_digest
from bench.records.schema import Run, parse_run

SCHEMA = 1


@dataclass(frozen=True)
class Study:
    """kind: the command's name. question: what was requested. answers: records of each process."""

    kind: str
    run: Run
    question: Field
    answers: tuple[tuple[Field, ...], ...]


def document(
    kind: str,
    started: datetime,
    question: Mapping[str, object],
    answers: Sequence[Sequence[Mapping[str, object]]],
) -> dict[str, object]:
    """Make the file's content, with the machine as it is now. started: when the first one began."""
    machine = environment.read()
    name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    run = Run(
        id=name,
        session=name,
        suite=kind,
        seed=0,
        started=started,
        finished=datetime.now(UTC),
        complete=True,
        host=machine.host,
        machine_id=machine.machine_id,
        options={},
        environment={"before": machine.to_dict(), "after": {}},
    )
    # The first key says what the file is.
    return with_digest(
        {
            "study": kind,
            "schema": SCHEMA,
            "run": run.to_dict(),
            "question": dict(question),
            "answers": [list(each) for each in answers],
        }
    )


def save(found: Mapping[str, object], folder: Path) -> Path:
    """Write a document under a name of its own. Raises ResultWriteError."""
    run = found["run"]
    assert isinstance(run, Mapping), "made by document"
    path = folder / f"{found['study']}-{run['id']}.json"
    write(path, found)
    return path


def read(path: Path, kinds: Collection[str]) -> Study:
    """The study, of one of these kinds, in a file. Raises ResultError, whatever the bytes are."""
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
