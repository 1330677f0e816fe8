"""What has no time: one line with a count, and on request the whole list with its reasons.

A suite names every backend on every device, so that on most machines most of what has no time is no
news. What went wrong (a failure, a crash, a time limit) is: that is always told, and not by this
room's one line. This room knows cases and why they have no time; no format.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.case.cases import Case
from bench.cli import arguments
from bench.render.inert import LONGEST_NAME, clean
from bench.render.quantities import count, listed

LOUD = ("failed", "crashed", "timed_out")
"""Outcomes that are told apart, each with its reason: something went wrong."""

_WORDS = {
    "refused": "refused by the backend",
    "not_measured": "not measured",
    "timed_out": "over their time limit",
}


@dataclass(frozen=True)
class Unmeasured:
    """Cases without a time that share a reason. outcome: one of ``results.OUTCOMES``."""

    outcome: str
    reason: str
    advice: str
    cases: tuple[Case, ...]

    @property
    def loud(self) -> bool:
        """Whether something went wrong."""
        return self.outcome in LOUD


def add_option(parser: argparse.ArgumentParser) -> None:
    """``--unmeasured``, for a terminal and Markdown."""
    told = "list what has no time and why, not only how much of it there is"
    arguments.add_flags(parser, unmeasured=told)


def gathered(items: Iterable[tuple[Case, str, str, str]]) -> tuple[Unmeasured, ...]:
    """Cases with outcome, reason and advice: those with the same ones together, each case once."""
    found: dict[tuple[str, str, str], dict[str, Case]] = {}
    for case, *why in items:
        outcome, reason, advice = why
        found.setdefault((outcome, reason, advice), {})[case.id] = case
    return tuple(Unmeasured(*key, tuple(cases.values())) for key, cases in found.items())


def one_line(groups: Sequence[Unmeasured], option: str = "--unmeasured") -> str:
    """How many cases have no time, and why if that is one reason; empty if there are none.

    ``108 cases have no time: 98 not measured, 10 refused by the backend (--unmeasured lists
    them)``. option: what lists them here.
    """
    quiet = [group for group in groups if not group.loud]
    counts: Counter[str] = Counter()
    for group in quiet:
        counts[group.outcome] += len(group.cases)
    if not quiet:
        return ""
    total = count(counts.total(), "case")
    verb = "has" if counts.total() == 1 else "have"
    if len(quiet) == 1:
        return f"{total} {verb} no time, {_told(quiet[0])} ({_who(quiet[0])})"
    told = [f"{number:,} {_words(outcome)}" for outcome, number in counts.most_common()]
    return f"{total} {verb} no time: {', '.join(told)} ({option} lists them)"


def headline(group: Unmeasured) -> str:
    """``98 cases not measured: no gpu:0: this machine has no GPU``, over a list of them."""
    return f"{count(len(group.cases), 'case')} {_told(group)}"


def _told(group: Unmeasured) -> str:
    parts = [clean(text, 300).rstrip(".") for text in (group.reason, group.advice) if text]
    return f"{_words(group.outcome)}: {'. '.join(parts) or 'no reason was recorded'}"


def _words(outcome: str) -> str:
    return _WORDS.get(outcome, clean(outcome.replace("_", " "), LONGEST_NAME))


def _who(group: Unmeasured) -> str:
    backends = sorted({clean(case.backend, LONGEST_NAME) for case in group.cases})
    devices = sorted({clean(case.device, LONGEST_NAME) for case in group.cases})
    return f"{listed(backends)} on {listed(devices)}"
