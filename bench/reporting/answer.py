"""The answer to a question about one shape: two lines to act on, under the times they come from.

The first says whom to use and how much faster that is, the second from what it is known. This
module knows the report's rows and plain strings.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from bench.judging.rows import Row, Section
from bench.judging.verdict import Verdict
from bench.telling.headings import name, uneven_bridges, where
from bench.telling.inert import clean
from bench.telling.marks import bounds_of_time
from bench.telling.quantities import count, listed, seconds
from bench.telling.verdict_words import versus
from lstm_impl import UnsupportedError, get_backend
from lstm_impl.registry import strategies

FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "flax": "Flax"}
"""As they write themselves."""

_MOST_DOUBTS = 2  # the report has all


def answer(section: Section) -> list[str]:
    """What to use, how much faster it is and how sure that is; then where it was measured.

    Where another framework's is the fastest, the best of the baseline's own stands beside it.

    section: of one amount of work, the fastest first, with a row or more that has a time.
    """
    ranked = [row for row in section.rows if row.measured]
    first = ranked[0]
    if len(ranked) == 1:
        lines = [f"Only {name(first.case.backend)} was measured: {_cost(first)}."]
    else:
        lines = [_use(first, ranked[1], section.baseline)]
        inside = _inside(ranked, section.baseline)
        if inside is not None:
            lines.append(inside)
    doubts = dict.fromkeys(map(str, (*first.validity.invalid, *first.ratio_doubts)))
    if doubts:
        told = "; ".join(clean(each) for each in list(doubts)[:_MOST_DOUBTS])
        lines.append(f"Do not rely on it yet: {told}.")
    lines += [f"{told}." for told in uneven_bridges(ranked)]
    lines.append(
        f"From {count(len(section.runs), 'process')} on {where(section)}, "
        f"{section.started:%Y-%m-%d %H:%M} UTC."
    )
    return lines


def _use(first: Row, second: Row, baseline: str) -> str:
    cost = _cost(first)
    who = name(first.case.backend)
    parts = []
    if first.to_baseline is not None:
        parts.append(versus(first.to_baseline, baseline))
    if second.case.backend != baseline and (ahead := first.behind.get(second.case.backend)):
        parts.append(versus(ahead.inverse, second.case.backend, ", the next"))
    told = f": {'; '.join(parts)}" if parts else ""
    if first.fastest:
        return f"Use {who}, {cost}{told}."
    alike = [
        name(other)
        for other, found in first.behind.items()
        if found.verdict in (Verdict.SAME, Verdict.UNCLEAR)
    ]
    beside = f", not told apart from {listed(alike)}" if alike else ""
    return f"{who} has the shortest times, {cost}{beside}{told}."


def _inside(ranked: Sequence[Row], baseline: str) -> str | None:
    """The best of the baseline's framework, if another framework's is the fastest."""
    home = _framework(baseline)
    if not home or _framework(ranked[0].case.backend) == home:
        return None
    best = next((row for row in ranked if _framework(row.case.backend) == home), None)
    if best is None:
        return None
    itself = " itself" if best.case.backend == baseline else ""
    told = f"{name(best.case.backend)}{itself}, {seconds(best.time)}"
    if best.to_baseline is not None:
        told += f", {versus(best.to_baseline, baseline)}"
    return f"Inside {FRAMEWORKS.get(home, home)}: {told}."


@functools.cache  # a page asks for thousands of rows
def _framework(backend: str) -> str:
    """Whose a backend is; empty for one of a package that is not here."""
    if backend.partition("+")[0].partition("@")[0] not in strategies():
        return ""
    try:
        return get_backend(backend).framework
    except UnsupportedError:
        return ""


def _cost(row: Row) -> str:
    assert row.interval is not None
    around = bounds_of_time(row.interval, row.time)
    return f"{seconds(row.time)} a step{around and f' ({around})'}"
