"""Test LSTMs quantised to int8."""

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, list_backends, reference
from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.cell import get_cell
from lstm_impl.spec import FloatArray
from tests.lstm_impl.backends.built import needs, passes

INT8 = c_interface.TYPES["int8"]

SPEC = LSTMSpec(6, 16, num_layers=2, bidirectional=True)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "numpy_fused"])
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
    evidence = model.evidence(Workload(3, 9))
    ran = [evidence["products"]] if runtime == "numpy_fused" else evidence["ops"]
    words = "quantize", "tdpbusd", "vpdpbusd", "vpmaddwd", "32 bits"
    assert any(word in op.lower() for op in ran for word in words)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "numpy_fused"])
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


@needs("numpy_fused")
@pytest.mark.parametrize("batch_major", [False, True])
def test_int8_kernels_carry_padded_sequences_as_without_padding(batch_major: bool) -> None:
    model = get_backend("numpy_fused:int8").build(
        SPEC, LSTMWeights.random(SPEC, seed=1), batch_major=batch_major
    )
    x = np.random.default_rng(0).standard_normal((5, 3, 6)).astype(np.float32)

    def forward(x: FloatArray, lengths: list[int] | None = None) -> list[FloatArray]:
        y, state = model.forward(x.swapaxes(0, 1) if batch_major else x, lengths=lengths)
        return [y.swapaxes(0, 1) if batch_major else y, state.h, state.c]

    padded = np.concatenate([x, np.full((4, 3, 6), 1e9, np.float32)])
    found = forward(padded, [5, 5, 5])
    np.testing.assert_array_equal(found[0][5:], 0)
    for ours, theirs in zip([found[0][:5], *found[1:]], forward(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs("numpy_fused")
def test_int8_kernels_refuse_what_they_cannot_compute() -> None:
    kernels = c_interface.kernels()
    with pytest.raises(c_interface.KernelError, match="at most 131072"):
        kernels.pack(c_interface.KernelLayer(1, 1, 1, 131073, type=INT8), 0, 0, 0)
    layer = c_interface.KernelLayer(1, 1, 2, 3, type=INT8)
    for function, arrays in ((kernels.forward, 13), (kernels.backward, 17)):
        with pytest.raises(c_interface.KernelError, match="has no gradients"):
            function(layer, *[1] * arrays)
    transposed = c_interface.KernelLayer(1, 1, 2, 3, type=INT8, transposed=True)
    with pytest.raises(c_interface.KernelError, match="int8 has no transposed weights"):
        kernels.forward(transposed, *[0] * 13)
    with pytest.raises(c_interface.KernelError, match="int8 has no transposed weights"):
        kernels.pack(transposed, *[0] * 3)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_gru_in_int8_is_refused_by_runtimes_that_quantise_lstms_only(runtime: str) -> None:
    spec = LSTMSpec(2, 3, cell=get_cell("gru"))
    refusal = get_backend(f"{runtime}:int8").refusal(spec)
    assert refusal == "in int8 it computes the cell lstm only, not gru"


@needs("numpy_fused")
@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_gru_in_int8_passes_the_gate_and_loses_to_rounding_only(cell: str) -> None:
    spec = LSTMSpec(6, 21, num_layers=2, bidirectional=True, cell=get_cell(cell))
    backend = get_backend("numpy_fused:int8")
    assert not backend.refusal(spec, Workload(3, 9))
    weights = LSTMWeights.random(spec, seed=1)
    model = backend.build(spec, weights)
    passes(model, Workload(3, 9, min_length=4))
    x = np.random.default_rng(0).standard_normal((9, 3, 6))
    found, right = model.forward(x)[0], reference.forward(spec, weights, x)[0]
    loss = np.sqrt(np.mean((found - right) ** 2) / np.mean(right**2))
    assert 1e-4 < loss < 0.05  # float32 would lose 1e-7
