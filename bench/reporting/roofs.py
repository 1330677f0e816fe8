"""How near the fastest came to the best that was seen of their device, and by whom: a sentence.

This room knows a table's rows and makes a plain string; what the roofs are, and how they were
measured, is told in ``docs/roofs.md``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.judging.rows import Table
from bench.telling.inert import LONGEST_NAME, clean
from bench.telling.quantities import listed

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


def sentence(table: Table) -> str:
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
        told.append(f"{_parts(parts)} of {words}{f' ({whose})' if whose else ''}")
    if not told:
        return ""
    who = "the fastest" if len(first) == 1 else f"the fastest at each {table.noun}"
    more = "; more than 100% is better than what the roof was measured with" if above else ""
    return f"{who} reaches {listed(told)}{more}"


def _owner(by: str) -> str:
    """The library alone: ``NumPy`` of ``copy of 32 MiB by NumPy on 2 threads``."""
    return clean(re.split(r",| on | with ", by.rpartition(" by ")[2])[0], LONGEST_NAME)


def _parts(values: Sequence[float]) -> str:
    low, high = (f"{100 * value:.0f}" for value in (min(values), max(values)))
    if min(values) < _LEAST:
        return f"up to {high}%"
    return f"{high}%" if low == high else f"{low} to {high}%"
