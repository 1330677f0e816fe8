"""Define what a result file stores of a stream: percentiles, missed deadlines and a histogram.

Single calls are not stored. The percentiles were computed from the exact times.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import bench.records.stored as stored


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between its bounds, with their confidence.

    If there are too few samples, the confidence is lower than requested: the range of n samples
    covers the median with a confidence of 1 - 2/2**n.
    """

    low: float
    mid: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """Return the larger distance from the middle to a bound, relative to the middle."""
        return max(self.high - self.mid, self.mid - self.low) / self.mid


@dataclass(frozen=True)
class CallTimes:
    """The times of one process's calls, in seconds.

    percentiles: those for which there are enough calls, by their number (99.9). most: the longest
    time. histogram: see ``records.hdr``.
    """

    percentiles: Mapping[float, Interval]
    most: float
    histogram: str

    def to_dict(self) -> dict[str, object]:
        """Return plain data, as in a result file."""
        return {
            "percentiles": {
                f"{part:g}": list(astuple(each)) for part, each in self.percentiles.items()
            },
            "most_s": self.most,
            "histogram": self.histogram,
        }


@dataclass(frozen=True)
class StreamCalls:
    """All timed calls of one stream in one process.

    latency: the times from when a call was due until its end. service: the times from its start.
    load: the number of processes that each kept a processor busy meanwhile. deadline: in seconds,
    or None. missed: the number of calls with a longer latency, 0 without a deadline.
    """

    calls: int
    latency: CallTimes
    service: CallTimes
    load: int = 0
    deadline: float | None = None
    missed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return plain data, as in a result file."""
        return {
            "calls": self.calls,
            "latency": self.latency.to_dict(),
            "service": self.service.to_dict(),
            "load": self.load,
            "deadline_s": self.deadline,
            "missed": self.missed,
        }


def stream_calls(found: stored.Streaming) -> StreamCalls:
    """Make the calls of a stream from what ``StreamCalls.to_dict`` stored."""
    return StreamCalls(
        calls=found.calls,
        latency=_call_times(found.latency),
        service=_call_times(found.service),
        load=found.load,
        deadline=found.deadline_s,
        missed=found.missed,
    )


def _call_times(found: stored.StoredCallTimes) -> CallTimes:
    percentiles = {float(key): Interval(*each) for key, each in found.percentiles.items()}
    return CallTimes(percentiles, found.most_s, found.histogram)
