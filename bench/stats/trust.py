"""Find whether the numbers of a case are reliable, over all processes that measured it.

Each process records whether its measurement is valid. Times and ratios are judged separately: if
the speed of a machine changes, a time is unreliable, but not the ratio of two backends that were
interleaved in the same processes. With enough processes, their medians show how far they agree. A
disturbance of a few of them is then only noted.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.machine.reasons import Reason
from bench.records.grouping import group_by
from bench.records.schema import Measurement, Outcome
from bench.stats.intervals import ENOUGH_PROCESSES, CaseInterval, halves_agree
from bench.stats.ratios import RunSamples

WIDE = 0.05
"""The largest accepted relative half width of a median's 95% interval.

Backends often differ by less.
"""

WIDE_OVER_PROCESSES = 0.25
"""The same over processes, between which the speed of the machine itself changes, by a tenth and
more on shared machines.

Beyond a quarter, not even the first digit of a time is known.
"""

MINORITY = 0.25
"""The part of the processes that may have been disturbed.

So few of them hardly change the median.
"""

FEW_PROCESSES = "few_processes"
"""Noted if a session ended before a case had enough processes for an interval without an allowance.

``bench.run`` counts such cases as INVALID.
"""

WIDE_INTERVAL = "wide_interval"
"""The interval of a median is too wide, in one process or over several."""

FEW_SAMPLES, NOT_STEADY = "few_samples", "not_steady"
"""Recorded by a process that has few samples, or whose earlier and later samples differ."""

OF_RATIO = UNSTEADY_RATIO, FEW_ROUNDS = "unsteady_ratio", "few_rounds"
"""The problems of a ratio of two valid sides.

It differs between the earlier and later rounds of a process, or has too few rounds for an interval.
"""

_OF_ONE_PROCESS = (FEW_SAMPLES, WIDE_INTERVAL)
"""The reasons that do not matter with enough processes, because their medians show how far they
agree.
"""

OF_TIME = (*_OF_ONE_PROCESS, NOT_STEADY)
"""The reasons that concern only times.

