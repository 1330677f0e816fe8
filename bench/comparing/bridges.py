"""Whether the bridge between backends of different environments is the same in both.

As ``judging.bridges`` asks it of a report's rows, of the sides of a comparison of backends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.comparing.sides import Pair, Side, samples_of
from bench.judging.apart import allowing
from bench.judging.basis import Pairing
from bench.judging.comparison import Comparison
from bench.judging.evenness import Case, Evenness
from bench.judging.nodes import machines
from bench.judging.trust import each_together

Key = tuple[str, str]
"""Of a group: the place where it was measured, and its id, which ends with the device."""


class Bridges:
    """What is known of them, asked of all cases of a place and device when one is needed.

    groups: of each its sides, by backend.
    """

    def __init__(self, groups: Mapping[Key, Mapping[str, Side]]) -> None:
        self._groups = groups
        self._known: dict[Key, Evenness] = {}

    def allowing(self, found: Comparison, pair: Pair, group: Key) -> Comparison:
        """The comparison of a pair of a group, with what is known of its bridge if it has one."""
        if pair.bridge is None or found.pairing is not Pairing.BRIDGED:
            return found
        place = group[0], _device(group)
        if place not in self._known:
            self._known[place] = Evenness(self._cases(*place))
        sides = pair.bridge.label, pair.new.label, pair.base.label
        return allowing(found, [self._known[place].apart(*sides)])

    def _cases(self, place: str, device: str) -> Iterator[Case]:
        cases = [
            (side, key[1])
            for key, sides in self._groups.items()
            if (key[0], _device(key)) == (place, device)
            for side in sides.values()
            if side.measured
        ]
        node = machines(item.run for side, key in cases for item in side.measured[key])
        nodes = node if len(set(node.values())) > 1 else None
        judged = each_together([side.processes(key) for side, key in cases])
        for (side, key), validity in zip(cases, judged, strict=True):
            yield side.label, samples_of(side.measured[key], True, nodes), bool(validity.invalid)


def _device(group: Key) -> str:
    return group[1].rsplit("/", 1)[1]
