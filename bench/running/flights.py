"""What is being measured now, where several processes of one session run side by side.

A process that has begun counts as if it had brought its results, so that no other repeats it; what
a place has been given is remembered, so that replicates are spread over places. One that ends, in
whichever way, counts no more: its results do, if it brought any.
"""

from __future__ import annotations

from collections import Counter

from bench.running.work import Environment, Work


class Flights:
    """The processes in work. number: of the last that was begun."""

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
