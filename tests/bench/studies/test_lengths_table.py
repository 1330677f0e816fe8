"""Streams of batches as fresh processes are asked for them, and what they answered as a table."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.command_line import UsageError
from bench.machine.fields import ResultError
from bench.records import study
from bench.studies.lengths import _parser, _policy, _question, command_output, lines, planned, sheet
from tests.bench.made_lengths import QUESTION


def test_policies_are_spelled_with_their_number_of_buckets() -> None:
    given = np.array([1, 2, 9, 10])
    assert planned("longest", given, 2).batches == {10: 2}
    assert planned("batch", given, 2).batches == {2: 1, 10: 1}
    assert planned("buckets:2", given, 2).edges == (2, 10)
    assert planned("equal:2", given, 2).edges == (2, 10)
    for bad in ("buckets", "buckets:0", "buckets:1001", "equal:x", "shortest"):
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
    asked = {**asdict(QUESTION), "policies": ["longest", "batch"], "source": "uniform:2-5"}
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
    answers, problems = command_output(study.read(saved(tmp_path), "lengths"))
    assert problems == []
    text = answers.markdown()
    assert "| `numpy/own` | batch" in text
    assert "3 sequences of 2 to 5 timesteps (uniform:2-5)" in text
    with pytest.raises(UsageError, match="nothing was measured: numpy/own batch: it broke"):
        command_output(study.read(saved(tmp_path, failed="it broke"), "lengths"))


def test_a_pass_has_as_many_sequences_as_its_batches_hold() -> None:
    words = ["uniform:2-9", "--batch", "4", "--batches", "3", "--policies", "batch", "buckets:2"]
    question = _question(_parser().parse_args([*words, "--seed", "5"]))
    assert len(question.lengths) == 12
    assert question.lengths != _question(_parser().parse_args([*words, "--seed", "6"])).lengths
    assert set(question.batches) == {"batch", "buckets:2"}
    for batches in question.batches.values():
        assert sorted(n for _, rows in batches for n in rows) == list(range(12))


def test_a_time_of_one_pass_has_no_bounds_and_a_shape_that_cost_nothing_says_none(
    tmp_path: Path,
) -> None:
    alone = study.document(
        "lengths",
        datetime(2025, 1, 1, tzinfo=UTC),
        {**asdict(QUESTION), "source": "x"},
        [[record("longest", 3.0, 3.0), record("batch", 1.0, 3.0)]],
    )
    table, _, _ = lines(study.read(study.save(alone, tmp_path), "lengths"))
    shown = sheet(table)
    heads = [column.heading for column in shown.columns]
    assert "first 2 batches" in heads
    (longest, batch) = shown.lines
    assert longest[heads.index("first 2 batches")].bounds == ""
    assert [cells[-1].text for cells in (longest, batch)] == ["none", "none"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("buckets:4", "4 buckets"), ("equal:3", "3 equal"), ("longest", "longest"), ("x:9", "x:9")],
)
def test_a_policy_is_told_in_words_and_any_other_text_as_it_is(text: str, words: str) -> None:
    assert _policy(text) == words


@pytest.mark.parametrize(
    ("change", "told_why"),
    [
        ({"batches": {}}, "asks for nothing"),
        ({"batches": {"longest": []}}, "asks for nothing"),
        ({"ways": []}, "asks for nothing"),
        ({"first": []}, "is empty"),
    ],
)
def test_a_study_that_holds_nothing_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, Any], told_why: str
) -> None:
    answers = [[{**record("longest", 3.0, 1.0), **change}, record("batch", 5.0, 0.5)]] * 6
    asked = {**asdict(QUESTION), "source": "x", **change}
    document = study.document("lengths", datetime(2025, 1, 1, tzinfo=UTC), asked, answers)
    with pytest.raises(ResultError, match=told_why):
        lines(study.read(study.save(document, tmp_path), "lengths"))
