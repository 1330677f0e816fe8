"""Declare what a result file may hold.

``bench.schema.decoding`` checks files against these types.

A result file is pytest-benchmark's JSON. Fields that only pytest-benchmark reads are not declared
and may hold anything.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import Meta, Struct, msgpack

from bench.case.cases import Case
from bench.machine.fields import LONGEST, printable
from bench.schema.types import (
    Count,
    Decoded,
    FreeObject,
    Moment,
    Name,
    PositiveCount,
    Seconds,
    WrongFieldError,
    choices,
    described,
    integer,
    number,
    utc,
)

SCHEMA = 3
"""Schema 2 added ``case.variant``.

Schema 3 omits the sentences of reasons, which follow from their codes and values. Every version of
the suite can read files of all earlier schemas.
"""

OUTCOMES = ("not_measured", "refused", "failed", "crashed", "timed_out", "interrupted")

LARGEST_SEED = 2**64 - 1

SMALLEST_FIGURE, LARGEST_FIGURE = 1e-30, 1e30
"""The bounds of bytes, operations and joules.

Within them, sums, squares and inverses are finite.
"""

LONGEST_HISTOGRAM = 200_000
"""The longest histogram, in characters: three times the length of one with all possible values."""

_KNOWN_SCHEMAS = (
    f"an integer from 1 to {SCHEMA}, the schemas that this version knows: "
    "upgrade the suite to read the file"
)
SchemaNumber = Annotated[int, integer(1, SCHEMA), described(_KNOWN_SCHEMAS)]
Figure = Annotated[float, number(0.0, LARGEST_FIGURE)] | str | None
Figures = dict[str, Figure]
Share = Annotated[float, number(0.0, 1.0)]


class Versioned(Struct):
    """The part of a file that gives the schema of the rest. It is checked before the rest."""

    schema: SchemaNumber


def check_seed(seed: int) -> None:
    """Raise WrongFieldError for a seed of more than 64 bits.

    msgspec cannot express this limit.
    """
    if seed > LARGEST_SEED:
        raise WrongFieldError("seed", f"an integer of at least 0 and at most {LARGEST_SEED}")


class StoredRun(Struct):
    """The run of a file."""

    id: Name
    session: Name
    suite: str
    seed: Annotated[int, Meta(ge=0)]
    started: Moment
    finished: Moment | None
    complete: bool
    host: str
    machine_id: str
    options: FreeObject
    environment: FreeObject

    def __post_init__(self) -> None:
        check_seed(self.seed)
        self.started = utc("started", self.started)
        if self.finished is not None:
            self.finished = utc("finished", self.finished)


class StoredFinish(Struct):
    """The last line of a journal. Older journals do not say whether the run is complete."""

    finished: Moment
    complete: bool | None = None
    environment_after: FreeObject | None = None

    def __post_init__(self) -> None:
        self.finished = utc("finished", self.finished)


class StoredReason(Struct):
    """Why the numbers of a case cannot be trusted.

    The oldest files have no values. Files before schema 3 also have sentences.
    """

    code: Name
    text: str | None = None
    advice: str | None = None
    values: FreeObject | None = None


class StoredValidity(Struct):
    """Whether the numbers of a case can be trusted."""

    valid: bool
    reasons: list[StoredReason]

    def __post_init__(self) -> None:
        if not self.valid and not self.reasons:
            raise WrongFieldError(
                "reasons", "at least one reason, because valid is false", "is empty"
            )


class GateOnly(Struct):
    """Whether a case passed its gate, and the errors of its results."""

    passed: bool
    errors: dict[str, Annotated[float, number()] | None] | None = None


class StoredBlocks(Struct):
    """The blocks of calls. The samples are their mean times per call."""

    calls: PositiveCount
    round: list[Count]
    warmup: list[Seconds]
    stopped: str | None = None


class StoredCallTimes(Struct):
    """The times of a stream's calls."""

    percentiles: dict[str, Percentile]
    most_s: Seconds
    histogram: Annotated[
        str,
        Meta(max_length=LONGEST_HISTOGRAM),
        described(f"a text of at most {LONGEST_HISTOGRAM} characters"),
    ]

    def __post_init__(self) -> None:
        for key, (low, mid, high, _) in self.percentiles.items():
            if not low <= mid <= high:
                raise WrongFieldError(f"percentiles[{key}]", "numbers in order")
            try:
                part = float(key)
            except ValueError:
                part = 0.0
            if not 0 < part < 100:
                text = "no such entry: its name is not a percentile from 0 to 100"
                raise WrongFieldError(f"percentiles[{key}]", text)


Percentile = Annotated[
    tuple[Seconds, Seconds, Seconds, Share],
    described("a lower bound, the percentile, an upper bound and a confidence"),
]


class Streaming(Struct):
    """The calls of a stream."""

    calls: PositiveCount
    latency: StoredCallTimes
    service: StoredCallTimes
    load: Count
    missed: Count
    deadline_s: Seconds | None = None

    def __post_init__(self) -> None:
        if self.missed > self.calls:
            raise WrongFieldError("missed", f"at most the {self.calls} calls")


