"""The sessions of all kinds of machines, stepped side by side until none has anything left to do.

Each kind has a session and a manager of its own; each machine that is of the kind takes work from
it, one process at a time, and is one seat here. Nothing waits: a turn looks once at every machine.
A machine that is lost leaves its seat, and what it had in flight is open again; one that comes is
given a seat at the next turn. Where they come from is hidden behind ``Machines``: a Ray cluster, or
in tests machines that do as they are told.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.case.loading import Suite
from bench.machine.kinds import Kind
from bench.session.manager import LOOK_EVERY, Manager, WorkerError
from bench.session.workers import Executor, LostError

GRACE = 60.0
"""Seconds for which a kind of machine that has work left and no machine any more is waited for:
what was pre-empted is often replaced."""


@dataclass(frozen=True)
class Member:
    """A machine that measures, the whole of it reserved.

    name: of the node, unlike any other's. kind, label: what it is, and what the cluster calls its
    accelerator. suite, absent: the cases there, and the devices of these that it does not have.
    """

    name: str
    kind: Kind
    label: str
    suite: Suite
    absent: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """By which the sessions of kinds are told apart."""
        letters = "".join(each if each.isalnum() else "-" for each in self.label.lower())
        return f"{self.kind.id}-{letters[:24]}" if letters else self.kind.id

    def __str__(self) -> str:
        called = f" ({self.label})" if self.label and self.label not in str(self.kind) else ""
        return f"{self.kind}{called}"


class Machines(Protocol):
    """Where machines come from."""

    @property
    def waiting(self) -> bool:
        """Whether machines are about to come."""

    def arrived(self) -> Sequence[Member]:
        """Those that have come since the last look."""

    def retire(self, member: Member, *, for_good: bool) -> None:
        """A machine is given up; unless for good, it may come again if it is there again."""


class Posting(Executor, Protocol):
    """An executor that can be told to end its worker without waiting for it."""

    def hurry(self) -> None:
        """Have the worker end."""


@dataclass
class _Seat:
    """A machine at its session. key: of its kind. process: the one that it measures in now."""

    member: Member
    key: str
    manager: Manager
    executor: Posting
    process: Generator[None, None, None] | None = None


class Fleet:
    """Runs sessions on machines until nothing is left to do, or no machine or time to do it.

    open_manager: the manager of a kind of machine, by its first member; it has begun. post: the
    executor of a machine for its kind's session. tell: is told what happens to machines, in a line.

    managers, kinds, members, errors: by the key of a kind its manager, what it is in words, how
    many machines came, and what last went wrong with the processes of one.
    """

    def __init__(
        self,
        machines: Machines,
        open_manager: Callable[[Member], Manager],
        post: Callable[[Member, Manager], Posting],
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.managers: dict[str, Manager] = {}
        self.errors: dict[str, WorkerError] = {}
        self.members: Counter[str] = Counter()
        self.kinds: dict[str, str] = {}
        self._machines, self._open, self._post, self._tell = machines, open_manager, post, tell
        self._now, self._sleep = now, sleep
        self._seats: list[_Seat] = []
        self._nothing_new: set[str] = set()
        self._manned: dict[str, float] = {}

    def run(self) -> None:
        """Measure until the end.

        Raises KeyboardInterrupt when interrupted, ResultWriteError where results cannot be written;
        what was finished is kept in each case.
        """
        try:
            while self._turn():
                self._sleep(LOOK_EVERY)
        finally:
            self._close()

    def _turn(self) -> bool:
        """Look at all once; False where nothing is left to wait for."""
        for member in self._machines.arrived():
            self._seat(member)
        hands = Counter(seat.key for seat in self._seats)
        for seat in list(self._seats):
            self._advance(seat, hands[seat.key])
        now = self._now()
        for seat in self._seats:
            self._manned[seat.key] = now
        at_work = any(
            seat.process is not None or seat.key not in self._nothing_new for seat in self._seats
        )
        return at_work or self._machines.waiting or self._hoping()

    def _hoping(self) -> bool:
        """Whether a kind has work and may get a machine soon, having lost its last."""
        manned = {seat.key for seat in self._seats}
        return any(
            key not in manned
            and not manager.schedule.finished
            and manager.left > 0
            and self._now() - self._manned.get(key, -math.inf) < GRACE
            for key, manager in self.managers.items()
        )

    def _seat(self, member: Member) -> None:
        key = member.key
        if key not in self.managers:
            self.managers[key] = self._open(member)
            self.kinds[key] = str(member)
        manager = self.managers[key]
        self._seats.append(_Seat(member, key, manager, self._post(member, manager)))
        self.members[key] += 1
        self._manned[key] = self._now()  # one that is gone again at the first look was there, too
        self._nothing_new.discard(key)
        self._tell(f"{member.name} measures: {member}")

    def _advance(self, seat: _Seat, hands: int) -> None:
        """Begin a process where there is none, or look at it once."""
        key = seat.key
        if seat.process is None:
            if key in self._nothing_new:
                return
            seat.process = seat.manager.process(seat.executor, hands, seat.member.name)
            if seat.process is None:
                # Until something changes no machine of this kind would be given any.
                self._nothing_new.add(key)
                return
        try:
            next(seat.process)
            return
        except StopIteration:
            pass
        except LostError as error:
            self._leave(seat, f"is lost: {error}", for_good=False)
        except WorkerError as error:
            self.errors[key] = error
            self._leave(seat, f"is left out: {error}", for_good=True)
        seat.process = None
        self._nothing_new.discard(key)

    def _leave(self, seat: _Seat, why: str, *, for_good: bool) -> None:
        self._tell(f"{seat.member.name} {why}")
        self._seats.remove(seat)
        self._machines.retire(seat.member, for_good=for_good)

    def _close(self) -> None:
        """End what is in work, keeping what it has finished."""
        busy = [seat for seat in self._seats if seat.process is not None]
        for seat in busy:
            seat.executor.hurry()  # all at once: each takes a moment to end
        with contextlib.ExitStack() as each:  # one that fails keeps no other from its end
            for seat in busy:
                each.callback(_end, seat)


def _end(seat: _Seat) -> None:
    process, seat.process = seat.process, None
    if process is not None:
        with contextlib.suppress(LostError):
            process.close()
