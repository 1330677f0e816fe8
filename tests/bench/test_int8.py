"""The command that holds int8 against float32: its table, its words, one small measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import int8
from bench.judging.verdict import Verdict
from bench.machine import fresh
from bench.measuring.int8 import Question, answer, losses, relative_error, rows


def record(precision: str, seconds: float, loss: float, **more: Any) -> dict[str, Any]:
    noise = np.random.default_rng(0).uniform(0.999, 1.001, 20)
    return {
        "shape": "b1-t1-i1-h1",
        "runtime": "torch",
        "precision": precision,
        "failed": "",
        "loss": loss,
        "samples": (seconds * noise).tolist(),
        "rounds": list(range(20)),
        **more,
    }


def process(number: int, **more: Any) -> list[dict[str, Any]]:
    return [
        record("float32", 2.0, 1e-7),
        record("int8", 1.0 + 1e-3 * number, 0.01 + 1e-3 * number, **more),
    ]


def test_a_row_has_the_ratio_in_one_runtime_and_the_largest_loss() -> None:
    answers = [process(number) for number in range(6)]
    ((row,), problems) = rows(answers)
    assert not problems
    assert row.comparison.ratio.mid == pytest.approx(0.5, rel=0.01)
    assert row.comparison.verdict is Verdict.FASTER
    assert losses(answers) == {
        (*row.key, "int8"): pytest.approx(0.015),
        (*row.key, "float32"): pytest.approx(1e-7),
    }


def test_the_command_asks_fresh_processes_and_tells_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[Any] = []

    def ask(words: Any, question: Any, *, quiet: bool) -> Any:
        asked.append(question)
        return process(len(asked))

    monkeypatch.setattr(fresh, "ask", ask)
    assert int8.main(["b1-t1-i1-h1", "--processes", "6", "--runtime", "torch"]) == 0
    assert len({each["seed"] for each in asked}) == 6
    out = capsys.readouterr().out
    assert "FASTER" in out
    assert "1.6%" in out
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: process(0, failed="it is not installed"))
    assert int8.main(["b1-t1-i1-h1", "--processes", "1"]) == 1
    assert "not measured: torch int8, b1-t1-i1-h1: it is not installed" in capsys.readouterr().err
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: fresh.Died(-9, "no memory"))
    assert int8.main(["b1-t1-i1-h1", "--processes", "1"]) == 1
    assert "was ended by SIGKILL (as a rule: no memory was left): no memory" in (
        capsys.readouterr().err
    )
    assert int8.main(["b1"]) == 2
    assert "'b1' is no shape" in capsys.readouterr().err


def test_one_small_shape_is_measured() -> None:
    pytest.importorskip("onnxruntime", reason="pip install '.[onnxruntime]'")
    found = answer(Question(("b2-t3-i4-h8",), ("onnxruntime",), 0.02, 0))
    assert [each["failed"] for each in found] == ["", ""]
    float32, quantised = found
    assert float32["loss"] < 1e-5 < quantised["loss"] < 0.1
    assert quantised["samples"]


def test_an_error_is_relative_to_what_was_wanted() -> None:
    wanted = np.array([3.0, -4.0])
    assert relative_error(wanted * 1.1, wanted) == pytest.approx(0.1)
