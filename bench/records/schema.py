"""What a result file holds, schema 2: its types, and how each is made from checked fields.

Schema 2 added ``case.variant``; files of schema 1, which have none, are read for ever.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.case.cases import Case
from bench.machine.fields import (
    LONGEST,
    Field,
    ResultError,
    error_at,
    mapping,
    printable,
    without_secrets,
)
from bench.records.advice import worded
from bench.records.streaming import StreamCalls
from bench.records.streaming import parse as parse_streaming

SCHEMA = 2
Figures: TypeAlias = Mapping[str, float | str | None]
OUTCOMES = ("not_measured", "refused", "failed", "crashed", "timed_out", "interrupted")


_MARKS = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*", re.IGNORECASE)
"""Parts of a processor's name that distinguish none."""


@dataclass(frozen=True)
class RecordedReason:
    """Why a measurement is not to be trusted, and what to do about it."""

    code: str
    text: str
    advice: str


@dataclass(frozen=True)
class Run:
    """One process that measured.

    session: runs with the same one are replicates. started, finished: UTC; finished is None if the
    run never came to its end. environment: the machine's state ``before`` and ``after``.
    """

    id: str
    session: str
    suite: str
    seed: int
    started: datetime
    finished: datetime | None
    complete: bool
    host: str
    machine_id: str
    options: Mapping[str, object]
    environment: Mapping[str, object]

    @property
    def managed(self) -> bool:
        """Whether ``bench.run`` started it: it gives all its processes the name of a session."""
        return "session" in self.options

    @property
    def machine(self) -> str:
        """Name the machine by its processor and six digits of its id: ``AMD EPYC 3192a4``.

        Host names such as ``vm`` are those of many machines.
        """
        cpu = mapping(mapping(self.environment.get("before")).get("cpu"))
        processor = cpu.get("name")
        words = _MARKS.sub(" ", processor).split() if isinstance(processor, str) else []
        if not words:
            return self.host
        digits = self.machine_id
        if not re.match("[0-9a-f]{6}", digits):
            digits = hashlib.sha256(digits.encode("utf-8", "replace")).hexdigest()
        return " ".join([*words, digits[:6]])

    def to_dict(self) -> dict[str, object]:
        """Plain data, as it stands in a result file."""
        return {
            **vars(self),
            "started": self.started.isoformat(),
            "finished": None if self.finished is None else self.finished.isoformat(),
        }


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one run measured of one case, its gate passed.

    samples: seconds per step, one a block of ``calls`` steps. rounds: for each sample the
    alternating round in which it was taken; samples of two cases of one group with the same round
    in the same run are a pair. warmup: seconds per step before them. setup: seconds by name, such
    as ``trace_s`` and ``timing_s`` (its part of its group's warm-up and blocks), each possibly None
    or missing. memory, roofs, energy: figures by name (numbers, or words about them), None where
    none were taken. steady: whether the samples showed no trend, None if it is not known. valid,
    reasons: whether the numbers are to be trusted, and if not why. remarks: what the backend's code
    warned of, and what it changed of its process. streaming: what is kept of the calls of a stream,
    whose medians, a block each, the samples are.
    """

    case: Case
    run: Run
    samples: npt.NDArray[np.float64]
    rounds: npt.NDArray[np.int64]
    warmup: tuple[float, ...]
    calls: int
    setup: Mapping[str, float | None]
    gate: Mapping[str, object]
    evidence: Mapping[str, object]
    memory: Figures | None
    roofs: Figures | None
    energy: Figures | None
    steady: bool | None
    valid: bool
    reasons: tuple[RecordedReason, ...]
    path: Path
    stopped: str = ""
    remarks: tuple[str, ...] = ()
    streaming: StreamCalls | None = None

    @property
    def timed_s(self) -> float:
        """Seconds of its blocks, or until its last call was due: latencies may overlap."""
        period = self.case.workload.period
        if period is not None:
            return period * self.samples.size * self.calls
        return float(self.samples.sum()) * self.calls


@dataclass(frozen=True)
class Outcome:
    """A case that has no time: one of ``OUTCOMES``, and why, in words a user can act on."""

    case: Case
    run: Run
    outcome: str
    reason: str
    advice: str
    path: Path


@dataclass(frozen=True)
class ResultFile:
    """One run, read. notes: what a reader should know of how it was read.

    commit: of the project that the run was started in, possibly empty. warnings: those of the notes
    that every command prints.
    """

    path: Path
    run: Run
    measurements: tuple[Measurement, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    commit: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """Several files: those that could be read, one error for each that could not, and notes."""

    files: tuple[ResultFile, ...]
    errors: tuple[ResultError, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def measurements(self) -> list[Measurement]:
        """Those of all files."""
        return [each for file in self.files for each in file.measurements]

    @property
    def outcomes(self) -> list[Outcome]:
        """Those of all files."""
        return [each for file in self.files for each in file.outcomes]


def check_schema(schema: Field) -> None:
    """Raise ResultError if the file is of a schema that this version does not know."""
    if schema.integer(1) > SCHEMA:
        known = f"this version knows schema {SCHEMA}"
        raise schema.error(f"at most {SCHEMA}: {known}, upgrade the suite to read the file")


def parse_run(field: Field) -> Run:
    """The run that ``Run.to_dict`` wrote."""
    return Run(
        id=field["id"].label(),
        session=field["session"].label(),
        suite=field["suite"].text(),
        seed=field["seed"].integer(0, 2**64 - 1),
        started=field["started"].time(),
        finished=field["finished"].time() if field["finished"].given else None,
        complete=field["complete"].boolean(),
        host=field["host"].text(),
        machine_id=field["machine_id"].text(),
        options=field["options"].free(),
        environment=_without_secrets(field["environment"].free()),
    )


def _without_secrets(environment: Mapping[str, object]) -> dict[str, object]:
    """Return a run's environment with the URLs of its variables cleaned; older files kept them."""
    found = dict(environment)
    for time, state in environment.items():
        if variables := mapping(mapping(state).get("variables")):
            cleaned = {
                name: without_secrets(value) if isinstance(value, str) else value
                for name, value in variables.items()
            }
            found[time] = {**mapping(state), "variables": cleaned}
    return found


def parse_finish(run: Run, line: Field) -> Run:
    """The run as a journal's last line leaves it."""
    environment = dict(run.environment)
    if line["environment_after"].given:
        environment["after"] = line["environment_after"].free()
        environment = _without_secrets(environment)
    return replace(
        run,
        finished=line["finished"].time(),
        complete=line["complete"].boolean() if line["complete"].given else True,
        environment=environment,
    )


def parse_benchmark(field: Field, run: Run) -> Measurement | Outcome:
    """A benchmark entry; a failed Outcome if its gate did not pass, whatever time stands there."""
    ours = field["extra_info"]["lstm"]
    check_schema(ours["schema"])
    case = _case(ours)
    gate = ours["gate"]
    if gate["errors"].given:
        gate["errors"].numbers_or_nulls()
    if not gate["passed"].boolean():
        text = "it did not compute what the reference computes, so its time is not shown"
        return Outcome(case, run, "failed", text, "", field.path)
    data = field["stats"]["data"]
    samples = data.times()
    if not samples:
        raise data.error("at least one sample", "is empty")
    blocks = ours["blocks"]
    rounds = blocks["round"].integers(0)
    if len(rounds) != len(samples):
        raise blocks["round"].error(f"a round for each of the {len(samples)} samples in stats.data")
    valid, reasons = _validity(ours["validity"], run)
    remarks = ours["remarks"]
    return Measurement(
        case=case,
        run=run,
        samples=np.array(samples, dtype=np.float64),
        rounds=np.array(rounds, dtype=np.int64),
        warmup=tuple(map(float, blocks["warmup"].times())),
        calls=blocks["calls"].integer(1),
        setup=_setup(ours["setup"]),
        gate=gate.free(),
        evidence=ours["evidence"].free(),
        memory=_figures(ours["memory"], ("peak_bytes", "steady_bytes", "seconds")),
        roofs=_figures(ours["roofs"]),
        energy=_figures(ours["energy"]),
        steady=ours["steady"].boolean() if ours["steady"].given else None,
        valid=valid,
        reasons=reasons,
        path=field.path,
        stopped=blocks["stopped"].text() if blocks["stopped"].given else "",
        remarks=tuple(each.text() for each in remarks.items()) if remarks.given else (),
        streaming=parse_streaming(ours["streaming"]),
    )


def parse_outcome(field: Field, run: Run) -> Outcome:
    """An entry of a case that has no time."""
    outcome = field["outcome"]
    if outcome.value not in OUTCOMES:
        raise outcome.error("one of " + ", ".join(OUTCOMES))
    return Outcome(
        case=_case(field),
        run=run,
        outcome=outcome.text(),
        reason=field["reason"].text(),
        advice=worded(field["advice"].text(), run.managed) if field["advice"].given else "",
        path=field.path,
    )


def _validity(field: Field, run: Run) -> tuple[bool, tuple[RecordedReason, ...]]:
    valid = field["valid"].boolean()
    reasons = tuple(
        RecordedReason(
            each["code"].label(), each["text"].text(), worded(each["advice"].text(), run.managed)
        )
        for each in field["reasons"].items()
    )
    if not valid and not reasons:
        raise field["reasons"].error("at least one reason, since valid is false", "is empty")
    return valid, reasons


def _setup(field: Field) -> dict[str, float | None]:
    seconds = field.numbers_or_nulls(maximum=LONGEST)
    for key, value in seconds.items():
        # compile_s is a difference of two measured times, and noise can turn it under zero.
        if value is not None and value < 0 and key != "compile_s":
            raise field[key].error("a number of at least 0")
        if value is not None and 0 < abs(value) < SMALLEST_FIGURE:
            raise field[key].error(f"0 or a time of at least {SMALLEST_FIGURE:g}")
    return seconds


SMALLEST_FIGURE, LARGEST_FIGURE = 1e-30, 1e30
"""Of bytes, operations, joules other than 0: their sums, squares and inverses are finite."""


def _figures(field: Field, numbers: Sequence[str] = ()) -> Figures | None:
    """Numbers of at least 0, words or nulls by name; None where the field is null or missing.

    numbers: names under which there are no words.
    """
    if not field.given:
        return None
    figures: dict[str, float | str | None] = {}
    for key, value in field.mapping().items():
        if key in numbers and isinstance(value, str):
            raise field[key].error("a number of at least 0")
        if (
            value is None
            or isinstance(value, str)
            or (type(value) is float and SMALLEST_FIGURE <= value <= LARGEST_FIGURE)
        ):
            figures[key] = value
            continue
        figures[key] = number = field[key].number(0.0, LARGEST_FIGURE)
        if 0 < number < SMALLEST_FIGURE:
            raise field[key].error(f"0 or a number from {SMALLEST_FIGURE:g} to {LARGEST_FIGURE:g}")
    return figures


MOST_CASES_KEPT = 20_000

_read: dict[tuple[str, object], Case] = {}
"""Cases that were checked, by their text: checking takes a third of the time of reading an entry,
and replicates have the same cases. Text, since 1, 1.0 and true are equal."""


def _case(parent: Field) -> Case:
    """The case of an entry, one object for all entries that say the same."""
    try:
        key = repr(parent["case"].value), parent["case_id"].value
        found = _read.get(key)
    except (RecursionError, TypeError, ValueError):
        return _checked_case(parent)  # which names what is wrong
    if found is None:
        found = _checked_case(parent)
        if len(_read) >= MOST_CASES_KEPT:
            _read.clear()
        _read[key] = found
    return found


def _checked_case(parent: Field) -> Case:
    """The case of an entry, each field checked under its own name."""
    field = parent["case"]
    field["backend"].label()
    field["device"].label()
    if field["variant"].given:
        field["variant"].label()
    try:
        case = Case.from_dict(field.mapping())
    except ValueError as error:
        # The types' own errors say "case.spec: LSTMSpec.dtype is".
        text = re.sub(r"^case\.(spec|workload): (LSTMSpec|Workload)\.", r"case.\1.", str(error))
        text = re.sub(r"__init__\(\) missing .* argument.?: '(\w+)'.*", r"\1 is missing", text)
        where, _, what = text.partition(" ")
        parents = field.name.removesuffix("case")
        raise error_at(field.path, printable(what), parents + printable(where)) from None
    stored = parent["case_id"]
    if stored.text() != case.id:
        raise stored.error(f'"{printable(case.id)}", the id of its case')
    return case
