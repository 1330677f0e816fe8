"""Records of fresh processes beside a baseline's: ratios, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.machine.fields import Field, ResultError
from bench.stats.comparison import Verdict
from bench.studies.comparisons import fields, rows


def record(side: str, seconds: float, **more: Any) -> dict[str, Any]:
    noise = np.random.default_rng(0).uniform(0.999, 1.001, 20)
    return {
        "backend": "torch",
        "numbers": side,
        "failed": "",
        "samples": (seconds * noise).tolist(),
        "rounds": list(range(20)),
        **more,
    }


def answers(*records: list[dict[str, Any]]) -> list[tuple[Field, ...]]:
    root = Field(Path("a.json"), "answers", list(records))
    return [tuple(each.items()) for each in root.items()]


def test_a_side_is_held_against_the_baseline_of_its_key() -> None:
    given = answers(
        *([record("ordinary", 1.0), record("denormal", 3.0 + 1e-3 * k)] for k in range(6))
    )
    (found,), problems = rows(given, ["backend"], "numbers", "ordinary")
    assert problems == []
    assert (found.key, found.side) == (("torch",), "denormal")
    assert found.comparison.ratio.mid == pytest.approx(3.0, rel=0.01)
    assert found.comparison.verdict is Verdict.SLOWER
    assert found.base_seconds == pytest.approx(1.0, rel=0.01)


def test_what_failed_on_either_side_has_no_ratio_and_says_why() -> None:
    for failing in ("ordinary", "denormal"):
        given = answers(
            [
                record(side, 1.0, **({"failed": "it broke"} if side == failing else {}))
                for side in ("ordinary", "denormal")
            ]
        )
        table, problems = rows(given, ["backend"], "numbers", "ordinary")
        assert table == []
        assert "torch, denormal: it broke" in list(map(str, problems))
    table, problems = rows(answers([record("denormal", 1.0)]), ["backend"], "numbers", "ordinary")
    assert list(map(str, problems)) == ["torch, denormal: there is no ordinary beside it"]


def test_what_failed_is_told_once_by_its_key_and_side() -> None:
    given = answers(
        *(
            [record("ordinary", 1.0), record("denormal", 1.0, failed=f"it broke {k} times")]
            for k in range(3)
        )
    )
    _, (found,) = rows(given, ["backend"], "numbers", "ordinary")
    assert (found.key, found.side, found.why) == (("torch",), "denormal", "it broke 0 times")


def test_answers_just_given_are_read_like_those_of_a_file() -> None:
    plain = [[record("ordinary", 1.0), record("denormal", 3.0)] for _ in range(6)]
    ways = [
        rows(each, ["backend"], "numbers", "ordinary") for each in (fields(plain), answers(*plain))
    ]
    assert ways[0] == ways[1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"samples": [-1.0] * 20}, "samples"),
        ({"samples": []}, "rounds"),
        ({"rounds": [0] * 20}, "a round of its own for each sample"),
        ({"rounds": ["x"] * 20}, "rounds"),
        ({"failed": None}, "failed"),
        ({"backend": 3}, "backend"),
    ],
)
def test_a_record_that_is_none_is_told_with_its_place(more: dict[str, Any], words: str) -> None:
    given = answers([record("ordinary", 1.0), record("denormal", 1.0, **more)])
    with pytest.raises(ResultError, match=words) as told:
        rows(given, ["backend"], "numbers", "ordinary")
    assert "answers[0][1]" in str(told.value)