A ratio has an interval of its own, and its steadiness is tested separately.
"""

_GRAVE = ("failed", "timed_out")
"""The outcomes that make a case INVALID, however many other processes have a time."""


@dataclass(frozen=True)
class Problem:
    """Why a row is unreliable, with the number of its runs that are affected.

    reason: recorded by a process, or found in this module. runs: the affected runs. of: all runs.
    """

    code: str
    reason: Reason
    runs: int
    of: int


@dataclass(frozen=True)
class Validity:
    """The problems of a case.

    invalid: those of its time and its ratios. of_time: those of its time only. noted: those without
    consequences. unsteady, few_samples: the ids of the processes in which it reached no steady
    state, or had few samples. managed: whether ``bench.run`` measured it; advice then names options
    of ``bench.run``.
    """

    invalid: tuple[Problem, ...] = ()
    of_time: tuple[Problem, ...] = ()
    noted: tuple[Problem, ...] = ()
    unsteady: frozenset[str] = frozenset()
    few_samples: frozenset[str] = frozenset()
    managed: bool = False

    @property
    def time(self) -> tuple[Problem, ...]:
        """Return the problems of its time."""
        return self.invalid + self.of_time

    @property
    def unpaired(self) -> tuple[Problem, ...]:
        """Return the problems of a ratio between this case and a case of other processes.

        No noise cancels in such a ratio, so an unsteady time makes an unsteady ratio. The interval
        of the ratio already contains that of the time.
        """
        return self.invalid + tuple(each for each in self.of_time if each.code != WIDE_INTERVAL)


def pool(
    measured: Sequence[Measurement], outcomes: Sequence[Outcome], interval: CaseInterval
) -> Validity:
    """Return the problems of a case over its processes.

    measured: at least one measurement. outcomes: those of processes in which the case got no time.
    interval: that of the case's median over the processes.
    """
    runs = len({item.run.id for item in measured} | {item.run.id for item in outcomes})
    reasons = [reason for item in measured if not item.valid for reason in item.reasons]
    for outcome in outcomes:
        if outcome.outcome != "interrupted":  # This outcome comes from the keyboard.
            reasons.append(Reason(outcome.outcome, {"of": outcome.reason}))
    processes = len(measured)
    enough = processes >= ENOUGH_PROCESSES
    found: dict[str, list[Problem]] = {"invalid": [], "of_time": [], "noted": []}
    for code, same in group_by(reasons, lambda reason: reason.code).items():
        if enough and code in _OF_ONE_PROCESS:
            continue
        disturbed = min(len(same), runs)
        matters = not enough or code in _GRAVE or _many(disturbed, processes + len(outcomes))
        kind = ("of_time" if code in OF_TIME else "invalid") if matters else "noted"
        found[kind].append(Problem(code, same[0], disturbed, runs))
    if not enough and any(item.run.session != item.run.id for item in measured):
        few = Reason(FEW_PROCESSES, {"processes": processes})
        found["noted"].append(Problem(FEW_PROCESSES, few, runs, runs))
    if enough and interval.half_width > WIDE:
        too_wide = interval.half_width > WIDE_OVER_PROCESSES
        over = {"nodes": interval.nodes} if interval.nodes else {"processes": interval.processes}
        values = {"width": interval.half_width, "nodes": 0, "processes": 0, **over}
        wide = Reason("wide" if too_wide else "uneven", values)
        kind = "of_time" if too_wide else "noted"
        found[kind].append(Problem(WIDE_INTERVAL, wide, runs, runs))
    unsteady, few_samples = (
        frozenset(
            item.run.id
            for item in measured
            if not item.valid and code in {reason.code for reason in item.reasons}
        )
        for code in (NOT_STEADY, FEW_SAMPLES)
    )
    return Validity(
        **{name: tuple(problems) for name, problems in found.items()},
        unsteady=unsteady,
        few_samples=few_samples,
        managed=measured[0].run.managed,
    )


def _many(disturbed: int, processes: int) -> bool:
    """Return whether more processes were disturbed than a result over them can bear."""
    return disturbed > MINORITY * processes if processes >= ENOUGH_PROCESSES else disturbed > 0


NO_PROBLEMS = Validity()


def drop_duplicates(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return one problem of each kind."""
    return tuple({problem.code: problem for problem in found}.values())


Side = tuple[Validity, Sequence[RunSamples]]
"""One side of a ratio: its problems, and the samples of its processes."""


def find_ratio_problems(new: Side, base: Side) -> tuple[Problem, ...]:
    """Return the problems of a ratio, except those that make a side INVALID.

    For sides in the same processes, there are two. In too many processes, the ratio differs between
    the earlier and the later rounds (``halves_agree`` on the ratios of rounds, in which a common
    drift cancels). Or with fewer than 6 processes, one has few rounds. For other sides, these are
    the problems of their times.
    """
    (validity, runs), (base_validity, base_runs) = new, base
    unsteady = validity.unsteady | base_validity.unsteady
    few = validity.few_samples | base_validity.few_samples
    if not unsteady and not few:
        return ()
    bases = {run.run: run for run in base_runs}
    shared = [(run, bases[run.run]) for run in runs if run.run in bases]
    if not shared:
        sides = (side.unpaired[len(side.invalid) :] for side in (validity, base_validity))
        return drop_duplicates(itertools.chain.from_iterable(sides))
    drifted = sum(_has_drifted(*pair) for pair in shared if pair[0].run in unsteady)
    short = sum(pair[0].run in few for pair in shared)
    counts = (
        (UNSTEADY_RATIO, drifted, _many(drifted, len(shared))),
        (FEW_ROUNDS, short, short and len(shared) < ENOUGH_PROCESSES),
    )
    return tuple(
        Problem(code, Reason(code, managed=validity.managed), number, len(shared))
        for code, number, matters in counts
        if matters
    )


def _has_drifted(new: RunSamples, base: RunSamples) -> bool:
    """Return whether the ratio of two sides differs between earlier and later rounds."""
    if new.rounds is None or base.rounds is None:
        return True  # Without interleaving, the drift of one side is a drift of the ratio.
    _, here, there = np.intersect1d(new.rounds, base.rounds, return_indices=True)
    return halves_agree((new.samples[here] / base.samples[there]).tolist()) is False
