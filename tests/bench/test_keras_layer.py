"""The command that times the layer against Keras's: its arithmetic and its words, not its times."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.judging.verdict import Verdict
from bench.keras_layer import _show, main
from bench.measuring.layer import BASELINE, Called, Question, Traced, answer, rows
from bench.suites.cases import Shape


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["64x25x512"], "'64x25x512' is no shape"),
        (["b0-t1-i1-h1"], "'b0-t1-i1-h1' is no shape"),
        (["--backend", "while_lop"], "did you mean while_loop"),
        (["--processes", "0"], "'0' is no whole number of at least 1"),
        (["--seconds", "nan"], "'nan' is no time"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def record(layer: str, seconds: float, **more: Any) -> dict[str, Any]:
    noise = np.random.default_rng(0).uniform(0.999, 1.001, 20)
    return {
        "shape": "b1-t1-i1-h1",
        "mode": "training",
        "layer": layer,
        "picked": "scan",
        "failed": "",
        "samples": (seconds * noise).tolist(),
        "rounds": list(range(20)),
        **more,
    }


def test_the_ratio_is_ours_over_keras() -> None:
    answers = [[record(BASELINE, 2.0), record("auto", 1.0 + 1e-3 * k)] for k in range(6)]
    ((row,), problems) = rows(answers)
    assert not problems
    assert row.comparison.ratio.mid == pytest.approx(0.5, rel=0.01)
    assert row.comparison.verdict is Verdict.FASTER
    assert row.comparison.processes == 6
    assert row.base_seconds == pytest.approx(2.0, rel=0.01)


def test_the_answer_is_a_table_in_a_terminal_in_markdown_and_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [[record(BASELINE, 2.0), record("auto", 1.0 + 1e-3 * k)] for k in range(6)]
    assert _show(answers, Namespace(format="terminal", output=None)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["shape", "mode", "backend", "computed", "by"]
    assert lines[2].split()[:4] == ["b1-t1-i1-h1", "training", "auto", "scan"]
    assert lines[2].split()[-1] == "FASTER"
    assert "ours as Keras's, above 1 is faster" in " ".join(lines[3:])
    assert _show(answers, Namespace(format="markdown", output=tmp_path / "a.md")) == 0
    assert capsys.readouterr().out == ""
    assert "| `b1-t1-i1-h1` | training | auto | scan |" in (tmp_path / "a.md").read_text()


def test_what_could_not_be_measured_is_a_problem_with_its_reason() -> None:
    answers = [[record(BASELINE, 2.0), record("scan", 1.0, failed="it broke")]]
    table, problems = rows(answers)
    assert not table
    assert problems == ["scan, b1-t1-i1-h1, training: it broke"]


@pytest.mark.parametrize("through", ["step", "fit"])
def test_a_process_answers_for_each_layer(through: str) -> None:
    pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
    tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's")
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a machine without a GPU, where cudnn is refused")
    backends = ("static_unroll", "cudnn")  # soon traced, of so few timesteps
    question = Question(
        ("b2-t3-i2-h2",), ("training", "inference"), backends, through, "float32", True, 1e-3, 0
    )
    found = {(record["mode"], record["layer"]): record for record in answer(question)}
    assert len(found) == 2 * 3
    for mode in question.modes:
        assert len(found[mode, BASELINE]["samples"]) == len(found[mode, BASELINE]["rounds"])
        assert found[mode, "static_unroll"]["picked"] == "static_unroll"
        assert not found[mode, "static_unroll"]["failed"]
        assert "cuDNN runs on NVIDIA GPUs only" in found[mode, "cudnn"]["failed"]


def test_a_layer_that_does_not_compute_what_keras_does_is_not_timed() -> None:
    pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
    question = Question(
        ("b2-t3-i2-h2",), ("training",), ("static_unroll",), "step", "float32", False, 1e-3, 0
    )
    ours, theirs = (Traced(question, Shape(2, 3, 2, 2), name) for name in ("static_unroll", None))
    assert "differs from Keras's" in ours.difference(theirs)  # their weights are not the same
    ours.layer.set_weights(theirs.layer.get_weights())
    assert not ours.difference(theirs)


def test_where_keras_runs_elsewhere_only_calls_by_batch_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.keras_layer.keras_backend", lambda: "torch")
    assert main(["--through", "fit"]) == 2
    assert "Keras runs on torch here, and --through fit" in capsys.readouterr().err


def test_batches_are_called_on_any_backend_of_keras() -> None:
    pytest.importorskip("tensorflow", reason="Keras needs one: pip install '.[cpu]'")
    question = Question(
        ("b2-t3-i2-h2",),
        ("inference", "training"),
        ("static_unroll",),
        "batch",
        "float32",
        True,
        0.02,
        0,
    )
    records = answer(question)
    assert [record["failed"] for record in records] == [""] * 4
    ours = {record["picked"] for record in records if record["layer"] == "static_unroll"}
    assert ours == {"static_unroll"}


def test_a_layer_that_computes_something_else_is_not_timed_by_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorflow", reason="Keras needs one: pip install '.[cpu]'")
    question = Question(
        ("b2-t3-i2-h2",), ("training",), ("static_unroll",), "batch", "float32", False, 0.02, 0
    )
    theirs, ours = (Called(question, Shape(2, 3, 2, 2), name) for name in (None, "static_unroll"))
    ours.layer.set_weights(theirs.layer.get_weights())
    assert ours.difference(theirs) == ""
    before = [array.copy() for array in theirs.layer.get_weights()]
    assert all(map(np.array_equal, before, theirs.layer.get_weights()))
    ours.layer.set_weights([1.1 * array for array in before])
    assert "differs from Keras's" in ours.difference(theirs)
