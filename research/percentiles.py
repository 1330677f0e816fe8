"""Simulate how often verdicts on percentiles are right, with every call of two streams.

Some calls are slow, a few of them very, and slow calls come in runs, since a disturbance lasts. Two
streams are interleaved in blocks on one machine, in each process separately, and compared as
measured ones are.
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
"""Calls of one stream in a block."""

CALL_SHARE = 20
"""One of this number of comparisons is simulated, since every call of both sides is drawn."""

MANY = 10
"""The factor of calls for the 99.9th percentile."""

CALLS = 700
"""Calls of each stream in each process, as the 99th percentile needs."""

PROCESSES = (6, 10, 20)
_AT_ONCE = 500  # processes whose calls are in memory: 2 x 7,000 of each are 56 MB


@dataclass(frozen=True)
class Stream:
    """The distribution of calls.

    slow: the share of slow calls. run: the mean number of successive slow calls. far: the exponent
    of the Pareto distribution of slow calls: up to 2 the variance is infinite, up to 1 the mean.
    common, own: how much the share differs between processes, for both streams and for each alone
    (sd of logs). restless: the share of the processes with ten times as many slow calls.
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
    """Return the log ratios of each percentile of two equal streams, ``[parts, processes]``.

    calls: of each stream in each process.
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
    """Return every call of both streams in each process, ``[processes, 2, calls]``."""
    own = stream.own * rng.standard_normal((processes, 2))
    shares = stream.slow * np.exp(stream.common * rng.standard_normal((processes, 1)) + own)
    shares = np.where(rng.random((processes, 1)) < stream.restless, MANY * shares, shares)
    shares = np.minimum(shares, 0.5)
    # Interleaved blocks over time; the last blocks are cut short.
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
    """Return the rate of verdicts over ``count`` processes, each used once."""
    trials = found.size // count
    logs_of = found[: trials * count].reshape(trials, count)
    means = process_means(logs_of, Pairing.ALTERNATING.allowance, in_order=True)
    return rate(verdicts(means, effect=effect), *wanted)


_LOOKED_AT = ((90.0, 1), (99.0, 1), (99.0, MANY), (99.9, MANY))
"""Percentiles, and the factor of ``CALLS``."""


def _draw(stream: Stream, trials: int) -> list[FloatArray]:
    """Return the log ratios of each of ``_LOOKED_AT``."""
    few = logs(stream, [90.0, 99.0], CALLS, trials * max(PROCESSES))
    # Ten times as many calls, so fewer processes.
    many = logs(stream, [99.0, 99.9], MANY * CALLS, max(1, trials // 2) * max(PROCESSES))
    return [*few, *many]


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` on percentiles, by title."""
    count = max(1, trials // CALL_SHARE)
    drawn = {name: _draw(stream, count) for name, stream in STREAMS.items()}

    def line(name: str, found: list[FloatArray], effect: float, *wanted: Verdict) -> list[str]:
        rates = ([_cells(each, n, effect, *wanted) for n in PROCESSES] for each in found)
        return [name, *(" / ".join(f"{100 * rate:.1f}" for rate in each) for each in rates)]

    counts = " / ".join(map(str, PROCESSES))
    headings = [f"p{part:g} of {CALLS * times:,}" for part, times in _LOOKED_AT]
    false = [line(name, found, 0.0, *DIFFERENT) for name, found in drawn.items()]
    powers = [
        line(f"{name}, {effect:.0%} slower", found, effect, Verdict.SLOWER)
        for name, found in drawn.items()
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
