"""The marks beside a time, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from bench.render.escape import LONGEST_NAME, clean
from bench.render.quantities import bounds, percent, seconds_range, times_as_fast, times_bounds
from bench.render.quantities import ratio as ratio_words
from bench.stats.comparison import (
    PLAIN_MEAN_OPPOSED,
    PROCESSES_SHIFTED,
    Comparison,
    Verdict,
)
from bench.stats.intervals import CASE_CONFIDENCE, VERDICT_CONFIDENCE, Interval, Reason
from bench.stats.rows import Row

FASTEST, SHORTEST = "★", "☆"

MARKS = (
    f"{FASTEST} significantly FASTER than each of the others, tested jointly; "
    f"{SHORTEST} only the shortest median"
)
"""What the marks mean, with any number of processes: FASTER is a verdict, and ``method`` says what
stands behind it."""

BARS = "Bars show speed: the longer the faster"
"""In every table and picture that has them, whatever number stands beside them."""

DOUBTFUL = "~"
DOUBTFUL_TIME = f"{DOUBTFUL} an unreliable time; ratios are judged separately"
TIME_INTERVAL = f"{100 * CASE_CONFIDENCE:g}% CI"

RATIO_INTERVAL = f"{100 * VERDICT_CONFIDENCE:g}% CI"
"""Headings: two intervals that stand beside one another are not of one level."""


APPROXIMATE = (
    "error: of a backend that approximates, the root mean square of its outputs' difference from "
    "the float64 reference, relative to the outputs; it is not ranked"
)


def notes(rows: Sequence[Row]) -> list[str]:
    """What the marks in the tables of these rows mean, as far as there are any."""
    found = [MARKS] if any(mark(row) for row in rows) else []
    found += [DOUBTFUL_TIME] * any(row.validity.of_time for row in rows)
    return found + [APPROXIMATE] * any(row.case.approximate for row in rows)


def mark(row: Row) -> str:
    """Whether this row, the first of its group, is FASTER than the others; empty if not first."""
    if row.rank != 1 or row.ahead is None:
        return ""
    return FASTEST if row.fastest else SHORTEST


def bounds_of_time(interval: Interval, time: float, steps: int = 1) -> str:
    """The bounds of a time, with their level where it is not that of the heading.

    So few samples were taken that they cannot give it; a single one has no interval at all. steps:
    that ``time`` is a part of.
    """
    if interval.confidence <= 0:
        return ""
    told = seconds_range(interval.low / steps, interval.high / steps, time)
    short = interval.confidence < CASE_CONFIDENCE - 1e-9
    return f"{told} ({percent(interval.confidence)})" if short else told


STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}
"""Rich's, for a verdict in a comparison."""


_REASONS = {PROCESSES_SHIFTED: "shifted by {shift}", PLAIN_MEAN_OPPOSED: "outliers decide"}


def reason_words(reason: Reason) -> str:
    """Return in two or three words why a verdict is UNCLEAR though its processes agree."""
    shift = reason.values.get("shift")
    return _REASONS[reason.code].format(shift=percent(shift) if isinstance(shift, float) else "")


def verdict_words(found: Comparison) -> str:
    """A verdict, and where it is UNCLEAR how far the processes spread, which is why.

    ``UNCLEAR, processes spread by 6%``; on several nodes ``..., nodes by 3%``.
    """
    if found.reasons:
        return f"{found.verdict.value}, {reason_words(found.reasons[0])}"
    spread = spread_words(found, " by")
    return f"{found.verdict.value}, processes spread by {spread}" if spread else found.verdict.value


def spread_words(found: Comparison, by: str = "") -> str:
    """Where a verdict is UNCLEAR how far processes spread, and nodes: ``6%``, ``6%, nodes 3%``.

    Empty of another verdict, where neither is known, and over an uneven bridge, which is why then.
    by: stands before the nodes' number.
    """
    if found.verdict is not Verdict.UNCLEAR or found.spread is None or found.uneven:
        return ""
    if found.reasons:
        return ""
    nodes = "" if found.between is None else f", nodes{by} {percent(found.between)}"
    return f"{percent(found.spread)}{nodes}"


def versus(found: Comparison, other: str, apposition: str = "") -> str:
    """Say how a backend compares: ``2.40× faster than keras, the next (99.5% CI 2.10–2.70)``.

    other: whose time it is compared with. apposition: what is said of that one.
    """
    ratio, than = found.ratio, f"{clean(other, LONGEST_NAME)}{apposition}"
    speedup = f"{RATIO_INTERVAL} {times_bounds(ratio.low, ratio.high)}"
    if found.verdict is Verdict.FASTER:
        return f"{times_as_fast(ratio.mid)}× faster than {than} ({speedup})"
    if found.verdict is Verdict.SLOWER:
        slowdown = f"{RATIO_INTERVAL} {bounds(ratio.low, ratio.high)}"
        return f"{ratio_words(ratio.mid)}× slower than {than} ({slowdown})"
    inside = f"{times_as_fast(ratio.mid)}×, {speedup}"
    if found.verdict is Verdict.SAME:
        return f"as fast as {than} ({inside})"
    why = verdict_words(found).partition(", ")[2]
    return f"not significantly faster or slower than {than} ({inside}{why and f'; {why}'})"


def compact_verdict(found: Comparison) -> str:
    """The same for a table's cell: ``UNCLEAR, spread 6%``."""
    if found.reasons:
        return f"{found.verdict.value}, {reason_words(found.reasons[0])}"
    spread = spread_words(found)
    return f"{found.verdict.value}, spread {spread}" if spread else found.verdict.value
