"""Quantised LSTMs: near the reference and not it, which is why they are no backends."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, list_backends, reference
from lstm_impl.int8 import int8_backends

SPEC = LSTMSpec(6, 16, num_layers=2, bidirectional=True)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_it_is_the_same_network_but_for_its_rounding(runtime: str) -> None:
    backend = int8_backends()[runtime]
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
def test_what_it_cannot_do_is_refused(runtime: str) -> None:
    backend = int8_backends()[runtime]
    assert "only infers" in backend.refusal(SPEC, Workload(2, 3, "training"))
    assert "float32 weights" in backend.refusal(LSTMSpec(2, 3, dtype="float64"))
    assert "CPU" in str(backend.availability("gpu:0")) or not backend.availability("gpu:0")


def test_it_is_in_no_list_of_backends_and_so_in_no_ranking() -> None:
    names = {backend.name for backend in int8_backends().values()}
    assert names == {"torch_int8", "onnxruntime_int8"}
    assert not names & set(list_backends())
