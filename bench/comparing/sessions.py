"""What a history holds: the sessions of a machine, each case's times in them, and what moved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bench.judging.comparison import Comparison
from bench.judging.intervals import CaseInterval
from bench.judging.movements import Movement
from bench.judging.trust import Doubt
from bench.results.schema import Run
from bench.suites.cases import Case
from bench.telling.inert import clean


@dataclass(frozen=True)
class Change:
    """What differs from the session before. version: whether it is one, or decides as much."""

    name: str
    before: str
    after: str
    version: bool

    @property
    def words(self) -> str:
        """``tensorflow 2.20.0 → 2.21.0``, safe to show."""
        name = clean(self.name.removeprefix("libraries."), 60)
        return f"{name} {clean(self.before, 60)} → {clean(self.after, 60)}"


@dataclass(frozen=True)
class Session:
    """Replicates of one measurement on one machine.

    number: its place in the machine's history, from 1. changes: from the session before it, none
    for the first.
    """

    number: int
    id: str
    runs: tuple[Run, ...]
    changes: tuple[Change, ...]

    @property
    def started(self) -> datetime:
        """When its first run began, UTC."""
        return min(run.started for run in self.runs)

    @property
    def suites(self) -> str:
        """What was run."""
        return ", ".join(dict.fromkeys(run.suite for run in self.runs))


@dataclass(frozen=True)
class Point:
    """A case in one session.

    time: seconds per step; None where it was not measured, and ``outcome`` says why. to_before:
    over the last session before this that has a time, None for the first. changes: since then, so
    those of sessions without this case too. reasons: why what was measured is INVALID, empty if it
    is not. of_time, of_ratio: why that time, or that ratio, is not to be trusted.
    """

    session: Session
    time: CaseInterval | None
    to_before: Comparison | None = None
    changes: tuple[Change, ...] = ()
    reasons: tuple[Doubt, ...] = ()
    of_time: tuple[Doubt, ...] = ()
    of_ratio: tuple[Doubt, ...] = ()
    outcome: str = ""


@dataclass(frozen=True)
class Line:
    """A case over the sessions of one machine, the earliest first."""

    case: Case
    points: tuple[Point, ...]

    @property
    def measured(self) -> tuple[Point, ...]:
        """Those with a time."""
        return tuple(point for point in self.points if point.time is not None)


@dataclass(frozen=True)
class Moved:
    """A change that lasts longer than one session, and what else changed there.

    before, session: the last before it and the first after it. changes: of versions and settings,
    between these two. back: from when on most of it was gone again, None if it lasts.
    """

    movement: Movement
    before: Session
    session: Session
    cases: tuple[Case, ...]
    changes: tuple[Change, ...]
    back: Session | None = None


@dataclass(frozen=True)
class Machine:
    """The history of one machine. name: its host, and its id where another has the same.

    moved: what changed for longer than a session, None where no case has been measured often enough
    to tell.
    """

    name: str
    id: str
    sessions: tuple[Session, ...]
    lines: tuple[Line, ...]
    moved: tuple[Moved, ...] | None = None


@dataclass(frozen=True)
class History:
    """All that was found, machine by machine, and notes on how it was read."""

    machines: tuple[Machine, ...]
    notes: tuple[str, ...] = ()
