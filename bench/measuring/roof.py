"""One roof: what it is, whose it is, and what a case above it means."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.measuring.roof_work import Named
from bench.results.schema import Figures, Reason

WELL_ABOVE = 1.5
"""Times a roof from which on a case is doubted. On one CPU the best products of two libraries
differ by more, but here each library's own are in the roof; a clock changes by a tenth or two."""

WORDS = {
    "matmul": "the matrix-product rate",
    "bandwidth": "the memory bandwidth",
    "chain": "the serial chain of products",
}

THIS_PROCESS = "this process"
"""Where a roof comes from that no other process on this machine has exceeded."""


@dataclass(frozen=True)
class Roof:
    """Seconds of one unit (an operation, a byte, a product) at the best, and who was that fast.

    origin: ``THIS_PROCESS``, or when another one on this machine saw it. here: the best of this
    process; infinite if it measured none.
    """

    seconds: float
    by: str
    origin: str = THIS_PROCESS
    here: float = math.inf


def doubts(figures: Figures) -> list[Reason]:
    """Why a case is not to be trusted whose figures these are: it is well above a roof.

    Never for the chain, which a kernel that holds the weights is rightly above; for the rate of
    products only if those of every framework in the process are in it; and for the bandwidth only
    if the case's data is larger than the arrays that it was measured with: what fits into caches
    is moved by them.
    """
    judged = []
    if not figures.get("matmul_without"):
        judged.append("matmul")
    size, whole = figures.get("bytes"), figures.get("array_bytes")
    if isinstance(size, float) and isinstance(whole, float) and size > whole:
        judged.append("bandwidth")
    found = []
    for name in judged:
        part = figures.get(f"of_{name}")
        if isinstance(part, float) and part > WELL_ABOVE:
            found.append(
                Reason(
                    "above_roof",
                    f"it would be at {part:.0%} of {WORDS[name]}, the best that was seen here "
                    f"({figures[f'{name}_by']}), which was measured again",
                    "measure it again on a quiet machine; if it stays, either the step does less "
                    "than is counted, or the roof is too low: please report it",
                )
            )
    return found


def label(library: Named) -> str:
    """A library as roofs are remembered by it."""
    return f"{library.name} {library.version}"
