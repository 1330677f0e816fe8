"""What measuring takes beside the measuring, as the processes of a session have shown it.

Of each case, and of a process by itself; both differ between the environments of processes. This
room is told what was seen, and knows no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from bench.running.work import Environment, Work
from bench.suites.cases import Case

MEMORY_CASE = 2.0
"""Seconds that the memory of a case takes to measure, by a guess that is planned with before it has
been: TensorFlow builds, traces and runs a small case once more, in a process of its own."""

OUTSIDE_CASE, OUTSIDE_PROCESS = 0.8, 12.0
"""Seconds that preparing a case and starting a process take, by a guess that only the first process
is planned with: building, tracing and checking small cases of TensorFlow on two cores, and its
start."""


class Costs:
    """Seconds. startup: from the last process's beginning to its first case.

    seconds: of measuring that the suite gives each case of a group, by ``Case.group``.
    """

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.startup = 0.0
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

    def measuring(self, cases: Iterable[Case]) -> float:
        """That a process measures these for, each for its whole time."""
        return sum(self._seconds.get(case.group, 0.0) for case in cases)

    def outside(self, cases: Iterable[Case], environment: Environment) -> float:
        """That a process takes for these beside measuring, by a guess if it is not known."""
        return sum(self._cases.get((case.id, environment), OUTSIDE_CASE) for case in cases)

    def looks(self, cases: Iterable[Case], environment: Environment) -> int:
        """How many processes have shown what each of these takes; 0 if it is not known of all."""
        return min((self._looks[case.id, environment] for case in cases), default=0)

    def process(self, environment: Environment, guess: float = OUTSIDE_PROCESS) -> float:
        """That any process takes beside its cases."""
        return self._processes.get(environment, guess)
