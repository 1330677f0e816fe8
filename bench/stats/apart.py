"""How far a bridge is from itself in two environments, and what a ratio over it then allows for.

A bridge is a third case in the processes of both sides of a comparison (``bridges``). It is taken
to be as fast beside the one as beside the other, up to ``BRIDGE_APART``, and its own times can say
that it is not. Then every ratio over it may be off by as much, to either side: what an environment
does to the bridge it may do to the backend there, or not, or the other way round. So the half width
of its interval grows by the bridge's difference, and nothing that is nearer to 1 than that is
FASTER or SLOWER. This room knows comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.stats.comparison import Apart, Comparison
from bench.stats.over_processes import judged
from bench.stats.process_means import Estimates


def allowing(found: Comparison, aparts: Sequence[Apart | None]) -> Comparison:
    """A comparison over bridges, with what is known of these and, where they are uneven, with that.

    aparts: of each case that it is over. The cases are taken to be off together, by the mean of
    their bridges' differences; one without a bridge, or whose bridge is even, by nothing.
    """
    told = most_apart(aparts)
    uneven = [each.found for each in aparts if each is not None and each.uneven]
    if told is None or not uneven:
        return replace(found, apart=told)
    difference = math.fsum(abs(each.log_ratio) for each in uneven) / len(aparts)
    error = math.fsum(each.standard_error for each in uneven) / len(aparts)
    bridges = Estimates.of(difference, error, min(each.degrees for each in uneven))
    by = f"{100 * math.expm1(difference):.2g}%"
    how = f"{found.how}; {by} more each way, by which the third case differs from itself"
    basis = found.processes, found.pairing, found.allowance, how
    (wide,) = judged(with_difference(found.estimate, bridges), [basis])
    return replace(
        found,
        ratio=wide.ratio,
        verdict=wide.verdict,
        standard_error=wide.standard_error,
        degrees=wide.degrees,
        how=how,
        apart=told,
    )


def most_apart(aparts: Sequence[Apart | None]) -> Apart | None:
    """The one to be told of: an uneven one before others, and of these the furthest."""
    known = [each for each in aparts if each is not None]
    return max(known, key=lambda each: (each.uneven, abs(each.found.log_ratio)), default=None)


def with_difference(found: Estimates, bridges: Estimates) -> Estimates:
    """Log ratios over bridges that differ by so much (logs, not below 0), ``[cases]`` each.

    The interval is as much wider as the difference, which is no matter of chance, and holds the
    doubt of both, with the fewer degrees: by Welch's it could be narrower than before, where the
    ratio is known to few. One t distribution is left, of which interval, verdict and p-value are.
    """
    free = np.minimum(found.degrees, bridges.degrees)
    unit = Estimates(np.zeros_like(found.errors), np.ones_like(found.errors), free)
    wider = bridges.middles / unit.bounds()[1]
    return Estimates(found.middles, np.hypot(found.errors, bridges.errors) + wider, free)
