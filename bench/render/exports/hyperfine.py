"""Write every case with its samples as hyperfine's JSON, which its scripts and Bencher read.

The fields are those of ``BenchmarkResult`` of https://github.com/sharkdp/hyperfine (1.20). Of the
processor's time only the sum is known, and only of some cases: ``user`` is that or 0, ``system`` 0.
"""

from __future__ import annotations

import statistics

from bench.render.data import json_text, records
from bench.stats.rows import Report

PARAMETERS = ("backend", "device", "mode", "dtype", "batch", "timesteps", "hidden_size", "session")


def as_json(report: Report) -> str:
    """Return the measured cases; the times are those of all processes' samples, in seconds.

    Parameters are what differs between them: hyperfine's ``plot_parametrized.py`` takes only one.
    """
    rows = [row for section in report.sections for row in section.rows]
    found = [(row, data) for row, data in zip(rows, records(report), strict=True) if row.measured]
    varied = [name for name in PARAMETERS if len({data[name] for _, data in found}) > 1]
    results: list[dict[str, object]] = []
    for row, data in found:
        times = [float(sample) for run in row.runs for sample in run.samples]
        mean, parameters = statistics.fmean(times), {name: str(data[name]) for name in varied}
        result = {"command": row.case.id, "mean": mean, "median": statistics.median(times)}
        result |= {"stddev": statistics.stdev(times) if len(times) > 1 else None}
        result |= {"min": min(times), "max": max(times), "system": 0.0}
        result |= {"user": mean * row.roofs.get("processors_busy", 0.0), "times": times}
        results.append(result | {"exit_codes": [0] * len(times), "parameters": parameters})
    return json_text({"results": results})
