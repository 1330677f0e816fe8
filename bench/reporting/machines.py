"""Devices and machines in sentences: which device is faster, and how far machines of a kind differ.

Devices are of one machine in one session, each with its fastest backend on the shapes they share;
``bench.compare devices`` also compares machines, and has the map of where one starts to win. This
room knows a section's tables and rows and makes plain strings.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bench.render.headings import name
from bench.render.quantities import count, first_few, listed, of_them, percent
from bench.render.verdict_words import versus
from bench.reporting.streams import unpaired
from bench.stats.outlying import Outlier, outliers
from bench.stats.ratios import compare_all, together
from bench.stats.rows import Row, Section
from bench.stats.trust import MINORITY
from bench.stats.verdict import Verdict

_MOST = 6
"""More sentences than this are a wall."""


def of_devices(section: Section) -> list[str]:
    """A sentence for each device but the first, in each mode, over the work both measured.

    ``gpu:0 or cpu, inference: gpu:0 is 5.20 times as fast as cpu (4.91–5.47, FASTER) over 6 shapes,
    each with its fastest backend there (cudnn, keras)``
    """
    kinds: dict[tuple[str, str, str], dict[str, dict[str, Row]]] = {}
    for table in section.tables:
        key = table.kind, table.noun, table.mode
        fastest = kinds.setdefault(key, {}).setdefault(table.device, {})
        for group in table.groups:
            timed = [row for row in group if row.measured]
            best = min(timed, key=lambda row: (bool(row.validity.unpaired), row.time))
            fastest[best.case.on("any").group] = best
    found = [
        _sentence(f"{name(new)} or {name(base)}, {_what(noun, mode)}", base, new, noun, pairs)
        for (_, noun, mode), devices in kinds.items()
        for base, new, pairs in _pairs(devices)
    ]
    return first_few(found, _MOST, "pair", " of devices: python -m bench.compare devices.")


_Pairs = Sequence[tuple[Row, Row]]  # the new device's fastest and the base's, of the same work


def _pairs(devices: Mapping[str, Mapping[str, Row]]) -> list[tuple[str, str, _Pairs]]:
    """Each device against the first, if they share work; (base, new, pairs)."""
    found: list[tuple[str, str, _Pairs]] = []
    base, *others = devices
    for new in others:
        shared = [
            (devices[new][work], row) for work, row in devices[base].items() if work in devices[new]
        ]
        if shared:
            found.append((base, new, shared))
    return found


def _sentence(start: str, base: str, new: str, noun: str, pairs: _Pairs) -> str:
    # Devices are never measured in turn: rounds of theirs are no pairs.
    ratios = compare_all([(unpaired(one), unpaired(other)) for one, other in pairs])
    over = f" over {count(len(pairs), noun)}" if len(pairs) > 1 else ""
    who = " and ".join(_backends([pair[side] for pair in pairs]) for side in (0, 1))
    lead = f"{name(new)} is {versus(together(ratios), base)}"
    told = f"{start}: {lead}{over}, each with its fastest backend ({who})."
    doubtful = sum(bool(row.validity.unpaired) for pair in pairs for row in pair)
    if doubtful:
        told += f" Do not rely on it: {of_them(doubtful, 2 * len(pairs), 'measurement')} INVALID."
    verdicts = Counter(ratio.verdict for ratio in ratios)
    if len(verdicts) > 1:
        parts = [f"{verdicts[each]} {each}" for each in Verdict if verdicts[each]]
        told += (
            f" By {noun}, {name(new)} is: {listed(parts)}; python -m bench.compare devices says "
            "where."
        )
    return told


def _backends(rows: Sequence[Row]) -> str:
    names = Counter(row.case.backend for row in rows)
    told = [name(backend) for backend, _ in names.most_common()]
    more = " or others" if len(told) > 3 else ""
    return f"{' or '.join(told[:3])}{more} on {name(rows[0].case.device)}"


def _what(noun: str, mode: str) -> str:
    return f"{mode} in windows" if noun == "window" else mode


# Several machines of one kind


LOOK = (
    "Its numbers count in every interval. Look at its clock, temperature and neighbours "
    "(python -m bench.doctor there); to report without it, name the other nodes' files"
)
"""What is to be done about a node that is apart."""


def of_nodes(section: Section) -> Iterable[tuple[str, bool]]:
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
