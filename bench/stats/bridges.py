"""Rows of a report that share no process, compared over a row that shares some with each.

Backends that need different environments are measured in different processes; one of the group, in
all of them (``running.work``). Whether that one is itself the same in all of them is asked of all
its cases together. This room knows rows; what a comparison over a bridge is, is ``ratios``'s, and
what an uneven bridge does to it ``apart``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records.grouping import grouped
from bench.stats.apart import allowing
from bench.stats.basis import Pairing
from bench.stats.comparison import Comparison
from bench.stats.evenness import Evenness
from bench.stats.over_processes import Sides
from bench.stats.ratios import compare_all
from bench.stats.rows import Row
from bench.stats.trust import Doubt, of_ratio


def set_bridges(rows: Sequence[Row]) -> None:
    """Give the measured rows of a group the one in most processes, if not all are in the same.

    Of those in as many, the first that is not INVALID.
    """
    runs = [frozenset(run.run for run in row.runs) for row in rows]
    if len(set(runs)) < 2:
        return
    best = max(rows, key=lambda row: (len(row.runs), not row.invalid))
    for row in rows:
        row.bridge = None if row is best else best


def set_evenness(rows: Iterable[Row]) -> None:
    """Give the measured rows of a section what says whether a bridge is the same in all processes.

    Of each device by itself: what a library does to a step on processors says nothing of a GPU.
    """
    for found in grouped(rows, lambda row: row.case.device).values():
        if any(row.bridge is not None for row in found):
            evenness = Evenness((row.case.backend, row.runs, bool(row.invalid)) for row in found)
            for row in found:
                row.evenness = evenness


def compare_rows(pairs: Sequence[tuple[Row, Row]]) -> list[Comparison]:
    """The ratios of pairs of rows, new and base, each pair of one group; over bridges where needed.

    One over a bridge that is not the same in the processes of both allows for that.
    """
    over = [_bridge(new, base) for new, base in pairs]
    sides: list[Sides] = [
        (new.runs, base.runs) if bridge is None else (new.runs, base.runs, bridge.runs)
        for (new, base), bridge in zip(pairs, over, strict=True)
    ]
    found = compare_all(sides)
    for index, ((new, base), bridge) in enumerate(zip(pairs, over, strict=True)):
        if bridge is None or new.evenness is None:
            continue
        if found[index].pairing is Pairing.BRIDGED:
            names = bridge.case.backend, new.case.backend, base.case.backend
            found[index] = allowing(found[index], [new.evenness.apart(*names)])
    return found


def doubts(new: Row, base: Row) -> tuple[Doubt, ...]:
    """Why the ratio of two rows is not to be trusted, beyond what makes a side INVALID."""
    both = (new.validity, new.runs), (base.validity, base.runs)
    if (bridge := _bridge(new, base)) is None:
        return of_ratio(*both)
    third = bridge.validity, bridge.runs
    found = (*bridge.invalid, *(doubt for side in both for doubt in of_ratio(side, third)))
    return _once(found)


def all_doubts(new: Row, base: Row) -> tuple[Doubt, ...]:
    """The same with those of either side."""
    return _once((*new.invalid, *base.invalid, *doubts(new, base)))


def _bridge(new: Row, base: Row) -> Row | None:
    """Over which row two are compared: none, if they share processes or it does not reach both."""
    bridge = new.bridge
    if bridge is None or bridge is base:
        return None
    one, other, third = ({run.run for run in row.runs} for row in (new, base, bridge))
    if not one.isdisjoint(other) or one.isdisjoint(third) or other.isdisjoint(third):
        return None
    return bridge


def _once(found: Sequence[Doubt]) -> tuple[Doubt, ...]:
    return tuple({doubt.code: doubt for doubt in found}.values())
