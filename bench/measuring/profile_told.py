"""What was seen of a profiled case: what it is bound by, its operators by time, and a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.judging.operators import kind
from bench.judging.why import explained
from bench.measuring.profiling import Profiled
from bench.telling import deliver
from bench.telling.inert import LONGEST_NAME
from bench.telling.quantities import seconds
from bench.telling.sheet import Column, Sheet, comma_separated
from bench.telling.timeline import trace
from bench.telling.told import Told
from lstm_impl.profile import by_name

MOST = 20
"""Operators in a table; csv has all."""

OPEN_WITH = "https://ui.perfetto.dev"

COLUMNS = ("operator", "kind", "count", "seconds", "share")

Row = tuple[str, str, int, float, float]


def rows(found: Profiled) -> list[Row]:
    """By operator, the most time first: of one step under the profiler, own time alone."""
    spent = by_name(found.profile.events)
    whole = sum(each.seconds for each in spent.values()) or 1.0
    return [
        (name, kind(name), each.count, each.seconds, each.seconds / whole)
        for name, each in spent.items()
    ]


def _sheet(found: Sequence[Row]) -> Sheet:
    headings = ("times", "own time", "of all operators")
    return Sheet.of(
        [
            Column("operator", names=True),
            Column("kind"),
            *(Column(heading, right=True) for heading in headings),
        ],
        [
            [name, of, f"{count:,}", seconds(spent), f"{share:.1%}"]
            for name, of, count, spent, share in found[:MOST]
        ],
    )


def write(found: Profiled, timeline: Path, form: str) -> None:
    """Write the timeline's file, and tell the rest in this form. Raises UsageError."""
    said = {"case": found.case.id, "step_s": found.seconds, "source": found.profile.source}
    deliver.write_file(timeline, trace(found.profile, said, kind))
    every = rows(found)
    title = f"{found.case.id}: {seconds(found.seconds)} a step without {found.profile.source}"
    left = len(every) - MOST
    told = Told(
        (title, explained(found.bound, found.figures)),
        (("", _sheet(every)),),
        (f"and {left} more; --format csv has all",) if left > 0 else (),
        LONGEST_NAME,
    )
    here = replace(told, last=(*told.last, f"Timeline: open {timeline} in {OPEN_WITH}"))
    deliver.deliver(
        form,
        deliver.Target(None),
        here.terminal,
        {"markdown": told.markdown, "csv": lambda: comma_separated(COLUMNS, every)},
    )
