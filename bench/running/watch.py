"""How long a worker may be silent before it is ended, told from what it writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.suites.cases import Case

IDLE_LIMIT = 120.0
"""Seconds that a worker may be busy with no case: it starts Python and pytest, reads the machine's
state, writes its file. Seconds on a quiet machine; past this it hangs."""


class Watch:
    """Follows one worker: what it is busy with, and whether it is over its limit.

    limit: seconds for each case, preparing (building, tracing, compiling, checking) and timing
    together; cases that are timed in turn share what each has left. now: when the worker was
    started, by the clock that ``see`` and ``overdue`` are told.
    """

    def __init__(self, cases: Sequence[Case], limit: float, now: float) -> None:
        self.busy: tuple[str, ...] = ()
        self.timing = False
        self.done: set[str] = set()
        self.ended = False
        self.startup: float | None = None
        self.costs: dict[str, float] = {}
        self._limit = limit
        self._groups = {case.id: case.group for case in cases}
        self._started = self._since = now
        self._group: tuple[str, float] | None = None
        self._prepared: dict[str, float] = {}
        self._once: dict[str, float] = {}

    @property
    def once(self) -> float:
        """Seconds for what no later process does again: measuring memory."""
        return sum(self._once.values())

    def see(self, line: Mapping[str, object], now: float) -> None:
        """Take in a line of the journal; what is not understood is passed over."""
        begun = line.get("begun")
        if isinstance(begun, list) and begun:
            self._begin(tuple(map(str, begun)), now)
        elif "finished" in line:
            self._enter_group(None, now)
            self.ended, self.busy, self._since = True, (), now
        elif case := _case_id(line):
            self.done.add(case)
            self._once[case] = _memory_seconds(line)
            self.busy = tuple(each for each in self.busy if each != case)
            if not self.busy:
                self._since = now

    def _begin(self, begun: tuple[str, ...], now: float) -> None:
        if self.startup is None:
            self.startup = now - self._started
        if self.busy and not self.timing:
            self._prepared[self.busy[0]] = now - self._since
        # The one case of a group is announced twice, too: it was prepared, now it is timed.
        self.timing = len(begun) > 1 or begun[0] in self._prepared
        self.busy, self._since = begun, now
        self._enter_group(self._groups.get(begun[0]), now)

    def _enter_group(self, group: str | None, now: float) -> None:
        if self._group is not None and self._group[0] != group:
            name, since = self._group
            once = (took for case, took in self._once.items() if self._groups.get(case) == name)
            self.costs[name] = max(0.0, now - since - sum(once))
            self._group = None
        if group is not None and self._group is None:
            self._group = (group, now)

    def overdue(self, now: float) -> bool:
        """Whether what it is busy with takes longer than it may."""
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


def _memory_seconds(line: Mapping[str, object]) -> float:
    """How long the memory of a line's case took to measure; 0 if it was not."""
    seconds = _of(line, "benchmark", "extra_info", "lstm", "memory", "seconds")
    return seconds if isinstance(seconds, float) and 0 < seconds < math.inf else 0.0


def _of(value: object, *keys: str) -> object:
    """What stands under keys within keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
