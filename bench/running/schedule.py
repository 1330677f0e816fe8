"""What is measured next, and when it is enough: the manager's decisions, as pure functions of time.

``Schedule`` knows what has been found of each case and hands out work; ``Watch`` follows one worker
through the lines of its journal and says when it hangs. This room knows cases, results and numbers;
it starts no process, opens no file, and is told what time it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bench.judging.intervals import case_interval, median_interval
from bench.judging.process_means import ENOUGH_PROCESSES
from bench.results.schema import Outcome, ResultFile
from bench.suites.cases import Case

PRECISION = 0.02
"""How far a case's interval may reach, relative to its middle: what a verdict calls SAME."""

MOST_CRASHES = 2
"""A process may be ended by something outside (another's hunger for memory, a person); a case that
its process dies of twice is at fault."""

FINAL = ("not_measured", "refused", "failed", "timed_out")
"""Outcomes that another process would only repeat."""

MEMORY_CASE = 2.0
"""Seconds that the memory of a case takes to measure, by a guess that is planned with before it has
been: TensorFlow builds, traces and runs a small case once more, in a process of its own."""

BUDGET_USED = 0.93
"""Part of a budget that is planned with. One process takes some per cent longer than another, and
the last would not be begun if it did not fit."""

LEAST_SHARE = 0.2
"""Of the measuring time that a suite gives its cases: the slowest of the package's suites then have
four blocks in a process, and with less would have warm-up and little else. A budget that holds not
even that for every case is spent on fewer cases."""

