"""int8 beside float32: rows of what processes answered, and one small measurement."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats.verdict import Verdict
from bench.worker.int8 import Question, answer, losses, relative_error, rows
from tests.bench.made_besides import of_precisions, record


def test_a_row_has_the_ratio_in_one_runtime_and_the_largest_loss() -> None:
    answers = [of_precisions(number) for number in range(6)]
    ((row,), problems) = rows(answers)
    assert not problems
    assert row.comparison.ratio.mid == pytest.approx(0.5, rel=0.01)
    assert row.comparison.verdict is Verdict.FASTER
    assert losses(answers) == {
        (*row.key, "int8"): pytest.approx(0.015),
        (*row.key, "float32"): pytest.approx(1e-7),
    }


def test_what_is_missing_has_one_reason_for_a_runtime_and_shape() -> None:
    both = [{**each, "failed": f"no {each['precision']}"} for each in of_precisions(0)]
    only = record(1.0, runtime="onnxruntime", precision="int8", failed="not installed")
    fine = record(2.0, runtime="onnxruntime", precision="float32")
    table, problems = rows([[*both, only, fine]])
    assert table == []
    assert problems == [
        "onnxruntime int8, b1-t1-i1-h1: not installed",
        "torch float32, b1-t1-i1-h1: no float32",
    ]


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
