"""Every backend of another framework, on every kind of case, against the float64 reference.

The matrix is generated: each peer meets each case. A peer that is not installed is skipped with its
own words; one that refuses a case must say why, and may refuse only what is listed here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from lstm_impl import (
    LSTMSpec,
    LSTMWeights,
    UnavailableError,
    UnsupportedError,
    Workload,
    dropout_masks,
)
from lstm_impl.model import Model
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from lstm_impl.registry import get_backend, list_backends
from tests.lstm_impl.backends.built import built, ready

PEERS = [
    name for name in list_backends() if get_backend(name).framework not in ("numpy", "tensorflow")
]

CASES = {
    "one sequence, one timestep": (LSTMSpec(3, 5), Workload(1, 1)),
    "the tutorial's 5x15x1->4": (LSTMSpec(1, 4), Workload(5, 15)),
    "odd sizes": (LSTMSpec(7, 9), Workload(3, 11)),
    "two layers, both directions": (LSTMSpec(3, 5, 2, True), Workload(4, 6)),
    "lengths": (LSTMSpec(3, 5, bidirectional=True), Workload(4, 7, min_length=2)),
    "windows": (LSTMSpec(3, 5), Workload(2, 7, window=3)),
    "batch-major": (LSTMSpec(3, 5), Workload(4, 6, batch_major=True, min_length=3)),
    "dropout": (LSTMSpec(3, 5, 2), Workload(4, 6, dropout=0.5)),
    "float64": (LSTMSpec(4, 6, dtype="float64"), Workload(3, 5)),
    "float16": (LSTMSpec(4, 6, dtype="float16"), Workload(3, 5)),
    "bfloat16": (LSTMSpec(4, 6, dtype="bfloat16"), Workload(3, 5)),
    "mixed_bfloat16": (LSTMSpec(4, 6, dtype="mixed_bfloat16"), Workload(3, 5)),
}

# An option changes how a layer is computed, not how layers are put together, nor sequences.
OF_A_LAYER = ("one sequence, one timestep", "lengths", "mixed_bfloat16")

# Compiling takes it minutes; its own tests judge the loop before it is compiled.
SLOW = ("torch_compile",)

# XLA takes seconds for each case of these. The tests without TensorFlow (`tox -e peers`) have them
# all; beside it, where they would be made a second time, a few are enough to see that both work.
TWICE = ("jax", "flax") if importlib.util.find_spec("tensorflow") is not None else ()
FEW = (*OF_A_LAYER, "windows")

# Of TensorFlow's converter, which takes seconds too, sizes alone make no other graph.
SIZES = ("the tutorial's 5x15x1->4", "odd sizes")


def slow(name: str, case: str = "") -> list[pytest.MarkDecorator]:
    twice = get_backend(name).framework in TWICE and case and case not in FEW
    again = name == "litert" and case in SIZES
    return [pytest.mark.slow] if twice or again or name.startswith(SLOW) else []


MATRIX = [
    pytest.param(name, case, marks=slow(name, case))
    for name in PEERS
    for case in (OF_A_LAYER if "+" in name else CASES)
]

REFUSED: dict[str, dict[str, str]] = {
    # strategy or id: the cases it refuses on a CPU, and words of the reason
    "onnxruntime": {
        "float64": "does not compute float64 on a CPU",
        "bfloat16": "knows float16, float32 and float64, not bfloat16",
        "mixed_bfloat16": "no mixed precision",
    },
    "litert": {
        dtype: f"float32 only, not {dtype}"
        for dtype in ("float64", "float16", "bfloat16", "mixed_bfloat16")
    },
    "litert+fused": {
        "lengths": "fused operator takes no lengths",
        "mixed_bfloat16": "float32 only, not mixed_bfloat16",
    },
    "keras_jax": {"float64": "float64 in float32"},
    **{
        name: {
            dtype: f"float32 only, not {dtype}"
            for dtype in ("float64", "float16", "bfloat16", "mixed_bfloat16")
        }
        for name in ("openvino", "keras_openvino")
    },
}

INFERENCE_ONLY = ("onnxruntime", "litert", "openvino", "keras_openvino")


@pytest.mark.parametrize(("name", "case"), MATRIX)
def test_a_peer_equals_the_reference_or_says_why_not(name: str, case: str) -> None:
    backend = ready(name)
    spec, workload = CASES[case]
    if backend.strategy not in INFERENCE_ONLY:
        workload = replace(workload, mode="training")
    weights = LSTMWeights.random(spec, seed=1)
    words = REFUSED.get(backend.name, REFUSED.get(backend.strategy, {})).get(case)
    if words is not None:
        with pytest.raises(UnsupportedError, match=words):
            backend.build(spec, weights, batch_major=workload.batch_major).prepare(workload)
        return

    model = backend.build(spec, weights, batch_major=workload.batch_major)
    result = gate(model, workload, seed=2)
    assert result.passed, result.describe()

    # The gate looks at what forward and gradients return; the clock runs this:
    step = model.prepare(workload, seed=2)
    step.trace()
    last = step.run()
    step.synchronize()
    inputs = workload.inputs(spec, seed=2)
    y, state = None, inputs.state
    for part in workload.windows():
        window = inputs.window(part)
        x = model._swapped(window.x)
        y, state = model.forward(x, state, inputs.lengths, masks=window.masks)
    assert y is not None
    ours = model._host_float(last.y)
    assert error(ours, y) <= max(result.bounds["y"], 1e-6)


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize(("name", "layers"), [("torch", 3), ("onnxruntime", 3), ("litert", 2)])
def test_masks_and_lengths_of_unsorted_sequences_together(
    name: str, layers: int, batch_major: bool
) -> None:
    spec = LSTMSpec(3, 5, layers, True)
    weights = LSTMWeights.random(spec)
    model = ready(name).build(spec, weights, batch_major=batch_major)
    lengths = np.array([2, 5, 1, 4])
    masks = dropout_masks(spec, 5, 4, 0.3, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    y, state = model.forward(model._swapped(x), None, lengths, masks=masks)
    reference = get_backend("numpy").build(spec, weights)
    expected, final = reference.forward(x, None, lengths, masks=masks)
    assert error(model._swapped(y), expected) < 1e-5
    assert error(state.c, final.c) < 1e-5


@pytest.mark.parametrize("name", INFERENCE_ONLY)
def test_a_peer_that_only_infers_refuses_training(name: str) -> None:
    model: Model = built(name)
    for call in (
        lambda: model.prepare(Workload(2, 4, mode="training")),
        lambda: model.gradients(np.ones((4, 2, 3)), np.ones((4, 2, 5))),
    ):
        with pytest.raises(UnsupportedError, match=f"{name}: .*only infers.*no gradients"):
            call()


@pytest.mark.parametrize("name", [pytest.param(name, marks=slow(name)) for name in PEERS])
def test_weights_go_in_and_come_back(name: str) -> None:
    backend = ready(name)
    spec = LSTMSpec(3, 5)
    first, second = LSTMWeights.random(spec, seed=1), LSTMWeights.random(spec, seed=2)
    model = backend.build(spec, first)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    before, _ = model.forward(x)
    model.set_weights(second)
    for ours, theirs in zip(model.get_weights().arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    after, _ = model.forward(x)
    assert error(after, before) > 0.05
    expected, _ = get_backend("numpy").build(spec, second).forward(x)
    assert error(after, expected) < 1e-5


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_gpu_is_explained(name: str) -> None:
    backend = get_backend(name)
    available = backend.availability("gpu:0")
    if available:
        pytest.skip(f"{name} has a GPU here")
    words = str(available)
    assert any(each in words for each in ("GPU", "not installed", "KERAS_BACKEND")), words
    with pytest.raises(UnavailableError, match=f"{backend.strategy}.* on gpu:0: "):
        backend.build(LSTMSpec(2, 3), LSTMWeights.random(LSTMSpec(2, 3)), "gpu:0")


@pytest.mark.parametrize("name", PEERS)
def test_a_device_of_another_kind_is_refused(name: str) -> None:
    available = get_backend(name).availability("tpu:0")
    assert not available
    assert available.reason
