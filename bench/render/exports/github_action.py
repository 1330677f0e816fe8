"""Write the times for github-action-benchmark, whose tool ``customSmallerIsBetter`` reads them.

The fields are those of https://github.com/benchmark-action/github-action-benchmark (README, "Custom
benchmarks"). Its alert on a rise in per cent knows no intervals: ``bench.compare --fail-on`` does.
"""

from __future__ import annotations

import json

from bench.render.data import records
from bench.stats.rows import Report


def as_json(report: Report) -> str:
    """Return the time of each measured case in seconds, of its newest session, with half its CI."""
    found: dict[object, dict[str, object]] = {}
    for row in records(report):
        time, low, high = row["time_s"], row["time_low_s"], row["time_high_s"]
        if isinstance(time, float):
            entry: dict[str, object] = {"name": row["case_id"], "unit": "s", "value": time}
            if isinstance(low, float) and isinstance(high, float):
                entry["range"] = f"± {(high - low) / 2:.3g}"
            invalid = "" if row["valid"] else f"; INVALID: {row['invalid_reasons']}"
            entry["extra"] = f"{row['processes']} processes, session {row['session']}{invalid}"
            found.setdefault(row["case_id"], entry)
    return json.dumps(list(found.values()), indent=2) + "\n"
