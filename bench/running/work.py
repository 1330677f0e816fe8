"""What a session is to reach, what one process of it is to measure, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from bench.running.lots import Environment
from bench.suites.cases import Case

PRECISION = 0.02
"""How far a case's interval may reach, relative to its middle: what a verdict calls SAME."""

BUDGET_USED = 0.93
"""Part of a budget that is planned with. One process takes some per cent longer than another, and
the last would not be begun if it did not fit."""

LEAST_SHARE = 0.2
"""Of the measuring time that a suite gives its cases: the slowest of the package's suites then have
four blocks in a process, and with less would have warm-up and little else. A budget that holds not
even that for every case is spent on fewer cases."""


@dataclass(frozen=True)
class Goal:
    """When a session is done.

    precision: every case's interval reaches at most this far, relative to its middle; judged at
    ``ENOUGH_PROCESSES`` and more, and never by who is ahead. processes: so many for each case
    instead, whatever their intervals are.
    """

    precision: float = PRECISION
    processes: int | None = None


@dataclass(frozen=True)
class Work:
    """What one worker process is to measure: plain data, so that it could go to another machine.

    number: how many processes the session had before, and one. order_seed: of the order of the
    groups and of the backends within each. share: part of the suite's measuring time that each
    case gets. memory: whether that of its cases is measured, too. environment: variables that the
    process must have.
    """

    number: int
    cases: tuple[Case, ...]
    order_seed: int
    share: float = 1.0
    memory: bool = False
    environment: Environment = ()


def share_of_time(left: float, outside: float, measuring: float) -> float:
    """The part of its measuring time that each case gets, so that the budget holds the processes.

    left: seconds of the budget; outside: what all processes to come take beside measuring;
    measuring: what they would measure for at the whole length. More processes with fewer samples
    each say more than the other way round: the processes differ by more than the samples of one.
    """
    if measuring <= 0:
        return 1.0
    return min(1.0, max(LEAST_SHARE, (BUDGET_USED * left - outside) / measuring))
