"""The report as data for other programs: CSV and JSON of the tidy table.

Seconds and plain ratios, never scaled or rounded. This room knows the two formats; which columns
there are is ``report_columns``'s.
"""

from __future__ import annotations

import csv
import io
import json

from bench.report_columns import COLUMNS, Value, records
from bench.report_rows import Report
from bench.report_summary import findings, machine, method
from bench.result_fields import printable

_LONGEST_CELL = 2000


def comma_separated(report: Report) -> str:
    """One line a case under a line of column names; empty where there is no value.

    Text is on one line, and where a spreadsheet would take it for a formula begins with an
    apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, list(COLUMNS), lineterminator="\r\n")
    writer.writeheader()
    for record in records(report):
        writer.writerow({name: cell(value) for name, value in record.items()})
    return out.getvalue()


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
                "machine": dict(machine(section)),
                "findings": [finding.text for finding in findings(section)],
                "method": method(section),
            }
            for section in report.sections
        ],
        "cases": records(report),
        "notes": list(report.notes),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def cell(value: Value) -> Value:
    """A value as it stands in CSV: text on one line, which no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = printable(value, _LONGEST_CELL)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
