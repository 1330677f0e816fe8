"""What windows cost, in words: the numbers of a fit as people read them, and a sentence a backend.

What has no time, and what cannot be trusted, is told with the windows that it is told of. The
report and the command tell it in the same words. This room knows the costs and how quantities are
written; no format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.report_rows import Row
from bench.report_text import LONGEST_NAME, clean, count, listed, seconds, seconds_range
from bench.stats import CASE_CONFIDENCE, ENOUGH_PROCESSES, Interval
from bench.truncation_cost import BackendCost, Stream, window
from bench.truncation_fit import FEWEST_WINDOWS, SMALL_SHARE, Fit
from bench.validity import FEW_PROCESSES, Doubt

LARGE_MISFIT = 0.1
"""From here on a line that misses a window is told beside its numbers."""

_SHARE = f"{100 * SMALL_SHARE:g}%"


def sentence(cost: BackendCost) -> str:
    """What a step and a timestep cost a backend, and past which window the step's no longer counts.

    ``while_loop: 0.21 ms fixed per step + 0.11 ms a timestep; the fixed part is under 5% past
    k = 37``, and where the line misses a window by much, which and by how much.
    """
    name = clean(cost.backend, LONGEST_NAME)
    fit = cost.fit
    if fit is None:
        number = count(len(cost.measured), "window")
        return f"{name}: measured at {number}; {FEWEST_WINDOWS} make a line"
    if not fit.is_line:
        return f"{name}: no line of its windows: {misfit(fit)}"
    told = (
        f"{name}: {signed(fit.line.fixed)} fixed per step + "
        f"{signed(fit.line.per_timestep)} a timestep; {_where_small(fit)}"
    )
    if abs(fit.misfit.residual) >= LARGE_MISFIT:
        told += f"; {misfit(fit)}"
    return told


def without_time(costs: Iterable[BackendCost]) -> list[str]:
    """The backends that have no time at any window: who, why, and what changes that.

    Those of the same reason stand together: ``keras and torch reach no window: not measured: ...``.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for cost in costs:
        if not cost.measured:
            reasons = tuple(dict.fromkeys(_reason(row) for row in cost.rows))
            found.setdefault(reasons, []).append(clean(cost.backend, LONGEST_NAME))
    return [
        f"{listed(names)} {'reaches' if len(names) == 1 else 'reach'} no window: "
        f"{'; '.join(reasons)}"
        for reasons, names in found.items()
    ]


def _reason(row: Row) -> str:
    """Why a window has no time, and what changes that."""
    told = f"{row.outcome.replace('_', ' ')}: {clean(row.reason)}"
    return f"{told} (to change that: {clean(row.advice)})" if row.advice else told


def notes(stream: Stream, cost: BackendCost) -> list[str]:
    """What has to be known of a backend's table: what is missing in it and why, and what is odd."""
    found = []
    reasons: dict[str, list[int]] = {}
    for row in cost.unreached:
        reasons.setdefault(_reason(row), []).append(window(row))
    found += [f"{_at(windows)} {told}" for told, windows in reasons.items()]
    asked = {window(row) for row in cost.rows}
    if left := [k for k in stream.windows if k not in asked]:
        found.append(f"{_at(left)} not asked of it: not in the suite, or the run ended first")
    found += _doubts("INVALID", [(window(row), row.invalid) for row in cost.measured])
    # That there are few processes is told once for all of them, with the intervals.
    few = [
        (window(row), [each for each in row.noted if each.code != FEW_PROCESSES])
        for row in cost.measured
    ]
    found += _doubts("noted", few)
    fit = cost.fit
    if fit is not None:
        found.append(f"The line's worst miss: {misfit(fit)}.")
        if fit.left_out:
            told = count(fit.left_out, "process")
            found.append(f"{told} without every window: no part of the line.")
        if fit.fixed is None:
            found.append(
                "No process measured every window: the line goes through the medians of all "
                "processes and has no interval."
            )
    return found


def _at(windows: Sequence[int]) -> str:
    return f"k = {listed([str(each) for each in windows], most=12)}"


def _doubts(word: str, rows: Iterable[tuple[int, Sequence[Doubt]]]) -> list[str]:
    """A line for each kind of doubt: the windows it is about, and the words of the first."""
    found: dict[str, list[tuple[int, str]]] = {}
    for k, doubts in rows:
        for doubt in doubts:
            found.setdefault(doubt.code, []).append((k, clean(str(doubt))))
    lines = []
    for told in found.values():
        first = told[0][1]
        alike = all(text == first for _, text in told)
        which = "" if alike else f"at k = {told[0][0]} "
        lines.append(f"{_at([k for k, _ in told])} {word}: {which}{first}")
    return lines


