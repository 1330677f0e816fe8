"""Test that each backend updates its weights by the formula in NumPy."""

import functools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Model, Workload, get_backend, list_backends
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE, NumPyOptimizer
from lstm_impl.workload import OPTIMIZERS
from tests.lstm_impl.backends import built

TRAIN = Workload(2, 3, "training")

# Compiling takes minutes; the update is PyTorch's in both cases.
SLOW = ("torch_compile",)

VARIANTS = ("while_loop+hoisted", "while_loop+hoisted+xla")


def slow(name: str, optimizer: str) -> list[pytest.MarkDecorator]:
    """Return whether a test is slow, as most variants of TensorFlow, which share their ops."""
    of_tensorflow = get_backend(name).framework == "tensorflow"
    variant = "+" in name and name not in VARIANTS
    known = optimizer == "sgd" and name not in EACH
    late = name.startswith(SLOW) or (of_tensorflow and (variant or known))
    return [pytest.mark.slow] if late else []


def ready(name: str, spec: LSTMSpec, workload: Workload = TRAIN, **options: Any) -> Model:
    """Return a model of the backend, or skip the test with the backend's reason."""
    backend = built.ready(name)
    if reason := backend.refusal(spec, workload):
        pytest.skip(f"{name}: {reason}")
    return backend.build(spec, LSTMWeights.random(spec, seed=2), "cpu", **options)


SMALL = LSTMSpec(3, 4)


@functools.cache
def _kept(name: str) -> Model:
    return ready(name, SMALL)


def new_model(name: str) -> Model:
    """Return a model of ``SMALL`` with its first weights, which is compiled once."""
    model = _kept(name)
    model.set_weights(LSTMWeights.random(SMALL, seed=2))
    return model


def one_of_each_framework() -> list[str]:
    """Return the first backend of each framework that trains on a CPU, even if not installed."""
    first: dict[str, str] = {}
    for name in list_backends():
        backend = get_backend(name)
        if "cpu" in backend.devices and backend.optimizers and not name.startswith(SLOW):
            first.setdefault(backend.framework, name)
    return list(first.values())


EACH = one_of_each_framework()
USUAL = [
    pytest.param(name, marks=pytest.mark.slow if name == "flax" else built.choose_marks(name))
    for name in EACH
]


def moved(model: Model, start: LSTMWeights) -> float:
    """Return the largest change of a weight since the start."""
    pairs = zip(model.get_weights().arrays(), start.arrays(), strict=True)
    return max(float(np.max(np.abs(np.float64(now) - then))) for now, then in pairs)


# -- the formula


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_adam_equals_the_published_algorithm(gradients: list[float]) -> None:
    optimizer = NumPyOptimizer("adam")
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        m_hat, v_hat = m / (1 - BETA1**t), v / (1 - BETA2**t)
        expected = -LEARNING_RATE * m_hat / (v_hat**0.5 + EPSILON)
        (change,) = optimizer.changes([np.array([g])])
        np.testing.assert_allclose(change, [expected], rtol=1e-9, atol=1e-20)


# -- every backend


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param(name, optimizer, marks=slow(name, optimizer))
        for name in dict.fromkeys(re.sub("@[0-9]+", "@2", each) for each in list_backends())
        for optimizer in OPTIMIZERS
    ],
)
def test_update_by_a_backend_equals_the_formula(name: str, optimizer: str) -> None:
    """Three updates in float64 would show an epsilon in another place.

    A loop that is unrolled in part takes two of the three timesteps, and one is left over.
    """
    spec = LSTMSpec(3, 4, dtype="float64")
    if get_backend(name).refusal(spec):
        spec = LSTMSpec(3, 4)
    model = ready(name, spec)
    updating = replace(TRAIN, optimizer=optimizer)
    if optimizer not in model.backend.optimizers:
        pytest.skip(f"{name}: {model.backend.refusal(spec, updating)}")
    inputs = TRAIN.inputs(spec)
    dy = inputs.dy * 1e-5  # so small that Adam's epsilon is a hundredth of the gradient, or more
    u = 2.0**-52 if spec.dtype == "float64" else 2.0**-23
    model.start_optimizer(optimizer)
    numpy = NumPyOptimizer(optimizer)
    expected = [np.asarray(array, np.float64) for array in model.get_weights().arrays()]
    start = model.get_weights()
    for _ in range(3):
        _, _, gradients = model.forward_and_gradients(
            inputs.x, dy, inputs.state, optimizer=optimizer
        )
        changes = numpy.changes(gradients.weights.arrays())
        expected = [array + change for array, change in zip(expected, changes, strict=True)]
    after = model.get_weights().arrays()
    for now, then, before in zip(after, expected, start.arrays(), strict=True):
        # Three sums are rounded, and 1 - BETA2**step loses digits.
        change = np.abs(then - before)
        allowed = 3 * u * np.abs(then) + 2 * u / (1 - BETA2) * change
        assert np.all(np.abs(now - then) <= allowed)
    if spec.dtype == "float64" or optimizer == "adam":
        assert moved(model, start) > 100 * u  # so that the change is visible


@pytest.mark.parametrize("name", built.mark_names(EACH))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_step_with_windows_updates_after_each(name: str, optimizer: str) -> None:
    workload = Workload(2, 7, "training", window=3, optimizer=optimizer)
    model = new_model(name)
    step = model.prepare(workload, seed=4)
    step.trace()
    start = model.get_weights()
    found = []
    for _ in range(2):
        step.run()
        step.synchronize()
        found.append(model.get_weights())
        assert len(found) == 2 or moved(model, start) > LEARNING_RATE / 2
    # The same by windows, with the step compiled before.
    inputs = workload.inputs(SMALL, seed=4)
    model.set_weights(start)
    model.start_optimizer(optimizer)
    for sign, after in zip((1, -1), found, strict=True):
        # The second call reverses the first.
        state = inputs.state
        for part in workload.windows():
            _, state, _ = model.forward_and_gradients(
                inputs.x[part], sign * inputs.dy[part], state, optimizer=optimizer
            )
        for ours, theirs in zip(after.arrays(), model.get_weights().arrays(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=3 * 2.0**-23)


@pytest.mark.parametrize("name", USUAL)
def test_optimizer_with_lengths_masks_and_windows_equals_the_formula(name: str) -> None:
    """It sees gradients only: layers, directions, lengths, dropout, batch-major, mixed precision.

    What the weights become is the gate's to judge; here, that it is the very update of a step.
    """
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True, dtype="mixed_bfloat16")
    workload = Workload(
        4, 5, "training", min_length=2, dropout=0.5, batch_major=True, optimizer="sgd"
    )
    model = ready(name, spec, workload, batch_major=True)
    start = model.get_weights()
    inputs = workload.inputs(spec)
    model.start_optimizer("sgd")
    _, _, gradients = model.forward_and_gradients(
        np.swapaxes(inputs.x, 0, 1),
        np.swapaxes(inputs.dy, 0, 1),
        inputs.state,
        LSTMState.zeros(spec, 4),
        inputs.lengths,
        masks=inputs.masks,
        optimizer="sgd",
    )
    for now, then, gradient in zip(
        model.get_weights().arrays(), start.arrays(), gradients.weights.arrays(), strict=True
    ):
        assert now.dtype == np.float32  # the type of the weights
        np.testing.assert_allclose(now, then - LEARNING_RATE * gradient, rtol=0, atol=2.0**-23)
