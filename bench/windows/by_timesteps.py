"""What whole sequences cost by their length: one backend's times as a line over the timesteps.

The arithmetic is that of windows (``fit``): what a step costs whatever its length, and what each
timestep of the whole batch adds. This room knows a report's rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.judging.rows import KINDS, Row
from bench.windows.fit import Fit, fit


def questions(rows: Iterable[Row]) -> list[list[Row]]:
    """The measured rows of whole, unpadded sequences: apart where more differs than backend and
    timesteps; each by timesteps, rising."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        work = row.case.workload
        if row.measured and row.case.kind == KINDS[0] and work.min_length is None:
            any_length = replace(row.case, workload=replace(work, timesteps=1))
            found.setdefault(any_length.group, []).append(row)
    return [sorted(each, key=lambda row: row.case.workload.timesteps) for each in found.values()]


def by_backend(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of one question, by backend."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.case.backend, []).append(row)
    return found


def line(rows: Sequence[Row]) -> Fit | None:
    """The line through one backend's rows of a question; None with fewer than three lengths."""
    times: dict[int, Mapping[str, float]] = {
        row.case.workload.timesteps: {run.run: float(np.median(run.samples)) for run in row.runs}
        for row in rows
    }
    return fit(times)
