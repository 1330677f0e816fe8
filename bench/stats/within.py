"""What one process says of a ratio: samples of the same round, paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.intervals import (
    UNPAIRED_ALLOWANCE,
    IntArray,
    boundaries,
    checked_times,
    median_intervals,
)
from bench.stats.process_means import FloatArray


@dataclass(frozen=True, slots=True)
class RunSamples:
    """What one process measured of one case.

    run: the process's id; samples of both sides with the same id share that process.
    samples ``[n]`` in seconds per step.
    rounds ``[n]``: the alternating round of each sample, or None where the case was not measured
        in turn with the other one (numbers from different groups of cases mean nothing together).
    adjacent: whether ``run`` names two processes, one right after the other, each of which measured
        one side.
    node: the machine, where several of one kind measured and are to be told apart, else empty.
    started: when the process started, in seconds since any moment; None if that is not known. The
        order of processes is judged where it is known of all of them.

    Raises ValueError for samples that are not finite and positive, or rounds of another length.
    """

    run: str
    samples: FloatArray
    rounds: IntArray | None = None
    adjacent: bool = False
    node: str = ""
    started: float | None = None

    def __post_init__(self) -> None:
        checked_times("samples", self.samples)
        if self.rounds is not None:
            _check_rounds(self.rounds, self.samples.shape)

    @property
    def out_of_turn(self) -> RunSamples:
        """The same beside a case that was not measured in turn with it: rounds mean nothing."""
        return RunSamples(self.run, self.samples, node=self.node, started=self.started)


def paired_logs(
    new: Sequence[RunSamples], base: Sequence[RunSamples]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each pair of runs: log medians over the shared rounds, and their difference's error.

    All three ``[pairs]`` are not a number where no round is shared.
    """
    values, rounds, owners = [], [], []
    for side in (new, base):
        with_rounds = [(run.samples, run.rounds) for run in side if run.rounds is not None]
        values.append(np.concatenate([np.empty(0), *(each[0] for each in with_rounds)]))
        rounds.append(np.concatenate([np.empty(0, np.int64), *(each[1] for each in with_rounds)]))
        sizes = [0 if run.rounds is None else run.rounds.size for run in side]
        owners.append(np.repeat(np.arange(len(side)), sizes))
    log_new, log_base, errors = (np.full(len(new), np.nan) for _ in range(3))
    # A number for each round of each pair, so that all of them are matched by one sorting.
    codes = np.concatenate(rounds)
    first, last = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if (last - first + 1) * len(new) < 2**62:
        codes, span = codes - first, last - first + 1
    else:
        known, codes = np.unique(codes, return_inverse=True)
        span = known.size
    keys = [
        owner * span + code
        for owner, code in zip(owners, np.split(codes, [rounds[0].size]), strict=True)
    ]
    if not (keys[0].size and keys[1].size):
        return log_new, log_base, errors
    # Stable, since what is sorted already, as most is, then costs no sorting.
    distinct = [_runs_of_equals(np.sort(key, kind="stable"))[0] for key in keys]
    shared = distinct[0][_among(*distinct)]
    if shared.size == 0:
        return log_new, log_base, errors
    places, offsets = _runs_of_equals(shared // span)
    by_round: list[FloatArray] = []
    for times, key, logs in zip(values, keys, (log_new, log_base), strict=True):
        order = np.argsort(key, kind="stable")
        order = order[_among(key[order], shared)]
        times, key = times[order], key[order]
        logs[places] = np.log(median_intervals(times, _runs_of_equals(key // span)[1])[1])
        # A round may hold several samples of a side: its median stands for them.
        by_round.append(median_intervals(np.log(times), _runs_of_equals(key)[1])[1])
    # The difference within each round, so that a drift that both sides follow cancels.
    low, _, high, coverage = median_intervals(by_round[0] - by_round[1], offsets)
    errors[places] = own_errors(low, high, coverage)
    return log_new, log_base, errors


def _among(values: IntArray, known: IntArray) -> npt.NDArray[np.bool_]:
    """Which of the values are among the known ones, which are sorted."""
    place = np.minimum(np.searchsorted(known, values), known.size - 1)
    return np.asarray(known[place] == values)


def _runs_of_equals(ordered: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct values of an ordered, non-empty array, and where each begins, and the end."""
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    return ordered[starts], np.append(starts, ordered.size)


def medians_and_errors(arrays: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The median of each process's samples, and the standard error of its logarithm."""
    offsets = boundaries(np.array([values.size for values in arrays]))
    low, mid, high, coverage = median_intervals(np.concatenate(arrays), offsets)
    return mid, own_errors(np.log(low), np.log(high), coverage)


def own_errors(low: FloatArray, high: FloatArray, coverage: FloatArray) -> FloatArray:
    """The standard error of the median of each process's logs, without a normal assumption.

    low, high, coverage: of the order-statistics interval of the logs. It is the half width over
    the normal quantile of the confidence that the interval really has: stragglers widen it only
    where they reach the middle. A single sample shows nothing of its own spread (its coverage is
    0); the widest allowance stands in.
    """
    from scipy import special

    alone = coverage == 0
    quantile = special.ndtri((1 + np.where(alone, 0.5, coverage)) / 2)
    return np.where(alone, UNPAIRED_ALLOWANCE, (high - low) / 2 / quantile)


def _check_rounds(rounds: IntArray, shape: tuple[int, ...]) -> None:
    if rounds.shape != shape:
        raise ValueError(f"rounds have the shape {rounds.shape}; expected {shape}, one a sample")
    if rounds.dtype.kind not in "iu":
        raise ValueError(f"rounds are of type {rounds.dtype}; expected whole numbers")
