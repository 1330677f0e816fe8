"""From the samples of processes to comparisons of cases of one machine.

What each process says of a ratio, from samples of the same round; what is paired with what; and the
t distribution of all processes together. The unit of replication is the run (one process), because
samples of one process agree with one another far better than the medians of fresh processes do.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.stats.comparison import (
    PLAIN_MEAN_OPPOSED,
    PROCESSES_SHIFTED,
    Basis,
    Comparison,
    Pairing,
    Verdict,
    basis_of,
    verdicts,
)
from bench.stats.intervals import (
    ENOUGH_PROCESSES,
    UNPAIRED_ALLOWANCE,
    VERDICT_CONFIDENCE,
    Estimates,
    FloatArray,
    IntArray,
    Interval,
    Means,
    Reason,
    boundaries,
    checked_times,
    median_intervals,
    process_means,
)


@dataclass(frozen=True, slots=True)
class RunSamples:
    """What one process measured of one case.

    run: the process's id; samples of both sides with the same id share that process.
    samples ``[n]`` in seconds per step.
    rounds ``[n]``: the alternating round of each sample, or None where the case was not measured
        in turn with the other one (numbers from different groups of cases mean nothing together).
    adjacent: whether ``run`` names two processes, one right after the other, each of which measured
        one side.
    node: the machine, where several of one kind measured and are to be distinguished, else empty.
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
        """The same next to a case that was not measured in turn with it: rounds mean nothing."""
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
        raise ValueError(f"rounds: shape {rounds.shape}")
    if rounds.dtype.kind not in "iu":
        raise ValueError(f"rounds: {rounds.dtype}")


BoolArray: TypeAlias = npt.NDArray[np.bool_]

Sides: TypeAlias = (
    tuple[Sequence[RunSamples], Sequence[RunSamples]]
    | tuple[Sequence[RunSamples], Sequence[RunSamples], Sequence[RunSamples]]
)
"""The runs of a new case, of a base and, perhaps, of a bridge."""


@dataclass(frozen=True)
class Units:
    """The log medians of the processes of many comparisons or sides, one after the other.

    runs: the processes' ids; logs ``[units]``; errors ``[units]``: each one's own standard error;
    offsets ``[comparisons + 1]``; in_order ``[comparisons]``: whether the processes of each stand
    in the order in which they started.
    """

    runs: list[str]
    logs: FloatArray
    errors: FloatArray
    offsets: IntArray
    in_order: BoolArray

    def means(self, allowance: float | FloatArray) -> Means:
        """Over the processes of each comparison or side; with their own doubt, if few."""
        counts = np.diff(self.offsets)
        allowances = np.broadcast_to(np.asarray(allowance, dtype=np.float64), counts.shape)
        found = np.empty((8, counts.size))
        for count in np.unique(counts):
            here = np.flatnonzero(counts == count)
            logs = self.logs[self.offsets[here][:, None] + np.arange(count)]
            of = process_means(logs, allowances[here], self.in_order[here])
            found[:, here] = [getattr(of, each.name) for each in fields(Means)]
        few = counts < ENOUGH_PROCESSES
        # The standard error of the mean of the processes of each, from their own.
        mean = np.sqrt(np.add.reduceat(self.errors**2, self.offsets[:-1])) / counts
        return Means(*found).with_own(np.where(few, mean, 0.0))


def compare_each(pairs: Sequence[Sides]) -> list[Comparison]:
    """``ratios.compare_all`` of pairs of cases of one machine.

    Raises ValueError as it does.
    """
    kinds: dict[Callable[..., list[Comparison]], dict[int, tuple[list[RunSamples], ...]]] = {}
    for index, (new, base, *bridge) in enumerate(pairs):
        sides = by_run("new", new), by_run("base", base)
        if both := shared(*sides):
            kinds.setdefault(_compare_paired, {})[index] = both
            continue
        over = [shared(side, {run.run: run for run in third}) for third in bridge for side in sides]
        if over and all(over):
            kinds.setdefault(_compare_bridged, {})[index] = (*over[0], *over[1])
        else:
            kinds.setdefault(_compare_unpaired, {})[index] = tuple(
                list(side.values()) for side in sides
            )
    found: dict[int, Comparison] = {}
    for compared, cases in kinds.items():
        found.update(zip(cases, compared(list(cases.values())), strict=True))
    return [found[index] for index in range(len(pairs))]


