"""How verdicts are told: each with what is behind it where that decides what to do next.

UNCLEAR alone leaves open whether more processes would help; how far they spread says it. This room
knows comparisons and plain strings.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from bench.judging.comparison import Comparison
from bench.judging.process_means import ENOUGH_PROCESSES
from bench.judging.verdict import MOST_NEEDED, Verdict, processes_needed
from bench.telling.inert import LONGEST_NAME, clean
from bench.telling.quantities import count, percent, times_as, times_bounds


def verdict_words(found: Comparison) -> str:
    """A verdict, and where it is UNCLEAR how far the processes spread, which is why.

    ``UNCLEAR, processes spread by 6%``
    """
    if found.verdict is not Verdict.UNCLEAR or found.spread is None:
        return found.verdict.value
    return f"{found.verdict.value}, processes spread by {percent(found.spread)}"


def versus(found: Comparison, other: str, apposition: str = "") -> str:
    """``1.6 times as fast as keras, the next (1.4–1.8, FASTER)``.

    other: whose time it is held against. apposition: what is said of that one.
    """
    ratio = found.ratio
    told = f"{times_as(ratio.mid)} as {clean(other, LONGEST_NAME)}{apposition}"
    return f"{told} ({times_bounds(ratio.low, ratio.high)}, {verdict_words(found)})"


def compact_verdict(found: Comparison) -> str:
    """The same for a table's cell: ``UNCLEAR, spread 6%``."""
    return verdict_words(found).replace("processes spread by", "spread")


def unclear(ratios: Iterable[Comparison | None]) -> list[str]:
    """How far the processes of UNCLEAR ratios spread, and whether more of them would decide."""
    judged = [ratio for ratio in ratios if ratio is not None]
    open_ones = [ratio for ratio in judged if ratio.verdict is Verdict.UNCLEAR]
    if not open_ones:
        return []
    verb = "is" if len(open_ones) == 1 else "are"
    start = f"{len(open_ones)} of {count(len(judged), 'ratio')} {verb} UNCLEAR"
    spreads = sorted(ratio.spread for ratio in open_ones if ratio.spread is not None)
    if not spreads:
        return [
            f"{start}; one process does not show how many would decide: measure in "
            f"{ENOUGH_PROCESSES} (python -m bench.run --processes {ENOUGH_PROCESSES})"
        ]
    middle = statistics.median(spreads)
    reach = percent(middle)
    if len(spreads) > 1:
        reach = f"{percent(spreads[0])} to {percent(spreads[-1])} (median {reach})"
    for_small, for_large = (
        f"{'over' if number is None else 'about'} {number or MOST_NEEDED}"
        for effect in (0.05, 0.1)
        for number in [processes_needed(middle, effect)]
    )
    return [
        f"{start}: their processes spread by {reach}, so that a difference of 5% takes {for_small} "
        f"processes to be seen, and one of 10% {for_large}"
    ]