OUTSIDE_CASE, OUTSIDE_PROCESS = 0.8, 12.0
"""Seconds that preparing a case and starting a process take, by a guess that only the first process
is planned with: building, tracing and checking small cases of TensorFlow on two cores, and its
start."""


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
    case gets. memory: whether that of its cases is measured, too.
    """

    number: int
    cases: tuple[Case, ...]
    order_seed: int
    share: float = 1.0
    memory: bool = False


def share_of_time(left: float, processes: int, outside: float, measuring: float) -> float:
    """The part of its measuring time that each case gets, so that the budget holds the processes.

    left: seconds of the budget; processes: still to come; outside: what one takes beside measuring;
    measuring: what one would measure for in all. More processes with fewer samples each say more
    than the other way round: the processes differ by more than the samples of one.
    """
    if measuring <= 0:
        return 1.0
    each = BUDGET_USED * left / max(1, processes)
    return min(1.0, max(LEAST_SHARE, (each - outside) / measuring))


@dataclass(frozen=True)
class Leader:
    """The fastest backend of a group so far. time: seconds; precise: whether its interval is."""

    group: str
    backend: str
    time: float
    processes: int
    precise: bool


class Schedule:
    """What has been found of each case of a session, and what is still to be done.

    seconds: of measuring that each case of a group gets in a process, by ``Case.group``. memory:
    whether that of each case is measured, by the first process that reaches it. absent: devices
    that are not here, whose cases take no time. put_off: groups that there is no time for, as of
    the last look at what is next.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        goal: Goal,
        seed: int,
        seconds: Mapping[str, float] | None = None,
        memory: bool = False,
        absent: Collection[str] = (),
    ) -> None:
        self.cases = {case.id: case for case in cases}
        self.goal = goal
        self.medians: dict[str, list[float]] = {case: [] for case in self.cases}
        self.outcomes: dict[str, Outcome] = {}
        self.runs: set[str] = set()
        self.put_off: tuple[str, ...] = ()
        self.startup = 0.0
        self._fixed: float | None = None
        self._seed = seed
        self._seconds = seconds or {}
        self._memory = memory
        self._absent = frozenset(absent)
        self._crashes: Counter[str] = Counter()
        self._suspects: set[str] = set()
        self._costs: dict[str, float] = {}
        self._weighed: set[str] = set()
        self._groups: dict[str, list[Case]] = {}
        for case in self.cases.values():
            self._groups.setdefault(case.group, []).append(case)

    # -- what is learned

    def add(self, file: ResultFile) -> int:
        """Take in what one run found; returns how many of the session's cases it settled."""
        self.runs.add(file.run.id)
        settled = 0
        for measurement in file.measurements:
            if measurement.case.id in self.cases:
                median = median_interval(measurement.samples).mid
                self.medians[measurement.case.id].append(median)
                self._suspects.discard(measurement.case.id)
                if measurement.memory is not None:
                    self._weighed.add(measurement.case.id)
                settled += 1
        for outcome in file.outcomes:
            if outcome.case.id not in self.cases:
                continue
            if outcome.outcome == "crashed":
                self._crashes[outcome.case.id] += 1
                self._suspects.add(outcome.case.id)
            if outcome.outcome in (*FINAL, "crashed"):
                self.outcomes[outcome.case.id] = outcome
                settled += 1
        return settled

    def suspect(self, case_ids: Iterable[str]) -> None:
        """One of these ended its process while they were timed in turn: each goes alone next."""
        self._suspects.update(case_ids)

    def learn_costs(
        self, startup: float, costs: Mapping[str, float], work: Work, outside: float
    ) -> None:
        """How many seconds a worker took to start, for each group of its work, and outside
        measuring in all.

        A process imports a framework within its first group, which is another each time: the least
        that a group took is its own, and what is left over is every process's.
        """
        self.startup = max(self.startup, startup)
        for group, seconds in costs.items():
            cases = [case for case in work.cases if case.group == group]
            beside = max(0.0, seconds - work.share * self.measuring(cases))
            self._costs[group] = min(beside, self._costs.get(group, math.inf))
        groups = {case.group for case in work.cases}
        if groups <= set(costs):
            known = sum(self._costs[group] for group in groups)
            self._fixed = max(self.startup, outside - known)

    def measuring(self, cases: Iterable[Case]) -> float:
        """Seconds that a process measures these for, each for its whole time."""
        return sum(self._seconds.get(case.group, 0.0) for case in cases)

    # -- what follows

    def given_up(self, case: str) -> bool:
        """Whether another process could find nothing new about a case."""
        outcome = self.outcomes.get(case)
        if outcome is None:
            return False
        return outcome.outcome in FINAL or self._crashes[case] >= MOST_CRASHES

    def precise(self, case: str) -> bool:
        """Whether a case's interval over its processes is narrow enough."""
        return self.half_width(case) <= self.goal.precision

    def half_width(self, case: str) -> float:
        """How far it reaches, relative to its middle; infinite under ``ENOUGH_PROCESSES``."""
        medians = self.medians[case]
        if len(medians) < ENOUGH_PROCESSES:
            return math.inf
        return case_interval([[median] for median in medians]).half_width

    def done(self, case: str) -> bool:
        """Whether a case needs no more processes for its own sake."""
        if self.given_up(case):
            return True
        if self.goal.processes is not None:
            return len(self.medians[case]) >= self.goal.processes
        return self.precise(case)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self._open()

    def next(self, seconds: float = math.inf) -> Work | None:
        """Work for one more process that ends within ``seconds``, or None if there is none.

        The groups with the fewest processes come first, so that no group gets a second process
        before each had its first. A group is left out as a whole, and only when all of its cases
        are precise: its backends are compared within a process. Groups that would not come to
        enough processes in the time that is left are put off (see ``_affordable``).
        """
        number = len(self.runs) + 1
        order = Random(f"{self._seed}/{number}")
        open_ = self._open()
        waiting = self._affordable(open_, seconds)
        self.put_off = tuple(cases[0].group for cases in open_ if cases not in waiting)
        share = self._share(seconds, waiting)
        order.shuffle(waiting)
        for level in sorted({self._count(cases) for cases in waiting}):
            chosen: list[Case] = []
            left = seconds - self._each_process
            for cases in waiting:
                if self._count(cases) != level:
                    continue
                cost = self._costs.get(cases[0].group)
                # What no process has had yet is tried: how long it takes is not known.
                more = share * self.measuring(cases) + self._once(cases)
                cost = 0.0 if cost is None else cost + more
                if cost <= left and left > 0:
                    left -= cost
                    chosen += self._behind(cases)
            if chosen:
                memory = bool(self._unweighed(chosen))
                return Work(number, tuple(chosen), order.getrandbits(32), share, memory)
        return None

    @property
    def _enough(self) -> int:
        """Processes that a case is to have at the least."""
        return self.goal.processes or ENOUGH_PROCESSES

    @property
    def _each_process(self) -> float:
        """Seconds that any process takes beside its groups; 0 if none is known yet."""
        return self.startup if self._fixed is None else self._fixed

    def _affordable(self, waiting: list[list[Case]], seconds: float) -> list[list[Case]]:
        """Those of the open groups that come to enough processes in the time that is left.

        On a slow machine a budget holds fewer groups: some with intervals and verdicts that hold
        say more than all with none. Those that have come furthest are kept, and of equals those
        that the suite names first. If no group comes so far, all go on: what they get now is not to
        be done again (``--resume``). Until every group's costs are known, all are tried.
        """
        if seconds == math.inf or any(cases[0].group not in self._costs for cases in waiting):
            return waiting
        kept: list[list[Case]] = []
        spent, processes = 0.0, 0
        for cases in sorted(waiting, key=lambda cases: -self._count(cases)):
            missing = max(0, self._enough - self._count(cases))
            each = self._costs[cases[0].group] + LEAST_SHARE * self.measuring(cases)
            more = missing * each + self._once(cases)
            starting = max(processes, missing) * self._each_process
            if spent + more + starting <= BUDGET_USED * seconds:
                kept.append(cases)
                spent, processes = spent + more, max(processes, missing)
        if kept or any(map(self._has_enough, self._groups.values())):
            return kept
        return waiting

    def _unweighed(self, cases: Iterable[Case]) -> list[Case]:
        """Those whose memory is still to be measured: unlike the time, once is enough."""
        return [case for case in cases if self._memory and case.id not in self._weighed]

    def _once(self, cases: Iterable[Case]) -> float:
        """Seconds that it will take, by a guess. On a GPU it comes with the first call."""
        return MEMORY_CASE * sum(case.device == "cpu" for case in self._unweighed(cases))

    def _has_enough(self, cases: Sequence[Case]) -> bool:
        living = [case for case in cases if not self.given_up(case.id)]
        return bool(living) and self._count(living) >= self._enough

    def _share(self, seconds: float, groups: Sequence[Sequence[Case]]) -> float:
        """What part of its measuring time each case gets (see ``share_of_time``)."""
        here = [case for cases in groups for case in cases if case.device not in self._absent]
        if seconds == math.inf or not here:
            return 1.0
        outside = OUTSIDE_PROCESS if self._fixed is None else self._fixed
        for cases in groups:
            guess = OUTSIDE_CASE * sum(case.device not in self._absent for case in cases)
            outside += self._costs.get(cases[0].group, guess)
        left = self._enough - min(len(self.medians[case.id]) for case in here)
        return share_of_time(seconds - self._once(here), left, outside, self.measuring(here))

    def _open(self) -> list[list[Case]]:
        """The cases of each group that is not done, without those that are given up."""
        found = []
        for cases in self._groups.values():
            living = [case for case in cases if not self.given_up(case.id)]
            if self.goal.processes is not None:
                # What a killed process took with it is all that is made up for.
                living = [case for case in living if not self.done(case.id)]
            if not all(self.done(case.id) for case in living):
                found.append(living)
        return found

    def _count(self, cases: Sequence[Case]) -> int:
        return min(len(self.medians[case.id]) for case in cases)

    def _behind(self, cases: Sequence[Case]) -> list[Case]:
        """Of one group, what one process measures."""
        fewest = self._count(cases)
        behind = [case for case in cases if len(self.medians[case.id]) == fewest]
        suspects = [case for case in behind if case.id in self._suspects]
        return suspects[:1] or behind

    # -- what is told

    def leaders(self) -> list[Leader]:
        """The fastest backend of each group that has a time, in the suite's order."""
        found = []
        for group, cases in self._groups.items():
            times = {
                case: median_interval(self.medians[case.id]).mid
                for case in cases
                if self.medians[case.id]
            }
            if times:
                first = min(times, key=times.__getitem__)
                count = len(self.medians[first.id])
                precise = self.precise(first.id)
                found.append(Leader(group, first.backend, times[first], count, precise))
        return found
