"""Whether a series of samples has come to rest, and how wide its interval is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.judging.intervals import median_interval

WARMUP_BLOCKS = 6
"""Blocks that the steady state is looked for in, during warm-up: two halves of three, which fall
apart by chance in one of ten cases, and one more round settles it."""

DRIFT = 0.05
"""Two halves of the samples that differ by less count as one: a drift that would not change an
answer is not worth refusing one for."""

FEWEST_SAMPLES = 6
"""Under 6 the median has no 95% interval: all samples lie on one side of it in 2 * 0.5**5 = 6% of
cases."""


def relative_half_width(samples: Sequence[float]) -> float:
    """How far the median's 95% interval reaches, relative to it; infinite if there is none."""
    if len(samples) < FEWEST_SAMPLES:
        return math.inf
    return median_interval(samples).half_width


def halves_agree(samples: Sequence[float]) -> bool | None:
    """Whether the earlier and the later half of ``samples`` are of one speed.

    They are if their medians differ by less than ``DRIFT``, or by no more than their noise: the
    medians' 95% intervals overlap (of the whole ranges, where a half is too short for an interval).
    None if there are fewer than ``WARMUP_BLOCKS`` samples.
    """
    if len(samples) < WARMUP_BLOCKS:
        return None
    middle = len(samples) // 2
    first, second = median_interval(samples[:middle]), median_interval(samples[middle:])
    if abs(first.mid - second.mid) <= DRIFT * min(first.mid, second.mid):
        return True
    return first.low <= second.high and second.low <= first.high
