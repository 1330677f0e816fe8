"""What only the ONNX Runtime backend can get wrong: its bindings, its axes, its providers."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnavailableError, Workload, cuda, get_backend
from lstm_impl.backends.onnx import runtime as onnxruntime_lstm
from lstm_impl.call import Call
from lstm_impl.cuda import CudaFacts
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built, needs

pytestmark = needs("onnxruntime")


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("timesteps", "batch"), [(4, 2), (1, 1), (1, 3), (3, 1), (2, 2)])
def test_outputs_have_the_model_s_axes_though_the_operator_has_others(
    batch_major: bool, bidirectional: bool, layers: int, timesteps: int, batch: int
) -> None:
    spec = LSTMSpec(3, 5, layers, bidirectional)
    model = built("onnxruntime", spec, batch_major=batch_major)
    x = np.random.default_rng(0).standard_normal((timesteps, batch, 3))
    y, state = model.forward(np.swapaxes(x, 0, 1) if batch_major else x)
    expected, final = get_backend("numpy").build(spec, model.get_weights()).forward(x)
    y = np.swapaxes(y, 0, 1) if batch_major else y
    assert y.shape == expected.shape
    assert error(y, expected) < 1e-5
    assert error(state.h, final.h) < 1e-5
    assert error(state.c, final.c) < 1e-5


def test_an_output_is_not_overwritten_by_the_next_call() -> None:
    model = built("onnxruntime")
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    first, state = model.forward(x)
    kept, kept_c = first.copy(), state.c.copy()
    second, _ = model.forward(2 * x, state)
    expected, _ = get_backend("numpy").build(SPEC, model.get_weights()).forward(2 * x, state)
    assert error(second, expected) < 1e-5
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(state.c, kept_c)


def test_a_step_may_be_repeated() -> None:
    step = built("onnxruntime").prepare(Workload(2, 6, window=2))
    first = np.array(step.run().y.numpy())
    second = np.array(step.run().y.numpy())
    np.testing.assert_array_equal(first, second)
    assert first.any()


def test_evidence_names_operators_and_who_ran_them() -> None:
    found = built("onnxruntime", LSTMSpec(3, 5, 2)).evidence(Workload(2, 4, min_length=2))
    assert found["ops"]["LSTM (CPUExecutionProvider)"] == 2
    assert found["providers"] == ["CPUExecutionProvider"]
    assert found["kernels"] == {}


def test_a_profile_of_a_gpu_is_read() -> None:
    node = {"cat": "Node", "args": {"op_name": "LSTM", "provider": "CUDAExecutionProvider"}}
    before = {"cat": "Node", "name": "lstm_fence_before", "args": {"op_name": "LSTM"}}
    kernel = {"cat": "Kernel", "name": "RNN_blockPersist_fp_LSTM", "args": {}}
    session = {"cat": "Session", "name": "model_run", "args": {}}
    assert onnxruntime_lstm.summarise([session, before, node, kernel, kernel]) == (
        {"LSTM (CUDAExecutionProvider)": 1},
        {"RNN_blockPersist_fp_LSTM": 2},
    )


def test_threads_are_those_of_the_sessions_made_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime_lstm.OnnxRuntime, "threads", None)
    get_backend("onnxruntime").use_threads(1)
    options = built("onnxruntime")._session(Call(None, None, None)).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1


def test_a_cuda_provider_that_does_not_start_is_no_silent_cpu() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    backend = get_backend("onnxruntime")
    weights = LSTMWeights.random(SPEC)
    model = onnxruntime_lstm.OnnxRuntimeModel(backend, SPEC, "gpu:0", False, weights)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(UnavailableError, match=r"gpu:0: .*would use CPUExecutionProvider"),
    ):
        model._session(Call(None, None, None))


def test_the_package_without_cuda_is_named_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    facts = CudaFacts(hardware=True, driver_version=(12, 8))
    monkeypatch.setattr(cuda, "machine_facts", lambda: facts)
    words = str(get_backend("onnxruntime").availability("gpu:0"))
    assert f"ONNX Runtime {onnxruntime.__version__} is built without CUDA" in words
    assert words.endswith("pip install onnx onnxruntime-gpu")
