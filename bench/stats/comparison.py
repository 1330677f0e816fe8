"""Define a ratio of times with its interval and verdict, and what these are based on.

Ratios are ``time_new / time_base``: below 1, the new side is faster. ``ratios`` computes them.
Spreads are standard deviations of log times. For small values these are relative spreads (0.035 is
3.5%).
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bench.machine.reasons import Reason
from bench.stats import intervals

# This is the one-sided level of the same interval. For a single case, ``--fail-on`` therefore fails
# exactly when the interval of the case lies beyond the threshold.
GATE_LEVEL = (1 - intervals.VERDICT_CONFIDENCE) / 2

# Two times are the SAME if the interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# The largest number of processes that a user is advised to run. At a minute each, they take three
# hours.
MOST_NEEDED = 200


class Verdict(enum.StrEnum):
    """The verdict on the new side.

    SAME has priority: the difference may be detectable, but is too small.
    """

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


def processes_needed(spread: float, effect: float, power: float = 0.9) -> int | None:
    """Return how many paired processes find a true ``effect`` with probability ``power``.

    The result follows from the noncentral t distribution. It is at least ``ENOUGH_PROCESSES``, and
    None above ``MOST_NEEDED``. The spread of a few processes is uncertain, so the result only shows
    whether more of them can help at all.

    spread: the standard deviation of the log ratios of processes, as in ``Comparison.spread``.
    effect: a relative difference (0.05 is 5%).
    """
    from scipy import special

    counts = np.arange(intervals.ENOUGH_PROCESSES, MOST_NEEDED + 1)
    if spread <= 0:
        return intervals.ENOUGH_PROCESSES
    critical = special.stdtrit(counts - 1, (1 + intervals.VERDICT_CONFIDENCE) / 2)
    found = special.nctdtr(counts - 1, math.log1p(effect) / spread * np.sqrt(counts), critical)
    enough = np.flatnonzero(found <= 1 - power)
    return int(counts[enough[0]]) if enough.size else None


def verdicts(low: intervals.FloatArray, high: intervals.FloatArray) -> npt.NDArray[np.str_]:
    """Return the verdict of each interval of *log* ratios, ``[cases]``.

    SAME means that the interval lies within ±2% (between 1/1.02 and 1.02, so that the sides can be
    exchanged). Otherwise FASTER means below 0, SLOWER above 0, and UNCLEAR that it contains 0.
    """
    edge = math.log1p(SAME_WITHIN)
    return np.select(
        [(low >= -edge) & (high <= edge), high < 0, low > 0],
        [Verdict.SAME.value, Verdict.FASTER.value, Verdict.SLOWER.value],
        Verdict.UNCLEAR.value,
    )


def holm(p_values: npt.ArrayLike, level: float = GATE_LEVEL) -> npt.NDArray[np.bool_]:
    """Return which hypotheses ``[n]`` are rejected at a family-wise ``level`` (Holm 1979).

    The probability that any true hypothesis is rejected is at most ``level``, however the
    hypotheses depend on one another.

    Raises ValueError for a p-value outside 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values beyond [0, 1]")
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / np.arange(p.size, 0, -1)
    rejected = np.zeros(p.size, dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


class Pairing(enum.StrEnum):
    """How two sides of a comparison were measured, which determines how much noise cancels."""

    ALTERNATING = "alternating"  # In interleaved blocks of the same processes.
    SEQUENTIAL = "sequential"  # One after the other, in the same processes.
    ADJACENT = "adjacent"  # In different processes, one right after the other.
    BRIDGED = "bridged"  # In different processes, each interleaved with the same reference.
    UNPAIRED = "unpaired"  # In different processes.

    @property
    def allowance(self) -> float:
        """Return the spread between processes (sd of logs) that is assumed if there are too few.

        In the results with which these values were chosen, the spreads of pairs had a root mean
        square of 5.1%. The spreads that were seen are 4% to 15% for sides measured one after the
        other, and 3% to 29% for separate processes. The value for the first kind is their geometric
        mean. The value for separate processes is higher than their geometric mean, because machines
        and days may differ as well. Each side over a reference is a ratio from alternating blocks.
        Its value is higher than that of alternating blocks, because the reference may differ
        between the two kinds of processes. The ratio of two adjacent processes has the noise of
        both, as much as is assumed of separate processes. A single process has more
        (``intervals.ALONE``).
        """
        return {
            Pairing.ALTERNATING: 0.05,
            Pairing.SEQUENTIAL: 0.08,
            Pairing.ADJACENT: 0.16,
            Pairing.BRIDGED: 0.08,
            Pairing.UNPAIRED: 0.16,
        }[self]


Basis = tuple[int, Pairing, float | None, Reason]
"""What a comparison is based on: the processes, the pairing, the allowance, and a reason that
contains all three.
"""


def loosest(pairings: Iterable[Pairing]) -> Pairing:
    """Return the pairing in which the least noise cancels."""
    return max(pairings, key=list(Pairing).index)


OF_PROCESSES, OF_NODES, OF_NODES_APART = "of_processes", "of_nodes", "of_nodes_apart"
"""The codes of what a comparison is based on."""


@functools.cache
def choose_basis(pairing: Pairing, *counts: int) -> Basis:
    """Return the basis for the numbers of processes on one or two sides.

    For pairs of processes, the numbers are those of the pairs.
    """
    fewest = min(counts)
    allowance = pairing.allowance if fewest < intervals.ENOUGH_PROCESSES else None
    if allowance is not None and fewest == 1:
        allowance *= intervals.ALONE
    values = {"counts": counts, "pairing": pairing, "allowance": allowance}
    return fewest, pairing, allowance, Reason(OF_PROCESSES, values)


PROCESSES_SHIFTED = "processes_shifted"
PROCESSES_CORRELATED = "processes_correlated"
PLAIN_MEAN_OPPOSED = "plain_mean_opposed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio ``time_new / time_base`` with its interval and its verdict.

    processes: the number of processes; if unpaired, that of the smaller side. allowance: the spread
    between processes that was assumed, or None if enough were measured. basis: the reason that
    contains these numbers. log_ratio, standard_error, degrees: the t distribution from which
    interval, verdict and p-value follow. new_logs, base_logs: the log median of each process by
    run; if bridged, its log ratio to the reference. spread: the standard deviation between the good
    processes. It is that of their log ratios or, if unpaired, of the log medians of the side where
    it is larger. None if a side has one process, or for a mean over cases of different processes.
    excluded: how many processes were excluded as outlying, in fractions of processes, for both
    sides. nodes: the number of machines of one kind that have both sides. If no machine has both,
    it is the number of the smaller side. It is 0 if machines are not distinguished. With nodes,
    ``spread`` is the spread within a node. between: how far the ratios of nodes spread beyond what
    ``spread`` explains (standard deviation of logs), or None if that is unknown. by_node: the
    comparison on each node that has both sides. heterogeneity: how far the reference differs
    between the two sides' processes, or None if that is unknown. Interval and verdict allow for it.
    in_order: whether the processes are in the order in which they started. The interval then allows
    for shifts and for correlation of successive processes. reasons: why the verdict is UNCLEAR
    although the processes agree. A part of them shifted, successive ones are correlated, or the
    arithmetic mean of all processes, including outlying ones, has the other sign.
    """

    ratio: intervals.Interval
    verdict: Verdict
    processes: int
    pairing: Pairing
    allowance: float | None
    basis: Reason
    log_ratio: float
    standard_error: float
    degrees: float
    new_logs: Mapping[str, float] = field(default_factory=dict, repr=False)
    base_logs: Mapping[str, float] = field(default_factory=dict, repr=False)
    spread: float | None = None
    excluded: float = 0.0
    in_order: bool = False
    reasons: tuple[Reason, ...] = ()
    nodes: int = 0
    between: float | None = None
    by_node: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    heterogeneity: Heterogeneity | None = None

    @property
    def paired(self) -> bool:
        """Whether both sides were measured in the same processes, or in adjacent ones."""
        return self.pairing in (Pairing.ALTERNATING, Pairing.SEQUENTIAL, Pairing.ADJACENT)

    @property
    def heterogeneous(self) -> bool:
        """Whether the reference differs significantly between the processes of both sides."""
        return self.heterogeneity is not None and self.heterogeneity.significant

    @property
    def inverse(self) -> Comparison:
        """Return the same comparison with its sides exchanged."""
        ratio, turned = self.ratio, {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        low, mid, high = (
            math.inf if each == 0 else 1 / each for each in (ratio.high, ratio.mid, ratio.low)
        )
        return replace(
            self,
            ratio=intervals.Interval(low, mid, high, ratio.confidence),
            verdict=turned.get(self.verdict, self.verdict),
            log_ratio=-self.log_ratio,
            new_logs=self.base_logs,
            base_logs=self.new_logs,
            by_node={node: found.inverse for node, found in self.by_node.items()},
            heterogeneity=self.heterogeneity and self.heterogeneity.inverse,
        )

    @property
    def estimate(self) -> intervals.Estimates:
        """Return the t distribution of the log ratio."""
        return intervals.Estimates.of(self.log_ratio, self.standard_error, self.degrees)

    def p_slower(self, threshold: float = 0.0) -> float:
        """Return the one-sided p-value of "slower by at most ``threshold``" (0.05 is 5%)."""
        return float(self.estimate.p_slower(threshold)[0])


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """How far a reference backend differs between two environments.

    new, base: a backend of each environment, in whose processes the reference was measured. cases:
    how many cases of the reference were compared. found: its time in the processes of new over that
    in those of base.
    """

    reference: str
    new: str
    base: str
    cases: int
    found: Comparison

    @property
    def significant(self) -> bool:
        """Whether the interval lies beyond what every comparison over a reference allows for."""
        ratio = self.found.ratio
        return ratio.low > 1 + intervals.REFERENCE_ALLOWANCE or ratio.high < 1 / (
            1 + intervals.REFERENCE_ALLOWANCE
        )

    @property
    def inverse(self) -> Heterogeneity:
        """Return the same with the sides exchanged."""
        return Heterogeneity(self.reference, self.base, self.new, self.cases, self.found.inverse)