def method(streams: Sequence[Stream]) -> list[str]:
    """How the tables are to be read."""
    lines = [
        "A step is one training step on one window of k timesteps, a timestep is one of the whole "
        f"batch. Medians with their {100 * CASE_CONFIDENCE:g}% intervals; samples are sequences × "
        "timesteps.",
        "fixed per step and a timestep are a and b of the line time(k) = a + b·k, of least squares "
        "of the relative errors, a line for each process; fixed is a's share of a step; past k "
        f"= {(1 - SMALL_SHARE) / SMALL_SHARE:.0f}·a/b it is under {100 * SMALL_SHARE:g}%.",
    ]
    fits = [cost.fit for stream in streams for cost in stream.backends if cost.fit]
    few = sorted({fit.fixed.how for fit in fits if fit.fixed and fit.fixed.allowance})
    if few:
        lines.append(
            f"Intervals of the lines: {few[-1]} (15% of the window past which the fixed part is "
            f"small); from {ENOUGH_PROCESSES} processes on they are what was measured."
        )
    if any(stream.learned for stream in streams):
        told = "learns: the largest measured distance that was learned at that window by every seed"
        source = next((stream.learned_from for stream in streams if stream.learned_from), "")
        lines.append(
            f"{told}, the state carried from window to window"
            + (f" ({source})." if source else ".")
        )
    return lines


def _where_small(fit: Fit) -> str:
    first, last = fit.windows[0], fit.windows[-1]
    past = fit.small_past_mid
    if past < first:
        return f"the fixed part is under {_SHARE} at every measured window"
    if past >= last:
        return f"the fixed part is over {_SHARE} up to the longest window, k = {last}"
    return f"the fixed part is under {_SHARE} past k = {math.ceil(past)}"


def misfit(fit: Fit) -> str:
    """Where the line misses most, and what a timestep costs in the longest windows if it is more.

    ``k = 960 costs 12% more than the line``.
    """
    worst = fit.misfit
    side = "more" if worst.residual > 0 else "less"
    told = f"k = {worst.window} costs {abs(100 * worst.residual):.0f}% {side} than the line"
    if fit.late is not None and fit.late.low > 1 + LARGE_MISFIT:
        told += (
            f", and between k = {fit.windows[-2]} and {fit.windows[-1]} a timestep costs "
            f"{fit.late.mid:.2f} times as much ({fit.late.low:.2f}–{fit.late.high:.2f})"
        )
    return told


def small_past(fit: Fit) -> tuple[str, str]:
    """The window past which the fixed cost is small, and its interval.

    Outside the windows that were measured the line is not believed: ``< 3`` or ``> 960``.
    """
    first, last = fit.windows[0], fit.windows[-1]
    past = fit.small_past_mid
    interval = ""
    if fit.small_past is not None:
        low, high = (_limited(each, first, last) for each in _ends(fit.small_past))
        interval = f"{low}–{high}" if low != high else ""
    return _limited(past, first, last), interval


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _limited(value: float, first: int, last: int) -> str:
    if value < first:
        return f"< {first}"
    return f"> {last}" if value >= last else str(math.ceil(value))


def signed(value: float) -> str:
    """Seconds of either sign: a fit may say less than nothing."""
    return f"−{seconds(-value)}" if value < 0 else seconds(value)


def signed_range(interval: Interval) -> str:
    """The bounds of such a value, in the unit of its middle if they are near it."""
    largest = max(abs(interval.low), abs(interval.high))
    if largest > 100 * abs(interval.mid):
        return f"{signed(interval.low)}–{signed(interval.high)}"
    return seconds_range(interval.low, interval.high, abs(interval.mid)).replace("-", "−")


def share(value: float) -> str:
    """A part of a whole: 12%, and 0.4% where it is small."""
    return f"{100 * value:.0f}%" if value >= 0.0095 else f"{100 * value:.1g}%"


def size(value: float) -> str:
    """Bytes with three digits: 12.3 KiB, −1.20 MiB."""
    scale, unit = _size(value)
    return f"{_three(value / scale)} {unit}"


def size_range(interval: Interval) -> str:
    """The bounds of bytes, in the unit in which their middle is shown."""
    scale, _ = _size(interval.mid)
    return f"{_three(interval.low / scale)}–{_three(interval.high / scale)}"


def _size(value: float) -> tuple[float, str]:
    for unit, scale in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if abs(value) >= 0.9995 * scale:
            return scale, unit
    return 1.0, "B"


def _three(value: float) -> str:
    text = f"{value:.0f}" if abs(value) >= 999.5 or value == 0 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")
