"""How much of a shared step its collectives take, from a record of TensorFlow's profiler.

A collective waits for the slowest replica as well as for its data: both are in its time. A profiler
slows what it watches, so that only the share is of use, beside a time that nobody watched. This
room knows the profiler's events, no framework.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lstm_impl.backends.hlo import Recorded
from lstm_impl.backends.tensorflow_evidence import timeline
from lstm_impl.profile import Event, covered

MARK = "lstm_shared_steps"
"""The name under which the steps stand in the record; what is outside is no part of them."""

COLLECTIVE = re.compile(r"Collective|nccl", re.IGNORECASE)
"""Ops of TensorFlow's collectives, such as CollectiveReduceV2, and the kernels of NCCL."""


def collectives(recorded: Sequence[Recorded]) -> tuple[float, float]:
    """Seconds of the marked steps, and those in which at least one collective was under way.

    Both 0 where the record has no mark.
    """
    marks = [each for each in recorded if each.name.partition("#")[0] == MARK]
    if not marks:
        return 0.0, 0.0
    start = min(mark.start for mark in marks)
    end = max(mark.start + mark.seconds for mark in marks)
    found = [
        clipped
        for event in timeline(recorded)
        if COLLECTIVE.search(event.name) and (clipped := _clipped(event, start, end)).seconds > 0
    ]
    return end - start, covered(found)


def _clipped(event: Event, start: float, end: float) -> Event:
    first, last = max(event.start, start), min(event.end, end)
    return replace(event, start=first, seconds=max(0.0, last - first))
