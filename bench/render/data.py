"""The report as data for other programs: the tidy table as CSV, JSON and Parquet.

Seconds and plain ratios, never scaled or rounded; text as it was read. Parquet, for SQL, has types
and each column's unit and meaning in the metadata of its field, and needs pyarrow. This room knows
the formats; which columns there are is ``judging.table``'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec

from bench.records.grouping import grouped
from bench.render import table
from bench.render.labels import machine
from bench.render.messages import findings, method
from bench.stats.frame import COLUMNS, Column, Value, cells, records
from bench.stats.ranking import pairs
from bench.stats.rows import NothingToReportError, Report, Section

EXTRA = "lstm-benchmark-suite[parquet]"
"""What brings pyarrow."""

# Rows that are turned into columns in one go: enough for a good compression, and a tenth of the
# memory that a hundred thousand at once would take.
_BATCH = 10_000


def comma_separated(report: Report) -> Iterator[str]:
    """One line a case under a line of column names; empty where there is no value."""
    return table.comma_separated(COLUMNS, cells(report))


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
    return table.json_text(document)


def break_evens(section: Section) -> list[dict[str, Value]]:
    """For each case that is FASTER than another of the same work and starts later: when.

    steps: after which both have taken the same time from nothing on; the bounds are for the ends of
    the ratio's interval, the upper one None where there is none.
    """
    groups = grouped(section.rows, lambda row: row.case.group)
    return [
        {
            "case_id": pair.row.case.id,
            "against": pair.other.case.backend,
            "later_s": pair.after.later,
            "steps": pair.after.steps,
            "steps_low": pair.after.low,
            "steps_high": table.finite(pair.after.high),
        }
        for group in groups.values()
        for pair in pairs(group)
    ]


# Parquet


class NoParquetError(NothingToReportError):
    """What writes Parquet is not installed."""


def check_parquet() -> None:
    """Raise NoParquetError, saying what to install, if Parquet cannot be written here."""
    if find_spec("pyarrow") is None:
        raise NoParquetError(
            f"--format parquet needs pyarrow, which is not installed: pip install '{EXTRA}'"
        )


def parquet(report: Report) -> bytes:
    """The table as a Parquet file: null where there is no value.

    Raises NoParquetError where pyarrow is missing.
    """
    return as_parquet(COLUMNS, cells(report))


def as_parquet(columns: Mapping[str, Column[...]], rows: Iterable[list[Value]]) -> bytes:
    """Rows as a Parquet file, each column with its type, unit and meaning.

    Raises NoParquetError where pyarrow is missing.
    """
    check_parquet()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    described = {
        name: {"unit": column.unit, "meaning": column.meaning} for name, column in columns.items()
    }
    schema = pa.schema(
        pa.field(name, types[column.kind], metadata=described[name])
        for name, column in columns.items()
    )
    out = pa.BufferOutputStream()
    left = iter(rows)
    with ParquetWriter(out, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(left, _BATCH)):
            arrays = [
                pa.array([_encodable(value) for value in values], type=field.type)
                for values, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(out.getvalue())


def _encodable(value: Value) -> Value:
    """Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
