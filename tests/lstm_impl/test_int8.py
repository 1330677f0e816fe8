"""Test LSTMs quantised to int8."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, list_backends, reference

SPEC = LSTMSpec(6, 16, num_layers=2, bidirectional=True)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_int8_equals_the_network_up_to_its_rounding(runtime: str) -> None:
    backend = get_backend(f"{runtime}:int8")
    if not (available := backend.availability("cpu")):
        pytest.skip(f"{runtime}: {available}")
    weights = LSTMWeights.random(SPEC, seed=1)
    model = backend.build(SPEC, weights)
    x = np.random.default_rng(0).standard_normal((9, 3, 6))
    y, state = model.forward(x)
    wanted, final = reference.forward(SPEC, weights, x)
    loss = np.sqrt(np.mean((y - wanted) ** 2) / np.mean(wanted**2))
    assert 1e-4 < loss < 0.05  # float32 would lose 1e-7
    assert np.max(np.abs(state.c - final.c)) < 0.1
    # It carries its state, and takes other weights.
    again, _ = model.forward(x, state)
    assert np.max(np.abs(again - y)) > 0.01
    model.set_weights(LSTMWeights.random(SPEC, seed=2))
    other, _ = model.forward(x)
    assert np.max(np.abs(other - y)) > 0.01
    ran = model.evidence(Workload(3, 9))["ops"]
    assert any("quantize" in op.lower() for op in ran), ran


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_int8_refusal_gives_the_reason(runtime: str) -> None:
    backend = get_backend(f"{runtime}:int8")
    assert backend.approximate
    assert not get_backend(runtime).approximate
    assert backend.name not in list_backends()
    assert "only infers" in backend.refusal(SPEC, Workload(2, 3, "training"))
    assert "float32 weights" in backend.refusal(LSTMSpec(2, 3, dtype="float64"))
    for stream in (Workload(2, 4, window=2), Workload(2, 3, "streaming")):
        assert "complete sequences only" in backend.refusal(SPEC, stream)
    assert "CPU" in str(backend.availability("gpu:0")) or not backend.availability("gpu:0")
