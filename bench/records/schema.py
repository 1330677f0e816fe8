"""Define the contents of a result file, schema 2, and parse them from checked fields.

Schema 2 added ``case.variant``. Files of schema 1, which have none, will always be read.
"""

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
from bench.machine.reasons import Reason
from bench.records.streaming import StreamCalls
from bench.records.streaming import parse as parse_streaming

SCHEMA = 2
Figures: TypeAlias = Mapping[str, float | str | None]
OUTCOMES = ("not_measured", "refused", "failed", "crashed", "timed_out", "interrupted")


_MARKS = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*", re.IGNORECASE)
"""Parts of a processor's name that distinguish no processors."""

MORE_TIME = "give it more time: --lstm-budget SECONDS"
"""Advice for few or unsettled samples, as in files: with the options of pytest, which measured."""

_RUN_OPTIONS = {"--lstm-budget SECONDS": "--seconds TIME", "--lstm-threads": "--threads"}
_ASK_OPTIONS = {"--seconds TIME": "--budget TIME --again", "--threads": "bench.run with --threads"}


def advice_for_ask(advice: str) -> str:
    """Return advice for ``bench.run`` with the options of ``bench.ask``."""
    for before, after in _ASK_OPTIONS.items():
        advice = advice.replace(before, after)
    return advice


def advice_for(advice: str, managed: bool) -> str:
    """Return a file's advice with the options of ``bench.run`` (managed) or pytest."""
    for before, after in _RUN_OPTIONS.items() if managed else ():
        advice = advice.replace(before, after)
    return advice


RECORDED = "recorded"
"""The code of a reason of which only the text is known."""


def recorded(code: str, text: str, advice: str, values: Mapping[str, object] = {}) -> Reason:
    """Return a reason of a file. text, advice: as the program that wrote it said them."""
    return Reason(code, {**values, "text": text, "advice": advice})


TIERS = MAINTAINERS, WORKFLOW, FILE = ("maintainers", "workflow", "file")
"""How far a shared result can be trusted: attested as made by the maintainers' or by a
contributor's workflow, or a bare file, which proves nothing."""


