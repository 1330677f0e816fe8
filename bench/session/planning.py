"""What a budget holds: which of the groups come to enough processes in the time that is left.

Pure functions of numbers. They know what one process more of a group takes; whose turn it is, they
do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.session.work import Environment, Lot

BUDGET_USED = 0.93
"""Part of a budget that is planned with. One process takes some per cent longer than another, and
the last would not be begun if it did not fit."""

LEAST_SHARE = 0.2
"""Of the measuring time that a suite gives its cases: the slowest of the package's suites then have
four blocks in a process, and with less would have warm-up and little else. A budget that holds not
even that for every case is spent on fewer cases."""


@dataclass(frozen=True)
class Coming:
    """What is to come of a lot.

    begun: processes that it has had or is in; missing: what it lacks to enough, when these have
    ended; left: the same while those in work are still to come, one at the least. promised: whether
    the last plan held all of them. outside, measuring: seconds of one process, measuring at its
    whole length; once: of what one process does for all. looks: processes that have shown
    ``outside``; a guess where none has.
    """

    lot: Lot
    begun: int
    missing: int
    left: int
    promised: bool
    outside: float
    measuring: float
    once: float
    looks: int


class Needed:
    """Seconds that processes to come take in all. process: one of an environment by itself.

    Lots of one environment that have had equally many share processes.
    """

    def __init__(self, process: Callable[[Environment], float]) -> None:
        self._process = process
        self._outside = self._measuring = 0.0
        self._processes: dict[Environment, set[int]] = {}

    def fits(self, each: Coming, number: int, seconds: float) -> bool:
        """Whether there is time for so many processes of a lot, too, at the least share."""
        outside, measuring = self._with(each, number)
        return outside + LEAST_SHARE * measuring <= BUDGET_USED * seconds

    def add(self, each: Coming, number: int) -> None:
        """There are so many of a lot."""
        self._outside, self._measuring = self._with(each, number)
        there = self._processes.setdefault(each.lot.environment, set())
        there.update(range(each.begun, each.begun + number))

    def share(self, seconds: float) -> float:
        """The part of its measuring time that each case gets in so many seconds."""
        return share_of_time(seconds, self._outside, self._measuring)

    def _with(self, each: Coming, number: int) -> tuple[float, float]:
        environment = each.lot.environment
        there = self._processes.get(environment, ())
        more = sum(n not in there for n in range(each.begun, each.begun + number))
        outside = number * each.outside + each.once + more * self._process(environment)
        return self._outside + outside, self._measuring + number * each.measuring


@dataclass(frozen=True)
class Plan:
    """first: lots, and of each how many processes there is time for; late: the others, and what
    they lack."""

    first: Sequence[tuple[Coming, int]]
    late: Sequence[tuple[Coming, int]] = ()


def plan(coming: Sequence[Coming], seconds: float, process: Callable[[Environment], float]) -> Plan:
    """Which lots come to enough processes in so many seconds.

    On a slow machine a budget holds fewer groups: some with intervals and verdicts that hold say
    more than all with none. Those that it was to hold before are kept, then those that have come
    furthest, and of equals those that the suite names first. Until every lot's costs are known, all
    are tried.

    The first process of a session compiles what others find compiled, and computes what they read,
    so that what it shows is more than others take. A lot that one process has met is met by another
    before it is put off: if it could come to enough had all of that been for once, and if those
    that are kept come to enough beside it. Where none is kept, all are late alike.
    """
    if seconds == math.inf or not all(each.looks for each in coming):
        return Plan([(each, each.left) for each in coming])
    needed, numbers = Needed(process), dict[int, int]()
    order = sorted(range(len(coming)), key=lambda n: (not coming[n].promised, -coming[n].begun))
    for n in order:
        if needed.fits(coming[n], coming[n].missing, seconds):
            needed.add(coming[n], coming[n].missing)
            numbers[n] = coming[n].left
    for n in [n for n in order if numbers and n not in numbers and coming[n].looks == 1]:
        at_best = replace(coming[n], outside=0.0)
        if needed.fits(at_best, at_best.missing, seconds) and needed.fits(coming[n], 1, seconds):
            needed.add(coming[n], 1)
            numbers[n] = 1
    return Plan(
        [(coming[n], number) for n, number in sorted(numbers.items())],
        [(each, each.left) for n, each in enumerate(coming) if n not in numbers],
    )


def share_of_time(left: float, outside: float, measuring: float) -> float:
    """The part of its measuring time that each case gets, so that the budget holds the processes.

    left: seconds of the budget; outside: what all processes to come take beside measuring;
    measuring: what they would measure for at the whole length. More processes with fewer samples
    each say more than the other way round: the processes differ by more than the samples of one.
    """
    if measuring <= 0:
        return 1.0
    return min(1.0, max(LEAST_SHARE, (BUDGET_USED * left - outside) / measuring))
