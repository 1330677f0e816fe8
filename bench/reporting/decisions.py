"""What a report decides, before its tables: three lines at the most, to act on.

Who is to be used for which kind of work, how much faster that is than the baseline and at how many
of the shapes; and that something went wrong, if it did. All else is a finding, and stands below the
tables (``sentences``). This module knows the report's rows and makes plain strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.judging.comparison import Comparison
from bench.judging.ratios import together
from bench.judging.rows import Row, Section, Table
from bench.reporting.sentences import Finding, findings
from bench.telling.headings import name, title
from bench.telling.quantities import count, listed, times_as, times_bounds
from bench.telling.verdict_words import verdict_words

MOST = 3
"""Lines. A decision that takes more is a table."""


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
        ratio = over.ratio
        around = times_bounds(ratio.low, ratio.high)
        parts.append(
            f", {times_as(ratio.mid)} as {name(table.baseline)} ({around}, {verdict_words(over)})"
        )
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
