"""The figures of ``docs/scale.md``: fleets that are played, and what planning them takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.render.quantities import count
from bench.render.table import Column, Sheet, numbers
from bench.session.played import World
from bench.session.simulated import Played, play

MACHINES = 1000
"""Of a fleet that nobody has who can be asked to lend it."""


def worlds(machines: int = MACHINES) -> Mapping[str, World]:
    """What is played, by its description: a suite with work for all, and all that can go wrong."""
    groups = max(1, machines // 10)
    plain = World(machines, kinds=4, groups=groups, backends=5, seed=1)
    culprits = min(10, groups)
    return {
        "all goes well": plain,
        "a tenth of the machines comes late": replace(plain, late=0.1),
        "a tenth is three times as slow": replace(plain, slow=0.1),
        "each fails once in five hours": replace(plain, failures=0.2),
        "each is pre-empted twice an hour": replace(plain, preemptions=2.0),
        f"{count(culprits, 'case')} of each kind take their machine down": replace(
            plain, culprits=culprits
        ),
        "all of these": replace(
            plain, late=0.1, slow=0.1, failures=0.2, preemptions=2.0, culprits=culprits
        ),
        "until precise, not six times": replace(plain, processes=None),
    }


def study(machines: int = MACHINES) -> tuple[Sheet, list[str]]:
    """The table, and the rules that did not hold."""
    played = {told: play(world) for told, world in worlds(machines).items()}
    broken = [f"{told}: {each}" for told, found in played.items() for each in found.broken]
    return sheet(played), broken


def sheet(played: Mapping[str, Played]) -> Sheet:
    """A line for each that was played."""
    columns = (
        Column("what happens"),
        *numbers("machines that came", "results", "processes", "lost with a machine"),
        *numbers("cases blamed", "minutes", "machines at work", "planning a process"),
    )
    return Sheet.of(columns, (_line(told, found) for told, found in played.items()))


def _line(told: str, found: Played) -> Sequence[str]:
    planning = found.planning / max(1, found.processes)
    return (
        told,
        f"{found.machines:,}",
        f"{found.measured:,}",
        f"{found.processes:,}",
        f"{found.lost:,}",
        f"{found.blamed:,}",
        f"{found.seconds / 60:.1f}",
        f"{found.busy / found.there:.0%}" if found.there else "",
        f"{1000 * planning:.1f} ms",
    )


def told(world: World) -> str:
    """The suite and the fleet in words."""
    kinds = count(world.kinds, "kind")
    return (
        f"{world.machines:,} machines of {kinds}; on each kind {count(world.groups, 'group')} of "
        f"{count(world.backends, 'backend')}, every case in {world.processes} processes"
    )
