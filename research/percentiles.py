"""Simulate how often the verdicts on percentiles are right, with every call of two streams.

Some calls are slow, and a few are very slow. Slow calls come in runs, since a disturbance lasts for
several calls. In each process, two streams run in alternating blocks on one machine. They are
compared in the same way as measured streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.render.table import TextTable
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import FloatArray, process_means
from research.noises import SEED
from research.rules import DIFFERENT, rate, table, verdicts

BLOCK = 20
"""The calls of one stream in a block."""

CALL_SHARE = 20
"""The factor by which fewer comparisons are simulated, since every call of both sides is drawn."""

MANY = 10
"""The factor by which more calls are drawn for the 99.9th percentile, and by which a restless
process has more slow calls."""

CALLS = 700
"""The calls of each stream in each process. The 99th percentile needs as many."""

PROCESSES = (6, 10, 20)
"""The numbers of processes of a comparison."""

_AT_ONCE = 500
"""The processes whose calls are in memory at once. With 2 × 7,000 calls each, they take 56 MB."""


@dataclass(frozen=True)
class Stream:
    """The distribution of the latencies of a stream.

    Attributes
    ----------
    slow
        The fraction of slow calls.
    run
        The mean number of successive slow calls.
    far
        The exponent of the Pareto distribution of slow calls. Up to 2 the variance is infinite, and
        up to 1 the mean is too.
    common, own
        The standard deviation between processes of the logarithm of that fraction: the part that
        both streams share, and the part of each stream alone.
    restless
        The fraction of the processes that have ten times as many slow calls.
    """

    slow: float
    run: float = 1.0
    far: float = 3.0
    common: float = 0.0
    own: float = 0.0
    restless: float = 0.0


STREAMS = {
    "hardly any call is slow": Stream(0.001),
    "2% slow, each by itself": Stream(0.02),
    "2% slow, without a variance": Stream(0.02, far=1.2),
    "2% slow, 10 in a row": Stream(0.02, run=10),
    "2% slow, 50 in a row": Stream(0.02, run=50),
    "2% slow, 10 in a row, processes differ": Stream(0.02, run=10, common=0.7),
    "... and streams by themselves": Stream(0.02, run=10, common=0.7, own=0.3),
    "one process in ten restless": Stream(0.02, run=10, restless=0.1),
    "one in ten, without a variance": Stream(0.02, run=10, far=1.2, restless=0.1),
}


def logs(stream: Stream, parts: Sequence[float], calls: int, processes: int) -> FloatArray:
    """Return the log ratios of percentiles of two equal streams, ``[parts, processes]``.

    Parameters
    ----------
    stream
        The distribution of both streams.
    parts
        The percentiles, from 0 to 100.
    calls
        The calls of each stream in each process.
    processes
        The number of processes.
    """
    rng = np.random.default_rng(SEED)
    ranks = [math.ceil(round(part / 100 * calls, 6)) - 1 for part in parts]
    found = np.empty((len(parts), processes))
    for start in range(0, processes, _AT_ONCE):
        count = min(_AT_ONCE, processes - start)
        both = np.partition(_latencies(rng, stream, count, calls), ranks, axis=2)
        for index, rank in enumerate(ranks):
            found[index, start : start + count] = np.log(both[:, 0, rank] / both[:, 1, rank])
    return found


def _latencies(
    rng: np.random.Generator, stream: Stream, processes: int, calls: int
) -> npt.NDArray[np.float32]:
    """Draw the latency of every call of both streams, ``[processes, 2, calls]``."""
    own = stream.own * rng.standard_normal((processes, 2))
    shares = stream.slow * np.exp(stream.common * rng.standard_normal((processes, 1)) + own)
    shares = np.where(rng.random((processes, 1)) < stream.restless, MANY * shares, shares)
    shares = np.minimum(shares, 0.5)
    # The blocks alternate over time. The last ones are cut short.
    turn = np.arange(2 * calls + 2 * BLOCK) // BLOCK % 2
    chance = rng.random((turn.size, processes), dtype=np.float32)
    slow = chance < shares.T[turn]
    if stream.run > 1:
        # ``stream.run`` is the mean length of a run in calls. Runs begin as often as the share
        # requires.
        begin = (shares / (1 - shares) / stream.run).T
        for call in range(1, turn.size):
            goes_on = chance[call] >= 1 / stream.run
            slow[call] = np.where(slow[call - 1], goes_on, chance[call] < begin[turn[call]])
    sides = [slow[turn == side][:calls].T for side in (0, 1)]
    times = np.exp(0.1 * rng.standard_normal((processes, 2, calls), dtype=np.float32))
    late = np.stack(sides, axis=1)
    times[late] *= 2 * (1 + rng.pareto(stream.far, int(late.sum())))
    return np.asarray(times)


def _cells(found: FloatArray, count: int, effect: float, *wanted: Verdict) -> float:
    """Return the rate of the given verdicts over ``count`` processes. Each is used once."""
    trials = found.size // count
    logs_of = found[: trials * count].reshape(trials, count)
    means = process_means(logs_of, Pairing.ALTERNATING.allowance, in_order=True)
    return rate(verdicts(means, effect=effect), *wanted)


_PERCENTILES = ((90.0, 1), (99.0, 1), (99.0, MANY), (99.9, MANY))
"""The percentiles that are compared, each with the factor of ``CALLS`` that it needs."""


def _draw(stream: Stream, trials: int) -> list[FloatArray]:
    """Return the log ratios of each of ``_PERCENTILES``."""
    few = logs(stream, [90.0, 99.0], CALLS, trials * max(PROCESSES))
    # Each process has ten times as many calls, so there are fewer processes.
    many = logs(stream, [99.0, 99.9], MANY * CALLS, max(1, trials // 2) * max(PROCESSES))
    return [*few, *many]


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` about percentiles, by title."""
    count = max(1, trials // CALL_SHARE)
    ratios = {name: _draw(stream, count) for name, stream in STREAMS.items()}

    def line(name: str, found: list[FloatArray], effect: float, *wanted: Verdict) -> list[str]:
        rates = ([_cells(each, n, effect, *wanted) for n in PROCESSES] for each in found)
        return [name, *(" / ".join(f"{100 * rate:.1f}" for rate in each) for each in rates)]

    counts = " / ".join(map(str, PROCESSES))
    headings = [f"p{part:g} of {CALLS * times:,}" for part, times in _PERCENTILES]
    false = [line(name, found, 0.0, *DIFFERENT) for name, found in ratios.items()]
    powers = [
        line(f"{name}, {effect:.0%} slower", found, effect, Verdict.SLOWER)
        for name, found in ratios.items()
        for effect in (0.2, 1.0)
    ]
    return {
        "False verdicts on percentiles": table(
            [f"equals called different, %, of {counts} processes:", *headings], false
        ),
        "Found effects on percentiles": table(
            [f"SLOWER said, %, of {counts} processes:", *headings], powers
        ),
    }
