"""What may be said of a ratio of times: its interval, its verdict, and what stands behind them.

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

from bench.stats.intervals import (
    ALONE,
    BRIDGE_APART,
    ENOUGH_PROCESSES,
    VERDICT_CONFIDENCE,
    Estimates,
    FloatArray,
    Interval,
    Reason,
)

# The one-sided level of the same interval: a gate over one case fails just when the case's
# interval lies beyond the gate's threshold.
GATE_LEVEL = (1 - VERDICT_CONFIDENCE) / 2

# Two times count as the SAME where the whole interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# Processes that a person may be advised to wait for: at a minute each, three hours.
MOST_NEEDED = 200


class Verdict(enum.StrEnum):
    """What may be said of the new side. SAME comes before the others: detectable, but too small."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


def processes_needed(spread: float, effect: float, power: float = 0.9) -> int | None:
    """How many processes find a true ``effect`` (0.05 is 5%) with this probability.

    spread: of the processes' ratios (sd of logs), as in ``Comparison.spread``. By the noncentral
    t-distribution, for paired processes; ``ENOUGH_PROCESSES`` at least, None past
    ``MOST_NEEDED``. It is no plan for single verdicts, whose spread is known by the few processes
    there were, but says whether more of them can help at all.
    """
    from scipy import special

    counts = np.arange(ENOUGH_PROCESSES, MOST_NEEDED + 1)
    if spread <= 0:
        return ENOUGH_PROCESSES
    critical = special.stdtrit(counts - 1, (1 + VERDICT_CONFIDENCE) / 2)
    found = special.nctdtr(counts - 1, math.log1p(effect) / spread * np.sqrt(counts), critical)
    enough = np.flatnonzero(found <= 1 - power)
    return int(counts[enough[0]]) if enough.size else None


def verdicts(low: FloatArray, high: FloatArray) -> npt.NDArray[np.str_]:
    """The verdict of each interval of *log* ratios, ``[cases]``.

    SAME where it lies within ±2% (between 1/1.02 and 1.02, so that it does not matter which side
    is called new), else FASTER below 0, SLOWER above 0, and UNCLEAR where it holds 0.
    """
    edge = math.log1p(SAME_WITHIN)
    return np.select(
        [(low >= -edge) & (high <= edge), high < 0, low > 0],
        [Verdict.SAME.value, Verdict.FASTER.value, Verdict.SLOWER.value],
        Verdict.UNCLEAR.value,
    )


def holm(p_values: npt.ArrayLike, level: float = GATE_LEVEL) -> npt.NDArray[np.bool_]:
    """Which hypotheses ``[n]`` are rejected at a family-wise ``level`` (Holm 1979).

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
    """How the two sides of a comparison were measured, which decides how far noise cancels."""

    ALTERNATING = "alternating"  # blocks in turn, in the same processes
    SEQUENTIAL = "sequential"  # one after the other, in the same processes
    ADJACENT = "adjacent"  # in different processes, one right after the other
    BRIDGED = "bridged"  # in different processes, each in turn with the same third case
    UNPAIRED = "unpaired"  # in different processes

    @property
    def allowance(self) -> float:
        """The spread between processes (sd of logs) that is assumed next to what too few show.

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


Basis = tuple[int, Pairing, float | None, Reason]
"""What a comparison stands on: processes, pairing, allowance, and all of it for ``render``."""


def loosest(pairings: Iterable[Pairing]) -> Pairing:
    """The one by which the least noise cancels."""
    return max(pairings, key=list(Pairing).index)


OF_PROCESSES, OF_NODES, OF_NODES_APART = "of_processes", "of_nodes", "of_nodes_apart"
"""Codes of what a comparison stands on."""


@functools.cache
def basis_of(pairing: Pairing, *counts: int) -> Basis:
    """Of so many processes, or pairs of them; or of so many on either side, new and base."""
    fewest = min(counts)
    allowance = pairing.allowance if fewest < ENOUGH_PROCESSES else None
    if allowance is not None and fewest == 1:
        allowance *= ALONE
    values = {"counts": counts, "pairing": pairing, "allowance": allowance}
    return fewest, pairing, allowance, Reason(OF_PROCESSES, values)


