"""Several machines of one kind in sentences: how far they differ, and which of them is apart.

This room knows the report's rows and makes plain strings.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from bench.judging.outlying import Outlier, outliers
from bench.judging.rows import Row, Section
from bench.judging.trust import MINORITY
from bench.telling.headings import name
from bench.telling.quantities import count, listed, percent

LOOK = (
    "Its numbers count in every interval. Look at its clock, temperature and neighbours "
    "(python -m bench.doctor there); to report without it, name the other nodes' files"
)
"""What is to be done about a node that is apart."""


def sentences(section: Section) -> Iterable[tuple[str, bool]]:
    """Sentences, and of each whether it must not be overlooked; none of a single machine."""
    if not section.nodes:
        return
    rows = [row for row in section.rows if row.measured]
    yield from ((told, False) for told in _spreads(section, rows))
    yield from ((_apart(section, found), True) for found in outliers(rows))
    yield from ((told, True) for told in _disturbed(section, rows))
    yield from ((told, False) for told in _missing(section, rows))


def _spreads(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """How far times and ratios spread within a node and between nodes: medians over the cases."""
    times = [row.interval for row in rows if row.interval is not None and row.interval.nodes > 1]
    ratios = [row.to_baseline for row in rows if row.to_baseline and row.to_baseline.nodes > 1]
    found = [
        (
            f"the times of {count(len(times), 'case')}",
            [(each.within, each.between) for each in times],
        ),
        (
            f"their ratios to {name(section.baseline)}",
            [(each.spread, each.between) for each in ratios],
        ),
    ]
    told = []
    for what, spreads in found:
        known = [(w, b) for w, b in spreads if w is not None and b is not None]
        if known:
            within, between = (statistics.median(side) for side in zip(*known, strict=True))
            told.append(f"{what} by {percent(within)} and {percent(between)}")
    if told:
        yield (
            f"Nodes: the processes of one spread, and the {len(section.nodes)} beyond that: "
            f"{', '.join(told)} (medians; intervals are made from both)."
        )
    elif times:
        yield (
            f"Nodes: with one process on each of {len(section.nodes)}, what differs between nodes "
            "cannot be told from what differs between processes; intervals hold both."
        )


def _apart(section: Section, found: Outlier) -> str:
    where = name(section.nodes.get(found.node, found.node))
    slower = found.factor > 1
    factor = found.factor if slower else 1 / found.factor
    others = f"the other {found.others}"
    told = f"{factor:.2f} times as {'slow' if slower else 'fast'}"
    side = "slower" if slower else "faster"
    cases = f"{side} than each of them in {found.beyond} of {count(found.cases, 'case')}"
    if found.backend:
        start = f"Node {where} differs in one backend: {name(found.backend)} is {told} there as on"
    else:
        start = f"Node {where} is apart: it is {told} as"
    return f"{start} {others} ({name(found.device)}; {cases}). {LOOK}."


def _disturbed(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """Nodes that what is INVALID comes from, where others have none of it."""
    node_of = section.node_of
    processes: Counter[str] = Counter()
    disturbed: Counter[str] = Counter()
    for row in rows:
        if row.invalid:
            processes.update(node_of[run.run] for run in row.runs)
            disturbed.update(node_of[run] for run in row.disturbed if run in node_of)
    bad = [node for node, number in disturbed.items() if number > MINORITY * processes[node]]
    if bad and len(bad) < len(section.nodes):
        names = [name(section.nodes[node]) for node in bad]
        yield (
            f"INVALID because of {listed(names)}: on the other nodes no more than a quarter of the "
            "processes were disturbed. Measure there again when it is quiet, or name the other "
            "nodes' files."
        )


def _missing(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """That some cases were measured on some of the nodes only."""
    part = [
        row for row in rows if row.interval is not None and row.interval.nodes < len(section.nodes)
    ]
    if part:
        alone = sum(row.interval is not None and row.interval.nodes == 1 for row in part)
        told = f", {alone} of them on one, which says nothing of others" if alone else ""
        yield f"Nodes: {count(len(part), 'case')} of {len(rows)} are not of all nodes{told}."
