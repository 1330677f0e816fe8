"""The report as data for other programs: CSV and JSON of the tidy table.

Seconds and plain ratios, never scaled or rounded. This room knows the two formats; which columns
there are is ``judging.table``'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.judging.columns import COLUMNS, Value
from bench.judging.payback import pairs
from bench.judging.rows import Report, Row, Section
from bench.judging.table import cells, records
from bench.reporting.sentences import findings
from bench.telling import sheet
from bench.telling.headings import machine, method


def comma_separated(report: Report) -> Iterator[str]:
    """One line a case under a line of column names; empty where there is no value."""
    return sheet.comma_separated(COLUMNS, cells(report))


def as_json(report: Report) -> str:
    """The columns with their units, the sections in words, and the cases; text as it was read."""
    document = {
        "columns": {
            name: {"unit": column.unit, "meaning": column.meaning}
            for name, column in COLUMNS.items()
        },
        "sections": [
            {
                "session": section.run.session,
                "machine_id": section.run.machine_id,
                **({"nodes": dict(section.nodes)} if section.nodes else {}),
                "machine": dict(machine(section)),
                "findings": [finding.text for finding in findings(section)],
                "method": method(section),
                "break_even": break_evens(section),
            }
            for section in report.sections
        ],
        "cases": records(report),
        "notes": list(report.notes),
    }
    return sheet.json_text(document)


def break_evens(section: Section) -> list[dict[str, Value]]:
    """For each case that is FASTER than another of the same work and starts later: when.

    steps: after which both have taken the same time from nothing on; the bounds are for the ends of
    the ratio's interval, the upper one None where there is none.
    """
    groups: dict[str, list[Row]] = {}
    for row in section.rows:
        groups.setdefault(row.case.group, []).append(row)
    return [
        {
            "case_id": pair.row.case.id,
            "against": pair.other.case.backend,
            "later_s": pair.after.later,
            "steps": pair.after.steps,
            "steps_low": pair.after.low,
            "steps_high": sheet.finite(pair.after.high),
        }
        for group in groups.values()
        for pair in pairs(group)
    ]
