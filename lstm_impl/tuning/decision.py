"""Describe what a race decided, and read and write it as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from platformdirs import user_data_path

import lstm_impl.private_files as private_files
from lstm_impl.spec import LSTMSpec
from lstm_impl.tuning.machine import TunedMachine
from lstm_impl.tuning.race import EntrantResult, fastest, ratio
from lstm_impl.workload import Workload

FORMAT = 1

TOLERATED = 1.02
"""The rule's pick stays if it takes at most this many times as long as the fastest: of two equal
ones another would be the fastest in each race."""


class DecisionError(ValueError):
    """Raised if a file holds no valid decision; the message names the wrong field."""


@dataclass(frozen=True)
class TuningRequest:
    """Ask for the fastest backend for an LSTM and a workload on a machine.

    through: ``model`` for a model of the library or ``keras`` for a Keras layer.
    """

    spec: LSTMSpec
    workload: Workload
    through: str
    machine: TunedMachine

    @property
    def digest(self) -> str:
        """The name of the decision's file, 16 hexadecimal digits; equal requests have the same."""
        record = asdict(self) | {"spec": self.spec.to_dict(), "machine": self.machine.alike}
        text = json.dumps(record, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sizes(self) -> str:
        """The sizes of the workload as text: batch, timesteps, and any padding and dropout."""
        work = self.workload
        also = []
        if work.min_length is not None:
            also.append(f"lengths of {work.min_length} to {work.timesteps}")
        if _drops(work):
            also.append(f"dropout {work.dropout:g}")
        return f"{work.batch} x {work.timesteps}" + (f" with {' and '.join(also)}" if also else "")

    def distance(self, other: TuningRequest) -> float | None:
        """Return how far another request's sizes are, in doublings; None for other work."""
        mine, theirs = self.workload, other.workload
        same = self.machine.alike, self.spec, self.through, _kind(mine)
        if same != (other.machine.alike, other.spec, other.through, _kind(theirs)):
            return None
        return max(
            abs(math.log2(mine.batch / theirs.batch)),
            abs(math.log2(mine.timesteps / theirs.timesteps)),
        )


NEAR = 0.5
"""A decision also holds for a batch or a number of timesteps that is at most half a doubling away:
one for 32 holds from 23 to 45."""


def _kind(workload: Workload) -> tuple[object, ...]:
    """Return what two workloads must have in common besides their sizes."""
    padded, drops = workload.min_length is not None, _drops(workload)
    return workload.mode, padded, workload.window, drops, workload.optimizer, workload.gradients


def _drops(workload: Workload) -> bool:
    return workload.training and workload.dropout > 0


@dataclass(frozen=True)
class Raced:
    """Hold the result of one backend that took part in a race.

    seconds: the median time of a call. ratio: this time divided by the fastest backend's, from
    blocks of the same rounds. low, high: the bounds of the ratio's confidence interval. rounds: how
    many blocks the backend ran, fewer if it was far behind. first: seconds of its first call, which
    may compile. problem: why the backend has no time; all numbers are then 0.
    """

    backend: str
    seconds: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    rounds: int = 0
    first: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.backend}: {self.problem}"
        took = f"{self.backend}: {self.seconds * 1e3:.3g} ms"
        if self.ratio == self.low == self.high == 1.0:
            return f"{took}, the fastest ({self.rounds} rounds)"
        return (
            f"{took}; the fastest is {self.ratio:.2f} times as fast "
            f"({self.low:.2f} to {self.high:.2f}, {self.rounds} rounds)"
        )