@dataclass(frozen=True)
class Run:
    """The run of one process. session: that of its replicates too.

    started, finished: UTC; finished is None for an interrupted run. environment: the machine's
    state ``before`` and ``after``. tier: one of ``TIERS`` of a shared result, which stands not in
    its file but in a list next to it; otherwise empty.
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
        """Return whether ``bench.run`` started it, which names a session in the options."""
        return "session" in self.options

    @property
    def before(self) -> Mapping[str, object]:
        """Return the state of its machine when it began, empty if its file has none."""
        return mapping(self.environment.get("before"))

    @property
    def after(self) -> Mapping[str, object]:
        """Return the same at its end, when the frameworks were loaded."""
        return mapping(self.environment.get("after"))

    def hardware(self, device: str) -> str:
        """Return the name of a device of its machine, empty if its environment has none."""
        kind, _, index = device.partition(":")
        found = self.before.get("cpu") if kind == "cpu" else None
        gpus = self.before.get("gpus")
        if kind == "gpu" and isinstance(gpus, list) and index.isdecimal():
            found = next(iter(gpus[int(index) :]), None)
        name = mapping(found).get("name")
        return name if isinstance(name, str) else ""

    @property
    def machine(self) -> str:
        """Return ``AMD EPYC 3192a4``, with six digits of the id, since many share a host name."""
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
    """The measurement of one case by one run, its gate passed.

    samples: seconds per step, one for each block of ``calls`` steps. rounds: the alternating round
    of each sample; samples of one group with the same round and run are paired. warmup: seconds per
    step before them. setup: seconds by name, such as ``trace_s`` and ``timing_s`` (its part of its
    group's warm-up and blocks), possibly None or missing. memory, roofs, energy: figures by name,
    None if not measured. steady: whether the samples have no trend, None if unknown. valid,
    reasons: whether the numbers can be trusted, or else why not. remarks: warnings of the backend's
    code, and changes that it made in its process. streaming: statistics of all calls of a stream;
    the samples are then the medians of its blocks.
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
        """Return the seconds of its blocks, in a stream until its last call was due."""
        period = self.case.workload.period
        if period is not None:
            return period * self.samples.size * self.calls
        return float(self.samples.sum()) * self.calls


@dataclass(frozen=True)
class Outcome:
    """A case without a time: one of ``OUTCOMES``, and the reason."""

    case: Case
    run: Run
    outcome: str
    reason: Reason
    path: Path


@dataclass(frozen=True)
class ResultFile:
    """The contents of one file. notes: remarks on how it was read.

    commit: that of the project in which the run was started, possibly empty. warnings: the notes
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
    """The readable ones of several files, the errors of the others, and notes."""

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


def check_schema(schema: Field) -> None:
    """Raise ResultError for a schema that this version does not know."""
    if schema.integer(1) > SCHEMA:
        known = f"this version knows schema {SCHEMA}"
        raise schema.error(f"at most {SCHEMA}: {known}, upgrade the suite to read the file")


def parse_run(field: Field) -> Run:
    """Parse the result of ``Run.to_dict``."""
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
    """Remove secrets from the URLs of a run's variables, which older files have."""
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
    """Parse a benchmark entry; it is a failed Outcome if its gate did not pass."""
    ours = field["extra_info"]["lstm"]
    check_schema(ours["schema"])
    case = _case(ours)
    gate = ours["gate"]
    if gate["errors"].given:
        gate["errors"].numbers_or_nulls()
    if not gate["passed"].boolean():
        return Outcome(case, run, "failed", Reason("gate_not_passed"), field.path)
    data = field["stats"]["data"]
    samples = data.times()
    if not samples:
        raise data.error("at least one sample", "is empty")
    blocks = ours["blocks"]
    rounds = blocks["round"].integers(0)
    if len(rounds) != len(samples):
        raise blocks["round"].error(f"a round for each of the {len(samples)} samples in stats.data")
    validity = ours["validity"]
    valid = validity["valid"].boolean()
    reasons = tuple(
        _reason(each, each["code"].label(), each["text"].text(), each["advice"].text(), run)
        for each in validity["reasons"].items()
    )
    if not valid and not reasons:
        raise validity["reasons"].error("at least one reason, since valid is false", "is empty")
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
    """Parse an entry of a case without a time."""
    outcome = field["outcome"].one_of(OUTCOMES)
    text, (code, advice) = field["reason"].text(), (field["code"], field["advice"])
    reason = _reason(
        field,
        code.label() if code.given else RECORDED,  # older files have its text alone
        text,
        advice.text() if advice.given else "",
        run,
    )
    return Outcome(_case(field), run, outcome, reason, field.path)


def _reason(field: Field, code: str, text: str, advice: str, run: Run) -> Reason:
    """Return a reason with the values that it has in files since they have codes."""
    values = field["values"].free() if field["values"].given else {}
    # Advice names the options of the command that measured.
    values = values and {**values, "managed": run.managed}
    return recorded(code, text, advice_for(advice, run.managed), values)


def _setup(field: Field) -> dict[str, float | None]:
    seconds = field.numbers_or_nulls(maximum=LONGEST)
    for key, value in seconds.items():
        # compile_s is a difference of two measured times and may be negative.
        if value is not None and value < 0 and key != "compile_s":
            raise field[key].error("a number of at least 0")
        if value is not None and 0 < abs(value) < SMALLEST_FIGURE:
            raise field[key].error(f"0 or a time of at least {SMALLEST_FIGURE:g}")
    return seconds


SMALLEST_FIGURE, LARGEST_FIGURE = 1e-30, 1e30
"""Bounds of bytes, operations and joules, whose sums, squares and inverses are then finite."""


def _figures(field: Field, numbers: Sequence[str] = ()) -> Figures | None:
    """Parse numbers >= 0, nulls and (but for ``numbers``) texts by name; None for a null."""
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
            figures[key] = value  # without a Field, which is slow
            continue
        figures[key] = number = field[key].number(0.0, LARGEST_FIGURE)
        if 0 < number < SMALLEST_FIGURE:
            raise field[key].error(f"0 or a number from {SMALLEST_FIGURE:g} to {LARGEST_FIGURE:g}")
    return figures


MOST_CASES_KEPT = 20_000

_read: dict[tuple[str, object], Case] = {}
"""Checked cases by their text, since 1, 1.0 and true are equal. Replicates have the same cases, and
checking them takes a third of the time of reading an entry."""


def _case(parent: Field) -> Case:
    """Return the case of an entry, one object for all equal ones."""
    try:
        key = repr(parent["case"].value), parent["case_id"].value
        found = _read.get(key)
    except (RecursionError, TypeError, ValueError):
        return _checked_case(parent)  # raises a clear error
    if found is None:
        found = _checked_case(parent)
        if len(_read) >= MOST_CASES_KEPT:
            _read.clear()
        _read[key] = found
    return found


def _checked_case(parent: Field) -> Case:
    """Parse the case of an entry, and name the invalid field in an error."""
    field = parent["case"]
    field["backend"].label()
    field["device"].label()
    if field["variant"].given:
        field["variant"].label()
    try:
        case = Case.from_dict(field.mapping())
    except ValueError as error:
        # The errors of the types begin with "case.spec: LSTMSpec.dtype is".
        text = re.sub(r"^case\.(spec|workload): (LSTMSpec|Workload)\.", r"case.\1.", str(error))
        text = re.sub(r"__init__\(\) missing .* argument.?: '(\w+)'.*", r"\1 is missing", text)
        where, _, what = text.partition(" ")
        parents = field.name.removesuffix("case")
        raise error_at(field.path, printable(what), parents + printable(where)) from None
    stored = parent["case_id"]
    if stored.text() != case.id:
        raise stored.error(f'"{printable(case.id)}", the id of its case')
    return case