def shared(
    one: Mapping[str, RunSamples], other: Mapping[str, RunSamples]
) -> tuple[list[RunSamples], list[RunSamples]] | tuple[()]:
    """The runs that two cases share, of each; nothing if there are none."""
    runs = [run for run in one if run in other]
    return ([one[run] for run in runs], [other[run] for run in runs]) if runs else ()


def _ratios(
    new: Sequence[Sequence[RunSamples]], base: Sequence[Sequence[RunSamples]]
) -> tuple[Units, tuple[Units, Units], BoolArray]:
    """The processes' log ratios, the log medians they are made of, and which took turns.

    Of sides that are of the same runs, in the same order, ``[comparisons][processes]``. A
    comparison is of alternating blocks if all of its processes measured in turn.
    """
    counts = np.array([len(each) for each in new])
    news, bases = ([run for each in side for run in each] for side in (new, base))
    offsets = boundaries(counts)
    log_new, log_base, errors = paired_logs(news, bases)
    # One process without a shared round, and the comparison is not of alternating blocks.
    alternating = np.logical_and.reduceat(np.isfinite(log_new), offsets[:-1])
    rest = np.flatnonzero(np.repeat(~alternating, counts))
    if rest.size:
        mids_new, errors_new = medians_and_errors([news[index].samples for index in rest])
        mids_base, errors_base = medians_and_errors([bases[index].samples for index in rest])
        log_new[rest], log_base[rest] = np.log(mids_new), np.log(mids_base)
        errors[rest] = np.hypot(errors_new, errors_base)
    runs = [run.run for run in news]
    in_order = np.array([_in_order(each) for each in new])
    ratios, *sides = (
        Units(runs, logs, errors, offsets, in_order)
        for logs in (log_new - log_base, log_new, log_base)
    )
    return ratios, (sides[0], sides[1]), alternating


def _compare_paired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    """The two sides of each pair are of the same runs, in the same order."""
    ratios, logs, alternating = _ratios([new for new, _ in pairs], [base for _, base in pairs])
    pairings = [
        Pairing.ADJACENT
        if any(run.adjacent for run in new)
        else Pairing.ALTERNATING
        if interleaved
        else Pairing.SEQUENTIAL
        for (new, _), interleaved in zip(pairs, alternating.tolist(), strict=True)
    ]
    means = ratios.means(np.array([pairing.allowance for pairing in pairings]))
    bases = [basis_of(pairing, len(new)) for (new, _), pairing in zip(pairs, pairings, strict=True)]
    return judged(difference(means), bases, logs, [means])


def _compare_bridged(quadruples: Sequence[Sequence[Sequence[RunSamples]]]) -> list[Comparison]:
    """Each is the new side, the bridge in its runs, the base side, and the bridge in its runs."""
    new, over_new, base, over_base = zip(*quadruples, strict=True)
    units = [_ratios(new, over_new)[0], _ratios(base, over_base)[0]]
    parts = [side.means(Pairing.BRIDGED.allowance).over_bridge() for side in units]
    bases = [basis_of(Pairing.BRIDGED, *map(len, sides)) for sides in zip(new, base, strict=True)]
    return judged(difference(*parts), bases, (units[0], units[1]), parts)


def _compare_unpaired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    sides = [medians_of([pair[side] for pair in pairs]) for side in (0, 1)]
    parts = [side.means(Pairing.UNPAIRED.allowance) for side in sides]
    bases = [basis_of(Pairing.UNPAIRED, len(new), len(base)) for new, base in pairs]
    return judged(difference(*parts), bases, (sides[0], sides[1]), parts)


def medians_of(sides: Sequence[Sequence[RunSamples]]) -> Units:
    """The log medians of the processes of each side."""
    runs = [run for side in sides for run in side]
    mids, errors = medians_and_errors([run.samples for run in runs])
    offsets = boundaries(np.array([len(side) for side in sides]))
    in_order = np.array([_in_order(side) for side in sides])
    return Units([run.run for run in runs], np.log(mids), errors, offsets, in_order)


def _in_order(runs: Sequence[RunSamples]) -> bool:
    """Whether the runs are known to be in the order in which they started."""
    return all(run.started is not None for run in runs)


@dataclass(frozen=True)
class LogRatios(Estimates):
    """Log ratios, and why each is not firmer: the reason of a verdict that was taken back."""

    reasons: Sequence[tuple[Reason, ...]]


