"""What a result file holds of a stream's calls: percentiles, missed deadlines, the histogram.

Every call was timed and none is kept by itself. The percentiles are made from the exact times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.machine.fields import LONGEST, SHORTEST, Field

LONGEST_TEXT = 200_000
"""Letters of a histogram, three times those of one of all values that differ there."""


class Bounds(NamedTuple):
    """A percentile of one process's calls in seconds, its interval, and how sure that is."""

    low: float
    mid: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Taken:
    """What calls took, in seconds.

    percentiles: those that there were enough calls to tell, by their number (99.9). most: the
    longest. histogram: as ``results.hdr`` has it.
    """

    percentiles: Mapping[float, Bounds]
    most: float
    histogram: str

    def to_dict(self) -> dict[str, object]:
        """Plain data, as it stands in a result file."""
        return {
            "percentiles": {f"{part:g}": list(each) for part, each in self.percentiles.items()},
            "most_s": self.most,
            "histogram": self.histogram,
        }


@dataclass(frozen=True)
class StreamCalls:
    """All calls of one stream in one process, those before the clock ran left out.

    latency: from when a call was due until it was done; service: from when it began. load:
    processes that kept a processor busy each meanwhile. deadline: seconds, None where there was
    none. missed: calls whose latency was longer, 0 without one.
    """

    calls: int
    latency: Taken
    service: Taken
    load: int = 0
    deadline: float | None = None
    missed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Plain data, as it stands in a result file."""
        return {
            "calls": self.calls,
            "latency": self.latency.to_dict(),
            "service": self.service.to_dict(),
            "load": self.load,
            "deadline_s": self.deadline,
            "missed": self.missed,
        }


def parse(field: Field) -> StreamCalls | None:
    """What ``StreamCalls.to_dict`` wrote; None where the field is null or missing."""
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


def _taken(field: Field) -> Taken:
    found: dict[float, Bounds] = {}
    percentiles = field["percentiles"]
    for key in percentiles.mapping():
        each = percentiles[key]
        try:
            part = float(key)
        except ValueError:
            part = 0.0
        if not 0 < part < 100:
            raise each.error("nothing here: its name is no percentile from 0 to 100")
        items = each.items()
        if len(items) != len(Bounds._fields):
            raise each.error("a lower bound, the percentile, an upper bound and a confidence")
        low, mid, high = (item.number(SHORTEST, LONGEST) for item in items[:3])
        if not low <= mid <= high:
            raise each.error("numbers in order")
        found[part] = Bounds(low, mid, high, items[3].number(0.0, 1.0))
    histogram = field["histogram"].text()
    if len(histogram) > LONGEST_TEXT:
        raise field["histogram"].error(f"at most {LONGEST_TEXT} letters")
    return Taken(found, field["most_s"].number(SHORTEST, LONGEST), histogram)
