"""A step under its framework's profiler: which operator ran when, on which thread or stream.

A profiler slows what it watches, and launches most of all: its times say how a step is made up, not
how long it takes. This module knows plain data; the frameworks' own records are read by their
models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One operator or kernel, once.

    name: its kind, such as ``MatMul``. start: seconds, of a clock that all events share. seconds:
    how long it took, what it called in between included. track: the thread or stream that ran it.
    detail: what else the profiler says of it, such as its place in the graph.
    """

    name: str
    start: float
    seconds: float
    track: str = ""
    detail: str = ""

    @property
    def end(self) -> float:
        """Seconds of the same clock."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Profile:
    """The events of so many steps, one after the other; less than one is a part of its timesteps.

    source: whose record it is, such as ``torch profiler``.
    """

    source: str
    events: tuple[Event, ...]
    steps: float = 1.0


@dataclass
class Spent:
    """By operators of one name: how often they ran, and their own seconds, in all steps."""

    count: int = 0
    seconds: float = 0.0
    tracks: set[str] = field(default_factory=set)


def by_name(events: Iterable[Event]) -> dict[str, Spent]:
    """Of each name, the most seconds first; without what an operator called while it ran."""
    found: defaultdict[str, Spent] = defaultdict(Spent)
    for event, seconds in own_seconds(events):
        spent = found[event.name]
        spent.count += 1
        spent.seconds += seconds
        spent.tracks.add(event.track)
    return dict(sorted(found.items(), key=lambda each: (-each[1].seconds, each[0])))


def own_seconds(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Each event with its seconds less those of the events of its track that lie within it."""
    tracks: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        tracks[event.track].append(event)
    for track in tracks.values():
        open_: list[tuple[Event, list[float]]] = []
        for event in sorted(track, key=lambda each: (each.start, -each.seconds)):
            while open_ and open_[-1][0].end <= event.start:
                yield _closed(*open_.pop())
            if open_:
                # No more than is left of it: clocks of a profiler may be off by their last digit.
                open_[-1][1].append(min(event.end, open_[-1][0].end) - event.start)
            open_.append((event, []))
        while open_:
            yield _closed(*open_.pop())


def _closed(event: Event, within: Sequence[float]) -> tuple[Event, float]:
    return event, max(0.0, event.seconds - sum(within))


def covered(events: Iterable[Event]) -> float:
    """Seconds in which at least one of them ran."""
    total, end = 0.0, float("-inf")
    for event in sorted(events, key=lambda each: each.start):
        total += max(0.0, event.end - max(event.start, end))
        end = max(end, event.end)
    return total
