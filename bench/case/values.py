"""Values of a suite's file, each checked where it is used; errors say what would be right."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine.fields import InputError, printable
from lstm_impl.spec import MOST_SIZE
from lstm_impl.workload import LONGEST_PERIOD, SHORTEST_PERIOD

_LONGEST_ERROR = 2000  # letters; a list of the backends there are is a thousand


class SuiteError(InputError):
    """A suite, or what was chosen from it, cannot be used; one line that says where and why.

    What it quotes may hold anything, and is shown in a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _LONGEST_ERROR))


@dataclass(frozen=True)
class Value:
    """A value of a file and where it stands, so that an error can say so."""

    path: Path
    where: str
    value: object

    def error(self, expected: str) -> SuiteError:
        """What is wrong with it: where it stands, what it is, and what would be right."""
        what = self.where or "it"
        return SuiteError(f"{self.path}: {what} is {shown(self.value)}; expected {expected}")

    def mapping(self) -> Mapping[str, object]:
        """It as a table."""
        if not isinstance(self.value, Mapping):
            raise self.error("a table")
        return self.value

    def table(self, known: Sequence[str], required: Sequence[str]) -> dict[str, Value]:
        """Its values by key. Raises SuiteError for an unknown key and for one that is missing."""
        data = self.mapping()
        dot = f"{self.where}." if self.where else ""
        for key in data:
            if key not in known:
                raise SuiteError(
                    f"{self.path}: {dot}{key} is not known{did_you_mean(key, known)}; "
                    f"expected one of {', '.join(known)}"
                )
        for key in required:
            if key not in data:
                raise SuiteError(f"{self.path}: {dot}{key} is missing")
        return {key: Value(self.path, dot + key, value) for key, value in data.items()}

    def items(self, expected: str) -> list[Value]:
        """Its items. Raises SuiteError unless it is a list with at least one."""
        if not isinstance(self.value, list) or not self.value:
            raise self.error(expected)
        return [
            Value(self.path, f"{self.where}[{index}]", value)
            for index, value in enumerate(self.value)
        ]

    def text(self, expected: str = "a text") -> str:
        """It as a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(expected)
        return self.value

    def positive_integer(self, expected: str = "a positive integer", most: int = MOST_SIZE) -> int:
        """It as an integer from 1 to ``most``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 1:
            raise self.error(expected)
        if self.value > most:
            raise self.error(f"at most {most}")
        return self.value

    def sizes(self, expected: str = "a positive integer or a list of them") -> tuple[int, ...]:
        """One size or a list of them, each once."""
        if not isinstance(self.value, list):
            return (self.positive_integer(expected),)
        items = self.items(expected)
        return tuple(dict.fromkeys(item.positive_integer() for item in items))

    def boolean(self) -> bool:
        """It as true or false."""
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def number(self, expected: str, fits: Callable[[float], bool]) -> float:
        """It as a number that fits."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise self.error(expected)
        return float(value)

    def one_of(self, known: Sequence[str]) -> str:
        """It as one of the known words."""
        if self.value not in known:
            raise self.error(f"one of {', '.join(known)}{did_you_mean(str(self.value), known)}")
        return str(self.value)


def did_you_mean(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """Which known names are like it, as the end of a sentence."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def shown(value: object) -> str:
    """A value as TOML and JSON spell it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = repr(type(value).__name__)
    return text if len(text) <= 60 else text[:57] + "..."


BACK_TO_BACK = "back-to-back"
"""Each call as soon as the one before is done."""

PERIODS = f'"{BACK_TO_BACK}" or a time from 1us to 1h, such as "10ms"'

_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(us|µs|ms|s)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_period(text: str) -> float | None:
    """Seconds between the calls of a stream, None for back to back.

    Raises ValueError for what is neither.
    """
    if text == BACK_TO_BACK:
        return None
    match = _TIME.fullmatch(text.strip())
    # Rounded, so that 10ms is 0.01 and not the number next to it: it is part of a case's name.
    seconds = round(float(match[1]) * _SECONDS[match[2]], 9) if match else 0.0
    if not SHORTEST_PERIOD <= seconds <= LONGEST_PERIOD:
        raise ValueError(f"{text[:40]!r} is no period; expected {PERIODS}")
    return seconds


def period_words(period: float | None) -> str:
    """As ``parse_period`` reads it."""
    return BACK_TO_BACK if period is None else f"{1000 * period:.10g}ms"
