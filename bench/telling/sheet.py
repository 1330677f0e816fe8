"""What stands in a cell of a table of data."""

from __future__ import annotations

from bench.judging.table import Value
from bench.telling.inert import spreadsheet


def cell(value: Value) -> Value:
    """A value as it stands in CSV: text on one line, which no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return ("false", "true")[value] if isinstance(value, bool) else value
    return spreadsheet(value)
