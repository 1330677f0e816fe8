"""Build an ONNX graph of a network, with one LSTM or GRU operator a layer and constant weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.cell import GRU
from lstm_impl.layouts import onnx_gru_layer, onnx_layer
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights

OPSET, IR_VERSION = 17, 8
"""The versions of the operator set and of the file format. They are old enough for every ONNX
Runtime since 1.12, and the operators have not changed since then."""

PERMUTATIONS = {
    (False, False): None,
    (False, True): [2, 1, 0, 3],
    (True, False): [0, 2, 1, 3],
    (True, True): [2, 0, 1, 3],
}
"""The permutation of the operator's output, by bidirectional and batch-major. None means that the
axes are already in the right order."""


def build_graph(
    spec: LSTMSpec, weights: LSTMWeights, batch_major: bool, lengths: bool, masks: bool
) -> bytes:
    """Serialise a network as an ONNX model.

    Its inputs are x, h0 and c0, and optionally lengths and masks. Its outputs are y, h and c. The
    model of a GRU has no c0 and no c.
    """
    from onnx import checker, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def constant(name: str, array: npt.NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    layers = range(spec.num_layers)
    states = spec.cell.states
    operator, pack, attributes = _operator(spec)
    for name in states if spec.num_layers > 1 else ():
        add("Split", [f"{name}0"], [f"{name}0_{layer}" for layer in layers], axis=0)
    if spec.num_layers > 1:
        # The shape merges the axis of directions into the last one, or drops it. 0 keeps an axis.
        shape = [0, 0, -1] if spec.bidirectional else [0, -1, spec.hidden_size]
        joined = constant("joined", np.array(shape, np.int64))
    perm = PERMUTATIONS[spec.bidirectional, batch_major]
    y = add("Transpose", ["x"], ["time_major"], perm=[1, 0, 2]) if batch_major else "x"
    for layer in layers:
        if layer and masks:
            row = constant(f"row_{layer}", np.array(layer - 1, np.int64))
            mask = add("Gather", ["masks", row], [f"mask_{layer}"], axis=0)
            y = add("Mul", [y, mask], [f"dropped_{layer}"])
        parameters = [
            constant(f"{name}_{layer}", np.ascontiguousarray(array, dtype=spec.precision.storage))
            for name, array in zip("WRB", pack(weights.layers[layer]), strict=True)
        ]
        split = f"_{layer}" if spec.num_layers > 1 else ""
        last = layer == layers[-1]
        rows = add(
            operator,
            [y, *parameters, "lengths" if lengths else "", *(f"{each}0{split}" for each in states)],
            [
                "y" if last and perm is None else f"rows_{layer}",
                *(f"{each}{split}" for each in states),
            ],
            **attributes,
            hidden_size=spec.hidden_size,
            direction="bidirectional" if spec.bidirectional else "forward",
        )
        if not last:
            if spec.bidirectional:
                rows = add("Transpose", [rows], [f"side_by_side_{layer}"], perm=[0, 2, 1, 3])
            y = add("Reshape", [rows, joined], [f"y_{layer}"])
        elif perm is not None:
            add("Transpose", [rows], ["y"], perm=perm)
    for name in states if spec.num_layers > 1 else ():
        add("Concat", [f"{name}_{layer}" for layer in layers], [name], axis=0)
    inputs, outputs = _inputs_and_outputs(spec, batch_major, lengths, masks)
    graph = helper.make_graph(nodes, spec.cell.name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _operator(spec: LSTMSpec) -> tuple[str, Callable[..., Any], dict[str, Any]]:
    """Return the ONNX operator of the spec's cell, what packs its weights, and its attributes."""
    if isinstance(spec.cell, GRU):
        return "GRU", onnx_gru_layer, {"linear_before_reset": int(spec.cell.reset_after)}
    return "LSTM", onnx_layer, {}


def _inputs_and_outputs(
    spec: LSTMSpec, batch_major: bool, lengths: bool, masks: bool
) -> tuple[list[Any], list[Any]]:
    """Describe the inputs and outputs of the graph."""
    from onnx import TensorProto, helper

    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(spec.precision.storage))
    state = [spec.state_layers, "batch", spec.hidden_size]
    steps, rows = ("batch", "time") if batch_major else ("time", "batch")

    def value(name: str, shape: list[Any], of: int = dtype) -> Any:
        return helper.make_tensor_value_info(name, of, shape)

    inputs = [value("x", [steps, rows, spec.input_size])]
    inputs += [value(f"{name}0", state) for name in spec.cell.states]
    if lengths:
        inputs.append(value("lengths", ["batch"], TensorProto.INT32))
    if masks:
        inputs.append(value("masks", [spec.num_layers - 1, "time", "batch", spec.output_size]))
    directions = [rows, 2] if spec.bidirectional else [1, rows]
    y = value("y", [steps, *directions, spec.hidden_size])
    return inputs, [y, *(value(name, state) for name in spec.cell.states)]
