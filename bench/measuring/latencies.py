"""From every call of a stream to what is kept of them."""

from __future__ import annotations

import numpy as np

from bench.judging.latency import PARTS, percentile
from bench.measuring.series import Beside, Streamed
from bench.results import hdr
from bench.results.streaming import Bounds, StreamCalls, Taken
from lstm_impl.spec import FloatArray


def kept(streamed: Streamed, beside: Beside, period: float | None) -> StreamCalls:
    """What a result file holds of these calls.

    A deadline is the period where none is given: what is later is late for the next call, too.
    """
    deadline = period if beside.deadline is None else beside.deadline
    missed = 0 if deadline is None else int(np.count_nonzero(streamed.latency > deadline))
    return StreamCalls(
        calls=streamed.latency.size,
        latency=_taken(streamed.latency),
        service=_taken(streamed.service),
        load=beside.load,
        deadline=deadline,
        missed=missed,
    )


def _taken(seconds: FloatArray) -> Taken:
    ordered = np.sort(seconds).astype(np.float64)
    told = {part: percentile(ordered, part) for part in PARTS}
    return Taken(
        {
            part: Bounds(each.low, each.mid, each.high, each.confidence)
            for part, each in told.items()
            if each is not None
        },
        float(ordered[-1]),
        hdr.encode(ordered),
    )
