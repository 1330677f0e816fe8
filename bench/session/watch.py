"""What a worker is at, told from what it writes: whether it is to be ended, what its cases took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.case.cases import Case
from bench.records.journal import STARTING, WAITING

IDLE_LIMIT = 120.0
"""Seconds that a worker may be busy with no case: it starts Python and pytest, reads the machine's
state, writes its file. Seconds on a quiet machine; past this it hangs."""


class Watch:
    """Follows one worker: what it is busy with, and whether it is over its limit.

    limit: seconds for each case, preparing (building, tracing, compiling, checking) and timing
    together; cases that are timed in turn share what each has left. now: when the worker was
    started, by the clock that ``see`` and ``overdue`` are told. seconds: for which each case is to
    be timed, by its id.

    startup: seconds until it could begin with its first case. waited: seconds for its turn.
    costs: of each case of the groups that are over, the seconds beside those and beside ``once``.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        limit: float,
        now: float,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.busy: tuple[str, ...] = ()
        self.timing = False
        self.done: set[str] = set()
        self.ended = False
        self.startup: float | None = None
        self.waiting = False
        self.waited = 0.0
        self.costs: dict[str, float] = {}
        self._limit = limit
        self._groups = {case.id: case.group for case in cases}
        self._started = self._since = now
        self._group: tuple[str, float] | None = None
        self._seconds = seconds or {}
        self._first = ""
        self._prepared: dict[str, float] = {}
        self._once: dict[str, float] = {}
        self._timed: dict[str, float] = {}
        self._frameworks = 0.0

    @property
    def once(self) -> float:
        """Seconds for what no later process does again: measuring memory."""
        return sum(self._once.values())

    @property
    def timed(self) -> float:
        """Seconds for which cases were timed: no more than they were to be."""
        return sum(self._timed.values())

    def see(self, line: Mapping[str, object], now: float) -> None:
        """Take in a line of the journal; what is not understood is passed over."""
        begun, phase = line.get("begun"), line.get("phase")
        if phase == STARTING and isinstance(begun, list):
            self.busy, self._since = tuple(map(str, begun)), now
        elif phase == WAITING:
            self.busy, self.waiting, self._since = (), True, now
            self.startup = now - self._started
        elif isinstance(begun, list) and begun:
            if self.waiting:
                self.waiting, self.waited = False, now - self._since
            self._begin(tuple(map(str, begun)), now)
        elif "finished" in line:
            self._enter_group(None, now)
            self.ended, self.busy, self._since = True, (), now
        elif case := _case_id(line):
            self.done.add(case)
            if "benchmark" in line:
                self._take_times(case, line)
            # The group was timed together: the limit of those that are left begins again.
            self.busy, self._since = tuple(each for each in self.busy if each != case), now

    def _take_times(self, case: str, line: Mapping[str, object]) -> None:
        planned = self._seconds.get(case, 0.0)
        told = _seconds(line, "setup", "timing_s")
        self._timed[case] = planned if told is None else min(planned, told)
        self._once[case] = _seconds(line, "memory", "seconds") or 0.0
        if case == self._first:
            # A framework is imported for whoever is first: that is no cost of its own.
            self._frameworks = _seconds(line, "setup", "start_s") or 0.0

    def _begin(self, begun: tuple[str, ...], now: float) -> None:
        if self.startup is None:
            self.startup = now - self._started
            self._first = begun[0]
        if self.busy and not self.timing:
            self._prepared[self.busy[0]] = now - self._since
        # The one case of a group is announced twice, too: it was prepared, now it is timed.
        self.timing = len(begun) > 1 or begun[0] in self._prepared
        self.busy, self._since = begun, now
        self._enter_group(self._groups.get(begun[0]), now)

    def _enter_group(self, group: str | None, now: float) -> None:
        if self._group is not None and self._group[0] != group:
            name, since = self._group
            self._leave([case for case, of in self._groups.items() if of == name], now - since)
            self._group = None
        if group is not None and self._group is None:
            self._group = (group, now)

    def _leave(self, cases: Sequence[str], took: float) -> None:
        """What each of a group's cases cost: preparing it, and a part of all else."""
        own = {case: self._prepared.get(case, 0.0) for case in cases}
        known = (own, self._once, self._timed)
        beside = took - sum(each.get(case, 0.0) for each in known for case in cases)
        sharing = [case for case in cases if case in self._timed] or cases
        for case in sharing:
            own[case] += max(0.0, beside) / len(sharing)
        if self._first in own:
            own[self._first] = max(0.0, own[self._first] - self._frameworks)
        self.costs.update(own)

    def overdue(self, now: float) -> bool:
        """Whether what it is busy with takes longer than it may; waiting for its turn has no limit:
        the process that it waits for has one."""
        if self.waiting:
            return False
        if not self.busy:
            return now - self._since > max(IDLE_LIMIT, self._limit)
        if not self.timing:
            return now - self._since > self._limit
        left = (max(0.0, self._limit - self._prepared.get(case, 0.0)) for case in self.busy)
        return now - self._since > sum(left)


def _case_id(line: Mapping[str, object]) -> str:
    """The case of a line that finishes one, or an empty string."""
    found: object = line.get("outcome")
    if found is None:
        found = _of(line, "benchmark", "extra_info", "lstm")
    case = _of(found, "case_id")
    return case if isinstance(case, str) else ""


def _seconds(line: Mapping[str, object], *keys: str) -> float | None:
    """What a line's case says under keys, if that is a time."""
    seconds = _of(line, "benchmark", "extra_info", "lstm", *keys)
    return seconds if isinstance(seconds, float) and 0 < seconds < math.inf else None


def _of(value: object, *keys: str) -> object:
    """What stands under keys within keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
