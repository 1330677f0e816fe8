"""Find after how many steps a faster backend has made up for a later first result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.stats.comparison import Comparison, Verdict
from bench.verdicts.case_results import CaseResult
from bench.verdicts.ranking import RankedRow, compare_rows


@dataclass(frozen=True)
class BreakEven:
    """The steps after which two backends have taken the same total time, counted from the start.

    steps: 0 if the faster backend does not start later. low, high: the steps at the ends of the
    ratio's interval. high is infinite if the ratio may be 1. later: by how many seconds the first
    result comes later.
    """

    steps: float
    low: float
    high: float
    later: float


def break_even(new: CaseResult, base: CaseResult, ratio: Comparison) -> BreakEven | None:
    """Return after how many steps ``new`` is ahead of ``base``, or None if never or unknown.

    The interval of the steps follows only from that of the ratio.

    ratio: the time of ``new`` over that of ``base``.
    """
    first, others_first = new.first_result, base.first_result
    if first is None or others_first is None or ratio.ratio.mid >= 1:
        return None
    later = first - others_first

    def steps(value: float) -> float:
        gain = base.time * (1 - value)
        return max(0.0, later) / gain if gain > 0 else (0.0 if later <= 0 else math.inf)

    return BreakEven(steps(ratio.ratio.mid), steps(ratio.ratio.low), steps(ratio.ratio.high), later)


def break_even_pairs(
    group: Sequence[RankedRow],
) -> list[tuple[RankedRow, RankedRow, BreakEven]]:
    """Return the pairs of rows of one group of which the first is FASTER and starts later."""
    starts = [(start, row) for row in group if (start := row.result.first_result) is not None]
    found = [
        (row, other)
        for (late, row), (soon, other) in itertools.permutations(starts, 2)
        if row.result.time < other.result.time and late > soon
    ]
    return [
        (*pair, after)
        for pair, ratio in zip(found, compare_rows(found), strict=True)
        if ratio.verdict is Verdict.FASTER
        and (after := break_even(pair[0].result, pair[1].result, ratio)) is not None
    ]
