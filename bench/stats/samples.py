"""Every sample as one flat, tidy table: a row a block of steps, with the case and process it is of.

For whoever wants other statistics than the report's. ``SAMPLE_COLUMNS`` is the only list of its
columns (``sample_columns.csv`` says what they mean); CSV, Parquet and the pandas frame are made
from it. Times are in seconds, as measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from bench.records.files import collect
from bench.records.schema import Measurement, Results
from bench.stats.columns import Value, described
from bench.stats.table import framed

if TYPE_CHECKING:
    import pandas as pd


_VALUES: dict[str, Callable[[Measurement, int], Value]] = {
    "session": lambda measured, _: measured.run.session,
    "run": lambda measured, _: measured.run.id,
    "started": lambda measured, _: measured.run.started.isoformat(),
    "host": lambda measured, _: measured.run.host,
    "machine_id": lambda measured, _: measured.run.machine_id,
    "case_id": lambda measured, _: measured.case.id,
    "backend": lambda measured, _: measured.case.backend,
    "device": lambda measured, _: measured.case.device,
    "mode": lambda measured, _: measured.case.workload.mode,
    "shape": lambda measured, _: measured.case.shape,
    "dtype": lambda measured, _: measured.case.spec.dtype,
    "sample": lambda _, number: number,
    "round": lambda measured, number: int(measured.rounds[number]),
    "calls": lambda measured, _: measured.calls,
    "time_s": lambda measured, number: float(measured.samples[number]),
    "valid": lambda measured, _: measured.valid,
}
"""Of a measurement and a sample's number in it."""

SAMPLE_COLUMNS = described("sample_columns.csv", _VALUES)
"""The columns, in their order."""


def sample_rows(results: Results) -> Iterator[list[Value]]:
    """A row a sample, each in the order of ``SAMPLE_COLUMNS``, process by process."""
    getters = [column.value for column in SAMPLE_COLUMNS.values()]
    for measurement in results.measurements:
        for number in range(measurement.samples.size):
            yield [get(measurement, number) for get in getters]


def load_samples(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """The samples in these files and folders as a tidy table.

    Units and meanings stand in ``frame.attrs["units"]`` and ``frame.attrs["meanings"]``.

    Raises ResultError for the first file that cannot be read.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    return framed(SAMPLE_COLUMNS, sample_rows(results))
