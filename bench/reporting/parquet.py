"""The tidy table as Parquet, for SQL and for other programs: typed columns with their units.

Seconds and plain ratios, never scaled or rounded; text as it was read. Each column's unit and
meaning stand in the metadata of its field. This room knows Parquet, which needs pyarrow; which
columns there are is ``judging.table``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from bench.judging.columns import COLUMNS, Column, Value
from bench.judging.rows import NothingToReportError, Report
from bench.judging.table import cells

EXTRA = "lstm-benchmark-suite[parquet]"
"""What brings pyarrow."""

# Rows that are turned into columns in one go: enough for a good compression, and a tenth of the
# memory that a hundred thousand at once would take.
_BATCH = 10_000


class NoParquetError(NothingToReportError):
    """What writes Parquet is not installed."""


def check() -> None:
    """Raise NoParquetError, saying what to install, if Parquet cannot be written here."""
    if find_spec("pyarrow") is None:
        raise NoParquetError(
            f"--format parquet needs pyarrow, which is not installed: pip install '{EXTRA}'"
        )


def parquet(report: Report) -> bytes:
    """The table as a Parquet file: null where there is no value.

    Raises NoParquetError where pyarrow is missing.
    """
    return written(COLUMNS, cells(report))


def written(columns: Mapping[str, Column[...]], rows: Iterable[list[Value]]) -> bytes:
    """Rows as a Parquet file, each column with its type, unit and meaning.

    Raises NoParquetError where pyarrow is missing.
    """
    check()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema(
        [
            pa.field(
                name,
                types[column.kind],
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for name, column in columns.items()
        ]
    )
    out = pa.BufferOutputStream()
    batch: list[list[Value]] = []
    with ParquetWriter(out, schema, compression="zstd") as writer:

        def write() -> None:
            turned = zip(*batch, strict=True) if batch else [()] * len(columns)
            arrays = [
                pa.array([_encodable(value) for value in values], type=field.type)
                for values, field in zip(turned, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            batch.clear()

        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                write()
        write()
    return bytes(out.getvalue())


def _encodable(value: Value) -> Value:
    """Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
