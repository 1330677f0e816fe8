"""Define what a result file keeps of a stream's calls: percentiles, missed deadlines, a histogram.

Single calls are not kept. The percentiles were computed from the exact times.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

from bench.machine.fields import LONGEST, SHORTEST, Field

LONGEST_TEXT = 200_000
"""Letters of a histogram, three times the length of one with all possible values."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between its bounds, and their confidence.

    The confidence is below the requested one where too few samples cannot reach it: the range of n
    samples covers the median with 1 - 2/2**n.
    """

    low: float
    mid: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """The larger distance from the middle to a bound, relative to the middle."""
        return max(self.high - self.mid, self.mid - self.low) / self.mid


@dataclass(frozen=True)
class CallTimes:
    """The times of one process's calls in seconds.

    percentiles: those with enough calls, by their number (99.9). most: the longest time.
    histogram: see ``records.hdr``.
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

    latency: from when a call was due until its end; service: from its start. load: processes that
    each kept a processor busy meanwhile. deadline: seconds, or None. missed: calls with a longer
    latency, 0 without a deadline.
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


def parse(field: Field) -> StreamCalls | None:
    """Parse the result of ``StreamCalls.to_dict``; None if the field is null or missing."""
    if not field.given:
        return None
    calls = field["calls"].integer(1)
    missed = field["missed"].integer(0)
    if missed > calls:
        raise field["missed"].error(f"at most the {calls} calls")
    deadline = field["deadline_s"]
    return StreamCalls(
        calls=calls,
        latency=_taken(field["latency"]),
        service=_taken(field["service"]),
        load=field["load"].integer(0),
        deadline=deadline.number(SHORTEST, LONGEST) if deadline.given else None,
        missed=missed,
    )


def _taken(field: Field) -> CallTimes:
    found: dict[float, Interval] = {}
    percentiles = field["percentiles"]
    for key in percentiles.mapping():
        each = percentiles[key]
        try:
            part = float(key)
        except ValueError:
            part = 0.0
        if not 0 < part < 100:
            raise each.error("no such entry: its name is not a percentile from 0 to 100")
        items = each.items()
        if len(items) != len(fields(Interval)):
            raise each.error("a lower bound, the percentile, an upper bound and a confidence")
        low, mid, high = (item.number(SHORTEST, LONGEST) for item in items[:3])
        if not low <= mid <= high:
            raise each.error("numbers in order")
        found[part] = Interval(low, mid, high, items[3].number(0.0, 1.0))
    histogram = field["histogram"].text()
    if len(histogram) > LONGEST_TEXT:
        raise field["histogram"].error(f"at most {LONGEST_TEXT} letters")
    return CallTimes(found, field["most_s"].number(SHORTEST, LONGEST), histogram)
