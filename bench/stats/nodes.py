"""Which results are of nodes: machines of one kind whose numbers belong into one table.

A node is a machine, by the id that its files give it; two host names on which one kernel was
started once (containers of one machine) are one node. Nodes are of one kind where all that should
make their times equal is (``machine.kinds``). What several of one kind measured of one suite
stands together, whether one command sent its processes to all of them or each measured by itself
and the files were brought together. This module knows results; ``between`` has the statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from bench.machine.facts import MachineKind, kind_of
from bench.records.schema import Measurement, Outcome, Run

Item = Measurement | Outcome


@dataclass
class SectionItems:
    """What stands in one section.

    items: in the order of their files. nodes: the names of its machines by their ids, and node_of
    the id of each run's, both empty where it is one machine, whose results then are what they were
    before there were nodes.
    """

    items: list[Item]
    nodes: Mapping[str, str] = field(default_factory=dict)
    node_of: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Part:
    """What one machine measured in one session."""

    session: str
    machine: str
    items: list[Item] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def started(self) -> datetime:
        return min(run.started for run in self.runs.values())

    @property
    def suites(self) -> set[str]:
        return {run.suite for run in self.runs.values()}

    @property
    def kinds(self) -> set[MachineKind]:
        found = {kind_of(run.environment.get("before")) for run in self.runs.values()}
        return {kind for kind in found if kind is not None}


_Kinds = Mapping[int, set[MachineKind]]


def machine_names(machines: Mapping[str, Run]) -> dict[str, str]:
    """Return the name of each machine by its id, with the id where two have the same."""
    return _distinct({machine: run.machine for machine, run in machines.items()})


def node_names(machines: Mapping[str, Run]) -> dict[str, str]:
    """Return the host name of each node of a fleet by its machine's id; it tells which node it is.

    Nodes of one kind have the same processor. Where two have the same host name the id is with it.
    """
    return _distinct({machine: run.host for machine, run in machines.items()})


def _distinct(names: Mapping[str, str]) -> dict[str, str]:
    times = Counter(names.values())
    return {
        machine: name if name and times[name] == 1 else f"{name}#{machine}"
        for machine, name in names.items()
    }


def places(items: Iterable[Item]) -> list[SectionItems]:
    """The results by session and machine, those of nodes of one kind and suite together.

    Of machines that measured in several sessions the newest of each stand together, then those
    before; one machine's sessions never do. A machine that does not say what it is stands alone.
    """
    items = list(items)
    machine = machines(item.run for item in items)
    parts: dict[tuple[str, str], _Part] = {}
    for item in items:
        key = item.run.session, machine[item.run.machine_id]
        part = parts.setdefault(key, _Part(*key))
        part.items.append(item)
        part.runs[item.run.id] = item.run
    ordered = list(parts.values())
    if len({part.machine for part in ordered}) == 1:
        return [SectionItems(part.items) for part in ordered]
    return [_place(group) for group in _groups(ordered)]


def _groups(parts: Sequence[_Part]) -> list[list[_Part]]:
    """The parts that belong together, in the order in which they were first seen."""
    kinds = {id(part): part.kinds for part in parts}
    sessions: dict[str, list[list[_Part]]] = {}
    for part in parts:
        _join([part], sessions.setdefault(part.session, []), kinds)
    clusters = [cluster for found in sessions.values() for cluster in found]
    groups: list[list[_Part]] = []
    newest = max(part.started for part in parts)
    for cluster in sorted(clusters, key=lambda each: newest - max(part.started for part in each)):
        _join(cluster, groups, kinds)
    order = {id(part): number for number, part in enumerate(parts)}
    for group in groups:
        group.sort(key=lambda part: order[id(part)])
    return sorted(groups, key=lambda group: order[id(group[0])])


def _join(cluster: list[_Part], groups: list[list[_Part]], kinds: _Kinds) -> None:
    """Into the first group where all of it fits, or else as a group of its own."""
    for group in groups:
        if all(_fits(part, each, kinds) for part in cluster for each in group):
            group.extend(cluster)
            return
    groups.append(list(cluster))


def _fits(part: _Part, other: _Part, kinds: _Kinds) -> bool:
    """Whether they are of two machines of one kind and of one suite.

    Backends that need other libraries are measured in processes of their own, so that a machine
    may show several kinds; one in common is enough.
    """
    return (
        part.machine != other.machine
        and not part.suites.isdisjoint(other.suites)
        and not kinds[id(part)].isdisjoint(kinds[id(other)])
    )


def _place(group: Sequence[_Part]) -> SectionItems:
    if len(group) == 1:
        return SectionItems(group[0].items)
    return SectionItems(
        [item for part in group for item in part.items],
        node_names({part.machine: next(iter(part.runs.values())) for part in group}),
        {run: part.machine for part in group for run in part.runs},
    )


def machines(runs: Iterable[Run]) -> dict[str, str]:
    """Of each machine's id that of the first with which it shares the start of a kernel.

    Its own, if it shares none; files that do not say when theirs started have a machine's id.
    """
    found: dict[str, str] = {}
    booted: dict[str, str] = {}
    for run in runs:
        own = found.setdefault(run.machine_id, run.machine_id)
        before = run.environment.get("before")
        boot = before.get("boot") if isinstance(before, Mapping) else None
        first = booted.setdefault(boot, own) if isinstance(boot, str) and boot else own
        first = found[first]
        if first != own:
            found.update({each: first for each, named in found.items() if named == own})
    return found


def by_machine(measured: Sequence[Measurement]) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Of each process its machine, if they are of several, else nothing, and its samples."""
    found = machines(item.run for item in measured)
    several = len(set(found.values())) > 1
    return [(found[item.run.machine_id] if several else "", item.samples) for item in measured]


def in_one_kind(runs: Iterable[Run]) -> dict[str, str]:
    """Of each machine's id the id of the first machine of its kind, its own if it is alone."""
    kinds: dict[str, set[MachineKind]] = {}
    for run in runs:
        kind = kind_of(run.environment.get("before"))
        kinds.setdefault(run.machine_id, set()).update([] if kind is None else [kind])
    found: dict[str, str] = {}
    for machine, own in kinds.items():
        first = (other for other in found if not own.isdisjoint(kinds[other]))
        found[machine] = next((found[other] for other in first), machine)
    return found
