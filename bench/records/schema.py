"""Define the contents of result files as the suite uses them, and make them from stored ones.

``records.stored`` declares what a file may hold.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import asdict

import bench.records.stored as stored
from bench.case.cases import Case
from bench.machine.fields import Field, ResultError, mapping, without_secrets
from bench.machine.reasons import Reason
from bench.records.reasons import read_reason
from bench.records.stored import OUTCOMES as OUTCOMES
from bench.records.stored import SCHEMA as SCHEMA
from bench.records.streaming import StreamCalls, stream_calls
from bench.schema.decoding import decode
from bench.schema.types import FreeObject

Figures: TypeAlias = Mapping[str, float | str | None]

_MARKS = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*", re.IGNORECASE)
"""The parts of a processor's name that do not distinguish processors."""

TIERS = MAINTAINERS, WORKFLOW, FILE = ("maintainers", "workflow", "file")
"""How far a shared result can be trusted.

The maintainers' or a contributor's workflow has attested it, or it is a mere file, which proves
nothing.
"""


@dataclass(frozen=True)
class Run:
    """Describe the run of one process.

    session: the name that this run shares with its replicates. started, finished: in UTC; finished
    is None for an interrupted run. environment: the state of the machine ``before`` and ``after``.
    tier: one of ``TIERS`` for a shared result, from a list next to its file; otherwise empty.
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
    tier: str = ""

    @property
    def managed(self) -> bool:
        """Return whether ``bench.run`` started the run. It then names a session in the options."""
        return "session" in self.options

    @property
    def before(self) -> Mapping[str, object]:
        """Return the state of the machine when the run began, empty if the file has none."""
        return mapping(self.environment.get("before"))

    @property
    def after(self) -> Mapping[str, object]:
        """Return the state of the machine at the end, when the frameworks were loaded."""
        return mapping(self.environment.get("after"))

    def hardware(self, device: str) -> str:
        """Return the name of a device of the machine, empty if the environment has none."""
        kind, _, index = device.partition(":")
        found = self.before.get("cpu") if kind == "cpu" else None
        gpus = self.before.get("gpus")
        if kind == "gpu" and isinstance(gpus, list) and index.isdecimal():
            found = next(iter(gpus[int(index) :]), None)
        name = mapping(found).get("name")
        return name if isinstance(name, str) else ""

    @property
    def machine(self) -> str:
        """Return a name of the machine, such as ``AMD EPYC 3192a4``.

        It contains six digits of the id, because many machines share a host name.
        """
        words = _MARKS.sub(" ", self.hardware("cpu")).split()
        if not words:
            return self.host
        digits = self.machine_id
        if not re.match("[0-9a-f]{6}", digits):
            digits = hashlib.sha256(digits.encode("utf-8", "replace")).hexdigest()
        return " ".join([*words, digits[:6]])

    def to_dict(self) -> dict[str, object]:
        """Return plain data, as in a result file."""
        return {
            **{name: value for name, value in vars(self).items() if name != "tier"},
            "started": self.started.isoformat(),
            "finished": None if self.finished is None else self.finished.isoformat(),
        }


@dataclass(frozen=True, eq=False)
class Measurement:
    """Hold the measurement of one case by one run. The case passed its gate.

    samples: the seconds per step, one sample for each block of ``calls`` steps. rounds: the
    alternating round of each sample. Samples of one group with the same round and run are paired.
    warmup: the seconds per step of the earlier blocks. setup: seconds by name, such as ``trace_s``
    and ``timing_s`` (its part of its group's warm-up and blocks); a value may be None or missing.
    memory, roofs, energy: figures by name, None if not measured. steady: whether the samples have
    no trend, None if unknown. valid, reasons: whether the numbers can be trusted, and if not, why.
    remarks: warnings of the backend's code, and changes that it made in its process. streaming:
    statistics of all calls of a stream, whose samples are the medians of its blocks.
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
    reasons: tuple[Reason, ...]
    path: Path
    stopped: str = ""
    remarks: tuple[str, ...] = ()
    streaming: StreamCalls | None = None

    @property
    def timed_s(self) -> float:
        """Return how long the case was timed, in seconds.

        A stream counts until its last call was due.
        """
        period = self.case.workload.period
        if period is not None:
            return period * self.samples.size * self.calls
        return float(self.samples.sum()) * self.calls


@dataclass(frozen=True)
class Outcome:
    """Hold why one run has no time of a case.

    outcome: one of ``OUTCOMES``. path: the file of the run.
    """

    case: Case
    run: Run
    outcome: str
    reason: Reason
    path: Path


@dataclass(frozen=True)
class ResultFile:
    """Hold the contents of one result file.

    notes: remarks on how the file was read. commit: the commit of the project in which the run was
    started, possibly empty. warnings: notes that every command prints.
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
    """Hold the contents of all readable files, and the errors of the others.

    notes: remarks on how the files were read. warnings: notes that every command prints.
    """

    files: tuple[ResultFile, ...]
    errors: tuple[ResultError, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def measurements(self) -> list[Measurement]:
        """Return the measurements of all files."""
        return [each for file in self.files for each in file.measurements]

    @property
    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of all files."""
        return [each for file in self.files for each in file.outcomes]


def check_schema(field: Field) -> None:
    """Raise ResultError for an object with a schema that this version does not know."""
    decode(field, stored.Versioned)


def parse_run(field: Field) -> Run:
    """Parse what ``Run.to_dict`` returned."""
    found = asdict(decode(field, stored.StoredRun))
    return Run(**{**found, "environment": _without_secrets(found["environment"])})


def _without_secrets(environment: Mapping[str, object]) -> dict[str, object]:
    """Remove secrets from the URLs in a run's variables. Older files contain such secrets."""
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
    """Return the run with the values of a journal's last line."""
    found = decode(line, stored.StoredFinish)
    environment = dict(run.environment)
    if found.environment_after is not None:
        environment["after"] = found.environment_after
        environment = _without_secrets(environment)
    complete = True if found.complete is None else found.complete
    return replace(run, finished=found.finished, complete=complete, environment=environment)


def parse_benchmark(field: Field, run: Run) -> Measurement | Outcome:
    """Parse a benchmark entry. It becomes a failed Outcome if its gate did not pass."""
    ours = field["extra_info"]["lstm"]
    if mapping(mapping(ours.value).get("gate")).get("passed") is not True:
        # The times of such an entry are not read, so they may be anything.
        untimed = decode(ours, stored.OursUntimed)
        return Outcome(untimed.case.case, run, "failed", Reason("gate_not_passed"), field.path)
    try:
        entry = decode(field, stored.StoredBenchmark)
    except ResultError:
        check_schema(ours)  # In a newer schema, everything else may be different.
        raise
    found = entry.extra_info.lstm
    blocks, validity = found.blocks, found.validity
    return Measurement(
        case=found.case.case,
        run=run,
        samples=np.array(entry.stats.data, dtype=np.float64),
        rounds=np.array(blocks.round, dtype=np.int64),
        warmup=tuple(blocks.warmup),
        calls=blocks.calls,
        setup=found.setup,
        gate=decode(ours["gate"], FreeObject),
        evidence=found.evidence,
        memory=found.memory,
        roofs=found.roofs,
        energy=found.energy,
        steady=found.steady,
        valid=validity.valid,
        reasons=tuple(
            read_reason(each.code, each.values, each.text, each.advice, run.managed)
            for each in validity.reasons
        ),
        path=field.path,
        stopped=blocks.stopped or "",
        remarks=tuple(found.remarks or ()),
        streaming=None if found.streaming is None else stream_calls(found.streaming),
    )


def parse_outcome(field: Field, run: Run) -> Outcome:
    """Parse the entry of a case without a time."""
    found = decode(field, stored.StoredOutcome)
    reason = read_reason(found.code, found.values, found.reason, found.advice, run.managed)
    return Outcome(found.case.case, run, found.outcome, reason, field.path)
