"""Hold what a race decided, and read and write it as JSON."""

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

import lstm_impl.private_files as private_files
from lstm_impl.spec import LSTMSpec
from lstm_impl.tuning.machine import TunedMachine
from lstm_impl.tuning.race import EntrantResult, estimate_ratio, find_fastest
from lstm_impl.user_folders import find_data_folder
from lstm_impl.workload import Workload

FORMAT = 1
"""The version of the JSON format. A file of another version is skipped."""

TOLERATED = 1.02
"""How many times as long as the fastest backend the rule's pick may take and still be used. Without
this tolerance, two equally fast backends would alternate from race to race."""


class DecisionError(ValueError):
    """Report that a file holds no valid decision. The message names the wrong field."""


@dataclass(frozen=True)
class TuningRequest:
    """Ask for the fastest backend for a network and a workload on a machine.

    Attributes
    ----------
    spec, workload
        The network, and the sizes and mode of the work.
    through
        What calls the backend: ``model`` for a model of this library, ``keras`` for a Keras layer.
    machine
        The machine on which the decision holds.
    """

    spec: LSTMSpec
    workload: Workload
    through: str
    machine: TunedMachine

    @property
    def digest(self) -> str:
        """The name of the decision's file: 16 hexadecimal digits, the same for equal requests."""
        plain = {"spec": self.spec.to_dict(), "workload": self.workload.to_dict()}
        record = asdict(self) | plain | {"machine": self.machine.shared_properties}
        text = json.dumps(record, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sizes(self) -> str:
        """The sizes of the workload as text: batch, timesteps, any padding, dropout and resets."""
        work = self.workload
        also = []
        if work.min_length is not None:
            also.append(f"lengths of {work.min_length} to {work.timesteps}")
        if _has_dropout(work):
            also.append(f"dropout {work.dropout:g}")
        if work.reset_rate:
            also.append(f"resets at {work.reset_rate:.3g} of the steps")
        return f"{work.batch} x {work.timesteps}" + (f" with {' and '.join(also)}" if also else "")

    def distance(self, other: TuningRequest) -> float | None:
        """Return how far the sizes of another request are, in doublings.

        The distance is None if the other request is not for the same network, machine or mode.
        """
        mine, theirs = self.workload, other.workload
        same = self.machine.shared_properties, self.spec, self.through, _list_fixed_properties(mine)
        if same != (
            other.machine.shared_properties,
            other.spec,
            other.through,
            _list_fixed_properties(theirs),
        ):
            return None
        return max(
            abs(math.log2(mine.batch / theirs.batch)),
            abs(math.log2(mine.timesteps / theirs.timesteps)),
        )


NEAR = 0.5
"""The largest distance at which a decision for other sizes is used, in doublings of the batch or of
the timesteps. A decision for a batch of 32 holds from 23 to 45."""


def _list_fixed_properties(workload: Workload) -> tuple[object, ...]:
    """Return what two workloads must have in common besides their sizes."""
    options = workload.min_length is not None, _has_dropout(workload), workload.reset_rate > 0
    how = workload.window, workload.optimizer, workload.gradients, workload.reset_to
    return workload.mode, *options, *how


def _has_dropout(workload: Workload) -> bool:
    """Return whether the workload applies dropout."""
    return workload.training and workload.dropout > 0


@dataclass(frozen=True)
class RacedBackend:
    """Hold the result of one backend that took part in a race.

    Attributes
    ----------
    backend
        The name of the backend.
    seconds
        The median time of a call.
    ratio
        This time divided by the fastest backend's, from blocks of the same rounds.
    low, high
        The bounds of the ratio's confidence interval.
    rounds
        The number of blocks that the backend ran. A backend that is far behind runs fewer.
    first
        The seconds of its first call, which may compile.
    problem
        The reason why the backend has no time. If there is one, all numbers are 0.
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

    Attributes
    ----------
    question
        The request that the race answers.
    raced
        The result of each backend. The fastest comes first, and those without a time come last.
    rule
        The backend that ``auto`` picks without a race, or an empty string.
    made
        The time of the race in UTC, in ISO 8601.
    by
        The command or the function that ran the race.
    format
        The version of the JSON format.
    """

    question: TuningRequest
    raced: tuple[RacedBackend, ...]
    rule: str
    made: str
    by: str
    format: int = field(default=FORMAT)

    @property
    def backend(self) -> str:
        """The name of the backend to use; empty if no backend has a time."""
        return self.best(lambda _: True)

    def best(self, allowed: Callable[[str], bool]) -> str:
        """Return the fastest backend that is allowed, or the rule's pick if it is about as fast."""
        timed = [each for each in self.raced if not each.problem and allowed(each.backend)]
        if not timed:
            return ""
        for each in timed:
            if each.backend == self.rule and each.ratio <= TOLERATED * timed[0].ratio:
                return each.backend
        return timed[0].backend

    def find_result(self, backend: str) -> RacedBackend | None:
        """Return the result of one backend, or None if it did not race."""
        return next((each for each in self.raced if each.backend == backend), None)

    def result_of(self, backend: str) -> RacedBackend | None:
        """Return ``find_result(backend)``, of which this is the deprecated name."""
        warnings.warn(
            "Decision.result_of was renamed and will be removed in the next version; call "
            "Decision.find_result instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.find_result(backend)

    @property
    def headline(self) -> str:
        """The decision in one line: backend, workload, device, time of the race and command."""
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
        """Return the decision as JSON text, which ``from_json`` reads."""
        record = asdict(self)
        record["question"]["spec"] = self.question.spec.to_dict()
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read a decision from the JSON text of its file.

        Raises
        ------
        DecisionError
            If the text holds no valid decision. The message names the wrong field.
        """
        try:
            record = json.loads(text, object_pairs_hook=_reject_repeated_keys)
            if isinstance(record, dict) and record.get("format") != FORMAT:
                found = record.get("format")
                raise DecisionError(f"format is {found!r}; this version reads {FORMAT}")
            read: Decision = _convert(cls, record, "the file")
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

    Parameters
    ----------
    question
        The request.
    ran
        The times of each backend that could run, by name.
    problems
        The reason of each backend that could not run, by name.
    rule, made, by
        As in ``Decision``.
    """
    blocks = {name: each.blocks for name, each in ran.items() if each.blocks}
    raced: list[RacedBackend] = []
    if blocks:
        best = blocks[find_fastest(blocks)]
        for name, each in blocks.items():
            found = estimate_ratio(each, best)
            numbers = (statistics.median(each), found.mid, found.low, found.high)
            raced.append(RacedBackend(name, *numbers, len(each), ran[name].first))
        raced.sort(key=lambda each: each.ratio)
    unable = {**problems} | {name: each.problem for name, each in ran.items() if each.problem}
    raced += [RacedBackend(name, problem=problem) for name, problem in unable.items()]
    return Decision(question, tuple(raced), rule, made, by)


def _reject_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice; expected each key once")
    return found


def _convert(kind: Any, record: Any, name: str) -> Any:
    """Convert JSON data to a type of Python, or raise ValueError with the wrong field."""
    if kind is LSTMSpec:
        if not isinstance(record, dict):
            raise DecisionError(f"{name} is not an object")
        # LSTMSpec and Workload check their own fields.
        return LSTMSpec.from_dict(record)
    if hasattr(kind, "__dataclass_fields__"):
        hints = get_type_hints(kind)
        if not isinstance(record, dict) or set(record) != set(hints):
            raise DecisionError(f"{name} is not an object with {', '.join(sorted(hints))}")
        if kind is not Workload:
            record = {each: _convert(of, record[each], each) for each, of in hints.items()}
        return kind(**record)
    if get_origin(kind) is tuple:
        if not isinstance(record, list):
            raise DecisionError(f"{name} is not a list")
        return tuple(_convert(get_args(kind)[0], each, f"a line of {name}") for each in record)
    if get_origin(kind) is Mapping:
        return {
            _convert(str, key, name): _convert(str, each, name)
            for key, each in dict(record).items()
        }
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
"""The environment variable that names the folder of decisions."""

MOST_BYTES = 1_000_000
"""The largest size of a file in bytes. A decision has a few thousand."""


def folder() -> Path:
    """Return the folder in which decisions are read and written."""
    given = os.environ.get(FOLDER)
    return Path(given) if given else find_data_folder() / "decisions"


def load(place: Path | None = None) -> list[Decision]:
    """Return all decisions in a folder, the oldest first. Without a folder there are none."""
    place = place or folder()
    if place.is_dir() and (problem := private_files.problem(place)):
        logger.warning(
            "no saved decision is used: %s (%s)", _replace_control_characters(problem), FOLDER
        )
        return []
    found = _read_decisions(sorted(place.glob("*.json")))
    return sorted(found, key=lambda each: each.made)


def _read_decisions(paths: Iterable[Path]) -> Iterator[Decision]:
    """Yield the decisions in these files. A file that is not valid is skipped with a warning."""
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise DecisionError(f"it is not a file of at most {MOST_BYTES:,} bytes")
            if problem := private_files.problem(path):
                raise DecisionError(problem)
            yield Decision.from_json(private_files.read_regular(path, "utf-8"))
        except (OSError, UnicodeDecodeError, DecisionError) as error:
            name, reason = (
                _replace_control_characters(str(path)),
                _replace_control_characters(str(error)),
            )
            logger.warning("%s is skipped: %s; delete it, or tune again", name, reason)


def _replace_control_characters(text: str) -> str:
    """Replace control characters, which a terminal would obey, by question marks."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def find(question: TuningRequest, place: Path | None = None) -> Decision | None:
    """Return the saved decision for exactly this request, or None."""
    path = (place or folder()) / f"{question.digest}.json"
    return next(_read_decisions([path]), None) if path.exists() else None


def save(decision: Decision, place: Path | None = None) -> Path:
    """Save a decision in place of an older one for the same request.

    Returns
    -------
    Path
        The file of the decision.

    Raises
    ------
    PermissionError
        If other users could write into the folder.
    FileNotFoundError
        If the user has no home folder, and ``LSTM_DECISIONS`` names no other one.
    """
    place = place or folder()
    if place.parts[:1] == ("~",):
        raise FileNotFoundError(f"this user has no home folder; set {FOLDER} to a folder")
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


def find_nearest(question: TuningRequest, decisions: list[Decision]) -> Decision | None:
    """Return the decision for the find_nearest sizes within ``NEAR``.

    If two decisions are equally near, the newer one is returned.
    """
    found = [(question.distance(each.question), each) for each in reversed(decisions)]
    near = [(far, each) for far, each in found if far is not None and far <= NEAR]
    return min(near, key=lambda each: each[0])[1] if near else None
