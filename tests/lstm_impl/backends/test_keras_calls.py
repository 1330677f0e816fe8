"""Each call that users make of a Keras model: the same function, and the weights it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMWeights, Workload, reference
from lstm_impl.backends.keras import calls as keras_calls
from lstm_impl.backends.keras.calls import PATHS
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built

INFER = Workload(2, 4)
TRAIN = Workload(2, 4, "training", optimizer="sgd", gradients="weights")


def few(purpose: str) -> list[Any]:
    """Those that take seconds to trace, compile or save only with the slow tests."""
    slow = ("fit", "signature", "predict")
    return [
        pytest.param(each, marks=pytest.mark.slow if each in slow else ())
        for each, path in PATHS.items()
        if getattr(path, purpose)
    ]


@pytest.mark.parametrize("path", few("infers"))
def test_each_call_infers_what_the_reference_does(path: str) -> None:
    result = gate(built(f"keras_model+{path}" if path else "keras_model"), INFER, seed=3)
    assert result.passed, result.describe()


@pytest.mark.parametrize("path", few("trains"))
def test_each_call_leaves_the_weights_that_the_reference_leaves(path: str) -> None:
    result = gate(built(f"keras_model+{path}" if path else "keras_model"), TRAIN, seed=3)
    assert result.passed, result.describe()
    assert "update" in result.errors


def test_an_onnx_graph_runs_on_as_many_threads_as_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    asked: list[int] = []
    real = onnxruntime.InferenceSession

    def watched(graph: bytes, options: Any, **more: Any) -> Any:
        asked.append(options.intra_op_num_threads)
        return real(graph, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    weights, inputs = LSTMWeights.random(SPEC, seed=1), INFER.inputs(SPEC)
    for threads in (1, 0):
        infer = keras_calls.onnx(SPEC, weights, threads)
        y, h, c = infer(np.swapaxes(inputs.x, 0, 1), inputs.state.h[0], inputs.state.c[0])
    assert asked == [1, 0]
    expected, state = reference.forward(SPEC, weights, inputs.x, inputs.state)
    for ours, theirs in ((np.swapaxes(y, 0, 1), expected), (h, state.h[0]), (c, state.c[0])):
        assert error(ours, theirs) < 1e-5
