"""What windows cost, in words: the numbers of a fit as people read them, and a sentence a backend.

The report and the command tell it in the same words. This room knows the costs and how quantities
are written; no format.
"""

from __future__ import annotations

import math

from bench.report_text import LONGEST_NAME, clean, count, seconds, seconds_range
from bench.stats import Interval
from bench.truncation_cost import BackendCost
from bench.truncation_fit import FEWEST_WINDOWS, SMALL_SHARE, Fit

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
