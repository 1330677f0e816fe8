"""Group results by session and machine, with machines of one kind as nodes of one section.

A node is a machine, identified by the id in its files. Host names with the same start of a kernel
(containers of one machine) are one node. Nodes are of one kind if the properties that determine
their times are equal (``machine.environment``). Their results of one suite are in one section,
regardless of whether one command used all of them or each measured by itself. ``intervals`` has the
statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.machine.environment import MachineKind, machine_kind
from bench.records.grouping import group_by
from bench.records.schema import Measurement, Outcome, Run

Item = Measurement | Outcome


@dataclass
class SectionItems:
    """The items of one section.

    items: in the order of their files. nodes: the names of its machines, by their ids. node_by_run:
    the id of the machine, by the id of the run. Both are empty if there is only one machine.
    """

    items: Sequence[Item]
    nodes: Mapping[str, str] = field(default_factory=dict)
    node_by_run: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[Item], machine: Mapping[str, str]) -> SectionItems:
        """Return a section of these items.

        machine: the result of ``machines``.
        """
        runs = {item.run.id: item.run for item in items}
        node_by_run = {run.id: machine[run.machine_id] for run in runs.values()}
        if len(set(node_by_run.values())) == 1:
            return cls(items)
        firsts = group_by(runs.values(), lambda run: node_by_run[run.id])
        # Nodes of one kind have the same processor, so the name of the machine does not distinguish
        # them.
        return cls(
            items, distinct({node: run.host for node, (run, *_) in firsts.items()}), node_by_run
        )


def distinct(names: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each machine by its id. Equal names are followed by the id."""
    times = Counter(names.values())
    return {
        machine: name if name and times[name] == 1 else f"{name}#{machine}"
        for machine, name in names.items()
    }


@dataclass(frozen=True, eq=False)
class _Part:
    """The items of one machine in one session.

    number: the place in the order of files.
    """

    number: int
    machine: str
    items: list[Item]

    @cached_property
    def suites(self) -> set[str]:
        return {item.run.suite for item in self.items}

    @cached_property
    def kinds(self) -> set[MachineKind]:
        runs = {item.run.id: item.run for item in self.items}
        return set().union(*_kinds(runs.values()).values())

    def fits(self, other: _Part) -> bool:
        """Return whether two parts are of two machines of one kind, and of one suite.

        Backends with other libraries have processes of their own, so a machine may be of several
        kinds. One common kind is enough.
        """
        return (
            self.machine != other.machine
            and not self.suites.isdisjoint(other.suites)
            and not self.kinds.isdisjoint(other.kinds)
        )


def places(items: Sequence[Item]) -> list[SectionItems]:
    """Return the items by session and machine, with nodes of one kind and suite together.

    The newest sessions of several machines are together, then the sessions before them. Sessions of
    one machine are never together. A machine of an unknown kind is alone.
    """
    machine = machines(item.run for item in items)
    of_parts = group_by(items, lambda item: (item.run.session, machine[item.run.machine_id]))
    if len({own for _, own in of_parts}) == 1:
        return [SectionItems(part) for part in of_parts.values()]
    sessions: dict[str, list[list[_Part]]] = {}
    for number, ((session, own), items_of) in enumerate(of_parts.items()):
        _join([_Part(number, own, items_of)], sessions.setdefault(session, []))
    # The newest session of each machine comes first, by the clocks of the machines, which may
    # differ.
    clusters = sorted(
        (cluster for found in sessions.values() for cluster in found),
        key=lambda parts: max(min(item.run.started for item in part.items) for part in parts),
        reverse=True,
    )
    groups: list[list[_Part]] = []
    for cluster in clusters:
        _join(cluster, groups)
    ordered = [sorted(group, key=lambda part: part.number) for group in groups]
    ordered.sort(key=lambda group: group[0].number)
    return [
        SectionItems.of([item for part in group for item in part.items], machine)
        for group in ordered
    ]


def _join(cluster: list[_Part], groups: list[list[_Part]]) -> None:
    """Add a cluster to the first group in which all of it fits, or else as a group of its own."""
    fitting = (g for g in groups if all(part.fits(each) for part in cluster for each in g))
    if (group := next(fitting, None)) is not None:
        group.extend(cluster)
    else:
        groups.append(list(cluster))


def machines(runs: Iterable[Run]) -> dict[str, str]:
    """Map the id of each machine to the first id that was recorded for the same machine.

    Two ids belong to one machine if the operating system was started at the same time. An id
    without such a partner maps to itself.
    """
    found: dict[str, str] = {}
    booted: dict[str, str] = {}
    for run in runs:
        own = found.setdefault(run.machine_id, run.machine_id)
        boot = run.before.get("boot")
        first = booted.setdefault(boot, own) if isinstance(boot, str) and boot else own
        first = found[first]
        if first != own:
            found.update({each: first for each, named in found.items() if named == own})
    return found


def map_runs_to_nodes(*sides: Sequence[Item]) -> dict[str, str]:
    """Return the node of each run by its id.

    The result is empty if no side has several machines.
    """
    found = machines(item.run for side in sides for item in side)
    if all(len({found[item.run.machine_id] for item in side}) < 2 for side in sides):
        return {}
    return {item.run.id: found[item.run.machine_id] for side in sides for item in side}


def _kinds(runs: Iterable[Run]) -> dict[str, set[MachineKind]]:
    """Return the kinds of each machine by its id, as its runs describe them."""
    kinds: dict[str, set[MachineKind]] = {}
    for run in runs:
        kind = machine_kind(run.before)
        kinds.setdefault(run.machine_id, set()).update([] if kind is None else [kind])
    return kinds


def map_to_first_of_kind(runs: Iterable[Run]) -> dict[str, str]:
    """Return for the id of each machine the id of the first machine of its kind, or its own."""
    kinds = _kinds(runs)
    found: dict[str, str] = {}
    for machine, own in kinds.items():
        first = (other for other in found if not own.isdisjoint(kinds[other]))
        found[machine] = next((found[other] for other in first), machine)
    return found
