"""Which cases are at fault when processes die: who is suspected, and who is not tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.results.schema import Outcome

MOST_CRASHES = 2
"""A process may be ended by something outside (another's hunger for memory, a person); a case that
its process dies of twice is at fault."""

MOST_LOSSES = 2
"""The same of a machine that is gone with its process: the cause is outside more often still, and a
machine is dearer than a process."""

FINAL = ("not_measured", "refused", "failed", "timed_out")
"""Outcomes that another process would only repeat."""


class Faults:
    """What is held against the cases of a session."""

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
