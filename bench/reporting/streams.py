"""Streams in a report: the percentiles of their calls in the tables, and what they say in words.

This room knows the report's rows and makes plain strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.render.headings import name, title
from bench.render.quantities import (
    bounds,
    first_few,
    listed,
    percent,
    period_words,
    seconds,
    seconds_range,
    shape_words,
    times_as,
    times_as_fast,
    times_bounds,
)
from bench.stats.intervals import CaseInterval
from bench.stats.latency import PARTS
from bench.stats.ratios import compare_all
from bench.stats.rows import KINDS, Row, Table
from bench.stats.verdict import Verdict
from bench.stats.within import RunSamples

TAIL = 99.0
"""The percentile of which an interval and a ratio stand in the tables: the last that a run of some
minutes can tell of calls that come a hundred times in a second."""

_MOST = 4
"""Sentences of a kind: more are a wall, and the table has them all."""


def part_words(part: float) -> str:
    """``p99.9``."""
    return f"p{part:g}"


def percentile_text(row: Row, part: float) -> str:
    """A percentile of a row's calls; empty where there are too few calls to tell."""
    found = _percentile(row, part)
    return "" if found is None else seconds(found.mid)


def interval_text(row: Row, part: float) -> str:
    """Its interval over the processes, or with one of its own calls."""
    found = _percentile(row, part)
    return "" if found is None else seconds_range(found.low, found.high, found.mid)


def missed_text(row: Row) -> str:
    """How many calls missed their deadline, of all."""
    stream = row.stream
    if stream is None or stream.missed is None:
        return ""
    return f"{stream.missed:,} of {stream.calls:,}"


def tail_versus(row: Row) -> str:
    """The ratio of ``TAIL`` to the baseline's with its verdict, as the medians' stands."""
    found = None if row.stream is None else row.stream.to_baseline.get(TAIL)
    return "" if found is None else f"{times_as_fast(found.ratio.mid):>4}× {found.verdict.value:<8}"


def _percentile(row: Row, part: float) -> CaseInterval | None:
    return None if row.stream is None else row.stream.latency.get(part)


def told(rows: Sequence[Row]) -> list[float]:
    """The percentiles beyond the median that any of these rows can tell."""
    return [part for part in PARTS[1:] if any(_percentile(row, part) for row in rows)]


# Sentences


def sentences(table: Table) -> list[str]:
    """Who has the shortest tail, what missed its deadline, and what idling costs; of streams."""
    if table.kind != KINDS[2]:
        return []
    return [*_tails(table), *_missed(table), *_idling(table)]


def _tails(table: Table) -> Iterable[str]:
    found = []
    for group in table.groups:
        timed = [row for row in group if _percentile(row, TAIL) is not None]
        if len(timed) < 2:
            continue
        best = min(timed, key=lambda row: row.stream.latency[TAIL].mid)  # type: ignore[union-attr]
        parts = [
            f"{title(table)}, {', '.join(shape_words(best.case))}: {name(best.case.backend)} has "
            f"the shortest {part_words(TAIL)}, {percentile_text(best, TAIL)} "
            f"({interval_text(best, TAIL)})"
        ]
        ratio = best.stream.to_baseline.get(TAIL) if best.stream else None
        if ratio is not None:
            bounded = times_bounds(ratio.ratio.low, ratio.ratio.high)
            parts.append(f": {times_as(ratio.ratio.mid)} as {name(table.baseline)}'s ")
            parts.append(f"({bounded}, {ratio.verdict.value})")
        found.append(f"{''.join(parts)}.")
    return first_few(found, _MOST, "shape", ": the table has them all.")


def _missed(table: Table) -> Iterable[str]:
    late = [
        f"{name(row.case.backend)} {missed_text(row)} ({percent(stream.missed / stream.calls)})"
        for group in table.groups
        for row in group
        if (stream := row.stream) is not None and stream.missed
    ]
    if late:
        yield (
            f"{title(table)}: calls that missed their deadline, counted from when they were due: "
            f"{listed(late, 2 * _MOST)}."
        )


def _idling(table: Table) -> Iterable[str]:
    """What a call takes that comes after idling, against calls back to back."""
    at: dict[tuple[str, str], dict[float | None, Row]] = {}
    for group in table.groups:
        for row in group:
            if row.measured:
                work = ", ".join(shape_words(row.case)[:2])
                at.setdefault((work, row.case.backend), {})[row.case.workload.period] = row
    pairs = [
        (row, rows[None])
        for rows in at.values()
        if None in rows
        for period, row in rows.items()
        if period is not None
    ]
    # Of different groups: measured in the same processes, but not in turn.
    ratios = compare_all([(unpaired(paced), unpaired(base)) for paced, base in pairs])
    found = []
    for (paced, base), ratio in zip(pairs, ratios, strict=True):
        times = (
            f"{seconds(paced.time)} {period_words(paced.case.workload.period)} against "
            f"{seconds(base.time)} back to back"
        )
        work = ", ".join(shape_words(paced.case)[:2])
        start = f"{title(table)}, {work}: a call of {name(paced.case.backend)} takes {times}"
        if ratio.verdict in (Verdict.FASTER, Verdict.SLOWER):
            low, high = ratio.ratio.low, ratio.ratio.high
            start += f", {ratio.ratio.mid:.2f} times as long ({bounds(low, high)})"
        found.append(f"{start}.")
    return first_few(found, _MOST, "pair", ": the table has them all.")


def unpaired(row: Row) -> list[RunSamples]:
    """Its samples without their rounds: those of different groups were not taken in turn."""
    return [run.out_of_turn for run in row.runs]
