"""What several replicas gain over one, and where the rest of their time goes, over processes.

Gains are ratios of the time that a sequence takes, whatever the batch: the same number answers for
weak scaling, where each replica keeps its batch, and for strong, where they share one. This module
knows times and no records of files.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.comparison import Comparison, Pairing
from bench.stats.intervals import (
    CASE_CONFIDENCE,
    CaseInterval,
    Interval,
    case_interval,
    process_means,
)
from bench.stats.ratios import RunSamples, compare

APART = 0.1
"""Of a step: by how much the profiler's share and the difference of times may be apart, next to the
interval of that, before it is said that they disagree. A profiler that slows a step by a tenth
moves its shares by about as much."""


@dataclass(frozen=True)
class SideTime:
    """What one set of processes measured of one side: seconds of a step of ``batch`` sequences."""

    batch: int
    samples: tuple[float, ...]
    rounds: tuple[int, ...]

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.samples)


Sides = Mapping[str, SideTime]
"""The sides of one set of processes, by the names below."""


@dataclass(frozen=True)
class Parts:
    """Shares of a shared step's time, each with its 95% interval over the sets of processes.

    compute: what one replica alone takes for as many sequences as each has. reduce: what the
    all-reduce adds, waiting for the slowest replica included. rest: what it costs that the others
    compute at the same time, on the same caches and memory. They add up to 1.
    """

    compute: Interval
    reduce: Interval
    rest: Interval


@dataclass(frozen=True)
class Scaled:
    """Several replicas next to one.

    step, one: of a step, over all sequences of each. batch: over all replicas. gain: the time of a
    sequence, replicas / one replica alone; cores: the same over one process on all processors that
    the replicas have, None where that was not measured. traced: the share of the step that the
    profiler saw in collectives, None where it saw no step.
    """

    replicas: int
    batch: int
    step: CaseInterval
    one: CaseInterval
    gain: Comparison
    cores: Comparison | None
    parts: Parts
    traced: float | None

    @property
    def efficiency(self) -> Interval:
        """The gain over one replica as a part of what so many could gain at best."""
        ratio, count = self.gain.ratio, self.replicas
        return Interval(
            1 / (count * ratio.high), 1 / (count * ratio.mid), 1 / (count * ratio.low), 0.995
        )

    @property
    def disagree(self) -> bool:
        """Whether the profiler's share is far from what leaving the all-reduce out saves."""
        found = self.parts.reduce
        return self.traced is not None and not (
            found.low - APART <= self.traced <= found.high + APART
        )


def scaled(
    replicas: int,
    sets: Sequence[Sides],
    names: Mapping[str, str],
    traces: Sequence[Sequence[float]],
) -> Scaled:
    """From the sets of processes to what may be said.

    names: which side is which, by ``team``, ``apart``, ``alone`` (one replica with as many
    sequences as each has), ``one`` and, if it was measured, ``cores``. traces: shares by worker, of
    each set that has them.
    """
    team, one = ([each[names[key]] for each in sets] for key in ("team", "one"))
    cores = names.get("cores")
    shares = [statistics.fmean(each) for each in traces if each]
    return Scaled(
        replicas,
        team[0].batch,
        case_interval([each.samples for each in team]),
        case_interval([each.samples for each in one]),
        compare(_runs(team), _runs(one)),
        compare(_runs(team), _runs([each[cores] for each in sets])) if cores else None,
        _parts([tuple(each[names[key]].median for key in _PARTS) for each in sets]),
        statistics.median(shares) if shares else None,
    )


_PARTS = ("team", "apart", "alone")


def _runs(sides: Sequence[SideTime]) -> list[RunSamples]:
    """By the time of a sequence. The sides are other processes than those they are held against."""
    return [
        RunSamples(
            str(number),
            np.array(each.samples) / each.batch,
            np.array(each.rounds),
            adjacent=True,
            started=number,
        )
        for number, each in enumerate(sides)
    ]


def _parts(medians: Sequence[tuple[float, ...]]) -> Parts:
    team, separate, alone = np.array(medians).T
    shares = np.stack([alone / team, (team - separate) / team, (separate - alone) / team])
    found = process_means(shares, Pairing.ADJACENT.allowance)
    low, high = found.bounds(CASE_CONFIDENCE)
    bounds = zip(low.tolist(), found.middles.tolist(), high.tolist(), strict=True)
    return Parts(*(Interval(*each, CASE_CONFIDENCE) for each in bounds))
