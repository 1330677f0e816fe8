"""Denormal numbers: that the case has them, and how what a backend made of them is told."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.machine import fresh
from bench.records import study
from bench.studies import denormals
from bench.studies.denormals import (
    DENORMAL,
    FLUSHED,
    KEPT,
    ORDINARY,
    SCALES,
    SMALLEST_NORMAL,
    DenormalsRequest,
    answer,
    denormal_part,
    made,
    verdict_on,
    widened,
)
from lstm_impl import reference

QUESTION = DenormalsRequest(2, 100, 3, 16, "inference", ("numpy",), False, 1e-3, 0)


def outputs(scale: str, question: DenormalsRequest = QUESTION) -> Any:
    case = made(question, SCALES[scale])
    return reference.forward(case.spec, case.weights, case.inputs.x, case.inputs.state)


def test_the_denormal_case_is_denormal_to_its_end_and_the_ordinary_one_never() -> None:
    y, state = outputs(DENORMAL)
    assert denormal_part(y) == 1.0
    assert denormal_part(state.c) == 1.0
    assert denormal_part(outputs(ORDINARY)[0]) == 0.0


@pytest.mark.parametrize("hidden", [4, 200])
def test_both_are_the_same_computation_but_for_their_size(hidden: int) -> None:
    question = DenormalsRequest(2, 100, 3, hidden, "inference", (), False, 1.0, 1)
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
    question = DenormalsRequest(2, 5, 3, 4, "training", ("numpy", "cudnn"), False, 1e-3, 0)
    found = {(each["backend"], each["numbers"]): each for each in answer(question)}
    assert len(found) == 4
    for scale in SCALES:
        assert found["numpy", scale]["failed"] == ""
        assert found["numpy", scale]["samples"]
        assert "GPU" in found["cudnn", scale]["failed"]
    assert found["numpy", DENORMAL]["did"] == KEPT
    assert found["numpy", DENORMAL]["denormal"] == 1.0


def record(numbers: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "backend": "torch",
        "numbers": numbers,
        "failed": "",
        "samples": [seconds] * 10,
        "rounds": list(range(10)),
        "denormal": float(numbers == DENORMAL),
        **more,
    }


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What processes are asked, of which those that flush take no longer with denormals."""
    asked: list[dict[str, Any]] = []

    def ask(words: object, question: dict[str, Any], *, quiet: bool) -> list[dict[str, Any]]:
        asked.append(question)
        cost, did = (1.0, FLUSHED) if question["flush"] else (27.0, KEPT)
        return [record(ORDINARY, 1e-3), record(DENORMAL, 1e-3 * cost, did=did)]

    monkeypatch.setattr(fresh, "ask", ask)
    return asked


OPTIONS = Namespace(
    shape="b2-t100-i3-h16", mode="inference", backend=["torch"], seconds=0.5, seed=7, processes=6
)


def test_each_seed_is_asked_of_one_process_as_it_is_and_one_that_flushes(
    questions: list[dict[str, Any]],
) -> None:
    assert denormals.measure(OPTIONS) is not None
    assert [(each["seed"], each["flush"]) for each in questions] == [
        (seed, flush) for seed in range(7, 13) for flush in (False, True)
    ]
    whole = DenormalsRequest(2, 100, 3, 16, "inference", ("torch",), False, 0.5, 7)
    assert {**questions[0]} == asdict(whole)


def test_a_process_that_died_leaves_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: fresh.Died(-9))
    assert denormals.measure(OPTIONS) is None


def test_the_table_has_the_ratio_of_each_way_and_what_was_made_of_denormals(
    questions: list[dict[str, Any]],
) -> None:
    answered = denormals.measure(OPTIONS)
    assert answered is not None
    document = study.document("denormals", datetime(2025, 1, 1, tzinfo=UTC), *answered)
    said, problems = denormals.command_output(study.parsed(Path("x"), document, "denormals"))
    assert problems == []
    text = said.markdown()
    assert "| `torch` | as it is | kept | 1.00 ms | 27 |" in text
    assert "| `torch` | flushing | flushed to zero | 1.00 ms | 1 |" in text
    assert "12 processes on" in text
    assert "All of the outputs of the float64 reference are denormal" in text
