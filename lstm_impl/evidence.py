"""Record what really ran: kernels, ops and devices, from a profiler or from the compiled code."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 40
"""The number of names that are kept of each kind, the most frequent first. The total is kept too.
"""

LAUNCHERS = ("tensorflow", "xla", "python")
"""What starts operators one by one: TensorFlow's executor, an XLA program, or a Python program."""


def most(counts: Counter[str]) -> dict[str, int]:
    """Return the most frequent names and how often each of them ran."""
    return dict(counts.most_common(MOST))


@dataclass(frozen=True, eq=False)
class Evidence(Mapping[str, Any]):
    """Hold what a model ran for a workload. It can be read as the mapping that results record.

    Attributes
    ----------
    source
        What made the record, such as ``torch profiler``.
    ops, kernels
        How often each operator ran on the host, and each kernel on the device; None if not
        recorded.
    details
        Other plain data.
    launches
        The number of operators in one step that are started one by one; None if not known.
    launched_by
        What starts them, one of ``LAUNCHERS``.
    operations
        The multiplications and additions in the products of one step; None if not known.
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
    """Hold one run of an operator or a kernel.

    Attributes
    ----------
    name
        The kind of operator or kernel, such as ``MatMul``.
    start
        The time at which it started, in seconds of a clock that all events share.
    seconds
        Its duration, including whatever it called.
    track
        The thread or the stream that ran it.
    detail
        What else the profiler records, such as its place in the graph.
    """

    name: str
    start: float
    seconds: float
    track: str = ""
    detail: str = ""

    @property
    def end(self) -> float:
        """The time at which it ended, in seconds of the same clock."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Profile:
    """Hold the events of consecutive steps.

    Attributes
    ----------
    source
        What made the record, such as ``torch profiler``.
    events
        The events, in any order.
    steps
        The number of steps. A fraction is a part of a step's timesteps.
    """

    source: str
    events: tuple[Event, ...]
    steps: float = 1.0


@dataclass
class Spent:
    """Count the runs and the own seconds of the operators of one name, in all steps."""

    count: int = 0
    seconds: float = 0.0
    tracks: set[str] = field(default_factory=set)


def by_name(events: Iterable[Event]) -> dict[str, Spent]:
    """Return the own time of each name, without what an operator called, the longest time first."""
    found: defaultdict[str, Spent] = defaultdict(Spent)
    for event, seconds in own_seconds(events):
        spent = found[event.name]
        spent.count += 1
        spent.seconds += seconds
        spent.tracks.add(event.track)
    return dict(sorted(found.items(), key=lambda each: (-each[1].seconds, each[0])))


def own_seconds(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Yield each event with its seconds less the seconds of the events that it contains."""
    tracks: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        tracks[event.track].append(event)
    for track in tracks.values():
        open_: list[tuple[Event, list[float]]] = []
        for event in sorted(track, key=lambda each: (each.start, -each.seconds)):
            while open_ and open_[-1][0].end <= event.start:
                yield _with_own_seconds(*open_.pop())
            if open_:
                # An event counts at most until its caller's end, because profilers' clocks can be
                # slightly off.
                open_[-1][1].append(min(event.end, open_[-1][0].end) - event.start)
            open_.append((event, []))
        while open_:
            yield _with_own_seconds(*open_.pop())


def _with_own_seconds(event: Event, within: Sequence[float]) -> tuple[Event, float]:
    """Return an event with its own seconds."""
    return event, max(0.0, event.seconds - sum(within))


def covered(events: Iterable[Event]) -> float:
    """Return the seconds in which at least one of the events ran."""
    total, end = 0.0, float("-inf")
    for event in sorted(events, key=lambda each: each.start):
        total += max(0.0, event.end - max(event.start, end))
        end = max(end, event.end)
    return total
