"""How near the fastest came to what their device could do at best, in a sentence.

This room knows a table's rows and makes a plain string; what the roofs are, and how they were
measured, is told in ``docs/roofs.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.report_rows import KINDS, Table
from bench.report_text import listed

ROOFS = {
    "of_matmul": "the matrix-product rate",
    "of_bandwidth": "the memory bandwidth",
    "of_chain": "the serial chain of products",
}
"""What the figures are called in a row, and in words."""


def sentence(table: Table) -> str:
    """What parts of its roofs the fastest of each group reaches; empty if none are known.

    ``the fastest at each shape reaches 5 to 61% of the matrix-product rate, under 1 to 2% of the
    memory bandwidth and 8 to 23% of the serial chain of products``
    """
    first = [group[0].roofs for group in table.groups]
    told = [
        f"{_parts([roofs[key] for roofs in first if key in roofs])} of {words}"
        for key, words in ROOFS.items()
        if any(key in roofs for roofs in first)
    ]
    if not told:
        return ""
    place = "window" if table.kind == KINDS[1] else "shape"
    who = "the fastest" if len(first) == 1 else f"the fastest at each {place}"
    return f"{who} reaches {listed(told)}"


def _parts(values: Sequence[float]) -> str:
    low, high = _percent(min(values)), _percent(max(values))
    return f"{high}%" if low == high else f"{low} to {high}%"


def _percent(value: float) -> str:
    return "under 1" if value < 0.01 else f"{100 * value:.0f}"
