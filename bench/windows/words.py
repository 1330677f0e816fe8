"""What windows cost, in words: the numbers of a fit as people read them, and a sentence a backend.

What has no time, and what cannot be trusted, is told with the windows that it is told of. The
report and the command tell it in the same words. This room knows the costs and how quantities are
written; no format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.render import headings
from bench.render.inert import clean
from bench.render.quantities import count, listed, seconds, seconds_range
from bench.stats.intervals import CASE_CONFIDENCE, Interval
from bench.stats.process_means import ENOUGH_PROCESSES
from bench.stats.rows import Row
from bench.stats.trust import FEW_PROCESSES, WIDE_INTERVAL, Doubt
from bench.windows.cost import NEAR_CHEAPEST, BackendCost, Cheapest, Stream, window
from bench.windows.fit import FEWEST_WINDOWS, Fit

LARGE_MISFIT = 0.1
"""From here on a line that misses a window is told beside its numbers."""

_OF_ALL = (FEW_PROCESSES, WIDE_INTERVAL)

WITHIN = f"{100 * NEAR_CHEAPEST:g}%"


def sentence(cost: BackendCost) -> str:
    """From which window on a timestep of a backend costs hardly more than the least, and the line.

    ``while_loop: a timestep is within 5% of its least in windows of 60 and more (30 to 120); the
    line is 0.21 ms (0.20–0.22) a step + 0.11 ms (0.10–0.12) a timestep``, and where it misses a
    window by much, which and by how much.
    """
    name = headings.name(cost.backend)
    fit, near = cost.fit, cost.cheapest
    if near is None:
        return f"{name}: measured at {count(len(cost.measured), 'window')}; 2 can be compared"
    told = [f"{name}: {_where_near(near)}"]
    if fit is None:
        number = count(len(cost.measured), "window")
        told.append(f"measured at {number}; {FEWEST_WINDOWS} make a line")
    elif not fit.is_line:
        told.append(f"no line fits its windows: {misfit(fit)}")
    else:
        fixed, timestep = (
            with_range(value, interval)
            for value, interval in (
                (fit.line.fixed, fit.fixed),
                (fit.line.per_timestep, fit.per_timestep),
            )
        )
        told.append(f"the line is {fixed} a step + {timestep} a timestep")
        if abs(fit.misfit.residual) >= LARGE_MISFIT:
            told.append(misfit(fit))
    return "; ".join(told)


def _where_near(near: Cheapest) -> str:
    """Where a timestep is about as cheap as anywhere, in words."""
    windows = near.windows
    within = f"a timestep is within {WITHIN} of its least"
    if near.first == windows[-1]:
        told = f"{within} in the longest windows alone, of {windows[-1]}"
    elif near.first == windows[0]:
        told = f"{within} in windows of every length, of {windows[0]} and more"
    else:
        told = f"{within} in windows of {near.first} and more"
    if near.first_low != near.first_high:
        told += f" ({near.first_low} to {near.first_high})"
    if later := near.dearer_later:
        worst = max(later, key=lambda k: near.over[k].mid)
        told += f", and costs {percent_more(near.over[worst])} more in windows of {worst}"
    return told


def percent_more(over: Interval) -> str:
    """How much more than the least, with its bounds: ``12% (8–16)``."""
    low, mid, high = (100 * (each - 1) for each in (over.low, over.mid, over.high))
    return f"{mid:.0f}% ({low:.0f}–{high:.0f})".replace("-", "−")


def without_time(costs: Iterable[BackendCost]) -> list[str]:
    """The backends that have no time at any window: who, why, and what changes that.

    Those of the same reason stand together: ``keras and torch reach no window: not measured: ...``.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for cost in costs:
        if not cost.measured:
            reasons = tuple(dict.fromkeys(_reason(row) for row in cost.rows))
            found.setdefault(reasons, []).append(headings.name(cost.backend))
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
        found.append(f"{_at(left)} not measured: not in the suite, or the run ended first")
    found += _doubts("INVALID", [(window(row), row.invalid) for row in cost.measured])
    found += _doubts("doubtful", [(window(row), row.validity.of_time) for row in cost.measured])
    # What is of the machine, or that processes are few, is told once for all of them (``method``).
    noted = [
        (window(row), [each for each in row.validity.noted if each.code not in _OF_ALL])
        for row in cost.measured
    ]
    found += _doubts("noted", noted)
    fit = cost.fit
    if fit is not None:
        found.append(f"Where the line misses most: {misfit(fit)}.")
        if fit.parts:
            found.append(_bent(fit))
        if fit.left_out:
            told = count(fit.left_out, "process")
            found.append(f"The line leaves out {told} that did not measure every window.")
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


