"""What is known of a session's processes: what they take, which are in work, what they died of.

This room is told what was seen, and knows no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bench.case.cases import Case
from bench.records.schema import Outcome
from bench.session.work import Environment, Work

MEMORY_CASE = 2.0
"""Seconds that the memory of a case takes to measure, by a guess that is planned with before it has
been: TensorFlow builds, traces and runs a small case once more, in a process of its own."""

OUTSIDE_CASE, OUTSIDE_PROCESS = 0.8, 12.0
"""Seconds that preparing a case and starting a process take, by a guess that only the first process
is planned with: building, tracing and checking small cases of TensorFlow on two cores, and its
start."""


class Costs:
    """What measuring takes beside the measuring, of each case and of a process by itself; both
    differ between the environments of processes.

    Seconds. startup: from the last process's beginning to its first case.

    seconds: of measuring that the suite gives each case of a group, by ``Case.group``.
    side_by_side: how many processes start at the same time and so share what starting takes.
    """

    def __init__(self, seconds: Mapping[str, float], side_by_side: int = 1) -> None:
        self.startup = 0.0
        self._process = OUTSIDE_PROCESS / side_by_side
        self._seconds = seconds
        self._cases: dict[tuple[str, Environment], float] = {}
        self._looks: Counter[tuple[str, Environment]] = Counter()
        self._processes: dict[Environment, float] = {}

    def learn(self, work: Work, startup: float, costs: Mapping[str, float], outside: float) -> None:
        """What a process took: to start, for each case that it came to the end of, and in all
        beside measuring.

        A process imports a framework within its first cases, which are others each time: the least
        that a case took is its own, and what is left over is every process's.
        """
        environment = work.environment
        for case, seconds in costs.items():
            key = case, environment
            self._cases[key] = min(seconds, self._cases.get(key, math.inf))
            self._looks[key] += 1
        self.startup = startup
        if all(case.id in costs for case in work.cases):
            known = sum(self._cases[case.id, environment] for case in work.cases)
            self._processes[environment] = max(startup, outside - known)

    def expected(self, work: Work) -> float:
        """Seconds that a process of this work will take of the session's time."""
        environment = work.environment
        own = self.process(environment)
        return own + self.outside(work.cases, environment) + work.share * self.measuring(work.cases)

    def measuring(self, cases: Iterable[Case]) -> float:
        """That a process measures these for, each for its whole time."""
        return sum(self._seconds.get(case.group, 0.0) for case in cases)

    def outside(self, cases: Iterable[Case], environment: Environment) -> float:
        """That a process takes for these beside measuring, by a guess if it is not known."""
        return sum(self._cases.get((case.id, environment), OUTSIDE_CASE) for case in cases)

    def looks(self, cases: Iterable[Case], environment: Environment) -> int:
        """How many processes have shown what each of these takes; 0 if it is not known of all."""
        return min((self._looks[case.id, environment] for case in cases), default=0)

    def process(self, environment: Environment, guess: float | None = None) -> float:
        """That any process takes beside its cases."""
        return self._processes.get(environment, self._process if guess is None else guess)


class Flights:
    """The processes in work. number: of the last that was begun.

    A process that has begun counts as if it had brought its results, so that no other repeats it;
    what a place has been given is remembered, so that replicates are spread over places. One that
    ends, in whichever way, counts no more: its results do, if it brought any.
    """

    def __init__(self) -> None:
        self.number = 0
        self._works: dict[int, tuple[Work, str]] = {}
        self._cases: Counter[tuple[Environment, str]] = Counter()
        self._given: Counter[tuple[str, str, Environment]] = Counter()

    def begin(self, work: Work, place: str = "") -> None:
        """A process begins; place: the name of the machine that it runs on."""
        self.number = max(self.number, work.number)
        self._works[work.number] = work, place
        self._cases.update((work.environment, case.id) for case in work.cases)
        for group in {case.group for case in work.cases}:
            self._given[place, group, work.environment] += 1

    def end(self, work: Work) -> None:
        """It has ended."""
        del self._works[work.number]
        self._cases.subtract((work.environment, case.id) for case in work.cases)

    def of(self, environment: Environment, case: str) -> int:
        """How many measure a case now."""
        return self._cases[environment, case]

    def processes(self, environment: Environment) -> int:
        """How many run in an environment."""
        return sum(work.environment == environment for work, _ in self._works.values())

    def given(self, place: str, lot: tuple[str, Environment]) -> int:
        """How often a place has been given a lot."""
        return self._given[(place, *lot)]

    def place(self, work: Work) -> str:
        """Where a process runs."""
        return self._works[work.number][1]

    def weighed(self) -> set[str]:
        """The cases whose memory is being measured."""
        works = (work for work, _ in self._works.values() if work.memory)
        return {case.id for work in works for case in work.cases}


MOST_CRASHES = 2
"""A process may be ended by something outside (another's hunger for memory, a person); a case that
its process dies of twice is at fault."""

MOST_LOSSES = 2
"""The same of a machine that is gone with its process: the cause is outside more often still, and a
machine is dearer than a process."""

FINAL = ("not_measured", "refused", "failed", "timed_out")
"""Outcomes that another process would only repeat."""


class Faults:
    """What is held against the cases of a session: who is suspected, and is not tried again."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._suspects: set[str] = set()

    def measured(self, case: str) -> None:
        """A case has a time: what its process or machine had died of before was not its doing."""
        self._suspects.discard(case)
        self._losses.pop(case, None)

    def crashed(self, case: str) -> None:
        """A process died of it."""
        self._crashes[case] += 1
        self._suspects.add(case)

    def suspect(self, cases: Iterable[str]) -> None:
        """One of these ended its process while they were timed in turn: each goes alone next."""
        self._suspects.update(cases)

    def lose(self, cases: Sequence[str]) -> list[str]:
        """A machine was gone while these were in flight; returns those that are not tried again.

        Where several were timed in turn none can be blamed: those that lost a machine before, too,
        are tried alone.
        """
        self._losses.update(cases)
        again = [case for case in cases if self._losses[case] >= MOST_LOSSES]
        if len(cases) > 1:
            self.suspect(again)
            return []
        return again

    def suspected(self, case: str) -> bool:
        """Whether it is to be measured alone."""
        return case in self._suspects

    def given_up(self, case: str, outcome: Outcome) -> bool:
        """Whether another process could find nothing new about a case with this outcome."""
        if outcome.outcome == "crashed":
            return self._crashes[case] >= MOST_CRASHES or self._losses[case] >= MOST_LOSSES
        return outcome.outcome in FINAL
