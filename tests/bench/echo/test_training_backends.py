"""Test that trainings of the echo task on all installed backends have the same loss curve."""

from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from _pytest.mark import ParameterSet

import lstm_impl
from bench.echo.task import EchoSettings, Float64
from bench.echo.training import Training, build_model
from tests.bench.echo.made_models import Wrong

ROUNDING = 20.0

# A short training with all phases: the plateau, the fall, where a curve is most sensitive, the
# learned task, and an epoch's end, where the state is reset.
WINDOWS = 150
SETTINGS = EchoSettings(bits=3_000, echo=1, window=6, units=6)
LAYERED = EchoSettings(bits=1_500, layers=2, dropout=0.5)

# Large unrolled graphs compile for minutes under XLA; the gate judges their steps elsewhere.
BACKENDS = [name for name in lstm_impl.list_backends() if not name.startswith("static_unroll+")]
STRATEGIES = list(
    {name.partition("+")[0].partition("@")[0]: name for name in BACKENDS[::-1]}.values()
)
# One of TensorFlow's loops and one of Keras's layers represent the others.
QUICK = [
    name
    for name in STRATEGIES
    if not name.startswith(
        ("static_", "partial_unroll", "scan", "block", "tf_keras", "dynamic_rnn")
    )
]


def slow_except(quick: list[str]) -> list[ParameterSet]:
    """Return each backend as a parameter, marked slow unless it is ``quick``."""
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in BACKENDS
    ]


def model(name: str, settings: EchoSettings) -> lstm_impl.Model:
    """Return the model; skip with the reason where the backend cannot train this."""
    backend = lstm_impl.get_backend(name)
    available = backend.availability("cpu")
    if not available:
        pytest.skip(f"{name}: {available}")
    if reason := backend.refusal(settings.spec, settings.workload):
        pytest.skip(f"{name}: {reason}")
    return build_model(settings, name)


def train(name: str, settings: EchoSettings, windows: int) -> Training:
    training = Training(settings, model(name, settings))
    training.until(windows)
    return training


@cache
def reference_curve(settings: EchoSettings, windows: int) -> tuple[Float64, Float64]:
    """Return the float64 curve and its bound: a multiple of how far rounding moves NumPy's."""
    reference, rounded = (
        np.array(train("numpy", replace(settings, dtype=dtype), windows).losses)
        for dtype in ("float64", settings.dtype)
    )
    moved = np.maximum.accumulate(np.abs(rounded - reference))
    return reference, ROUNDING * np.maximum(moved, np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", slow_except(QUICK))
def test_loss_curve_of_each_backend_equals_the_reference(name: str) -> None:
    reference, bound = reference_curve(SETTINGS, WINDOWS)
    deviation = np.abs(np.array(train(name, SETTINGS, WINDOWS).losses) - reference)
    assert np.all(deviation <= bound), (
        f"worst at window {np.argmax(deviation / bound) + 1}: "
        f"{np.max(deviation / bound):.2f} of the bound"
    )
    assert reference[-1] < 0.1  # learned: the bound was tested


@pytest.mark.parametrize("name", slow_except(["while_loop"]))
def test_loss_curve_with_layers_and_dropout_equals_the_reference(name: str) -> None:
    reference, bound = reference_curve(LAYERED, 40)
    deviation = np.abs(np.array(train(name, LAYERED, 40).losses) - reference)
    assert np.all(deviation <= bound)


@pytest.mark.parametrize(
    "mistake", ["forget bias dropped", "h not carried", "one gradient a little too large"]
)
def test_loss_curve_of_a_wrong_model_leaves_the_bound(mistake: str) -> None:
    reference, bound = reference_curve(SETTINGS, WINDOWS)
    training = Training(SETTINGS, cast("Any", Wrong(build_model(SETTINGS), mistake)))
    assert np.any(np.abs(training.until(WINDOWS) - reference) > bound)
