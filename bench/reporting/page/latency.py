"""What the page carries of a stream's calls: percentiles, and how often which latency came."""

from __future__ import annotations

import math
from collections import Counter
from typing import TypeAlias

from bench.judging.rows import Row
from bench.results.hdr import decode

BINS_PER_DECADE = 20
"""Of the histogram that is drawn: each bin is 12% wide, a few points on a screen. The result file
has three digits."""

_NANOSECOND = 1e-9

Carried: TypeAlias = dict[str, object]


def carried(row: Row) -> Carried | None:
    """Of a stream; None of a case that is none.

    ``parts``: of each percentile that can be told ``[percentile, low, mid, high]`` in seconds.
    ``first``, ``counts``: how many calls of all processes are in each bin, the first of which is
    ``10**(first / BINS_PER_DECADE)`` ns; none of a histogram that cannot be read. ``calls``,
    ``most``, ``deadline``, ``missed``: as in ``judging.latency``.
    """
    stream = row.stream
    if stream is None:
        return None
    counts: Counter[int] = Counter()
    for text in stream.histograms:
        try:
            bins = decode(text)
        except ValueError:
            counts.clear()
            break
        for each in bins:
            middle = max((each.low + each.high) / 2 / _NANOSECOND, 1.0)
            counts[math.floor(BINS_PER_DECADE * math.log10(middle))] += each.number
    first, last = (min(counts), max(counts)) if counts else (0, -1)
    return {
        "parts": [
            [part, *(float(f"{value:.5g}") for value in (each.low, each.mid, each.high))]
            for part, each in stream.latency.items()
        ],
        "first": first,
        "counts": [counts[place] for place in range(first, last + 1)],
        "calls": stream.calls,
        "most": stream.most,
        "deadline": stream.deadline,
        "missed": stream.missed,
    }
