"""Who ran something slower than its name suggests, in sentences: Keras's loop where cuDNN could be.

A framework falls back without a word; the evidence of each case says it (``fallback``, plain text
of its backend). This room knows a table's rows and makes plain strings.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.judging.bridges import compare_rows
from bench.judging.ratios import together
from bench.judging.rows import Row, Table
from bench.telling.headings import name, title
from bench.telling.inert import clean
from bench.telling.quantities import count
from bench.telling.verdict_words import versus


def sentences(table: Table) -> list[str]:
    """One for each backend that fell back to one thing.

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
