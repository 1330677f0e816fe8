"""How sure a ratio is: paired and unpaired, over processes, as pure functions of samples.

This room knows arrays of seconds and nothing else: no files, no cases, no framework. The unit of
replication is the run (one process), because one process's median is not the truth: samples of
one process agree with one another far better than the medians of fresh processes do, and a test
that pools them finds differences that are not there (``docs/verdicts.md`` has the rates). All
intervals are made over arrays, so that many cases cost little more than one; what is named in the
singular is the face for one case of the same arithmetic. ``process_means`` knows bad processes.

Ratios are ``time_new / time_base``: below 1, the new side is faster. Spreads are standard
deviations of log times, which for small values are relative spreads (0.035 is 3.5%).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from bench.judging.basis import (
    SET_ASIDE,
    Basis,
    Pairing,
    allowance_words,
    at_least,
    bridged_basis,
    paired_basis,
    pairing_words,
    unpaired_basis,
)
from bench.judging.comparison import Comparison
from bench.judging.intervals import IntArray, Interval, boundaries, count_words
from bench.judging.process_means import (
    ENOUGH_PROCESSES,
    VERDICT_CONFIDENCE,
    FloatArray,
    Means,
    process_means,
)
from bench.judging.verdict import GATE_LEVEL, Verdict, log_intervals, p_slower, verdicts, welch
from bench.judging.within import RunSamples, medians_and_errors, paired_logs

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# The largest spreads between processes that were seen on two shared CPU cores: of the ratio of two
# sides that were measured one after the other, and of the medians of a case. They stand in for the
# spread of *times* where processes are too few to show it.
SEQUENTIAL_ALLOWANCE = 0.15

# Samples that are judged in one go: some 100 MB of arrays.
_MOST_AT_ONCE = 1_000_000


Sides: TypeAlias = (
    tuple[Sequence[RunSamples], Sequence[RunSamples]]
    | tuple[Sequence[RunSamples], Sequence[RunSamples], Sequence[RunSamples]]
)
"""The runs of a new case, of a base and, perhaps, of a bridge."""


def compare(*sides: Sequence[RunSamples]) -> Comparison:
    """The ratio ``time_new / time_base`` of two cases, with its 99.5% interval and its verdict.

    If the sides share runs, only those count, and the unit is a run's log ratio of medians: over
    the shared alternating rounds (``ALTERNATING``), or of all samples where rounds are not given
    or not shared (``SEQUENTIAL``). Else the units are each side's log medians (``UNPAIRED``); with
    a third case, the bridge, that shares runs with each, they are each side's log ratios to it
    (``BRIDGED``): what a process's luck does to both of its cases is no part of these.

    The interval is a t-interval over the processes in which bad ones count for little (see
    ``process_means``), or Welch's of two such sides (Welch 1947). With fewer than 6 processes (on a
    side) an allowance for this pairing stands in for what they cannot show, and each process's own
    doubt is added in quadrature; one process gets a verdict only beyond what one can be off by.

    Raises ValueError where a side is empty or has one run twice.
    """
    return compare_all([cast("Sides", sides)])[0]


def compare_all(pairs: Sequence[Sides]) -> list[Comparison]:
    """``compare`` of many pairs of cases at once, each ``(new, base)`` or with a bridge after it.

    Raises ValueError as it does.
    """
    found: list[Comparison] = []
    start = size = 0
    # A part at a time, so that the arrays of a large store do not stand in memory all at once.
    for index, sides in enumerate(pairs, start=1):
        size += sum(run.samples.size for side in sides for run in side)
        if size > _MOST_AT_ONCE or index == len(pairs):
            found.extend(_compare_part(pairs[start:index]))
            start, size = index, 0
    return found


def geometric_mean(comparisons: Sequence[Comparison]) -> Comparison:
    """The geometric mean of the ratios of several cases, with its interval and its verdict.

    The cases of one process share its luck, so they are not independent. Where all cases were
    measured in the same 6 processes or more, the unit is a process's own geometric mean, which
    carries that luck. Else the standard error is the mean of the cases' errors: what it is if all
    of them err together, and no more than that otherwise.

    Raises ValueError without a comparison.
    """
    if len(comparisons) == 0:
        raise ValueError("a geometric mean needs at least one ratio")
    first = comparisons[0]
    # The widest allowance, the loosest pairing and the fewest processes stand for all of them.
    order = list(Pairing)
    pairing = max((item.pairing for item in comparisons), key=order.index)
    allowance = max((item.allowance for item in comparisons if item.allowance), default=None)
    processes = min(item.processes for item in comparisons)
    cases = f"{len(comparisons)} case{'s' if len(comparisons) > 1 else ''}"
    together = allowance is None and all(
        item.pairing is first.pairing
        and item.new_logs.keys() == first.new_logs.keys()
        and item.base_logs.keys() == first.base_logs.keys()
        for item in comparisons
    )
    if not together:
        how = f"{cases}, taken to err together; {at_least(processes)}"
        if allowance is not None:
            how += f": {allowance_words(allowance)}"
        return _comparisons(
            np.array([np.mean([item.log_ratio for item in comparisons])]),
            np.array([np.mean([item.standard_error for item in comparisons])]),
            np.array([min(item.degrees for item in comparisons)]),
            [(processes, pairing, allowance, how)],
        )[0]
    new = {run: float(np.mean([c.new_logs[run] for c in comparisons])) for run in first.new_logs}
    base = {run: float(np.mean([c.base_logs[run] for c in comparisons])) for run in first.base_logs}
    if first.paired:
        parts = [_mean_of([new[run] - base[run] for run in new], pairing)]
    else:
        parts = [_mean_of(list(side.values()), pairing) for side in (new, base)]
    means = f"the geometric means of {count_words(processes)}{SET_ASIDE}"
    how = f"{cases}: {pairing_words(pairing)} {means}"
    found = _comparisons(*_difference(*parts), [(processes, pairing, None, how)], parts=parts)[0]
    return replace(found, new_logs=new, base_logs=base)


def all_slower(groups: Sequence[Sequence[Comparison]]) -> list[bool]:
    """Of each group of comparisons with one base, whether all are SLOWER: it is the fastest.

    They are judged together: each p-value must stand at the level over their number (Bonferroni).
    Holm's method is no help where all must stand: it would leave the weakest, which is the one that
    errs, without any correction, and with the choice of the first by its median that errs in more
    than 1% where an equal third is noisy. A single comparison is judged as by its verdict. False
    where there is none.
    """
    every = [found for group in groups for found in group]
    if not every:
        return [False] * len(groups)
    numbers = np.array([(each.log_ratio, each.standard_error, each.degrees) for each in every])
    p_values = p_slower(numbers[:, 0], numbers[:, 1], numbers[:, 2]).tolist()
    told, start = [], 0
    for group in groups:
        p, start = p_values[start : start + len(group)], start + len(group)
        told.append(
            bool(group)
            and all(found.verdict is Verdict.SLOWER for found in group)
            and max(p) <= GATE_LEVEL / len(p)
        )
    return told


# Parts


@dataclass(frozen=True)
class _Units:
    """The log medians of the processes of many comparisons or sides, one after the other.

    runs: the processes' ids; logs ``[units]``; errors ``[units]``: each one's own standard error;
    offsets ``[comparisons + 1]``.
    """

    runs: list[str]
    logs: FloatArray
    errors: FloatArray
    offsets: IntArray

    def means(self, allowance: float | FloatArray) -> Means:
        """Over the processes of each comparison or side; with their own doubt, if few."""
        counts = np.diff(self.offsets)
        allowances = np.broadcast_to(np.asarray(allowance, dtype=np.float64), counts.shape)
        found = np.empty((5, counts.size))
        for count in np.unique(counts):
            here = np.flatnonzero(counts == count)
            logs = self.logs[self.offsets[here][:, None] + np.arange(count)]
            of = process_means(logs, allowances[here])
            found[:, here] = (of.middles, of.errors, of.degrees, of.spreads, of.aside)
        few = counts < ENOUGH_PROCESSES
        own = np.where(few, _mean_errors(self.errors, self.offsets), 0.0)
        return Means(found[0], np.hypot(found[1], own), found[2], found[3], found[4])


def _compare_part(pairs: Sequence[Sides]) -> list[Comparison]:
    kinds: dict[Callable[..., list[Comparison]], dict[int, tuple[list[RunSamples], ...]]] = {}
    for index, (new, base, *bridge) in enumerate(pairs):
        sides = _by_run("new", new), _by_run("base", base)
        if shared := _shared(*sides):
            kinds.setdefault(_compare_paired, {})[index] = shared
            continue
        over = [
            _shared(side, {run.run: run for run in third}) for third in bridge for side in sides
        ]
        if over and all(over):
            kinds.setdefault(_compare_bridged, {})[index] = (*over[0], *over[1])
        else:
            kinds.setdefault(_compare_unpaired, {})[index] = (list(new), list(base))
    found: dict[int, Comparison] = {}
    for compared, cases in kinds.items():
        found.update(zip(cases, compared(list(cases.values())), strict=True))
    return [found[index] for index in range(len(pairs))]


def _shared(
    one: Mapping[str, RunSamples], other: Mapping[str, RunSamples]
) -> tuple[list[RunSamples], list[RunSamples]] | tuple[()]:
    """The runs that two cases share, of each; nothing if there are none."""
    runs = [run for run in one if run in other]
    return ([one[run] for run in runs], [other[run] for run in runs]) if runs else ()


@dataclass(frozen=True)
class _Ratios:
    """Of many comparisons, the processes' log ratios, and the log medians they are made of.

    alternating ``[comparisons]``: whether all of its processes measured in turn.
    """

    units: _Units
    logs: tuple[_Units, _Units]
    alternating: BoolArray


def _ratios(new: Sequence[Sequence[RunSamples]], base: Sequence[Sequence[RunSamples]]) -> _Ratios:
    """Of sides that are of the same runs, in the same order, ``[comparisons][processes]``."""
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
    return _Ratios(
        _Units(runs, log_new - log_base, errors, offsets),
        (_Units(runs, log_new, errors, offsets), _Units(runs, log_base, errors, offsets)),
        alternating,
    )


def _compare_paired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    """The two sides of each pair are of the same runs, in the same order."""
    found = _ratios([new for new, _ in pairs], [base for _, base in pairs])
    pairings = [
        Pairing.ADJACENT
        if any(run.adjacent for run in new)
        else Pairing.ALTERNATING
        if alternating
        else Pairing.SEQUENTIAL
        for (new, _), alternating in zip(pairs, found.alternating.tolist(), strict=True)
    ]
    means = found.units.means(np.array([pairing.allowance for pairing in pairings]))
    bases = [
        paired_basis(len(new), pairing) for (new, _), pairing in zip(pairs, pairings, strict=True)
    ]
    return _comparisons(*_difference(means), bases, found.logs, [means])


def _compare_bridged(quadruples: Sequence[Sequence[Sequence[RunSamples]]]) -> list[Comparison]:
    """Each is the new side, the bridge in its runs, the base side, and the bridge in its runs."""
    new, over_new, base, over_base = zip(*quadruples, strict=True)
    units = [_ratios(new, over_new).units, _ratios(base, over_base).units]
    parts = [side.means(Pairing.BRIDGED.allowance).over_bridge() for side in units]
    bases = [bridged_basis(len(one), len(other)) for one, other in zip(new, base, strict=True)]
    return _comparisons(*_difference(*parts), bases, (units[0], units[1]), parts)


def _compare_unpaired(
    pairs: Sequence[tuple[Sequence[RunSamples], Sequence[RunSamples]]],
) -> list[Comparison]:
    sides: list[_Units] = []
    for side in (0, 1):
        runs = [run for pair in pairs for run in pair[side]]
        mids, errors = medians_and_errors([run.samples for run in runs])
        offsets = boundaries(np.array([len(pair[side]) for pair in pairs]))
        sides.append(_Units([run.run for run in runs], np.log(mids), errors, offsets))
    parts = [side.means(Pairing.UNPAIRED.allowance) for side in sides]
    bases = [unpaired_basis(len(new), len(base)) for new, base in pairs]
    return _comparisons(*_difference(*parts), bases, (sides[0], sides[1]), parts)


def _difference(new: Means, base: Means | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The middles, errors and degrees of ratios: of paired means as they are, or of two sides."""
    if base is None:
        return new.middles, new.errors, new.degrees
    variance, degrees = welch(new.errors**2, new.degrees, base.errors**2, base.degrees)
    return new.middles - base.middles, np.sqrt(variance), degrees


