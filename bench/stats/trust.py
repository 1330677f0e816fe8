"""Whether a case's numbers are to be trusted, over all the processes that measured it.

Each process says for itself whether its measurement is valid. This module pools what they say, and
judges times and ratios separately: a machine whose speed moves makes a time unreliable, and leaves
the ratio of two backends that took turns in the same processes as good as it was. With enough
processes their medians show by themselves how far they agree, and what disturbed a few of them is
noted and spoils nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, RecordedReason
from bench.stats.intervals import (
    ENOUGH_PROCESSES,
    CaseInterval,
    halves_agree,
)
from bench.stats.ratios import RunSamples

WIDE = 0.05
"""A median whose 95% interval reaches further than this from it says too little: the backends of a
shape often differ by less."""

WIDE_OVER_PROCESSES = 0.25
"""The same of a median over processes: a machine's own speed moves from process to process, on
shared ones by a tenth and more. Past a quarter not even a time's first digit is known."""

MINORITY = 0.25
"""Part of the processes that may have been disturbed: the median over them does not follow so few,
and its interval shows what they do."""

FEW_PROCESSES = "few_processes"
"""The code of a note that a session ended before a case had the processes for an interval of its
own; ``bench.run`` counts such cases as INVALID."""

WIDE_INTERVAL = "wide_interval"
"""The code of a median that is known too little, of one process or over several."""

FEW_SAMPLES, NOT_STEADY = "few_samples", "not_steady"
"""Codes of what a process says of its own samples (``measuring.group``): there are few, or their
earlier and later half differ."""

OF_RATIO = UNSTEADY_RATIO, FEW_ROUNDS = "unsteady_ratio", "few_rounds"
"""Codes of what is unreliable in a ratio of two sides of which neither is INVALID: it was not the
same in the earlier and later rounds of a process, or has so few that they have no interval."""

_OF_ONE_PROCESS = (FEW_SAMPLES, WIDE_INTERVAL)
"""Reasons that say how little one process's own median is known. Over enough processes that shows
in how their medians differ."""

OF_TIME = (*_OF_ONE_PROCESS, NOT_STEADY)
"""Reasons that are about a time alone. A ratio has an interval of its own, which is wide where one
of its times is, and is looked at by itself where one did not reach a steady state."""

_GRAVE = ("failed", "timed_out")
"""Outcomes of a process that are about the case itself, however many others have a time."""


@dataclass(frozen=True)
class Problem:
    """Why a row's numbers are not to be trusted: in how many runs, of how many in the session.

    code: what kind of reason. text, advice: as the first process that gave it recorded them, empty
    of what is found here. values: the numbers of what is found here, as ``render`` has them:
    of ``WIDE_INTERVAL`` the half width, processes and nodes; of ``FEW_PROCESSES`` how many; of
    ratios whether ``bench.run`` measured.
    """

    code: str
    text: str
    advice: str
    runs: int
    of: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Validity:
    """Why the numbers of a case are not to be trusted.

    invalid: neither its time nor its ratios are. of_time: its time is not, which says nothing of
    its ratios. noted: what happened and spoils nothing. unsteady, few_samples: the ids of the
    processes in which it reached no steady state, or had few samples, which a ratio may stand on.
    managed: whether ``bench.run`` measured it, whose options advice then names.
    """

    invalid: tuple[Problem, ...] = ()
    of_time: tuple[Problem, ...] = ()
    noted: tuple[Problem, ...] = ()
    unsteady: frozenset[str] = frozenset()
    few_samples: frozenset[str] = frozenset()
    managed: bool = False

    @property
    def time(self) -> tuple[Problem, ...]:
        """Why its time is not to be trusted."""
        return self.invalid + self.of_time

    @property
    def unpaired(self) -> tuple[Problem, ...]:
        """Why a ratio to a case of other processes is not to be trusted, as far as it is at fault.

        Nothing cancels there, so that a time without a steady state makes a ratio without one; how
        far the time is known stands in the ratio's own interval.
        """
        return self.invalid + tuple(each for each in self.of_time if each.code != WIDE_INTERVAL)


