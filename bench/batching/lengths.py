"""The lengths of sequences: a file of them, or drawn from a named distribution.

A file has one whole number a line, in the order in which the sequences come. This room knows
nothing of batches.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.disk.errors import InputError
from bench.disk.fields import ResultError, printable
from bench.disk.reading import regular_bytes

Lengths = npt.NDArray[np.int64]

MOST_LENGTHS = 1_000_000
"""Weighing the policies of so many takes three seconds for each backend; a sample tells as much."""

LONGEST = 1_000_000
"""Timesteps: far past what any recurrent network is given at once."""

_UNIFORM = re.compile(r"uniform:(\d{1,9})-(\d{1,9})")
_LOG_NORMAL = re.compile(r"lognormal:(\d{1,9}),(\d{1,3}(?:\.\d{1,9})?)(?:,(\d{1,9}))?")

SPELLING = "uniform:10-200, lognormal:80,0.6,400 (median, sigma, most) or a file, a number a line"


class LengthsError(InputError):
    """Lengths that cannot be had; one line."""


@dataclass(frozen=True)
class Source:
    """Where lengths come from. text: as the user wrote it."""

    text: str
    known: Lengths | None = None

    def draw(self, count: int, seed: int) -> Lengths:
        """``count`` lengths: drawn, or the first ones of the file, which begins anew at its end."""
        if self.known is not None:
            return np.resize(self.known, count)
        rng = np.random.default_rng(seed)
        if match := _UNIFORM.fullmatch(self.text):
            low, high = map(int, match.groups())
            return rng.integers(low, high + 1, count)
        median, sigma, most = _log_normal(self.text)
        drawn = np.exp(rng.normal(math.log(median), sigma, count))
        return np.clip(np.rint(drawn), 1, most).astype(np.int64)

    def all(self) -> Lengths | None:
        """Every length of a file; None of what is drawn."""
        return self.known


def source(text: str) -> Source:
    """What ``--lengths`` names. Raises LengthsError."""
    if match := _UNIFORM.fullmatch(text):
        low, high = map(int, match.groups())
        if not 1 <= low <= high <= LONGEST:
            raise LengthsError(f"{text}: expected lengths from 1 to {LONGEST:,}, the lower first")
        return Source(text)
    if _LOG_NORMAL.fullmatch(text):
        median, sigma, most = _log_normal(text)
        if not (1 <= median <= most <= LONGEST and 0 < sigma <= 10):
            raise LengthsError(f"{text}: expected a median of at least 1 and a sigma up to 10")
        return Source(text)
    if text.startswith(("uniform:", "lognormal:")):
        raise LengthsError(f"{printable(text, 60)} is no distribution of lengths: {SPELLING}")
    return Source(text, _read(Path(text)))


def _log_normal(text: str) -> tuple[int, float, int]:
    match = _LOG_NORMAL.fullmatch(text)
    assert match is not None, "checked before"
    median, sigma, most = match.groups()
    # Three sigmas leave out one sequence in seven hundred.
    reach = min(float(LONGEST), int(median) * math.exp(min(3 * float(sigma), 30.0)))
    return int(median), float(sigma), int(most) if most else round(reach)


def _read(path: Path) -> Lengths:
    try:
        text = regular_bytes(path).decode("utf-8-sig")
    except ResultError as error:
        raise LengthsError(str(error)) from None
    except UnicodeDecodeError:
        raise LengthsError(f"{path}: is no text of whole numbers, one a line") from None
    found: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if not (word.isascii() and word.isdecimal()) or not 1 <= int(word[:20]) <= LONGEST:
            raise LengthsError(
                f"{path}: line {number} is {printable(word, 40)!r}; expected a whole number from 1 "
                f"to {LONGEST:,}"
            )
        found.append(int(word))
        if len(found) > MOST_LENGTHS:
            raise LengthsError(f"{path}: has more than {MOST_LENGTHS:,} lengths")
    if not found:
        raise LengthsError(f"{path}: has no lengths; expected a whole number a line")
    return np.array(found, np.int64)
