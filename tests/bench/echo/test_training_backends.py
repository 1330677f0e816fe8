"""Trainings of the echo task on every backend that is here have one loss curve."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from _pytest.mark import ParameterSet

import lstm_impl
from bench.echo.task import EchoSettings, Float64
from bench.echo.training import Training, model_of
from tests.bench.echo.made_models import Wrong

ROUNDING = 20.0

# A whole training in little time: the plateau, the fall, where a curve is most sensitive, what is
# learned, and an epoch's end, where the state is reset.
WINDOWS = 150
SETTINGS = EchoSettings(bits=3_000, echo=1, window=6, units=6)
LAYERED = EchoSettings(bits=1_500, layers=2, dropout=0.5)

# An unrolled graph under XLA compiles for minutes where it is large, and this is about the curve:
# the gate has every backend's step already.
BACKENDS = [name for name in lstm_impl.list_backends() if not name.startswith("static_unroll+")]
STRATEGIES = list(
    {name.partition("+")[0].partition("@")[0]: name for name in BACKENDS[::-1]}.values()
)
# Of TensorFlow's loops one stands for all, and of Keras's layers one.
QUICK = [
    name
    for name in STRATEGIES
    if not name.startswith(
        ("static_", "partial_unroll", "scan", "block", "tf_keras", "dynamic_rnn")
    )
]


def but_for_these_slow(quick: list[str]) -> list[ParameterSet]:
    """Every backend as a parameter; those that are not ``quick`` run with the slow tests."""
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in BACKENDS
    ]


def model(name: str, settings: EchoSettings) -> lstm_impl.Model:
    """The model, or a skip with the reason where the backend cannot be used for this."""
    backend = lstm_impl.get_backend(name)
    available = backend.availability("cpu")
    if not available:
        pytest.skip(f"{name}: {available}")
    if reason := backend.refusal(settings.spec, settings.workload):
        pytest.skip(f"{name}: {reason}")
    return model_of(settings, name)


def train(name: str, settings: EchoSettings, windows: int) -> Training:
    training = Training(settings, model(name, settings))
    training.until(windows)
    return training


@cache
def judged(settings: EchoSettings, windows: int) -> tuple[Float64, Float64]:
    """The float64 curve, and by how much rounding may move it: some times what it moves NumPy's."""
    reference, rounded = (
        np.array(train("numpy", replace(settings, dtype=dtype), windows).losses)
        for dtype in ("float64", settings.dtype)
    )
    moved = np.maximum.accumulate(np.abs(rounded - reference))
    return reference, ROUNDING * np.maximum(moved, np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", but_for_these_slow(QUICK))
def test_loss_curve_of_each_backend_equals_the_reference(name: str) -> None:
    reference, bound = judged(SETTINGS, WINDOWS)
    deviation = np.abs(np.array(train(name, SETTINGS, WINDOWS).losses) - reference)
    assert np.all(deviation <= bound), (
        f"worst at window {np.argmax(deviation / bound) + 1}: "
        f"{np.max(deviation / bound):.2f} of the bound"
    )
    assert reference[-1] < 0.1  # it was learned: the bound was put to the test


@pytest.mark.parametrize("name", but_for_these_slow(["while_loop"]))
def test_loss_curve_with_layers_and_dropout_equals_the_reference(name: str) -> None:
    reference, bound = judged(LAYERED, 40)
    deviation = np.abs(np.array(train(name, LAYERED, 40).losses) - reference)
    assert np.all(deviation <= bound)


@pytest.mark.parametrize(
    "mistake", ["forget bias dropped", "h not carried", "one gradient a little too large"]
)
def test_loss_curve_of_a_wrong_model_leaves_the_bound(mistake: str) -> None:
    reference, bound = judged(SETTINGS, WINDOWS)
    training = Training(SETTINGS, cast("Any", Wrong(model_of(SETTINGS), mistake)))
    assert np.any(np.abs(training.until(WINDOWS) - reference) > bound)