PROCESSES_SHIFTED = "processes_shifted"
PLAIN_MEAN_OPPOSED = "plain_mean_opposed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio ``time_new / time_base`` with its interval, and what may be said of it.

    processes: how many stand behind it; the smaller side's number where unpaired.
    allowance: the spread between processes that was assumed next to what they show, None where
        enough were measured.
    basis: the same with its numbers, for ``render``.
    log_ratio, standard_error, degrees: of the t distribution that interval, verdict and p-value
        are of.
    new_logs, base_logs: each process's log median, by run; bridged, its log ratio to the bridge.
    spread: the standard deviation between the good processes, of their log ratios or, unpaired, of
        the log medians of the side where it is larger; None where a side has one process, or for a
        mean over cases of different processes.
    aside: how many processes were left out as bad, in parts of processes (both sides together).
    nodes: on how many machines of one kind both sides were measured, or the smaller side's number
        where no machine has both; 0 where machines are not distinguished, as where there is one.
        Then ``spread`` is within a node, and between is how far the nodes' ratios spread beyond
        what that explains (standard deviation of logs), None where it cannot be determined.
    by_node: what each node that has both sides says by itself.
    heterogeneity: over a bridge, how far that is from itself between the two sides' processes, None
        where that is not known; interval and verdict allow for it where it is uneven.
    in_order: whether the processes' logs stand in the order in which they started, so that a trend
        or a step over them is part of the interval.
    reasons: why it is UNCLEAR though its processes agree: they shifted, or the arithmetic mean of
        all of them, outlying ones too, has the other sign.
    """

    ratio: Interval
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
    aside: float = 0.0
    in_order: bool = False
    reasons: tuple[Reason, ...] = ()
    nodes: int = 0
    between: float | None = None
    by_node: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    heterogeneity: Heterogeneity | None = None

    @property
    def paired(self) -> bool:
        """Whether both sides were measured in the same processes, or process by process in turn."""
        return self.pairing in (Pairing.ALTERNATING, Pairing.SEQUENTIAL, Pairing.ADJACENT)

    @property
    def uneven(self) -> bool:
        """Whether it is over a bridge that is not the same in the processes of both sides."""
        return self.heterogeneity is not None and self.heterogeneity.uneven

    @property
    def inverse(self) -> Comparison:
        """The same comparison with its sides exchanged."""
        ratio, turned = self.ratio, {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        low, mid, high = (
            math.inf if each == 0 else 1 / each for each in (ratio.high, ratio.mid, ratio.low)
        )
        return replace(
            self,
            ratio=Interval(low, mid, high, ratio.confidence),
            verdict=turned.get(self.verdict, self.verdict),
            log_ratio=-self.log_ratio,
            new_logs=self.base_logs,
            base_logs=self.new_logs,
            by_node={node: found.inverse for node, found in self.by_node.items()},
            heterogeneity=self.heterogeneity and self.heterogeneity.inverse,
        )

    @property
    def estimate(self) -> Estimates:
        """The t distribution, of one case."""
        return Estimates.of(self.log_ratio, self.standard_error, self.degrees)

    def p_slower(self, threshold: float = 0.0) -> float:
        """The one-sided p-value of "slower by at most ``threshold``" (0.05 is 5%)."""
        return float(self.estimate.p_slower(threshold)[0])


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """A bridge next to itself.

    bridge: the backend. new, base: a backend of each environment, in whose processes it was
    measured. cases: over so many of its own. found: its time in the processes of new over that in
    those of base.
    """

    bridge: str
    new: str
    base: str
    cases: int
    found: Comparison

    @property
    def uneven(self) -> bool:
        """Whether all of its interval lies beyond what is allowed for in any case."""
        ratio = self.found.ratio
        return ratio.low > 1 + BRIDGE_APART or ratio.high < 1 / (1 + BRIDGE_APART)

    @property
    def inverse(self) -> Heterogeneity:
        """The same with its sides exchanged."""
        return Heterogeneity(self.bridge, self.base, self.new, self.cases, self.found.inverse)
