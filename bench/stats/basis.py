"""On what a comparison stands: pairs or not, how many processes, and what was allowed for."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable

from bench.stats.intervals import count_nodes, count_words
from bench.stats.process_means import ALONE, ENOUGH_PROCESSES


class Pairing(enum.StrEnum):
    """How the two sides of a comparison were measured, which decides how far noise cancels."""

    ALTERNATING = "alternating"  # blocks in turn, in the same processes
    SEQUENTIAL = "sequential"  # one after the other, in the same processes
    ADJACENT = "adjacent"  # in different processes, one right after the other
    BRIDGED = "bridged"  # in different processes, each in turn with the same third case
    UNPAIRED = "unpaired"  # in different processes

    @property
    def allowance(self) -> float:
        """The spread between processes (sd of logs) that is assumed beside what too few show.

        The root mean square of the spreads of the reference results' pairs is 5.1%. Where the sides
        were not measured in turn 4 to 15% were seen, where in separate processes 3 to 29%: the
        geometric mean of the first, and more than that of the second, since there machines and
        days may differ too. Each side of a bridge is a ratio from alternating blocks, and is given
        more than one: the third case may differ between the two kinds of processes. Two processes
        right after each other share the machine's hour and nothing of their own luck, which is in
        their ratio twice: as much as is allowed for a side of separate ones. A single process is
        given more (``process_means.ALONE``).
        """
        return {
            Pairing.ALTERNATING: 0.05,
            Pairing.SEQUENTIAL: 0.08,
            Pairing.ADJACENT: 0.16,
            Pairing.BRIDGED: 0.08,
            Pairing.UNPAIRED: 0.16,
        }[self]


Basis = tuple[int, Pairing, float | None, str]
"""What a comparison stands on: processes, pairing, allowance, and the same in words."""

SET_ASIDE = ", bad processes left out"


def pairing_words(pairing: Pairing) -> str:
    """Which interval it is."""
    apart = pairing in (Pairing.UNPAIRED, Pairing.BRIDGED)
    return "Welch's interval on" if apart else "t-interval on"


_HOW = {
    Pairing.ALTERNATING: "alternating blocks",
    Pairing.SEQUENTIAL: "one side after the other",
    Pairing.ADJACENT: "each with one of the other side right before or after it",
    Pairing.BRIDGED: "each beside the same third case",
    Pairing.UNPAIRED: "unpaired",
}


_OF = {Pairing.UNPAIRED: "log medians", Pairing.BRIDGED: "log ratios to it"}
"""Of what the interval is, where it is not of the processes' own log ratios."""


def _interval(pairing: Pairing) -> str:
    return f"{pairing_words(pairing)} their {_OF.get(pairing, 'log ratios')}"


def loosest(pairings: Iterable[Pairing]) -> Pairing:
    """The one by which the least noise cancels."""
    return max(pairings, key=list(Pairing).index)


@functools.cache
def basis_of(pairing: Pairing, *counts: int) -> Basis:
    """Of so many processes, or pairs of them; or of so many on either side, new and base."""
    allowance, basis = _allowed(min(counts), pairing)
    basis = basis or f"{_interval(pairing)}{SET_ASIDE}"
    sides = " against ".join([*map(str, counts[:-1]), count_words(counts[-1])])
    return min(counts), pairing, allowance, f"{sides}, {_HOW[pairing]}: {basis}"


@functools.cache
def nodes_basis(nodes: int, processes: int, pairing: Pairing, allowance: float) -> Basis:
    """Of so many processes on nodes each of which measured both sides.

    allowance: the spread between nodes that stands in for what too few of them cannot show.
    """
    start = f"{count_nodes(nodes)}, {count_words(processes)}, {_HOW[pairing]} in each node"
    return processes, pairing, *_of_nodes(nodes, allowance, start, "t-interval on their log ratios")


@functools.cache
def nodes_apart_basis(
    nodes: tuple[int, int], processes: int, pairing: Pairing, allowance: float
) -> Basis:
    """Of nodes none of which measured both: so many of either side, new and base."""
    new, base = nodes
    start = f"{new} against {count_nodes(base)}, none with both, {_HOW[pairing]}"
    return processes, pairing, *_of_nodes(min(nodes), allowance, start, _interval(pairing))


def _of_nodes(nodes: int, allowance: float, start: str, what: str) -> tuple[float | None, str]:
    if nodes >= ENOUGH_PROCESSES:
        return None, f"{start}: {what}{SET_ASIDE}"
    return allowance, f"{start}: {what}, {allowance_words(allowance, nodes=True)}"


def _allowed(count: int, pairing: Pairing) -> tuple[float | None, str]:
    """The allowance for so few processes, and what it does; None and nothing where they suffice."""
    if count >= ENOUGH_PROCESSES:
        return None, ""
    if count > 1:
        return pairing.allowance, allowance_words(pairing.allowance)
    alone = ALONE * pairing.allowance
    return alone, f"allowance of {_percent(alone)} for what one process can be off by"


def allowance_words(allowance: float, nodes: bool = False) -> str:
    """What was added for the spread between processes, or between nodes."""
    of = "nodes" if nodes else "processes"
    return f"allowance of {_percent(allowance)} for the spread between {of} added"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%"