def difference(new: Means, base: Means | None = None) -> LogRatios:
    """Return the log ratios of paired means, or of two sides, as wide as their processes ask for.

    Where processes moved during the session, their means allow for it. Where outlying processes are
    left out and the arithmetic mean of all has the other sign, the interval reaches as far beyond 0
    as that mean, or as the middle on its own side, whichever is nearer: no verdict rests on what
    was left out alone.
    """
    found: Estimates = new if base is None else new.minus(base)
    steady = replace(new, errors=new.steady_errors)
    before = steady if base is None else steady.minus(replace(base, errors=base.steady_errors))
    plain = new.plain if base is None else new.plain - base.plain
    middles = found.middles
    opposed = middles * plain < 0
    beyond = np.where(opposed, np.abs(middles) + np.minimum(np.abs(middles), np.abs(plain)), 0.0)
    unit = found.bounds()[1] - middles
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(beyond > unit, found.errors * beyond / unit, found.errors)
    wide = Estimates(middles, errors, found.degrees)
    firm, steadily, finally_ = (
        verdicts(*each.bounds()) != Verdict.UNCLEAR for each in (found, before, wide)
    )
    shifts = new.shifts if base is None else _larger(new.shifts, base.shifts)
    reasons: list[tuple[Reason, ...]] = [()] * middles.size
    for index in np.flatnonzero((firm | steadily) & ~finally_).tolist():
        if firm[index]:
            reasons[index] = (Reason(PLAIN_MEAN_OPPOSED, {"ratio": math.exp(plain[index])}),)
        else:
            shift = math.expm1(abs(float(shifts[index])))
            reasons[index] = (Reason(PROCESSES_SHIFTED, {"shift": shift}),)
    return LogRatios(middles, errors, found.degrees, reasons)


def _larger(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.where(np.abs(one) >= np.abs(other), one, other)


def judged(
    found: Estimates,
    bases: Sequence[Basis],
    logs: tuple[Units, Units] | None = None,
    parts: Sequence[Means] = (),
) -> list[Comparison]:
    """Of each log ratio the interval and the verdict, on its basis.

    logs: of the processes of both sides. parts: what the sides' means stand on, if it is to be
    told: how far the good processes spread, and how many were left out.
    """
    lows, highs = found.bounds()
    with np.errstate(over="ignore", under="ignore"):
        bounds = [np.exp(each).tolist() for each in (lows, found.middles, highs)]
    names = verdicts(lows, highs).tolist()
    each_log: list[list[dict[str, float]]] = [[], []]
    for units, each_side in zip(logs or (), each_log, strict=False):
        values, ends = units.logs.tolist(), units.offsets.tolist()
        each_side.extend(
            dict(zip(units.runs[start:end], values[start:end], strict=True))
            for start, end in itertools.pairwise(ends)
        )
    if parts:
        # A side of one process has no spread (not a number), and then neither has the comparison.
        widest = functools.reduce(np.maximum, [part.spreads for part in parts])
        spreads = [None if math.isnan(each) else each for each in widest.tolist()]
        aside = functools.reduce(np.add, [part.aside for part in parts]).tolist()
    else:
        spreads, aside = [None] * len(names), [0.0] * len(names)
    count = len(names)
    in_order = logs[0].in_order.tolist() if logs else [False] * count
    reasons = found.reasons if isinstance(found, LogRatios) else [()] * count
    return [
        Comparison(
            Interval(low, mid, high, VERDICT_CONFIDENCE),
            _VERDICTS[name],
            *basis,
            *numbers,
            *each,
            *shown,
        )
        for low, mid, high, name, basis, *numbers, each, shown in zip(
            *bounds,
            names,
            bases,
            found.middles.tolist(),
            found.errors.tolist(),
            found.degrees.tolist(),
            zip(*each_log, strict=True) if logs else [({}, {})] * count,
            zip(spreads, aside, in_order, reasons, strict=True),
            strict=True,
        )
    ]


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def by_run(name: str, runs: Sequence[RunSamples]) -> dict[str, RunSamples]:
    """Return the runs of a side by their ids, in the order in which they started, if known.

    Raises ValueError for none, and for one that is twice.
    """
    if len(runs) == 0:
        raise ValueError(f"{name}: no run")
    started = [run.started for run in runs if run.started is not None]
    if len(started) == len(runs) and any(a > b for a, b in itertools.pairwise(started)):
        runs = sorted(runs, key=lambda run: run.started or 0.0)
    found: dict[str, RunSamples] = {}
    for run in runs:
        if run.run in found:
            raise ValueError(f"{name}: {run.run!r} twice")
        found[run.run] = run
    return found
