"""Whether a case's numbers are to be trusted, over all the processes that measured it.

Each process says for itself whether its measurement is valid. This room pools what they say: with
one process, that is all there is; with enough of them, their medians show by themselves how far
they agree, and what disturbed a few of them is noted and spoils nothing. It knows results and
plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.result_schema import Measurement, Outcome, Reason
from bench.stats import ENOUGH_PROCESSES, CaseInterval, case_intervals

WIDE = 0.05
"""A median whose 95% interval reaches further than this from it says too little: the backends of a
shape often differ by less."""

WIDE_OVER_PROCESSES = 0.25
"""The same of a median over processes. A machine's own speed moves from process to process, on
shared ones by a tenth and more, and every backend of a shape with it: what they are to each other
is known far better, and has its own interval. Past a quarter not even a time's first digit is
known."""

MINORITY = 0.25
"""Part of the processes that may have been disturbed. The median over them does not follow so few,
and its interval shows what they do: with six, it reaches from the smallest to the largest."""

FEW_PROCESSES = "few_processes"
"""The code of a note that a session ended before a case had the processes for an interval of its
own. ``bench.run`` counts such cases as INVALID: processes are what it is there for."""

WIDE_INTERVAL = "wide_interval"
"""The code of a median that is known too little, of one process or over several."""

_OF_ONE_PROCESS = ("few_samples", WIDE_INTERVAL)
"""Reasons that say how little one process's own median is known. Over enough processes that shows
in how their medians differ."""

_GRAVE = ("failed", "timed_out")
"""Outcomes of a process that are about the case itself, however many others have a time."""


@dataclass(frozen=True)
class Doubt:
    """Why a row's numbers are not to be trusted: in how many runs, of how many in the session.

    code: what kind of reason; text, advice: of the first run that gave it.
    """

    code: str
    text: str
    advice: str
    runs: int
    of: int

    def __str__(self) -> str:
        told = f"{self.text} ({self.advice})" if self.advice else self.text
        return told if self.runs == self.of else f"{told} [in {self.runs} of {self.of} runs]"


@dataclass(frozen=True)
class Validity:
    """invalid: why the numbers are not to be trusted; noted: what happened and spoils nothing."""

    invalid: tuple[Doubt, ...] = ()
    noted: tuple[Doubt, ...] = ()


def pooled(
    measured: Sequence[Measurement],
    outcomes: Sequence[Outcome],
    interval: CaseInterval,
    runs: int,
    *,
    replicated: bool,
) -> Validity:
    """What the processes of one case say together.

    measured: at least one. outcomes: of processes in which the same case got no time. interval: of
    the case's median over the processes. runs: processes of the session. replicated: whether it was
    to have several.
    """
    reasons = [reason for item in measured if not item.valid for reason in item.reasons]
    for outcome in outcomes:
        if outcome.outcome != "interrupted":  # from the keyboard: nobody's fault
            words = outcome.outcome.replace("_", " ")
            reasons.append(Reason(outcome.outcome, f"{words}: {outcome.reason}", outcome.advice))
    processes = len(measured)
    if processes < ENOUGH_PROCESSES:
        # Its interval has an allowance for what so few cannot show, and can be trusted with it.
        few = (_few(processes, runs),) if replicated else ()
        return Validity(tuple(_counted(reasons, runs)), few)
    about_all = [reason for reason in reasons if reason.code not in _OF_ONE_PROCESS]
    tried = processes + len(outcomes)
    invalid: list[Doubt] = []
    noted: list[Doubt] = []
    for doubt in _counted(about_all, runs):
        spoils = doubt.code in _GRAVE or doubt.runs > MINORITY * tried
        (invalid if spoils else noted).append(doubt)
    width = interval.half_width
    if width > WIDE:
        spoils = width > WIDE_OVER_PROCESSES
        told = f"the interval of the median over {processes} processes is ±{width:.1%}"
        if spoils:
            told += f", over ±{WIDE_OVER_PROCESSES:.0%}"
            advice = "measure in more processes, or on a machine of its own"
        else:
            told += ": the machine's speed changed between them"
            advice = "ratios to other backends come from inside each process, and are surer"
        doubt = Doubt(WIDE_INTERVAL, told, advice, runs, runs)
        (invalid if spoils else noted).append(doubt)
    return Validity(tuple(invalid), tuple(noted))


def together(measured: Sequence[Measurement], outcomes: Sequence[Outcome] = ()) -> Validity:
    """``pooled`` where the processes that have this case are all that is to be counted.

    measured: at least one. A comparison has no session to count by: what stands on one of its sides
    may come from several.
    """
    return each_together([(measured, outcomes)])[0]


def each_together(
    cases: Sequence[tuple[Sequence[Measurement], Sequence[Outcome]]],
) -> list[Validity]:
    """``together`` of many cases at once, which takes a fraction of the time."""
    intervals = case_intervals([[item.samples for item in measured] for measured, _ in cases])
    return [
        pooled(
            measured,
            outcomes,
            interval,
            len({item.run.id for item in measured} | {item.run.id for item in outcomes}),
            replicated=any(item.run.session != item.run.id for item in measured),
        )
        for (measured, outcomes), interval in zip(cases, intervals, strict=True)
    ]


def _few(processes: int, runs: int) -> Doubt:
    noun = "process" if processes == 1 else "processes"
    return Doubt(
        FEW_PROCESSES,
        f"{processes} {noun}: a median over processes has no 95% interval of its own under "
        f"{ENOUGH_PROCESSES}, and an allowance stands in for it",
        "go on with python -m bench.run --resume",
        runs,
        runs,
    )


def _counted(reasons: Iterable[Reason], runs: int) -> Iterable[Doubt]:
    by_code: dict[str, list[Reason]] = {}
    for reason in reasons:
        by_code.setdefault(reason.code, []).append(reason)
    for code, found in by_code.items():
        yield Doubt(code, found[0].text, found[0].advice, min(len(found), runs), runs)
