"""Write every case with its samples as hyperfine's JSON, which its scripts and Bencher read.

The fields are those of ``BenchmarkResult`` of https://github.com/sharkdp/hyperfine (1.20). Of the
processor's time only the sum is known, and only of some cases: ``user`` is that or 0, ``system`` 0.
"""

from __future__ import annotations

import numpy as np

from bench.render.data import finite, json_text, records
from bench.stats.rows import Report

PARAMETERS = ("backend", "device", "mode", "dtype", "batch", "timesteps", "hidden_size", "session")


def as_json(report: Report) -> str:
    """Return the measured cases; the times are those of all processes' samples, in seconds.

    Parameters are what differs between them: hyperfine's ``plot_parametrized.py`` takes only one.
    """
    rows = [row for section in report.sections for row in section.rows]
    found = [(row, data) for row, data in zip(rows, records(report), strict=True) if row.measured]
    varied = [name for name in PARAMETERS if len({data[name] for _, data in found}) > 1]
    results = []
    for row, data in found:
        times = np.concatenate([run.samples for run in row.runs])
        figures = {
            "mean": times.mean(),
            "stddev": times.std(ddof=1) if times.size > 1 else np.nan,
            "median": np.median(times),
            "min": times.min(),
            "max": times.max(),
            "user": times.mean() * row.roofs.get("processors_busy", 0.0),
        }
        results.append(
            {
                "command": row.case.id,
                **{name: finite(float(value)) for name, value in figures.items()},
                "system": 0.0,
                "times": times.tolist(),
                "exit_codes": [0] * times.size,
                "parameters": {name: str(data[name]) for name in varied},
            }
        )
    return json_text({"results": results})
