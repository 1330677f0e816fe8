"""Build backends and models for tests, or skip with the backend's reason if it is unavailable."""

import functools
import importlib.util
from collections.abc import Iterable
from typing import Any

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.backend import Backend
from lstm_impl.proof import GateResult, gate

SPEC = LSTMSpec(3, 5)

IN_PEERS = [pytest.mark.slow] if importlib.util.find_spec("tensorflow") is not None else []
"""The marks of tests for which XLA compiles for seconds.

The tests without TensorFlow (``tox -e peers``) run them. With TensorFlow they would be compiled a
second time, so that they count as slow there.
"""


def choose_marks(name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test with this backend: ``IN_PEERS`` on JAX, otherwise none."""
    return IN_PEERS if "jax" in name else []


def mark_names(names: Iterable[str]) -> list[Any]:
    """Return names of backends as parameters with the marks that ``choose_marks`` chooses."""
    return [pytest.param(name, marks=choose_marks(name)) for name in names]


def ready(name: str) -> Backend:
    """Return a backend, or skip the test if the backend cannot run here."""
    backend = get_backend(name)
    if not (available := backend.availability("cpu")):
        pytest.skip(f"{name}: {available}")
    return backend


def needs(name: str) -> pytest.MarkDecorator:
    """Skip all tests of a file whose backend is unavailable."""
    available = get_backend(name).availability("cpu")
    return pytest.mark.skipif(not available, reason=f"{name}: {available}")


def built(name: str, spec: LSTMSpec = SPEC, seed: int = 1, **options: Any) -> Any:
    """Return a model of the backend on a CPU with random weights."""
    return ready(name).build(spec, LSTMWeights.random(spec, seed), **options)


@functools.cache
def shared(name: str) -> Any:
    """Return a model shared by tests that do not change it, so that it is compiled once."""
    return built(name)


def tensors(spec: LSTMSpec, batch: int, timesteps: int) -> tuple[Any, Any, Any]:
    """Return an input and a state as TensorFlow's tensors."""
    import tensorflow as tf

    inputs = Workload(batch, timesteps).inputs(spec)
    x, h, c = map(tf.constant, (inputs.x, inputs.state.h, inputs.state.c))
    return x, h, c


def passes(model: Model, workload: Workload, seed: int = 0) -> GateResult:
    """Return the result of the gate for a model that must pass."""
    result = gate(model, workload, seed)
    assert result.passed, result.describe()
    return result
