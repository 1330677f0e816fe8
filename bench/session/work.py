"""What a session is to reach, what one process of it is to measure, and which cases share one.

Those of one group share a process whose backends can. A backend may need variables of its process
(Keras 3 has one backend a process, ``KERAS_BACKEND``): its cases are measured in processes of that
environment, each environment's by themselves. What needs none goes where others of its framework
are, or else with the first; never where a variable would change how it computes (cuDNN without
tuning). So that backends of different environments can be compared, one that needs none, the
bridge, is measured in all of them: a ratio of ratios to it is free of what each process's luck is
(``judging.bridges``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.case.cases import Case
from lstm_impl import UnsupportedError, get_backend

Environment: TypeAlias = tuple[tuple[str, str], ...]
"""Variables and their values, sorted by name."""

PRECISION = 0.02
"""How far a case's interval may reach, relative to its middle: what a verdict calls SAME."""


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


@dataclass(frozen=True)
class Need:
    """What a backend needs of its process. framework: whose company it prefers.

    apart: whether the environment changes how others of the framework compute.
    """

    framework: str = ""
    environment: Environment = ()
    apart: bool = False


Needs: TypeAlias = Callable[[str], Need]


def needs_of(backend: str) -> Need:
    """What a backend says that it needs; nothing, if there is none of this name."""
    try:
        found = get_backend(backend)
    except UnsupportedError:
        return Need()
    return Need(found.framework, tuple(sorted(found.environment.items())), found.apart)


@dataclass(frozen=True)
class Lot:
    """The cases of one group that are measured in processes of one environment.

    bridges: cases of the group that are measured in another environment and could be in this one
        too, the first choice first.
    """

    group: str
    environment: Environment
    cases: tuple[Case, ...]
    bridges: tuple[Case, ...] = ()

    @property
    def key(self) -> tuple[str, Environment]:
        """Which lot it is, whatever is left of it."""
        return self.group, self.environment


def lots(cases: Iterable[Case], needs: Needs = needs_of) -> list[Lot]:
    """The lots of these cases, in their order."""
    cases = list(cases)
    homes = environments((case.backend for case in cases), needs)
    found: dict[tuple[str, Environment], list[Case]] = {}
    free: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault((case.group, homes[case.backend]), []).append(case)
        if not needs(case.backend).environment:
            free.setdefault(case.group, []).append(case)
    return [
        Lot(group, environment, tuple(members), _bridges(free.get(group, ()), members, needs))
        for (group, environment), members in found.items()
    ]


def environments(backends: Iterable[str], needs: Needs = needs_of) -> dict[str, Environment]:
    """The environment in which each of these backends runs."""
    known = {name: needs(name) for name in dict.fromkeys(backends)}
    of_framework: dict[str, Environment] = {}
    for need in known.values():
        if need.environment and not need.apart:
            of_framework.setdefault(need.framework, need.environment)
    first = next(iter(of_framework.values()), ())
    return {
        name: need.environment or of_framework.get(need.framework, first)
        for name, need in known.items()
    }


def _bridges(free: Sequence[Case], members: Sequence[Case], needs: Needs) -> tuple[Case, ...]:
    """None where the first choice is here at home: then there is nothing to add."""
    changed = {need.framework for case in members if (need := needs(case.backend)).apart}
    able = tuple(case for case in free if needs(case.backend).framework not in changed)
    return () if not able or able[0] in members else able
