"""A map of what windows learn as data: a row a training, as CSV and JSON, for other programs.

Losses are in nats a timestep, never scaled or rounded, and what has no value is None. This room
knows maps.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.results.maps import LearningMap
from bench.telling.sheet import comma_separated, json_text

Value = str | float | int | bool | None


def records(found: LearningMap) -> list[dict[str, Value]]:
    """A flat row for each training of the map: a task, a distance, a window, a state, a seed."""
    run = found.run
    return [
        {
            "run": run.id,
            "started": run.started.isoformat(),
            "backend": run.backend,
            "device": run.device,
            "task": cell.task,
            "distance": cell.distance,
            "window": cell.window,
            "stride": cell.stride,
            "carried": cell.carried,
            "seed": cell.seed,
            "timesteps": cell.timesteps,
            "updates": cell.updates,
            "loss": cell.loss,
            "best": cell.best,
            "memoryless": cell.memoryless,
            "closed": cell.closed,
            "learned": cell.learned,
            "accuracy": cell.accuracy,
            "problem": cell.problem or None,
        }
        for cell in found.cells
    ]


def as_csv(found: LearningMap) -> Iterator[str]:
    """``records`` under a line of their names; what a spreadsheet would run is made text."""
    rows = records(found)
    return comma_separated(rows[0], (row.values() for row in rows))


def as_json(found: LearningMap) -> str:
    """What the map was made with, and ``records``, under ``cells``."""
    run = found.run
    document = {
        "run": run.id,
        "complete": run.complete,
        "settings": dict(run.settings),
        "libraries": dict(run.libraries),
        "cells": records(found),
        "notes": list(found.notes),
    }
    return json_text(document)
