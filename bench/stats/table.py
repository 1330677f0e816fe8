"""The report as one flat, tidy table: a row a case, times in seconds, ratios time over time.

``COLUMNS`` is the only list of the columns; CSV, JSON and the pandas frame are made from it and
``docs/columns.md`` is tested against it. pandas is imported only where a frame is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from bench.records.files import collect
from bench.stats.columns import COLUMNS, Column, Value
from bench.stats.ranking import build
from bench.stats.rows import Report

if TYPE_CHECKING:
    import pandas as pd


def load_frame(
    paths: Iterable[str | os.PathLike[str]], baseline: str | None = None
) -> pd.DataFrame:
    """The results in these files and folders as a tidy table: a row a case, ``COLUMNS`` as columns.

    Replicates are pooled; what has no time is there with its outcome. Units and meanings of the
    columns stand in ``frame.attrs["units"]`` and ``frame.attrs["meanings"]``, and in
    ``docs/columns.md``. baseline: as in ``build``.

    Raises ResultError for the first file that cannot be read, NothingToReportError where the files
    hold no case.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    return framed(COLUMNS, cells(build(results, baseline=baseline)))


_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""Of pandas: each knows what is not there, so that ``frame[frame.valid]`` works."""


def framed(columns: Mapping[str, Column[...]], rows: Iterable[list[Value]]) -> pd.DataFrame:
    """Rows as a pandas frame with a nullable type for each column, its unit and meaning beside."""
    import pandas as pd

    values = list(rows)
    frame = pd.DataFrame(
        {
            name: pd.Series([row[index] for row in values], dtype=_DTYPES[column.kind])
            for index, (name, column) in enumerate(columns.items())
        }
    )
    frame.attrs["units"] = {name: column.unit for name, column in columns.items()}
    frame.attrs["meanings"] = {name: column.meaning for name, column in columns.items()}
    return frame


def records(report: Report) -> list[dict[str, Value]]:
    """The report as flat rows, ``COLUMNS`` by name; what says nothing is None."""
    return [dict(zip(COLUMNS, values, strict=True)) for values in cells(report)]


def cells(report: Report) -> Iterator[list[Value]]:
    """The same row by row, each in the order of ``COLUMNS``: a large report is not held twice."""
    getters = [column.value for column in COLUMNS.values()]
    for section in report.sections:
        for row in section.rows:
            values = [get(section, row) for get in getters]
            yield [None if _is_none(value) else value for value in values]


def _is_none(value: Value) -> bool:
    """Whether it says nothing: a text without a letter, a number beyond all numbers."""
    return value == "" or (type(value) is float and not isfinite(value))
