"""Keep decisions in a folder, each in a small JSON file that can be read, copied and deleted."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from platformdirs import user_data_path

import lstm_impl.private_files as private_files
from lstm_impl.tuning.decision import NEAR, Decision, DecisionError, TuningRequest

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
    found = _read(sorted(place.glob("*.json")))
    return sorted(found, key=lambda each: each.made)


def _read(paths: Iterable[Path]) -> Iterator[Decision]:
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise DecisionError(f"it is no file of at most {MOST_BYTES:,} bytes")
            if problem := private_files.problem(path):
                raise DecisionError(problem)
            yield Decision.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DecisionError) as error:
            name, reason = _printable(str(path)), _printable(str(error))
            logger.warning("%s is passed over: %s; delete it, or tune again", name, reason)


def _printable(text: str) -> str:
    """Return the text without control characters, which a terminal would act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def find(question: TuningRequest, place: Path | None = None) -> Decision | None:
    """Return the decision for exactly this request, or None."""
    path = (place or folder()) / f"{question.digest}.json"
    return next(_read([path]), None) if path.exists() else None


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
    found = [(question.far(each.question), each) for each in reversed(decisions)]
    near = [(far, each) for far, each in found if far is not None and far <= NEAR]
    return min(near, key=lambda each: each[0])[1] if near else None