@dataclass(frozen=True)
class Decision:
    """Hold the results of a race, from which the fastest backend follows.

    question: what was raced. raced: the result of each backend, the fastest first and those without
    a time last. rule: the backend that ``auto`` picks without a race, or empty. made: the time of
    the race in UTC, in ISO 8601. by: the command or the function that raced.
    """

    question: TuningRequest
    raced: tuple[Raced, ...]
    rule: str
    made: str
    by: str
    format: int = field(default=FORMAT)

    @property
    def backend(self) -> str:
        """The name of the backend to use; empty if no backend has a time."""
        return self.best(lambda _: True)

    def best(self, allowed: Callable[[str], bool]) -> str:
        """Return the fastest allowed one, or the rule's pick if that is about as fast."""
        timed = [each for each in self.raced if not each.problem and allowed(each.backend)]
        if not timed:
            return ""
        for each in timed:
            if each.backend == self.rule and each.ratio <= TOLERATED * timed[0].ratio:
                return each.backend
        return timed[0].backend

    def find_result(self, backend: str) -> Raced | None:
        """Return the result of one backend, None if it did not race."""
        return next((each for each in self.raced if each.backend == backend), None)

    def result_of(self, backend: str) -> Raced | None:
        """Return ``find_result(backend)`` under its old name, with a DeprecationWarning."""
        warnings.warn(
            "Decision.result_of was renamed and will be removed in the next version; call "
            "Decision.find_result instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.find_result(backend)

    @property
    def headline(self) -> str:
        """The decision in one line: backend, workload, device, time and command."""
        requested = self.question
        return (
            f"{self.backend or 'nothing'} for {requested.workload.mode} of {requested.sizes}, "
            f"{requested.spec.input_size} -> {requested.spec.hidden_size} "
            f"on {requested.machine.device}, "
            f"raced {self.made} by {self.by}"
        )

    def __str__(self) -> str:
        lines = [f"  {each}" for each in self.raced]
        if self.rule and self.rule != self.backend:
            lines.append(f"  the rule would have picked {self.rule}")
        return "\n".join([self.headline, *lines])

    # -- as JSON

    def to_json(self) -> str:
        """Return the decision as the JSON text that ``from_json`` reads."""
        record = asdict(self)
        record["question"]["spec"] = self.question.spec.to_dict()
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read a decision from the JSON text of its file.

        Raises DecisionError, which names the wrong field, if the text holds no valid decision.
        """
        try:
            record = json.loads(text, object_pairs_hook=_without_repeats)
            if isinstance(record, dict) and record.get("format") != FORMAT:
                found = record.get("format")
                raise DecisionError(f"format is {found!r}; this version reads {FORMAT}")
            read: Decision = _read(cls, record, "the file")
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise DecisionError(str(error)) from error
        if any(not each.problem and not each.ratio for each in read.raced):
            raise DecisionError(
                "ratio is 0; expected a number above 0 for a backend that has no problem"
            )
        return read


def decide(
    question: TuningRequest,
    ran: Mapping[str, EntrantResult],
    problems: Mapping[str, str],
    rule: str,
    made: str,
    by: str,
) -> Decision:
    """Make the decision that follows from a race.

    ran: the times of each backend that could run. problems: by backend, why the others could not.
    rule, made, by: as in ``Decision``.
    """
    blocks = {name: each.blocks for name, each in ran.items() if each.blocks}
    raced: list[Raced] = []
    if blocks:
        best = blocks[fastest(blocks)]
        for name, each in blocks.items():
            found = ratio(each, best)
            numbers = (statistics.median(each), found.mid, found.low, found.high)
            raced.append(Raced(name, *numbers, len(each), ran[name].first))
        raced.sort(key=lambda each: each.ratio)
    unable = {**problems} | {name: each.problem for name, each in ran.items() if each.problem}
    raced += [Raced(name, problem=problem) for name, problem in unable.items()]
    return Decision(question, tuple(raced), rule, made, by)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _read(kind: Any, record: Any, name: str) -> Any:
    """Return a file's record as this type. Raises ValueError if it is none."""
    if kind is LSTMSpec:
        if not isinstance(record, dict):
            raise DecisionError(f"{name} is not an object")
        return LSTMSpec.from_dict(record)  # which looks at its fields itself
    if hasattr(kind, "__dataclass_fields__"):
        hints = get_type_hints(kind)
        if not isinstance(record, dict) or set(record) != set(hints):
            raise DecisionError(f"{name} is not an object with {', '.join(sorted(hints))}")
        if kind is not Workload:  # which looks at its fields itself
            record = {each: _read(of, record[each], each) for each, of in hints.items()}
        return kind(**record)
    if get_origin(kind) is tuple:
        if not isinstance(record, list):
            raise DecisionError(f"{name} is not a list")
        return tuple(_read(get_args(kind)[0], each, f"a line of {name}") for each in record)
    if get_origin(kind) is Mapping:
        return {_read(str, key, name): _read(str, each, name) for key, each in dict(record).items()}
    if kind is str:
        if not isinstance(record, str) or len(record) > 1_000:
            raise DecisionError(f"{name} is not a text of at most 1,000 characters")
    elif isinstance(record, bool) or not isinstance(record, int | float):
        raise DecisionError(f"{name} is not a number")
    elif not (math.isfinite(record) and record >= 0):
        raise DecisionError(f"{name} is {record}; expected a number from 0 on")
    return record


logger = logging.getLogger(__name__)

FOLDER = "LSTM_DECISIONS"
"""The environment variable that names the folder."""

MOST_BYTES = 1_000_000
"""Largest size of a file: a decision has some thousand bytes."""


def folder() -> Path:
    """Return the folder in which decisions are read and written."""
    given = os.environ.get(FOLDER)
    return Path(given) if given else user_data_path("lstm-benchmark-suite") / "decisions"


def load(place: Path | None = None) -> list[Decision]:
    """Return all decisions of a folder, the oldest first; none if there is no folder."""
    place = place or folder()
    if place.is_dir() and (problem := private_files.problem(place)):
        logger.warning("no decision is read: %s (%s)", _printable(problem), FOLDER)
        return []
    found = _decisions(sorted(place.glob("*.json")))
    return sorted(found, key=lambda each: each.made)


def _decisions(paths: Iterable[Path]) -> Iterator[Decision]:
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise DecisionError(f"it is not a file of at most {MOST_BYTES:,} bytes")
            if problem := private_files.problem(path):
                raise DecisionError(problem)
            yield Decision.from_json(private_files.read_regular(path, "utf-8"))
        except (OSError, UnicodeDecodeError, DecisionError) as error:
            name, reason = _printable(str(path)), _printable(str(error))
            logger.warning("%s is skipped: %s; delete it, or tune again", name, reason)


def _printable(text: str) -> str:
    """Return the text without control characters, which a terminal would act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def find(question: TuningRequest, place: Path | None = None) -> Decision | None:
    """Return the decision for exactly this request, or None."""
    path = (place or folder()) / f"{question.digest}.json"
    return next(_decisions([path]), None) if path.exists() else None


def save(decision: Decision, place: Path | None = None) -> Path:
    """Write a decision over an older one for the same request, and return the file's path."""
    place = place or folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    if problem := private_files.problem(place):
        raise PermissionError(f"{problem}, or set {FOLDER} to a folder of your own")
    path = place / f"{decision.question.digest}.json"
    handle, name = tempfile.mkstemp(dir=place, suffix=".partial")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(decision.to_json())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return path


def nearest(question: TuningRequest, decisions: list[Decision]) -> Decision | None:
    """Return the decision for the nearest sizes within ``NEAR``; of two equally near, the newer."""
    found = [(question.distance(each.question), each) for each in reversed(decisions)]
    near = [(far, each) for far, each in found if far is not None and far <= NEAR]
    return min(near, key=lambda each: each[0])[1] if near else None
