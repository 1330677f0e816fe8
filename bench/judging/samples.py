"""Every sample as one flat, tidy table: a row a block of steps, with the case and process it is of.

For whoever wants other statistics than the report's. ``SAMPLE_COLUMNS`` is the only list of its
columns; CSV, Parquet and the pandas frame are made from it. Times are in seconds, as measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.judging.columns import Value
from bench.judging.table import framed
from bench.results.files import collect
from bench.results.schema import Measurement, Results

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SampleColumn:
    """A column; unit is empty for what has none. value: of a measurement and a sample's number."""

    unit: str
    meaning: str
    value: Callable[[Measurement, int], Value]
    kind: type[str | int | float] = str


SAMPLE_COLUMNS = {
    "session": SampleColumn("", "what the replicates share", lambda m, _: m.run.session),
    "run": SampleColumn("", "the process", lambda m, _: m.run.id),
    "started": SampleColumn(
        "ISO 8601, UTC", "when the process began", lambda m, _: m.run.started.isoformat()
    ),
    "host": SampleColumn("", "name of the machine", lambda m, _: m.run.host),
    "machine_id": SampleColumn("", "hash of host, CPU and GPUs", lambda m, _: m.run.machine_id),
    "case_id": SampleColumn("", "backend/shape/dtype/mode/device", lambda m, _: m.case.id),
    "backend": SampleColumn("", "the way of computing the LSTM", lambda m, _: m.case.backend),
    "device": SampleColumn("", "cpu or gpu:N", lambda m, _: m.case.device),
    "mode": SampleColumn("", "inference, training or streaming", lambda m, _: m.case.workload.mode),
    "shape": SampleColumn("", "spec and workload in short", lambda m, _: m.case.shape),
    "dtype": SampleColumn("", "precision of weights and products", lambda m, _: m.case.spec.dtype),
    "sample": SampleColumn("", "its number in the process, from 0", lambda _, i: i, int),
    "round": SampleColumn(
        "",
        "the alternating round in which it was taken: samples of one group with the same round in "
        "the same process are a pair",
        lambda m, i: int(m.rounds[i]),
        int,
    ),
    "calls": SampleColumn(
        "steps", "in the block that it is the mean of", lambda m, _: m.calls, int
    ),
    "time_s": SampleColumn("s", "of one step", lambda m, i: float(m.samples[i]), float),
    "valid": SampleColumn(
        "", "whether the process found nothing that spoils it", lambda m, _: m.valid, bool
    ),
}
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