def pooled(
    measured: Sequence[Measurement], outcomes: Sequence[Outcome], interval: CaseInterval
) -> Validity:
    """What the processes of one case say together.

    measured: at least one. outcomes: of processes in which the same case got no time. interval: of
    the case's median over the processes.
    """
    runs = len({item.run.id for item in measured} | {item.run.id for item in outcomes})
    reasons = [reason for item in measured if not item.valid for reason in item.reasons]
    for outcome in outcomes:
        if outcome.outcome != "interrupted":  # from the keyboard: nobody's fault
            text = f"{outcome.outcome.replace('_', ' ')}: {outcome.reason}"
            reasons.append(RecordedReason(outcome.outcome, text, outcome.advice))
    processes = len(measured)
    enough = processes >= ENOUGH_PROCESSES
    found: dict[str, list[Problem]] = {"invalid": [], "of_time": [], "noted": []}
    for code, same in grouped(reasons, lambda reason: reason.code).items():
        if enough and code in _OF_ONE_PROCESS:
            continue
        disturbed = min(len(same), runs)
        spoils = not enough or code in _GRAVE or _many(disturbed, processes + len(outcomes))
        kind = ("of_time" if code in OF_TIME else "invalid") if spoils else "noted"
        found[kind].append(Problem(code, same[0].text, same[0].advice, disturbed, runs))
    if not enough and any(item.run.session != item.run.id for item in measured):
        found["noted"].append(Problem(FEW_PROCESSES, "", "", runs, runs, (processes,)))
    if enough and interval.half_width > WIDE:
        values = interval.half_width, interval.processes, interval.nodes
        kind = "of_time" if interval.half_width > WIDE_OVER_PROCESSES else "noted"
        found[kind].append(Problem(WIDE_INTERVAL, "", "", runs, runs, values))
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
    """Whether so many processes were disturbed that what they say together is not to be trusted."""
    return disturbed > MINORITY * processes if processes >= ENOUGH_PROCESSES else disturbed > 0


NO_PROBLEMS = Validity()
"""Of what nothing was said against."""

Side = tuple[Validity, Sequence[RunSamples]]
"""One side of a ratio: what its processes say together, and their samples."""


def of_ratio(new: Side, base: Side) -> tuple[Problem, ...]:
    """Why the ratio of two cases is not to be trusted, beyond what makes both sides INVALID.

    Where both were measured in the same processes: too many of these in which their ratio was not
    the same in the earlier and the later rounds (``halves_agree`` on the rounds' ratios; a drift
    that both followed is none), and with fewer than 6 processes one of few rounds. Where they were
    not, what is unreliable in the time of a side.
    """
    (judged, runs), (judged_base, base_runs) = new, base
    unsteady = judged.unsteady | judged_base.unsteady
    few = judged.few_samples | judged_base.few_samples
    if not unsteady and not few:
        return ()
    bases = {run.run: run for run in base_runs}
    shared = [(run, bases[run.run]) for run in runs if run.run in bases]
    if not shared:
        sides = (side.unpaired[len(side.invalid) :] for side in (judged, judged_base))
        return tuple({problem.code: problem for side in sides for problem in side}.values())
    found: list[Problem] = []
    managed = (float(judged.managed),)
    drifted = sum(_drifted(*pair) for pair in shared if pair[0].run in unsteady)
    if _many(drifted, len(shared)):
        found.append(Problem(UNSTEADY_RATIO, "", "", drifted, len(shared), managed))
    short = sum(pair[0].run in few for pair in shared)
    if short and len(shared) < ENOUGH_PROCESSES:
        found.append(Problem(FEW_ROUNDS, "", "", short, len(shared), managed))
    return tuple(found)


def _drifted(new: RunSamples, base: RunSamples) -> bool:
    """Whether the two sides' ratio was another in a process's later rounds than in its earlier."""
    if new.rounds is None or base.rounds is None:
        return True  # not in turn: the drift of one is a drift of the ratio
    _, here, there = np.intersect1d(new.rounds, base.rounds, return_indices=True)
    # Too few rounds are a reason of their own.
    return halves_agree((new.samples[here] / base.samples[there]).tolist()) is False
