"""Bytes per timestep of truncation window: the slope of peak memory over the window's length.

A pure function of numbers; this room knows no file, no case and no framework.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.judging.intervals import CASE_CONFIDENCE, Interval


def bytes_per_timestep(windows: Sequence[int], peaks: Sequence[float]) -> Interval | None:
    """The slope of ``peaks`` (bytes) over ``windows`` (timesteps), by least squares.

    The error of a peak is that of a process (its pages, its allocator's arenas), the same at every
    window, so that least squares is the right estimate, and the long windows, which tell most of
    the slope, weigh most. The bounds are the t-interval of the slope with n - 2 degrees of freedom,
    for three windows or more; two fix a line but not how sure it is, so that its bounds are the
    slope itself and its confidence is 0. Several peaks of one window count as so many points.

    None with fewer than two different windows. A slope may be negative or 0 where the memory of
    building and compiling hides that of the window.

    Raises ValueError unless there is a peak for each window, each window is at least 1 and each
    peak a finite number of at least 0.
    """
    if len(windows) != len(peaks):
        raise ValueError(f"{len(windows)} windows and {len(peaks)} peaks; expected one for each")
    for name, values, least in (("windows", windows, 1), ("peaks", peaks, 0)):
        for index, value in enumerate(values):
            if not math.isfinite(value) or value < least:
                raise ValueError(
                    f"{name}[{index}] is {value!r}; expected a finite number of at least {least}"
                )
    if len(set(windows)) < 2:
        return None
    x = np.asarray(windows, dtype=np.float64)
    y = np.asarray(peaks, dtype=np.float64)
    # Around their means, so that large numbers do not cancel.
    x, y = x - np.mean(x), y - np.mean(y)
    square = float(np.sum(x * x))
    slope = float(np.sum(x * y)) / square
    degrees = len(x) - 2
    if degrees == 0:
        return Interval(slope, slope, slope, 0.0)
    from scipy import special  # 0.3 s, which whoever reads no memory need not spend

    error = math.sqrt(float(np.sum((y - slope * x) ** 2)) / degrees / square)
    reach = float(special.stdtrit(float(degrees), (1 + CASE_CONFIDENCE) / 2)) * error
    return Interval(slope - reach, slope, slope + reach, CASE_CONFIDENCE)
