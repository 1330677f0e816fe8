"""When a slow start pays back: after how many steps a faster backend has made up for compiling.

A backend that compiles for seconds and then runs faster is the better choice only for work that
goes on long enough. This room knows the report's rows and plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.stats.bridges import compare_rows
from bench.stats.comparison import Comparison
from bench.stats.rows import Row
from bench.stats.verdict import Verdict


@dataclass(frozen=True)
class BreakEven:
    """After so many steps the whole time, from nothing on, is the same for both backends.

    steps: 0 if the faster one does not even start later. low, high: for the ends of the ratio's
    interval; high is infinite where the ratio may be 1. later: seconds by which the first result
    comes later.
    """

    steps: float
    low: float
    high: float
    later: float


def break_even(row: Row, other: Row, ratio: Comparison) -> BreakEven | None:
    """After how many steps ``row`` is ahead of ``other``; None if it never is, or is not known.

    ratio: its time over the other's. The first results' times are medians without an interval of
    their own: the steps' interval comes from the ratio alone.
    """
    first, others_first = row.first_result, other.first_result
    if first is None or others_first is None or ratio.ratio.mid >= 1:
        return None
    later = first - others_first

    def steps(value: float) -> float:
        # The first step is part of the first result, and is over by then.
        gain = other.time * (1 - value)
        return max(0.0, later) / gain if gain > 0 else (0.0 if later <= 0 else math.inf)

    return BreakEven(steps(ratio.ratio.mid), steps(ratio.ratio.low), steps(ratio.ratio.high), later)


@dataclass(frozen=True)
class Pair:
    """A row that pays back against another of the same work."""

    row: Row
    other: Row
    after: BreakEven


def pairs(group: Sequence[Row]) -> list[Pair]:
    """Of the rows of one group, each that is FASTER than another and starts later."""
    rows = [row for row in group if row.measured and row.first_result is not None]
    found = [
        (row, other)
        for row in rows
        for other in rows
        if row.time < other.time and (row.first_result or 0.0) > (other.first_result or 0.0)
    ]
    judged = compare_rows(found)
    told = []
    for (row, other), ratio in zip(found, judged, strict=True):
        after = break_even(row, other, ratio)
        if ratio.verdict is Verdict.FASTER and after is not None:
            told.append(Pair(row, other, after))
    return told
