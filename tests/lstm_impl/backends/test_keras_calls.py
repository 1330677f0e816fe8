"""Each call that users make of a Keras model: the same function, and the weights it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_impl import Workload
from lstm_impl.backends.keras.calls import PATHS
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built

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
