"""A network as an ONNX graph: what is in it, and what it takes and gives."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload
from lstm_impl.backends.onnx.graph import build_graph
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("onnxruntime")


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
def test_nothing_is_copied_that_the_operator_does_not_ask_for(
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
def test_its_inputs_and_outputs_are_those_that_it_is_said_to_have(
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
