"""What stands in the cells of a report's tables: the same words in every format.

A ``Part`` is a thing that is told of each case (its median, its interval, its ratio, ...), with the
heading under which it stands. This room makes plain strings of rows; formats lay them out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from bench.render.headings import name
from bench.render.marks import DOUBTFUL, TIME_INTERVAL, bounds_of_time
from bench.render.quantities import rate, seconds, shape_words, size, times_as_fast
from bench.render.verdict_words import spread_words
from bench.reporting import streams
from bench.stats.rows import KINDS, Row, Table


@dataclass(frozen=True)
class Part:
    """One thing told of each case; text gives "" where a row has nothing to say.

    needed: how soon it may be left out where room is short: 0 never, 1 last, then 2, ...
    """

    heading: str
    text: Callable[[Row], str]
    needed: int = 0
    right: bool = True


def parts(table: Table) -> list[Part]:
    """What is told of each case of this table."""
    if table.kind == KINDS[1]:
        found = [
            Part("per timestep", _per_timestep),
            Part(TIME_INTERVAL, _per_timestep_interval, 1),
        ]
    elif table.kind == KINDS[2]:
        found = _of_streams(table)
    else:
        found = [
            Part("median", _median),
            Part(TIME_INTERVAL, _interval, 1),
            Part("sequences/s", lambda row: _told(row.sequences_per_s, rate), 2),
            Part("timesteps/s", lambda row: _told(row.timesteps_per_s, rate), 3),
            Part("first result", _first_result, 4),
        ]
    if any("peak_bytes" in row.memory for row in table.rows):
        found.append(Part("memory", lambda row: _told(row.memory.get("peak_bytes"), size), 5))
    if any(row.to_baseline for row in table.rows):
        versus = f"vs {name(table.baseline)}"
        found.append(Part(versus, lambda row: _versus(row, table.baseline), right=False))
    if any(streams.tail_versus(row) for row in table.rows):
        versus = f"{streams.part_words(streams.TAIL)} vs {name(table.baseline)}"
        found.append(Part(versus, streams.tail_versus, right=False))
    if any(_spread(row) for row in table.rows):
        found.append(Part("processes spread", _spread, 3))
    if not all(row.trusted for row in table.rows):
        found.append(Part("trust", lambda row: "" if row.trusted else "INVALID", right=False))
    return found


def _of_streams(table: Table) -> list[Part]:
    """Of every call from when it was due: what most take, and what few do."""
    found = [Part("median", _median), Part(TIME_INTERVAL, _interval, 2)]
    for part in streams.told(table.rows):
        words, tail = streams.part_words(part), part == streams.TAIL
        text = functools.partial(streams.percentile_text, part=part)
        found.append(Part(words, text, 0 if tail else 3))
        if tail:
            text = functools.partial(streams.interval_text, part=part)
            found.append(Part(f"{words}, {TIME_INTERVAL}", text, 1))
    if any(streams.missed_text(row) for row in table.rows):
        found.append(Part("late", streams.missed_text, 2))
    found.append(Part("first result", _first_result, 4))
    return found


def work_words(row: Row, table: Table) -> list[str]:
    """What work a group of this table does, a short line each, its id last."""
    case = row.case
    dtypes = {each.case.spec.dtype for each in table.rows}
    dtype = [case.spec.dtype] if len(dtypes) > 1 else []
    if table.kind == KINDS[1]:
        return [f"window {case.workload.window}", *dtype]
    return [*shape_words(case), *dtype, case.shape]


def _median(row: Row) -> str:
    return _time(row, row.time) if row.measured else row.outcome.replace("_", " ")


def _time(row: Row, value: float) -> str:
    return f"{DOUBTFUL if row.validity.of_time else ''}{seconds(value)}"


def _interval(row: Row) -> str:
    return "" if row.interval is None else bounds_of_time(row.interval, row.time)


def _per_timestep(row: Row) -> str:
    time = row.time_per_timestep
    return row.outcome.replace("_", " ") if time is None else _time(row, time)


def _per_timestep_interval(row: Row) -> str:
    time, steps = row.time_per_timestep, row.case.workload.timesteps
    if row.interval is None or time is None:
        return ""
    return bounds_of_time(row.interval, time, steps)


def _spread(row: Row) -> str:
    """How far the processes' ratios spread, where they leave it UNCLEAR which side is faster."""
    return "" if row.to_baseline is None else spread_words(row.to_baseline)


def _first_result(row: Row) -> str:
    return _told(row.first_result, seconds)


def _told(value: float | None, words: Callable[[float], str]) -> str:
    return "" if value is None else words(value)


def _versus(row: Row, baseline: str) -> str:
    """Ratio and verdict, each at its place in a fixed width."""
    if row.to_baseline is not None:
        found = row.to_baseline
        return f"{times_as_fast(found.ratio.mid):>4}× {found.verdict.value:<8}"
    return f"{1:>4}× {'baseline':<8}" if row.measured and row.case.backend == baseline else ""
