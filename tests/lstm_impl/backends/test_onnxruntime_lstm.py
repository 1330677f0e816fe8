"""Test what is specific to ONNX Runtime: bindings, axes and providers."""

from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnavailableError, Workload, get_backend
from lstm_impl.backends.onnx import runtime as onnxruntime_lstm
from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.call import Call
from lstm_impl.proof.comparison import measure_error
from tests.lstm_impl.backends.built import SPEC, built, needs

pytestmark = needs("onnxruntime")


def test_output_is_not_overwritten_by_the_next_call() -> None:
    model = built("onnxruntime")
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    first, state = model.forward(x)
    kept, kept_c = first.copy(), state.c.copy()
    second, _ = model.forward(2 * x, state)
    expected, _ = get_backend("numpy").build(SPEC, model.get_weights()).forward(2 * x, state)
    assert measure_error(second, expected) < 1e-5
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(state.c, kept_c)


def test_stream_wraps_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("onnxruntime")
    step = model.prepare(Workload(2, 4, "streaming"))
    first = step.run()
    monkeypatch.setattr(model._ort.OrtValue, "__init__", None)
    assert not np.array_equal(step.run().states[0], first.states[0])


def test_evidence_names_operators_and_their_providers() -> None:
    found = built("onnxruntime", LSTMSpec(3, 5, 2)).evidence(Workload(2, 4, min_length=2))
    assert found["ops"]["LSTM (CPUExecutionProvider)"] == 2
    assert found["providers"] == ["CPUExecutionProvider"]
    assert found["kernels"] == {}


def test_summarise_reads_the_profile_of_a_gpu() -> None:
    node = {"cat": "Node", "args": {"op_name": "LSTM", "provider": "CUDAExecutionProvider"}}
    before = {"cat": "Node", "name": "lstm_fence_before", "args": {"op_name": "LSTM"}}
    kernel = {"cat": "Kernel", "name": "RNN_blockPersist_fp_LSTM", "args": {}}
    session = {"cat": "Session", "name": "model_run", "args": {}}
    assert onnxruntime_lstm.summarise([session, before, node, kernel, kernel]) == (
        {"LSTM (CUDAExecutionProvider)": 1},
        {"RNN_blockPersist_fp_LSTM": 2},
    )


def test_use_threads_applies_to_later_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_lstm.OnnxRuntime, "threads", None)
    get_backend("onnxruntime").use_threads(1)
    options = built("onnxruntime")._session(Call(None, ())).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1


def test_cuda_provider_that_does_not_start_raises() -> None:
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
        model._session(Call(None, ()))


@pytest.mark.parametrize(
    ("spec", "batch_major", "moved"),
    [
        (LSTMSpec(3, 5), False, {}),
        (LSTMSpec(3, 5), True, {"Transpose": 2}),
        (LSTMSpec(3, 5, bidirectional=True), False, {"Transpose": 1}),
        (LSTMSpec(3, 5, bidirectional=True), True, {"Transpose": 2}),
        (LSTMSpec(3, 5, 2), False, {"Split": 2, "Reshape": 1, "Concat": 2}),
    ],
)
def test_graph_has_no_unnecessary_operators(
    spec: LSTMSpec, batch_major: bool, moved: dict[str, int]
) -> None:
    model = built("onnxruntime", spec, batch_major=batch_major)
    ops = model.evidence(Workload(2, 4, batch_major=batch_major))["ops"]
    found = {name.partition(" ")[0]: count for name, count in ops.items()}
    assert found.pop("LSTM") == spec.num_layers
    assert found == moved


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("lengths", "masks"), [(False, False), (True, True)])
def test_graph_inputs_and_outputs_have_the_declared_shapes(
    batch_major: bool, bidirectional: bool, lengths: bool, masks: bool
) -> None:
    import onnx

    spec = LSTMSpec(3, 5, 2, bidirectional, dtype="float16")
    weights = LSTMWeights.random(spec)
    graph = onnx.load_from_string(build_graph(spec, weights, batch_major, lengths, masks)).graph

    def face(values: Any) -> dict[str, list[Any]]:
        shapes = {each.name: each.type.tensor_type.shape.dim for each in values}
        return {name: [d.dim_param or d.dim_value for d in dims] for name, dims in shapes.items()}

    first = ["batch", "time"] if batch_major else ["time", "batch"]
    state: list[Any] = [4 if bidirectional else 2, "batch", 5]
    inputs: dict[str, list[Any]] = {"x": [*first, 3], "h0": state, "c0": state}
    if lengths:
        inputs |= {"lengths": ["batch"], "masks": [1, "time", "batch", spec.output_size]}
    assert face(graph.input) == inputs
    inner = [first[1], 2] if bidirectional else [1, first[1]]
    assert face(graph.output) == {"y": [first[0], *inner, 5], "h": state, "c": state}
    kinds = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}
    assert kinds.pop("lengths", onnx.TensorProto.INT32) == onnx.TensorProto.INT32
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT16}
