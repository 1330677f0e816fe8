"""Parse ``--lengths``: a file with one whole number a line, or a named distribution."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.machine.fields import InputError, ResultError, printable
from bench.machine.reading import regular_bytes
from bench.stats.recommend import Lengths

MOST_LENGTHS = 1_000_000
"""Comparing the policies on so many takes three seconds for each backend."""

LONGEST = 1_000_000
"""Timesteps: far past what any recurrent network is given at once."""

_LOG_NORMAL = r"lognormal:(\d{1,9}),(\d{1,3}(?:\.\d{1,9})?)(?:,(\d{1,9}))?"

SPELLING = "uniform:10-200, lognormal:80,0.6,400 (median, sigma, most) or a file, a number a line"


class LengthsError(InputError):
    """Lengths that cannot be read or drawn; one line."""


@dataclass(frozen=True)
class LengthSource:
    """known: every length of a file; None of a distribution. drawn: draws so many of them."""

    known: Lengths | None
    drawn: Callable[[np.random.Generator, int], Lengths]

    def draw(self, count: int, seed: int) -> Lengths:
        """``count`` lengths: drawn, or the first ones of the file, repeated from its start."""
        return self.drawn(np.random.default_rng(seed), count)


def source(text: str) -> LengthSource:
    """What ``--lengths`` names. Raises LengthsError."""
    if match := re.fullmatch(r"uniform:(\d{1,9})-(\d{1,9})", text):
        low, high = map(int, match.groups())
        if not 1 <= low <= high <= LONGEST:
            raise LengthsError(f"{text}: expected lengths from 1 to {LONGEST:,}, the lower first")
        return LengthSource(None, lambda rng, count: rng.integers(low, high + 1, count))
    if match := re.fullmatch(_LOG_NORMAL, text):
        median, sigma = int(match[1]), float(match[2])
        # Three sigmas leave out one sequence in seven hundred.
        reach = min(float(LONGEST), median * math.exp(min(3 * sigma, 30.0)))
        most = int(match[3]) if match[3] else round(reach)
        if not (1 <= median <= most <= LONGEST and 0 < sigma <= 10):
            raise LengthsError(f"{text}: expected a median of at least 1 and a sigma up to 10")

        def drawn(rng: np.random.Generator, count: int) -> Lengths:
            found = np.exp(rng.normal(math.log(median), sigma, count))
            return np.clip(np.rint(found), 1, most).astype(np.int64)

        return LengthSource(None, drawn)
    if text.startswith(("uniform:", "lognormal:")):
        raise LengthsError(f"{printable(text, 60)} is no distribution of lengths: {SPELLING}")
    known = _read(Path(text))
    return LengthSource(known, lambda _, count: np.resize(known, count))


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
