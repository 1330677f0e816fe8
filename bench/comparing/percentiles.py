"""Results with a percentile of streams' latency in place of times, so that it is what is compared.

A process's percentile stands for all of its calls as its median does elsewhere: what judges
medians then judges it, between processes and with error rates of its own (``docs/verdicts.md``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from bench.records.schema import Measurement, Results
from bench.stats.intervals import ENOUGH_PROCESSES


def at_percentile(results: Results, part: float) -> Results:
    """The streams of these results that enough processes measured, each with its percentile.

    A note says how many streams are left out, since too few processes could tell theirs.
    """
    processes: Counter[tuple[str, str]] = Counter()
    for item in results.measurements:
        if item.streaming is not None:
            processes[_key(item)] += _told(item, part) is not None
    enough = {key for key, number in processes.items() if number >= ENOUGH_PROCESSES}
    files = tuple(
        replace(
            file,
            measurements=tuple(
                # As if it had one sample, in a round that every process has.
                replace(item, samples=np.array([value]), rounds=np.array([0]))
                for item in file.measurements
                if (value := _told(item, part)) is not None and _key(item) in enough
            ),
            outcomes=tuple(each for each in file.outcomes if each.case.workload.streaming),
        )
        for file in results.files
    )
    notes = results.notes
    if few := len(processes) - len(enough):
        notes = (
            *notes,
            f"{few} of {len(processes)} streams are left out: fewer than {ENOUGH_PROCESSES} "
            f"processes can tell their p{part:g}, and of so few no verdict is made; measure with "
            f"bench.run --processes {ENOUGH_PROCESSES}, and --seconds for more calls in each",
        )
    return replace(results, files=files, notes=notes)


def _key(item: Measurement) -> tuple[str, str]:
    return item.run.machine_id, item.case.id


def _told(item: Measurement, part: float) -> float | None:
    if item.streaming is None:
        return None
    found = item.streaming.latency.percentiles.get(part)
    return None if found is None else found.mid