class StoredCase(Decoded):
    """A case. Equal cases share one object."""

    __slots__ = ("case", "id")

    def __init__(self, case: Case) -> None:
        self.case = case
        self.id = case.id

    @classmethod
    def from_data(cls, data: Any) -> StoredCase:
        """Return the case. Raises WrongFieldError."""
        try:
            # The key is bytes, because 1, 1.0 and true are equal in Python.
            key = msgpack.encode(data)
        except (RecursionError, OverflowError, UnicodeEncodeError):
            return cls._checked(data)  # This raises a clear error.
        found = _cases.get(key)
        if found is None:
            found = cls._checked(data)
            if len(_cases) >= MOST_CASES_KEPT:
                _cases.clear()
            _cases[key] = found
        return found

    @classmethod
    def _checked(cls, data: Any) -> StoredCase:
        if not isinstance(data, dict):
            raise WrongFieldError("", "an object")
        for name in (
            "backend",
            "device",
            *(["variant"] if data.get("variant") is not None else []),
        ):
            if not isinstance(data.get(name), str) or not data[name].strip():
                raise WrongFieldError(name, "a name")
        try:
            return cls(Case.from_dict(data))
        except ValueError as error:
            # The errors of the types begin like "case.spec: LSTMSpec.dtype is".
            text = re.sub(r"^case\.(spec|workload): (LSTMSpec|Workload)\.", r"case.\1.", str(error))
            text = re.sub(r"__init__\(\) missing .* argument.?: '(\w+)'.*", r"\1 is missing", text)
            where, _, what = text.partition(" ")
            raise WrongFieldError(where.removeprefix("case").strip("."), "", what) from None


MOST_CASES_KEPT = 20_000

_cases: dict[bytes, StoredCase] = {}
"""Checked cases by their contents.

Replicates contain the same cases, and checking takes a third of the time of reading an entry.
"""


class Ours(Struct):
    """The suite's own part of a measured case."""

    schema: SchemaNumber
    case: StoredCase
    case_id: str
    gate: GateOnly
    blocks: StoredBlocks
    setup: dict[str, Annotated[float, number(-LONGEST, LONGEST)] | None]
    evidence: FreeObject
    validity: StoredValidity
    memory: Figures | None = None
    roofs: Figures | None = None
    energy: Figures | None = None
    steady: bool | None = None
    remarks: list[str] | None = None
    streaming: Streaming | None = None

    def __post_init__(self) -> None:
        _check_id(self.case, self.case_id)
        for key, value in self.setup.items():
            # compile_s is a difference of two measured times, so it may be negative.
            if value is not None and value < 0 and key != "compile_s":
                raise WrongFieldError(f"setup[{key}]", "a number of at least 0")
            if value is not None and 0 < abs(value) < SMALLEST_FIGURE:
                text = f"0 or a time of at least {SMALLEST_FIGURE:g}"
                raise WrongFieldError(f"setup[{key}]", text)
        _check_figures("memory", self.memory, ("peak_bytes", "steady_bytes", "seconds"))
        _check_figures("roofs", self.roofs)
        _check_figures("energy", self.energy)


def _check_id(case: StoredCase, case_id: str) -> None:
    if case_id != case.id:
        raise WrongFieldError("case_id", f'"{printable(case.id)}", the id of its case')


def _check_figures(name: str, figures: Figures | None, numbers: tuple[str, ...] = ()) -> None:
    """Raise WrongFieldError for a figure too close to 0, and for text in place of a number."""
    for key, value in (figures or {}).items():
        if type(value) is float and 0 < value < SMALLEST_FIGURE:
            text = f"0 or a number from {SMALLEST_FIGURE:g} to {LARGEST_FIGURE:g}"
            raise WrongFieldError(f"{name}[{key}]", text)
    for key in numbers:
        if figures and isinstance(figures.get(key), str):
            raise WrongFieldError(f"{name}[{key}]", "a number of at least 0")


class ExtraInfo(Struct):
    """What pytest-benchmark stores of a case for others."""

    lstm: Ours


class StoredStats(Struct):
    """The samples of a case."""

    data: list[Seconds]

    def __post_init__(self) -> None:
        if not self.data:
            raise WrongFieldError("data", "at least one sample", "is empty")


class StoredBenchmark(Struct):
    """A measured case that passed its gate."""

    stats: StoredStats
    extra_info: ExtraInfo

    def __post_init__(self) -> None:
        samples = len(self.stats.data)
        if len(self.extra_info.lstm.blocks.round) != samples:
            text = f"a round for each of the {samples} samples in stats.data"
            raise WrongFieldError("extra_info.lstm.blocks.round", text)


class OursUntimed(Struct):
    """The part that is read of a measured case that did not pass its gate."""

    schema: SchemaNumber
    case: StoredCase
    case_id: str
    gate: GateOnly

    def __post_init__(self) -> None:
        _check_id(self.case, self.case_id)


class StoredOutcome(Struct):
    """A case without a time.

    The oldest files have only a sentence as the reason, and files of schema 3 have no sentence.
    """

    case: StoredCase
    case_id: str
    outcome: Annotated[str, choices(OUTCOMES)]
    reason: str | None = None
    code: Name | None = None
    advice: str | None = None
    values: FreeObject | None = None

    def __post_init__(self) -> None:
        _check_id(self.case, self.case_id)
        if self.code is None and self.reason is None:
            raise WrongFieldError("code", "a name, because there is no reason", "is missing")
