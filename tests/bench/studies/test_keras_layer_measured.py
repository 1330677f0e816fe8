"""The layer beside Keras's: who is compared, called and timed, and rows of what was answered."""

from __future__ import annotations

import numpy as np
import pytest

from bench.case.cases import Shape
from bench.stats.comparison import Verdict
from bench.studies.keras_layer import BASELINE, Called, LayerRequest, Traced, answer, picked, rows
from tests.bench.made_besides import of_layers


def test_the_ratio_is_ours_over_keras() -> None:
    answers = [of_layers(1.0 + 1e-3 * k, BASELINE) for k in range(6)]
    ((row,), problems) = rows(answers)
    assert not problems
    assert row.comparison.ratio.mid == pytest.approx(0.5, rel=0.01)
    assert row.comparison.verdict is Verdict.FASTER
    assert row.comparison.processes == 6
    assert row.base_seconds == pytest.approx(2.0, rel=0.01)


def test_what_could_not_be_measured_is_a_problem_with_its_reason() -> None:
    answers = [of_layers(1.0, BASELINE, failed="it broke")]
    table, problems = rows(answers)
    assert not table
    assert problems == ["auto, b1-t1-i1-h1, training: it broke"]


def test_all_backends_are_told_that_computed_a_layer_in_one_process_or_another() -> None:
    one, other = (of_layers(1.0, BASELINE) for _ in range(2))
    other[1]["picked"] = "block_lstm"
    told = picked([one, other])
    assert told["b1-t1-i1-h1", "training", "auto"] == "block_lstm, scan"
    assert told["b1-t1-i1-h1", "training", BASELINE] == "scan"


@pytest.mark.parametrize(("through", "mode"), [("step", "inference"), ("fit", "training")])
def test_a_process_answers_for_each_layer(through: str, mode: str) -> None:
    pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
    tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's")
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a machine without a GPU, where cudnn is refused")
    backends = ("static_unroll", "cudnn")  # soon traced, of so few timesteps
    question = LayerRequest(("b2-t3-i2-h2",), (mode,), backends, through, "float32", True, 1e-3, 0)
    found = {(record["mode"], record["layer"]): record for record in answer(question)}
    assert len(found) == 3
    assert len(found[mode, BASELINE]["samples"]) == len(found[mode, BASELINE]["rounds"])
    assert found[mode, "static_unroll"]["picked"] == "static_unroll"
    assert not found[mode, "static_unroll"]["failed"]
    assert "cuDNN runs on NVIDIA GPUs only" in found[mode, "cudnn"]["failed"]


def test_a_layer_that_does_not_compute_what_keras_does_is_not_timed() -> None:
    pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
    question = LayerRequest(
        ("b2-t3-i2-h2",), ("training",), ("static_unroll",), "step", "float32", False, 1e-3, 0
    )
    ours, theirs = (Traced(question, Shape(2, 3, 2, 2), name) for name in ("static_unroll", None))
    assert "differs from Keras's" in ours.difference(theirs)  # their weights are not the same
    ours.layer.set_weights(theirs.layer.get_weights())
    assert not ours.difference(theirs)


def test_batches_are_called_on_any_backend_of_keras() -> None:
    pytest.importorskip("tensorflow", reason="Keras needs one: pip install '.[cpu]'")
    question = LayerRequest(
        ("b2-t3-i2-h2",),
        ("training",),
        ("static_unroll",),
        "batch",
        "float32",
        True,
        0.02,
        0,
    )
    records = answer(question)
    assert [record["failed"] for record in records] == [""] * 2
    ours = {record["picked"] for record in records if record["layer"] == "static_unroll"}
    assert ours == {"static_unroll"}


def test_a_layer_that_computes_something_else_is_not_timed_by_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorflow", reason="Keras needs one: pip install '.[cpu]'")
    question = LayerRequest(
        ("b2-t3-i2-h2",), ("training",), ("static_unroll",), "batch", "float32", False, 0.02, 0
    )
    theirs, ours = (Called(question, Shape(2, 3, 2, 2), name) for name in (None, "static_unroll"))
    ours.layer.set_weights(theirs.layer.get_weights())
    assert ours.difference(theirs) == ""
    before = [array.copy() for array in theirs.layer.get_weights()]
    assert all(map(np.array_equal, before, theirs.layer.get_weights()))
    ours.layer.set_weights([1.1 * array for array in before])
    assert "differs from Keras's" in ours.difference(theirs)
