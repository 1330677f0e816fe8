"""Test LSTMs quantised to int8."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, list_backends, reference
from lstm_impl.spec import UnsupportedError

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
    assert "only infers" in backend.refusal(SPEC, Workload(2, 3, "training"))
    assert "float32 weights" in backend.refusal(LSTMSpec(2, 3, dtype="float64"))
    for stream in (Workload(2, 4, window=2), Workload(2, 3, "streaming")):
        assert "complete sequences only" in backend.refusal(SPEC, stream)
    assert "CPU" in str(backend.availability("gpu:0")) or not backend.availability("gpu:0")


def test_int8_is_approximate_and_not_listed() -> None:
    for name in ("torch:int8", "onnxruntime:int8"):
        assert get_backend(name).name == name
        assert get_backend(name).approximate
        assert not get_backend(name.partition(":")[0]).approximate
        assert name not in list_backends()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("keras:int8", "keras has no variant int8; torch and onnxruntime have one"),
        ("torch:int4", "there is no variant 'int4' of torch; the variants are int8"),
        ("torch:", "there is no variant ''"),
        ("torch:int8:int8", "torch:int8 has no variant int8"),
        ("torhc:int8", "did you mean torch"),
        (":int8", "there is no backend ''"),
    ],
)
def test_unknown_variant_or_backend_raises_with_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        get_backend(name)
