"""How verdicts are told: each with what is behind it where that decides what to do next.

UNCLEAR alone leaves open whether more processes would help; how far they spread says it. This room
knows comparisons and plain strings.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bench.render.inert import LONGEST_NAME, LONGEST_SENTENCE, clean
from bench.render.quantities import count, percent, times_as, times_bounds
from bench.stats.between import MOST_NODES, Plan, plan
from bench.stats.comparison import Apart, Comparison
from bench.stats.process_means import ENOUGH_PROCESSES
from bench.stats.verdict import MOST_NEEDED, Verdict, processes_needed

STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}
"""Rich's, for a verdict in a comparison."""


def verdict_words(found: Comparison) -> str:
    """A verdict, and where it is UNCLEAR how far the processes spread, which is why.

    ``UNCLEAR, processes spread by 6%``; on several nodes ``..., nodes by 3%``.
    """
    spread = spread_words(found, " by")
    return f"{found.verdict.value}, processes spread by {spread}" if spread else found.verdict.value


def spread_words(found: Comparison, by: str = "") -> str:
    """Where a verdict is UNCLEAR how far processes spread, and nodes: ``6%``, ``6%, nodes 3%``.

    Empty of another verdict, where neither is known, and over an uneven bridge, which is why then.
    by: stands before the nodes' number.
    """
    if found.verdict is not Verdict.UNCLEAR or found.spread is None or found.uneven:
        return ""
    nodes = "" if found.between is None else f", nodes{by} {percent(found.between)}"
    return f"{percent(found.spread)}{nodes}"


def versus(found: Comparison, other: str, apposition: str = "") -> str:
    """``1.6 times as fast as keras, the next (1.4–1.8, FASTER)``.

    other: whose time it is held against. apposition: what is said of that one.
    """
    ratio = found.ratio
    told = f"{times_as(ratio.mid)} as {clean(other, LONGEST_NAME)}{apposition}"
    return f"{told} ({times_bounds(ratio.low, ratio.high)}, {verdict_words(found)})"


def compact_verdict(found: Comparison) -> str:
    """The same for a table's cell: ``UNCLEAR, spread 6%``."""
    spread = spread_words(found)
    return f"{found.verdict.value}, spread {spread}" if spread else found.verdict.value


def unclear(ratios: Iterable[Comparison | None]) -> list[str]:
    """How far the processes of UNCLEAR ratios spread, and whether more of them would decide.

    Without those over an uneven bridge (``uneven``), which more processes do not make even.
    """
    judged = [ratio for ratio in ratios if ratio is not None and not ratio.uneven]
    open_ones = [ratio for ratio in judged if ratio.verdict is Verdict.UNCLEAR]
    if not open_ones:
        return []
    if on_nodes := [ratio for ratio in open_ones if ratio.nodes]:
        return _unclear_on_nodes(on_nodes, len(judged))
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


def uneven(ratios: Iterable[Comparison | None]) -> list[str]:
    """Each bridge of these ratios that is not the same on both sides, in a line without its stop.

    ``Uneven bridge: torch, over which keras_jax and keras are compared, took itself 0.88 times as
    long in the processes of keras_jax as in those of keras (0.80–0.97, over 10 cases), and ...``
    """
    found: dict[tuple[str, frozenset[str], float], Apart] = {}
    for ratio in ratios:
        apart = None if ratio is None else ratio.apart
        if apart is not None and apart.uneven:
            # The same backends on another device are another difference.
            sides = frozenset((apart.new, apart.base))
            found.setdefault((apart.bridge, sides, round(abs(apart.found.log_ratio), 9)), apart)
    return [f"Uneven bridge: {clean(each.note, LONGEST_SENTENCE)}" for each in found.values()]


def _unclear_on_nodes(ratios: Sequence[Comparison], judged: int) -> list[str]:
    """The same on several nodes: whether more of these would decide, or more processes on each."""
    verb = "is" if len(ratios) == 1 else "are"
    start = f"{len(ratios)} of {count(judged, 'ratio')} {verb} UNCLEAR"
    known = [
        (ratio, ratio.spread, ratio.between)
        for ratio in ratios
        if ratio.spread is not None and ratio.between is not None
    ]
    if not known:
        return [
            f"{start}; nodes of one process each do not show how far processes spread, so that "
            f"nobody can say what would decide: measure {ENOUGH_PROCESSES} on each"
        ]
    nodes = round(statistics.median(ratio.nodes for ratio, *_ in known))
    processes = max(1, round(statistics.median(r.processes / r.nodes for r, *_ in known)))
    within = statistics.median(spread for _, spread, _ in known)
    between = statistics.median(spread for *_, spread in known)
    told = [
        f"a difference of {percent(effect)} takes {_takes(plan_, nodes)}"
        for effect in (0.05, 0.1)
        for plan_ in [plan(effect, nodes, processes, between, within)]
    ]
    return [
        f"{start}: within a node their processes spread by {percent(within)}, nodes beyond that by "
        f"{percent(between)} (medians), so that on {count(nodes, 'node')} of "
        f"{count(processes, 'process')} each {', and '.join(told)}"
    ]


def _takes(found: Plan, nodes: int) -> str:
    if found.nodes == nodes:
        return "no more than that"
    more = f"over {MOST_NODES} nodes" if found.nodes is None else f"about {found.nodes} nodes"
    if found.processes is None:
        return f"{more}, and more processes on these would not show it"
    return f"{more}, or on these about {found.processes} processes each"
