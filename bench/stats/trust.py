"""Find whether the numbers of a case are reliable, over all processes that measured it.

Each process records whether its measurement is valid. Times and ratios are judged separately: a
machine whose speed changes makes a time unreliable, but not the ratio of two backends that were
interleaved in the same processes. With enough processes their medians show how far they agree, and
a disturbance of a few of them is only noted.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.machine.reasons import Reason
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome
from bench.stats.intervals import ENOUGH_PROCESSES, CaseInterval, halves_agree
from bench.stats.ratios import RunSamples

WIDE = 0.05
"""The largest relative half width of a median's 95% interval: backends often differ by less."""

WIDE_OVER_PROCESSES = 0.25
"""The same over processes, between which a machine's own speed changes, by a tenth and more on
shared ones. Beyond a quarter not even a time's first digit is known."""

MINORITY = 0.25
"""The part of the processes that may have been disturbed: so few hardly change the median."""

FEW_PROCESSES = "few_processes"
"""Noted where a session ended before a case had enough processes for an interval without an
allowance; ``bench.run`` counts such cases as INVALID."""

WIDE_INTERVAL = "wide_interval"
"""The interval of a median is too wide, of one process or over several."""

FEW_SAMPLES, NOT_STEADY = "few_samples", "not_steady"
"""Recorded by a process: it has few samples, or their earlier and later halves differ."""

OF_RATIO = UNSTEADY_RATIO, FEW_ROUNDS = "unsteady_ratio", "few_rounds"
"""Problems of a ratio of two valid sides: it differs between the earlier and later rounds of a
process, or has too few rounds for an interval."""

_OF_ONE_PROCESS = (FEW_SAMPLES, WIDE_INTERVAL)
"""Reasons that do not matter with enough processes, since their medians show how far they agree."""

OF_TIME = (*_OF_ONE_PROCESS, NOT_STEADY)
"""Reasons that concern only times: a ratio has an interval of its own, and its steadiness is
tested by itself."""

_GRAVE = ("failed", "timed_out")
"""Outcomes that make a case INVALID, however many other processes have a time."""


@dataclass(frozen=True)
class Problem:
    """Why a row is unreliable: a process's reason or one found here, in how many of its runs."""

    code: str
    reason: Reason
    runs: int
    of: int


@dataclass(frozen=True)
class Validity:
    """The problems of a case.

    invalid: of its time and its ratios. of_time: of its time alone. noted: without consequences.
    unsteady, few_samples: the ids of the processes in which it reached no steady state, or had few
    samples. managed: whether ``bench.run`` measured it, whose options advice then names.
    """

    invalid: tuple[Problem, ...] = ()
    of_time: tuple[Problem, ...] = ()
    noted: tuple[Problem, ...] = ()
    unsteady: frozenset[str] = frozenset()
    few_samples: frozenset[str] = frozenset()
    managed: bool = False

    @property
    def time(self) -> tuple[Problem, ...]:
        """The problems of its time."""
        return self.invalid + self.of_time

    @property
    def unpaired(self) -> tuple[Problem, ...]:
        """The problems of its ratio to a case of other processes.

        No noise cancels there, so that an unsteady time makes an unsteady ratio. The ratio's own
        interval contains that of the time.
        """
        return self.invalid + tuple(each for each in self.of_time if each.code != WIDE_INTERVAL)


def pooled(
    measured: Sequence[Measurement], outcomes: Sequence[Outcome], interval: CaseInterval
) -> Validity:
    """Return the problems of a case over its processes.

    measured: at least one. outcomes: of processes in which the case got no time. interval: of the
    case's median over the processes.
    """
    runs = len({item.run.id for item in measured} | {item.run.id for item in outcomes})
    reasons = [reason for item in measured if not item.valid for reason in item.reasons]
    for outcome in outcomes:
        if outcome.outcome != "interrupted":  # from the keyboard
            reasons.append(Reason(outcome.outcome, {"of": outcome.reason}))
    processes = len(measured)
    enough = processes >= ENOUGH_PROCESSES
    found: dict[str, list[Problem]] = {"invalid": [], "of_time": [], "noted": []}
    for code, same in grouped(reasons, lambda reason: reason.code).items():
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
    """Return whether too many processes were disturbed for the numbers over them to be reliable."""
    return disturbed > MINORITY * processes if processes >= ENOUGH_PROCESSES else disturbed > 0


NO_PROBLEMS = Validity()


def once(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return one problem of each kind."""
    return tuple({problem.code: problem for problem in found}.values())


Side = tuple[Validity, Sequence[RunSamples]]
"""One side of a ratio: its problems, and the samples of its processes."""


def of_ratio(new: Side, base: Side) -> tuple[Problem, ...]:
    """Return the problems of a ratio without those that make a side INVALID.

    Of sides in the same processes: too many processes in which their ratio differs between the
    earlier and the later rounds (``halves_agree`` on the rounds' ratios, in which a common drift
    cancels), and with fewer than 6 processes one with few rounds. Of other sides: the problems of
    their times.
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
        return once(itertools.chain.from_iterable(sides))
    drifted = sum(_drifted(*pair) for pair in shared if pair[0].run in unsteady)
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


def _drifted(new: RunSamples, base: RunSamples) -> bool:
    """Return whether the ratio of two sides differs between earlier and later rounds."""
    if new.rounds is None or base.rounds is None:
        return True  # not interleaved: the drift of one side is a drift of the ratio
    _, here, there = np.intersect1d(new.rounds, base.rounds, return_indices=True)
    return halves_agree((new.samples[here] / base.samples[there]).tolist()) is False
