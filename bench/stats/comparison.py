"""Define a ratio of times with its interval, its verdict and what these are based on.

Ratios are ``time_new / time_base``: below 1, the new side is faster. ``ratios`` makes them. Spreads
are standard deviations of log times, which for small values are relative spreads (0.035 is 3.5%).
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

# The one-sided level of the same interval: ``--fail-on`` fails for one case exactly when the case's
# interval lies beyond the threshold.
GATE_LEVEL = (1 - intervals.VERDICT_CONFIDENCE) / 2

# Two times are the SAME where the interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# The most processes that a user is advised to run: at a minute each, three hours.
MOST_NEEDED = 200


class Verdict(enum.StrEnum):
    """The verdict on the new side; SAME precedes the others: detectable, but too small."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


def processes_needed(spread: float, effect: float, power: float = 0.9) -> int | None:
    """Return how many paired processes find a true ``effect`` (0.05 is 5%) with this probability.

    spread: of the processes' ratios (sd of logs), as in ``Comparison.spread``. By the noncentral
    t-distribution; ``ENOUGH_PROCESSES`` at least, None above ``MOST_NEEDED``. The spread of
    a few processes is uncertain, so it only shows whether more of them can help at all.
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

    SAME where it lies within ±2% (between 1/1.02 and 1.02, so that the sides can be exchanged),
    else FASTER below 0, SLOWER above 0, and UNCLEAR where it contains 0.
    """
    edge = math.log1p(SAME_WITHIN)
    return np.select(
        [(low >= -edge) & (high <= edge), high < 0, low > 0],
        [Verdict.SAME.value, Verdict.FASTER.value, Verdict.SLOWER.value],
        Verdict.UNCLEAR.value,
    )


def holm(p_values: npt.ArrayLike, level: float = GATE_LEVEL) -> npt.NDArray[np.bool_]:
    """Return which hypotheses ``[n]`` are rejected at a family-wise ``level`` (Holm 1979).

    The chance that any true one is among them is at most ``level``, however they depend on one
    another.

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
    """How two sides of a comparison were measured, which determines how far noise cancels."""

    ALTERNATING = "alternating"  # interleaved blocks in the same processes
    SEQUENTIAL = "sequential"  # one after the other, in the same processes
    ADJACENT = "adjacent"  # in different processes, one right after the other
    BRIDGED = "bridged"  # in different processes, each interleaved with the same reference
    UNPAIRED = "unpaired"  # in different processes

    @property
    def allowance(self) -> float:
        """The spread between processes (sd of logs) that is assumed where they are too few.

        The root mean square of the spreads of the reference results' pairs is 5.1%. 4 to 15% were
        seen of sides measured one after the other, 3 to 29% of separate processes: it is the
        geometric mean of the first, and more than that of the second, since machines and days may
        differ too. Each side over a reference is a ratio from alternating blocks and has more than
        one, since the reference may differ between the two kinds of processes. The ratio of two
        adjacent processes has the noise of both, as much as is assumed of a side of separate ones.
        A single process has more (``intervals.ALONE``).
        """
        return {
            Pairing.ALTERNATING: 0.05,
            Pairing.SEQUENTIAL: 0.08,
            Pairing.ADJACENT: 0.16,
            Pairing.BRIDGED: 0.08,
            Pairing.UNPAIRED: 0.16,
        }[self]


Basis = tuple[int, Pairing, float | None, Reason]
"""What a comparison is based on: processes, pairing, allowance, and the reason with all of them."""


def loosest(pairings: Iterable[Pairing]) -> Pairing:
    """Return the pairing by which the least noise cancels."""
    return max(pairings, key=list(Pairing).index)


OF_PROCESSES, OF_NODES, OF_NODES_APART = "of_processes", "of_nodes", "of_nodes_apart"
"""Codes of what a comparison is based on."""


@functools.cache
def choose_basis(pairing: Pairing, *counts: int) -> Basis:
    """Return the basis for the numbers of processes, or of pairs of them, on one or two sides."""
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

    processes: their number; the smaller side's where unpaired.
    allowance: the spread between processes that was assumed, None where enough were measured.
    basis: the reason with these numbers.
    log_ratio, standard_error, degrees: of the t distribution of interval, verdict and p-value.
    new_logs, base_logs: each process's log median by run; bridged, its log ratio to the reference.
    spread: the standard deviation between the good processes, of their log ratios or, unpaired, of
        the log medians of the side where it is larger; None where a side has one process, or for a
        mean over cases of different processes.
    excluded: how many processes were excluded as outlying, in parts of processes (of both sides).
    nodes: the number of machines of one kind with both sides, or the smaller side's number where no
        machine has both; 0 where machines are not distinguished. Then ``spread`` is within a node,
        and between is how far the nodes' ratios spread beyond what that explains (standard
        deviation of logs), None where that is not known.
    by_node: the comparison on each node that has both sides.
    heterogeneity: how far the reference differs between the two sides' processes, None where that
        is not known; interval and verdict allow for it.
    in_order: whether the processes are in the order in which they started, so that the interval
        allows for shifts and for correlation of successive ones.
    reasons: why it is UNCLEAR though its processes agree: a part of them shifted, successive ones
        are correlated, or the arithmetic mean of all of them, outlying ones too, has the other
        sign.
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
        """Whether its reference differs significantly between the processes of both sides."""
        return self.heterogeneity is not None and self.heterogeneity.significant

    @property
    def inverse(self) -> Comparison:
        """The same comparison with its sides exchanged."""
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
        """The t distribution of its log ratio."""
        return intervals.Estimates.of(self.log_ratio, self.standard_error, self.degrees)

    def p_slower(self, threshold: float = 0.0) -> float:
        """Return the one-sided p-value of "slower by at most ``threshold``" (0.05 is 5%)."""
        return float(self.estimate.p_slower(threshold)[0])


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """How far a reference backend differs between two environments.

    new, base: a backend of each environment, in whose processes the reference was measured. cases:
    how many of its cases were compared. found: its time in the processes of new over that in those
    of base.
    """

    reference: str
    new: str
    base: str
    cases: int
    found: Comparison

    @property
    def significant(self) -> bool:
        """Whether its interval lies beyond what is always allowed for."""
        ratio = self.found.ratio
        return ratio.low > 1 + intervals.REFERENCE_ALLOWANCE or ratio.high < 1 / (
            1 + intervals.REFERENCE_ALLOWANCE
        )

    @property
    def inverse(self) -> Heterogeneity:
        """The same with its sides exchanged."""
        return Heterogeneity(self.reference, self.base, self.new, self.cases, self.found.inverse)
