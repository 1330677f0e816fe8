"""Streams of batches as fresh processes are asked for them, and what they answered as a table."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.batching.measured import lines, planned, told
from bench.measuring.lengths import Question
from bench.results import study
from bench.telling.command_line import UsageError

QUESTION = Question(
    batch=2,
    inputs=3,
    hidden=4,
    mode="training",
    lengths=(2, 5, 3),
    batches={"longest": [(5, (0, 1)), (5, (2,))], "batch": [(5, (0, 1)), (3, (2,))]},
    ways=("numpy/own",),
    seconds=1e-3,
    limit=60.0,
    seed=0,
)


def test_policies_are_spelled_with_their_number_of_buckets() -> None:
    given = np.array([1, 2, 9, 10])
    assert planned("longest", given, 2).batches == {10: 2}
    assert planned("batch", given, 2).batches == {2: 1, 10: 1}
    assert planned("buckets:2", given, 2).edges == (2, 10)
    assert planned("equal:2", given, 2).edges == (2, 10)
    for bad in ("buckets", "buckets:0", "equal:x", "shortest"):
        with pytest.raises(UsageError, match="expected longest"):
            planned(bad, given, 2)


def record(policy: str, first: float, later: float, **more: Any) -> dict[str, Any]:
    return {
        "way": "numpy/own",
        "policy": policy,
        "stream": f"numpy/own {policy}",
        "failed": "",
        "first": [first / 2] * 2,
        "samples": [later] * 10,
        "rounds": list(range(10)),
        "traces": 2,
        **more,
    }


def saved(folder: Path, **more: Any) -> Path:
    answers = [[record("longest", 3.0, 1.0), record("batch", 5.0, 0.5, **more)] for _ in range(6)]
    asked = {**asdict(QUESTION), "source": "uniform:2-5"}
    return study.save(
        study.document("lengths", datetime(2025, 1, 1, tzinfo=UTC), asked, answers), folder
    )


def test_the_table_has_first_and_later_passes_and_what_a_new_shape_cost(tmp_path: Path) -> None:
    table, problems, baseline = lines(study.read(saved(tmp_path), "lengths"))
    assert problems == []
    assert baseline == "numpy/own longest"
    longest, batch = table
    assert longest.beside is None
    assert batch.beside is not None
    assert batch.beside.comparison.ratio.mid == pytest.approx(0.5)
    assert (batch.shapes, batch.traces) == (2, 2)
    assert batch.new_shape == pytest.approx((5.0 - 0.5) / 2)
    assert batch.padding == pytest.approx(1 - 10 / 16)


def test_what_was_asked_is_told_and_what_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    answers, problems = told(study.read(saved(tmp_path), "lengths"))
    assert problems == []
    text = answers.markdown()
    assert "| `numpy/own` | batch" in text
    assert "3 sequences of 2 to 5 timesteps (uniform:2-5)" in text
    with pytest.raises(UsageError, match="nothing was measured: numpy/own batch: it broke"):
        told(study.read(saved(tmp_path, failed="it broke"), "lengths"))
