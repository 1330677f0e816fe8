"""Record what really ran: kernels, ops and devices, by a profiler or by what was compiled."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 40
"""Names kept of each kind, the most frequent first; the total is kept next to them."""

LAUNCHERS = ("tensorflow", "xla", "python")
"""What starts operators one by one: TensorFlow's executor, XLA's program, a Python program."""


def most(counts: Counter[str]) -> dict[str, int]:
    """Return the most frequent names and how often each ran."""
    return dict(counts.most_common(MOST))


@dataclass(frozen=True, eq=False)
class Evidence(Mapping[str, Any]):
    """What a model ran for a workload; it reads as the mapping that is recorded.

    source: whose record it is, such as ``torch profiler``. ops, kernels: how often each ran, on the
    host and on the device; None if not recorded. details: other plain data. launches: operators of
    one step that are started one by one, by ``launched_by``, one of ``LAUNCHERS``; None if not
    known. operations: multiplications and additions of a step's products; None if not known.
    """

    source: str
    ops: Counter[str] | None = None
    kernels: Counter[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    launches: int | None = None
    launched_by: str = ""
    operations: float | None = None

    def __getitem__(self, name: str) -> Any:
        return self._record()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record())

    def __len__(self) -> int:
        return len(self._record())

    def _record(self) -> dict[str, Any]:
        record = {"source": self.source, **self.details}
        for kind, counts in (("ops", self.ops), ("kernels", self.kernels)):
            if counts is not None:
                record |= {kind: most(counts), f"{kind}_total": counts.total()}
        if self.launches is not None:
            record |= {"launches": self.launches, "launched_by": self.launched_by}
        if self.operations is not None:
            record["operations"] = self.operations
        return record


@dataclass(frozen=True)
class Event:
    """One run of an operator or kernel.

    name: its kind, such as ``MatMul``. start: seconds of a clock that all events share. seconds:
    its duration, with what it called. track: the thread or stream that ran it. detail: what else
    the profiler records, such as its place in the graph.
    """

    name: str
    start: float
    seconds: float
    track: str = ""
    detail: str = ""

    @property
    def end(self) -> float:
        """When it ended, in seconds of the same clock."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Profile:
    """The events of some consecutive steps; less than one step is a part of its timesteps.

    source: whose record it is, such as ``torch profiler``.
    """

    source: str
    events: tuple[Event, ...]
    steps: float = 1.0


@dataclass
class Spent:
    """Runs and own seconds of the operators of one name, in all steps."""

    count: int = 0
    seconds: float = 0.0
    tracks: set[str] = field(default_factory=set)


def by_name(events: Iterable[Event]) -> dict[str, Spent]:
    """Return the time of each name, the most seconds first, without what an operator called."""
    found: defaultdict[str, Spent] = defaultdict(Spent)
    for event, seconds in own_seconds(events):
        spent = found[event.name]
        spent.count += 1
        spent.seconds += seconds
        spent.tracks.add(event.track)
    return dict(sorted(found.items(), key=lambda each: (-each[1].seconds, each[0])))


def own_seconds(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Yield each event with its seconds less those of the events within it on its track."""
    tracks: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        tracks[event.track].append(event)
    for track in tracks.values():
        open_: list[tuple[Event, list[float]]] = []
        for event in sorted(track, key=lambda each: (each.start, -each.seconds)):
            while open_ and open_[-1][0].end <= event.start:
                yield _closed(*open_.pop())
            if open_:
                # At most until its end: a profiler's clocks may be wrong in their last digit.
                open_[-1][1].append(min(event.end, open_[-1][0].end) - event.start)
            open_.append((event, []))
        while open_:
            yield _closed(*open_.pop())


def _closed(event: Event, within: Sequence[float]) -> tuple[Event, float]:
    return event, max(0.0, event.seconds - sum(within))


def covered(events: Iterable[Event]) -> float:
    """Return the seconds in which at least one of them ran."""
    total, end = 0.0, float("-inf")
    for event in sorted(events, key=lambda each: each.start):
        total += max(0.0, event.end - max(event.start, end))
        end = max(end, event.end)
    return total
