"""Periods at which the calls of a stream are due, as a suite and a command line spell them."""

from __future__ import annotations

import re

from lstm_impl.workload import LONGEST_PERIOD, SHORTEST_PERIOD

BACK_TO_BACK = "back-to-back"
"""Each call as soon as the one before is done."""

EXPECTED = f'"{BACK_TO_BACK}" or a time from 1us to 1h, such as "10ms"'

_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(us|µs|ms|s)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse(text: str) -> float | None:
    """Seconds between calls, None for back to back.

    Raises ValueError for what is neither.
    """
    if text == BACK_TO_BACK:
        return None
    match = _TIME.fullmatch(text.strip())
    # Rounded, so that 10ms is 0.01 and not the number next to it: it is part of a case's name.
    seconds = round(float(match[1]) * _SECONDS[match[2]], 9) if match else 0.0
    if not SHORTEST_PERIOD <= seconds <= LONGEST_PERIOD:
        raise ValueError(f"{text[:40]!r} is no period; expected {EXPECTED}")
    return seconds


def words(period: float | None) -> str:
    """As ``parse`` reads it."""
    return BACK_TO_BACK if period is None else f"{1000 * period:.10g}ms"
