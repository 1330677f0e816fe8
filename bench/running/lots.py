"""Which cases share a process: those of one group whose backends can.

A backend may need variables of its process (Keras 3 has one backend a process, ``KERAS_BACKEND``):
its cases are measured in processes of that environment, each environment's by themselves. What
needs none goes where others of its framework are, or else with the first; never where a variable
would change how it computes (cuDNN without tuning). So that backends of different environments can
be compared, one that needs none, the bridge, is measured in all of them: a ratio of ratios to it is
free of what each process's luck is (``judging.bridges``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.suites.cases import Case
from lstm_impl import UnsupportedError, get_backend

Environment: TypeAlias = tuple[tuple[str, str], ...]
"""Variables and their values, sorted by name."""


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
