"""Percentiles of a case's samples, as far as the samples are enough to say them.

A median over processes says what a step takes, these say how far single blocks of steps stray from
it: what a service that answers within a limit has to reckon with. Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.judging.process_means import FloatArray

PERCENTILES = (5, 25, 75, 95)

FEWEST_BEYOND = 5
"""Samples that are expected beyond a percentile for it to be said, so 100 of them for the 5th and
the 95th and 20 for the 25th and the 75th: of fewer it is hardly more than the most extreme one."""


def percentiles(samples: Sequence[FloatArray]) -> dict[int, float]:
    """Those of ``PERCENTILES`` that these samples can say, of all processes' ``[n]`` together.

    Between two samples it is interpolated linearly (Hyndman and Fan 1996, definition 7, NumPy's).
    """
    if not samples:
        return {}
    ordered = np.sort(np.concatenate(samples))
    found = {}
    for each in PERCENTILES:
        part = each / 100
        if ordered.size * min(part, 1 - part) < FEWEST_BEYOND - 1e-9:  # 20 * 0.25 is 5
            continue
        at = part * (ordered.size - 1)
        below, rest = int(at), at % 1
        above = ordered[min(below + 1, ordered.size - 1)]
        found[each] = float(ordered[below] + rest * (above - ordered[below]))
    return found
