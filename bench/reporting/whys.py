"""Why cases take as long as they do: what binds them, how near the fastest came to the roofs, and
who ran something slower than its name suggests.

This room knows a report's rows, and makes sentences of each table and of all cases a list. What
binds a case is judged by ``judging.bound`` and said by ``judging.why``; what the roofs are, and how
they were measured, is told in ``docs/roofs.md``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from bench.render.headings import heading, name, title, uneven_bridges
from bench.render.inert import LONGEST_NAME, LONGEST_SENTENCE, clean, prose
from bench.render.quantities import count, listed, seconds
from bench.render.sheet import Column, Sheet
from bench.render.verdict_words import versus
from bench.stats.bound import NOT_KNOWN
from bench.stats.bridges import compare_rows
from bench.stats.ratios import together
from bench.stats.rows import Report, Row, Section, Table
from bench.stats.why import sentence

ROOFS = {
    "of_matmul": "the matrix-product rate",
    "of_bandwidth": "the memory bandwidth",
    "of_chain": "the serial chain of products",
}
"""What the figures are called in a row, and in words."""

ABOVE = 1.05
"""A part from which on it is said what more than all means: a processor's clock changes by as much
from one second to the next."""

_LEAST = 0.01
"""A roof of which nobody reaches this part does not limit anybody, and nothing is said of it."""


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


def of_roofs(table: Table) -> str:
    """What parts of its roofs the fastest of each group reaches; empty if none are known.

    ``the fastest at each shape reaches 5 to 61% of the matrix-product rate (ONNX Runtime's), up to
    2% of the memory bandwidth (NumPy's) and 8 to 23% of the serial chain of products (NumPy's or
    PyTorch's)``
    """
    first = [group[0] for group in table.groups]
    told = []
    above = False
    for key, words in ROOFS.items():
        having = [row for row in first if key in row.roofs]
        if not having:
            continue
        parts = [row.roofs[key] for row in having]
        if max(parts) < _LEAST:
            continue
        above |= max(parts) > ABOVE
        owners = dict.fromkeys(_owner(row.roofs_by[key]) for row in having if key in row.roofs_by)
        whose = " or ".join(f"{owner}'s" for owner in owners)
        told.append(f"{_span(parts)} of {words}{f' ({whose})' if whose else ''}")
    if not told:
        return ""
    who = "the fastest" if len(first) == 1 else f"the fastest at each {table.noun}"
    more = "; more than 100% is better than what the roof was measured with" if above else ""
    return f"{who} reaches {listed(told)}{more}"


def _owner(by: str) -> str:
    """The library alone: ``NumPy`` of ``copy of 32 MiB by NumPy on 2 threads``."""
    return clean(re.split(r",| on | with ", by.rpartition(" by ")[2])[0], LONGEST_NAME)


def _span(values: Sequence[float]) -> str:
    low, high = (f"{100 * value:.0f}" for value in (min(values), max(values)))
    if min(values) < _LEAST:
        return f"up to {high}%"
    return f"{high}%" if low == high else f"{low} to {high}%"


def fallbacks(table: Table) -> list[str]:
    """A sentence for each backend that fell back to one thing: frameworks do so without a word.

    ``cpu, training: keras_torch ran a Python loop over time (5 shapes): 0.02 times as fast as
    torch (0.018–0.022, SLOWER).``
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if row.measured and row.fallback:
            found.setdefault((row.case.backend, row.fallback), []).append(row)
    return [
        f"{title(table)}: {name(backend)} ran {clean(ran)} ({count(len(rows), table.noun)})"
        f"{_beside(rows, table.baseline)}."
        for (backend, ran), rows in found.items()
    ]


def _beside(rows: Sequence[Row], baseline: str) -> str:
    """How that compares to the baseline; nothing where a ratio is not to be trusted."""
    pairs = [(row, row.base) for row in rows if row.base is not None]
    if len(pairs) < len(rows) or any(row.ratio_doubts for row in rows):
        return ""
    return f": {versus(together(compare_rows(pairs)), baseline)}"