def _mean_of(values: Sequence[float], pairing: Pairing) -> Means:
    return process_means(np.array([values]), pairing.allowance)


def _comparisons(
    log_ratios: FloatArray,
    standard_errors: FloatArray,
    degrees: FloatArray,
    bases: Sequence[Basis],
    logs: tuple[_Units, _Units] | None = None,
    parts: Sequence[Means] = (),
) -> list[Comparison]:
    lows, highs = log_intervals(log_ratios, standard_errors, degrees)
    with np.errstate(over="ignore", under="ignore"):
        bounds = [np.exp(each).tolist() for each in (lows, log_ratios, highs)]
    names = verdicts(lows, highs).tolist()
    by_run: list[list[dict[str, float]]] = [[], []]
    for units, found in zip(logs or (), by_run, strict=False):
        values, ends = units.logs.tolist(), units.offsets.tolist()
        found.extend(
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
            log_ratios.tolist(),
            standard_errors.tolist(),
            degrees.tolist(),
            zip(*by_run, strict=True) if logs else [({}, {})] * len(names),
            zip(spreads, aside, strict=True),
            strict=True,
        )
    ]


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _mean_errors(errors: FloatArray, offsets: IntArray) -> FloatArray:
    """The standard error of the mean of each segment of values with these standard errors."""
    sums = np.add.reduceat(errors**2, offsets[:-1])
    return np.asarray(np.sqrt(sums) / np.diff(offsets), dtype=np.float64)


def _by_run(name: str, runs: Sequence[RunSamples]) -> dict[str, RunSamples]:
    if len(runs) == 0:
        raise ValueError(f"the {name} side of the comparison has no run")
    found: dict[str, RunSamples] = {}
    for run in runs:
        if run.run in found:
            raise ValueError(
                f"run {run.run!r} stands twice on the {name} side; "
                "one process is one replicate, however often it is given"
            )
        found[run.run] = run
    return found
