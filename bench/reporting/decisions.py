"""What a report decides: three lines at the most before its tables, and the answer for one shape.

Who is to be used for which kind of work, how much faster that is than the baseline and at how many
of the shapes; and that something went wrong, if it did. All else is a finding, and stands below the
tables (``sentences``). This module knows the report's rows and makes plain strings.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

from bench.render.headings import name, title, uneven_bridges, where
from bench.render.inert import clean
from bench.render.marks import bounds_of_time
from bench.render.quantities import count, listed, seconds
from bench.render.verdict_words import versus
from bench.reporting.sentences import Finding, findings
from bench.stats.comparison import Comparison
from bench.stats.ratios import together
from bench.stats.rows import Row, Section, Table
from bench.stats.verdict import Verdict
from lstm_impl import UnsupportedError, get_backend
from lstm_impl.registry import strategies

MOST = 3
"""Lines. A decision that takes more is a table."""

_MOST_DOUBTS = 2  # in an answer; the report has all

FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "flax": "Flax"}
"""As they write themselves."""


def decisions(section: Section) -> list[Finding]:
    """At most ``MOST`` lines: a decision for each of the first tables, and what went wrong."""
    tables = section.timed_tables
    if not tables:
        return [Finding("Nothing was measured: the findings say why.", loud=True)]
    wrong = sum(found.loud for found in findings(section))
    room = MOST - bool(wrong)
    decided = [Finding(decision(table), answer=True) for table in tables[:room]]
    if wrong:
        told = count(wrong, "warning")
        decided.append(
            Finding(f"{told} below, under Findings: read before you rely on it.", loud=True)
        )
    return decided


def decision(table: Table) -> str:
    """Whom to use for the work of one table, and for which part of it somebody else."""
    start = f"{title(table)}: "
    places, told = len(table.groups), count(len(table.groups), table.noun)
    counts = Counter(group[0].case.backend for group in table.groups)
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({told})."
    best, led = counts.most_common(1)[0]
    groups = [group for group in table.groups if group[0].case.backend == best]
    parts = [f"use {name(best)}"]
    if (over := _over_baseline([group[0] for group in groups])) is not None:
        parts.append(f", {versus(over, table.baseline)}")
    if places > 1:
        parts.append(
            f"; it has the shortest times at {f'{led} of' if led < places else 'all'} {told}"
        )
    sure = sum(group[0].fastest for group in groups)
    if sure < led and places > 1:
        parts.append(f" and is FASTER than each of the others at {sure} of them")
    elif sure < led:
        parts.append(f"; not told apart from {name(groups[0][1].case.backend)}, the next")
    others = [f"{name(each)} at {number}" for each, number in counts.most_common()[1:]]
    if others:
        parts.append(f"; {listed(others, 3)}")
    return f"{start}{''.join(parts)}."


def _over_baseline(rows: Sequence[Row]) -> Comparison | None:
    """Over all these rows that were held against the baseline; None if none was."""
    found = [row.to_baseline for row in rows if row.to_baseline is not None]
    return together(found) if found else None


# The answer for one shape


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
