"""Whether a backend is the same in the processes of two others: what a bridge must be.

Asked of all its cases together. This room knows the processes of cases, and no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.stats.comparison import Apart
from bench.stats.process_means import ENOUGH_PROCESSES
from bench.stats.ratios import compare_all, geometric_mean
from bench.stats.within import RunSamples

Case = tuple[str, Sequence[RunSamples], bool]
"""A backend's processes at one case, and whether it is INVALID."""


class Evenness:
    """How far a backend is from itself in the processes of two others, over all of its cases.

    cases: of one place and device, all backends. Those that are INVALID say nothing of a bridge.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        self._processes: dict[str, set[str]] = {}
        self._cases: dict[str, list[Sequence[RunSamples]]] = {}
        self._found: dict[tuple[str, str, str], Apart | None] = {}
        for backend, runs, invalid in cases:
            self._processes.setdefault(backend, set()).update(run.run for run in runs)
            if not invalid:
                self._cases.setdefault(backend, []).append(runs)

    def apart(self, bridge: str, new: str, base: str) -> Apart | None:
        """The bridge in the processes of new beside the bridge in those of base.

        None where no case of it is in processes of both that are not the same.
        """
        key = bridge, new, base
        if key not in self._found:
            found = self._apart(bridge, new, base)
            self._found[key], self._found[bridge, base, new] = found, found and found.inverse
        return self._found[key]

    def _apart(self, bridge: str, new: str, base: str) -> Apart | None:
        there, here = self._processes.get(new, set()), self._processes.get(base, set())
        cases = [
            tuple([run for run in runs if run.run in side] for side in (there - here, here - there))
            for runs in self._cases.get(bridge, ())
        ]
        sides = _in_the_same_processes([(one, other) for one, other in cases if one and other])
        if not sides:
            return None
        found = geometric_mean(compare_all(sides))
        return Apart(bridge, new, base, len(sides), found)


_Side = list[RunSamples]


def _in_the_same_processes(cases: Sequence[tuple[_Side, _Side]]) -> list[tuple[_Side, _Side]]:
    """The cases that enough processes have on both sides, and of these the processes that have all.

    A process's luck is common to its cases, so that only processes with the same cases can be held
    against one another by their means. All as they are, where too few would be left.
    """
    many = [case for case in cases if min(map(len, case)) >= ENOUGH_PROCESSES]
    if not many:
        return list(cases)
    common = [
        set.intersection(*({run.run for run in case[side]} for case in many)) for side in (0, 1)
    ]
    if min(map(len, common)) < ENOUGH_PROCESSES:
        return many
    return [
        (
            [run for run in new if run.run in common[0]],
            [run for run in base if run.run in common[1]],
        )
        for new, base in many
    ]
