"""Denormal numbers: that the case has them, and how what a backend made of them is told."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.denormals import main
from bench.measuring.denormals import (
    DENORMAL,
    FLUSHED,
    KEPT,
    ORDINARY,
    SCALES,
    SMALLEST_NORMAL,
    Question,
    answer,
    denormal_part,
    made,
    verdict_on,
    widened,
)
from bench.results import study
from lstm_impl import reference

QUESTION = Question(2, 100, 3, 16, "inference", ("numpy",), False, 1e-3, 0)


def outputs(scale: str, question: Question = QUESTION) -> Any:
    case = made(question, SCALES[scale])
    return reference.forward(case.spec, case.weights, case.inputs.x, case.inputs.state)


def test_the_denormal_case_is_denormal_to_its_end_and_the_ordinary_one_never() -> None:
    y, state = outputs(DENORMAL)
    assert denormal_part(y) == 1.0
    assert denormal_part(state.c) == 1.0
    assert denormal_part(outputs(ORDINARY)[0]) == 0.0


@pytest.mark.parametrize("hidden", [4, 200])
def test_both_are_the_same_computation_but_for_their_size(hidden: int) -> None:
    question = Question(2, 100, 3, hidden, "inference", (), False, 1.0, 1)
    small, _ = outputs(DENORMAL, question)
    large, _ = outputs(ORDINARY, question)
    ratio = SCALES[DENORMAL] / SCALES[ORDINARY]
    np.testing.assert_allclose(small, large * ratio, rtol=1e-3, atol=1e-3 * np.max(np.abs(small)))
    assert denormal_part(small) == 1.0


def test_numbers_are_widened_by_their_bits() -> None:
    values = np.array([0.0, -0.0, 1e-45, -1e-39, 1.5, -3e38, SMALLEST_NORMAL], np.float32)
    np.testing.assert_array_equal(widened(values), [float(each) for each in values])
    assert denormal_part(values) == pytest.approx(2 / 7)
    assert denormal_part(np.array([1e-39, 1.0])) == 0.5


def test_what_a_backend_made_of_denormals_is_told_apart() -> None:
    y, _ = outputs(DENORMAL)
    single = y.astype(np.float32)
    assert verdict_on(single, y) == (KEPT, "")
    assert verdict_on(np.zeros_like(single), y) == (FLUSHED, "")
    did, problem = verdict_on(single * np.float32(1.5), y)
    assert did == ""
    assert "off by" in problem
    mixed = np.concatenate([y, 10 * np.ones_like(y)])
    flushed = np.where(np.abs(mixed) < SMALLEST_NORMAL, 0, mixed).astype(np.float32)
    assert verdict_on(flushed, mixed)[0] in (FLUSHED, KEPT)


def test_a_process_answers_for_both_kinds_of_numbers_and_for_what_is_missing() -> None:
    question = Question(2, 5, 3, 4, "training", ("numpy", "cudnn"), False, 1e-3, 0)
    found = {(each["backend"], each["numbers"]): each for each in answer(question)}
    assert len(found) == 4
    for scale in SCALES:
        assert found["numpy", scale]["failed"] == ""
        assert found["numpy", scale]["samples"]
        assert "GPU" in found["cudnn", scale]["failed"]
    assert found["numpy", DENORMAL]["did"] == KEPT
    assert found["numpy", DENORMAL]["denormal"] == 1.0


def record(way: str, numbers: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "way": way,
        "backend": "torch",
        "numbers": numbers,
        "failed": "",
        "samples": [seconds] * 10,
        "rounds": list(range(10)),
        "denormal": float(numbers == DENORMAL),
        **more,
    }


def test_a_study_is_shown_with_ratio_and_what_was_made_of_denormals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [
        [
            record(way, ORDINARY, 1e-3),
            record(way, DENORMAL, 1e-3 * cost, did=did),
        ]
        for _ in range(6)
        for way, cost, did in (("as it is", 27.0, KEPT), ("flushing", 1.0, FLUSHED))
    ]
    when = datetime(2025, 1, 1, tzinfo=UTC)
    study.save(study.document("denormals", when, asdict(QUESTION), answers), tmp_path)
    assert main(["--show", str(tmp_path), "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "| `torch` | as it is | kept | 1.00 ms | 27 |" in out
    assert "| `torch` | flushing | flushed to zero | 1.00 ms | 1 |" in out
    assert "All of the outputs of the float64 reference are denormal" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shape", "64x25"], "no shape"),
        (["--backend", "while_lop"], "did you mean while_loop"),
        (["--show", "nowhere.json"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