def _bent(fit: Fit) -> str:
    """The lines of the fewest short windows and of the fewest long ones that have another."""
    first, last = fit.windows[0], fit.windows[-1]
    short = [part for part in fit.parts if part.first == first]
    long = [part for part in fit.parts if part.last == last]
    told = [
        f"k = {part.first} to {part.last} alone have {signed(part.fixed)} a step + "
        f"{signed(part.per_timestep)} a timestep"
        for part in (*short[:1], *long[:1])
    ]
    return (
        f"The times bend away from one line: {', '.join(told)}. The bounds of its two numbers are "
        "wide enough to hold that."
    )


def method(streams: Sequence[Stream]) -> list[str]:
    """How the tables are to be read."""
    lines = [
        "A step is one training step on one window of k timesteps, a timestep is one of the whole "
        f"batch. Medians with their {100 * CASE_CONFIDENCE:g}% intervals; samples are sequences × "
        "timesteps.",
        "over least: a timestep's time over that at the window where it is least, by ratios inside "
        f"each process; within {WITHIN} from k: the first window from which on it is at most that "
        "much over, and in brackets the first that may be and the first that surely is.",
        "fixed per step and a timestep describe the times by a line, a + b·k, of least squares of "
        "the relative errors, a line for each process. Their bounds hold what differs between "
        "processes and, where the short or the long windows alone make another line, that line.",
    ]
    fits = [cost.fit for stream in streams for cost in stream.backends if cost.fit]
    few = sorted({fit.fixed.how for fit in fits if fit.fixed and fit.fixed.allowance})
    if few:
        lines.append(
            f"Intervals of the lines: {few[-1]} (15% in ratios to the least); from "
            f"{ENOUGH_PROCESSES} processes on they are what was measured."
        )
    moved = [
        row.interval.half_width
        for stream in streams
        for row in stream.table.rows
        if row.interval and any(each.code == WIDE_INTERVAL for each in row.validity.noted)
    ]
    if moved:
        lines.append(headings.speed_moved(moved))
    if any(stream.learned for stream in streams):
        told = "learns: the largest measured distance that was learned at that window by every seed"
        source = next((stream.learned_from for stream in streams if stream.learned_from), "")
        lines.append(
            f"{told}, the state carried from window to window"
            + (f" ({source})." if source else ".")
        )
        if any(stream.short_of_updates(k) for stream in streams for k in stream.windows):
            lines.append(
                "* A shorter window learned a longer distance: of as many timesteps this one makes "
                "fewer updates, and these ran out. It is no limit of the window."
            )
    return lines


def misfit(fit: Fit) -> str:
    """Where the line misses most: ``windows of 960 cost 12% more than the line``."""
    worst = fit.misfit
    side = "more" if worst.residual > 0 else "less"
    return f"windows of {worst.window} cost {abs(100 * worst.residual):.0f}% {side} than the line"


def near_from(near: Cheapest) -> tuple[str, str]:
    """The first window near the least, and its bounds: ``60`` and ``30–120``.

    At the ends nothing is said of windows that were not measured: ``≤ 3`` or ``≥ 960``.
    """
    low, high = near.first_low, near.first_high
    interval = f"{_at_the_ends(near, low)}–{_at_the_ends(near, high)}" if low != high else ""
    return _at_the_ends(near, near.first), interval


def _at_the_ends(near: Cheapest, k: int) -> str:
    if k == near.windows[0]:
        return f"≤ {k}"
    return f"≥ {k}" if k == near.windows[-1] else str(k)


def signed(value: float) -> str:
    """Seconds of either sign: a fit may say less than nothing."""
    return f"−{seconds(-value)}" if value < 0 else seconds(value)


def with_range(value: float, interval: Interval | None) -> str:
    """Such a value with its bounds in brackets, where it has some."""
    return signed(value) + (f" ({signed_range(interval)})" if interval else "")


def signed_range(interval: Interval) -> str:
    """The bounds of such a value, in the unit of its middle if they are near it."""
    largest = max(abs(interval.low), abs(interval.high))
    if largest > 100 * abs(interval.mid):
        return f"{signed(interval.low)} to {signed(interval.high)}"
    told = seconds_range(interval.low, interval.high, abs(interval.mid))
    return told.replace("–", " to ").replace("-", "−") if interval.low < 0 else told
