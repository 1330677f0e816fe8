"""What may be said of a ratio of times: its interval, its verdict, and what stands behind them.

Ratios are ``time_new / time_base``: below 1, the new side is faster. ``ratios`` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.machine.fields import printable
from bench.stats.basis import Pairing
from bench.stats.intervals import Interval
from bench.stats.process_means import BRIDGE_APART, Estimates
from bench.stats.verdict import Reason, Verdict

_LONGEST = 60  # letters of a name in a sentence

PROCESSES_SHIFTED = "processes_shifted"
PLAIN_MEAN_OPPOSED = "plain_mean_opposed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio ``time_new / time_base`` with its interval, and what may be said of it.

    processes: how many stand behind it; the smaller side's number where unpaired.
    allowance: the spread between processes that was assumed beside what they show, None where
        enough were measured.
    how: the same in words.
    log_ratio, standard_error, degrees: of the t distribution that interval, verdict and p-value
        are of.
    new_logs, base_logs: each process's log median, by run; bridged, its log ratio to the bridge.
    spread: the standard deviation between the good processes, of their log ratios or, unpaired, of
        the log medians of the side where it is larger; None where a side has one process, or for a
        mean over cases of different processes.
    aside: how many processes were left out as bad, in parts of processes (both sides together).
    nodes: on how many machines of one kind both sides were measured, or the smaller side's number
        where no machine has both; 0 where machines are not told apart, as where there is one.
        Then ``spread`` is within a node, and between is how far the nodes' ratios spread beyond
        what that explains (standard deviation of logs), None where it cannot be told.
    by_node: what each node that has both sides says by itself.
    apart: over a bridge, how far that is from itself between the two sides' processes, None where
        that is not known; interval and verdict allow for it where it is uneven.
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
    how: str
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
    apart: Apart | None = None

    @property
    def paired(self) -> bool:
        """Whether both sides were measured in the same processes, or process by process in turn."""
        return self.pairing in (Pairing.ALTERNATING, Pairing.SEQUENTIAL, Pairing.ADJACENT)

    @property
    def uneven(self) -> bool:
        """Whether it is over a bridge that is not the same in the processes of both sides."""
        return self.apart is not None and self.apart.uneven

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
            apart=self.apart and self.apart.inverse,
        )

    @property
    def estimate(self) -> Estimates:
        """The t distribution, of one case."""
        return Estimates.of(self.log_ratio, self.standard_error, self.degrees)

    def p_slower(self, threshold: float = 0.0) -> float:
        """The one-sided p-value of "slower by at most ``threshold``" (0.05 is 5%)."""
        return float(self.estimate.p_slower(threshold)[0])


@dataclass(frozen=True, slots=True)
class Apart:
    """A bridge beside itself.

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
    def inverse(self) -> Apart:
        """The same with its sides exchanged."""
        return Apart(self.bridge, self.base, self.new, self.cases, self.found.inverse)

    @property
    def by(self) -> str:
        """By how much it differs, whichever way: ``12%``."""
        return f"{100 * math.expm1(abs(self.found.log_ratio)):.2g}%"

    @property
    def bounds(self) -> str:
        """``0.80–0.97, over 10 cases``: the ratio's, in new's processes over base's."""
        ratio = self.found.ratio
        cases = f"{self.cases} case{'s' if self.cases > 1 else ''}"
        return f"{ratio.low:.2f}–{ratio.high:.2f}, over {cases}"

    @property
    def note(self) -> str:
        """In a line by how much it differs, what that does to a ratio, and what to do."""
        bridge, new, base = (
            printable(each, _LONGEST) for each in (self.bridge, self.new, self.base)
        )
        return (
            f"{bridge}, over which {new} and {base} are compared, took itself "
            f"{self.found.ratio.mid:.2f} times as long in the processes of {new} as in those of "
            f"{base} ({self.bounds}), and {BRIDGE_APART:.0%} is allowed for: the interval is wider "
            f"by {self.by} each way. To change that: see in more processes (--processes) whether "
            "it stays so, or take another bridge (of the backends that need no environment of "
            "their own, the first that --backends names)"
        )
