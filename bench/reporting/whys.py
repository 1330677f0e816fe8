"""Why cases take as long as they do: a sentence of each table's winner, and of all cases a list.

This room knows a report's rows; what binds a case is judged by ``judging.bound`` and said by
``judging.why``.
"""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from bench.judging.bound import NOT_KNOWN
from bench.judging.rows import Report, Row, Section, Table
from bench.judging.why import sentence
from bench.telling.headings import heading, name, title, uneven_bridges
from bench.telling.inert import LONGEST_SENTENCE, clean, prose
from bench.telling.quantities import count, listed, seconds
from bench.telling.sheet import Column, Sheet


def of_winner(table: Table) -> str:
    """What binds the backend that leads a table most; empty where that is not known of it.

    ``cpu, training: fused_cpu is bound by the chain of products at 3 of 5 shapes``
    """
    if not table.groups:
        return ""
    counts = Counter(group[0].case.backend for group in table.groups)
    best = counts.most_common(1)[0][0]
    rows = [group[0] for group in table.groups if group[0].case.backend == best]
    kinds = Counter(row.bound.kind for row in rows if row.bound is not None)
    known = [(kind, number) for kind, number in kinds.most_common() if kind != NOT_KNOWN]
    if not known:
        return ""
    start = f"{title(table)}: {name(best)} is "
    if len(rows) == 1:
        return f"{start}{clean(sentence(rows[0]), LONGEST_SENTENCE)}"
    places = count(len(rows), table.noun)
    parts = [f"by {kind} at {number if number < len(rows) else 'all'}" for kind, number in known]
    return f"{start}bound {listed(parts)} of {places} (--why has each)"


def draw(section: Section, console: Console, rows: int) -> None:
    """Print what binds each case, for a terminal."""
    console.print(Text(heading(section), style="bold"))
    for table in section.timed_tables:
        shown, left = table.begin(rows)
        console.print()
        console.print(Text(title(table), style="bold"))
        for row in _measured(shown):
            told = f"{name(row.case.backend)} {name(row.case.shape)} {seconds(row.time)}"
            console.print(Text(told))
            console.print(Text(f"  {clean(sentence(row), LONGEST_SENTENCE)}", style="dim"))
        if left:
            console.print(Text(f"and {left:,} more; --format csv has all", style="dim"))
    for told in uneven_bridges(section.rows):
        console.print()
        console.print(Text(f"{told}."))


def as_markdown(report: Report) -> str:
    """The same as tables, one below the other."""
    blocks = []
    for section in report.sections:
        for table in section.timed_tables:
            blocks += [f"**{prose(title(table))}**", _sheet(table)]
        blocks += [prose(f"{told}.") for told in uneven_bridges(section.rows)]
    return "\n\n".join(blocks) + "\n"


def _sheet(table: Table) -> str:
    return Sheet.of(
        [
            Column("shape", names=True),
            Column("backend", names=True),
            Column("time", right=True),
            Column("why"),
        ],
        [
            [row.case.shape, row.case.backend, seconds(row.time), sentence(row)]
            for row in _measured(table)
        ],
    ).markdown()


def _measured(table: Table) -> list[Row]:
    return [row for group in table.groups for row in group if row.measured]
