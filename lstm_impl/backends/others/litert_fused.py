"""A LiteRT model of the runtime's own LSTM operator, written without the converter.

``UNIDIRECTIONAL_SEQUENCE_LSTM`` keeps its state in variables of the model, so that the
converter makes it of stateless layers only. What runs the model sets them before a call and reads
them after it. Source: TensorFlow's ``lite/schema/schema.fbs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights

INPUT, OUTPUT = "x", "y"


def state_name(kind: str, row: int) -> str:
    """The variable that holds row ``row`` of the state: ``h`` or ``c`` of a layer and direction."""
    return f"{kind}_{row}"


def network(
    spec: LSTMSpec, weights: LSTMWeights, timesteps: int, batch: int, batch_major: bool
) -> bytes:
    """The model for one shape, float32: input ``x``, output ``y``, a variable a state row."""
    written = _Writer()
    sizes = (batch, timesteps) if batch_major else (timesteps, batch)
    units = (*sizes, spec.hidden_size)
    first = x = written.tensor(INPUT, (*sizes, spec.input_size))
    axis = written.tensor("axis", (1,), np.array([1 if batch_major else 0], np.int32))
    row = 0
    for layer in weights.layers:
        outputs = []
        for number, cell in enumerate(layer):
            state = [
                written.tensor(state_name(kind, row), (batch, spec.hidden_size), variable=True)
                for kind in "hc"
            ]
            gates = [np.split(array.T.astype(np.float32), 4) for array in cell]
            of_input, recurrent, bias = (
                [written.tensor("weights", each.shape, each) for each in parts] for parts in gates
            )
            read = x
            if number:
                shape = (*sizes, spec.layer_input_size(row // spec.num_directions))
                read = written.operator("REVERSE_V2", [x, axis], shape, "ReverseV2Options")
            absent = [-1]  # no peepholes and no projection
            y = written.operator(
                "UNIDIRECTIONAL_SEQUENCE_LSTM",
                [read, *of_input, *recurrent, *absent * 3, *bias, *absent * 2, *state],
                units,
                "UnidirectionalSequenceLSTMOptions",
                fusedActivationFunction=written.schema.ActivationFunctionType.TANH,
                timeMajor=not batch_major,
            )
            if number:
                y = written.operator("REVERSE_V2", [y, axis], units, "ReverseV2Options")
            outputs.append(y)
            row += 1
        x = outputs[0]
        if len(outputs) > 1:
            both = (*sizes, spec.output_size)
            x = written.operator("CONCATENATION", outputs, both, "ConcatenationOptions", axis=2)
    return written.model(first, x)


class _Writer:
    """Tensors and operators of one graph, in the order in which they are run."""

    def __init__(self) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        self.schema = schema
        self._buffers = [schema.BufferT()]  # the first is that of whatever has no values
        self._tensors: list[Any] = []
        self._codes: list[str] = []
        self._operators: list[Any] = []

    def tensor(
        self, name: str, shape: Sequence[int], values: Any = None, variable: bool = False
    ) -> int:
        """A new tensor's index: float32, or int32 if its values are."""
        made, kinds = self.schema.TensorT(), self.schema.TensorType
        made.name, made.shape = f"{name}_{len(self._tensors)}".encode(), list(shape)
        if values is None:
            made.name = name.encode()
        made.type = kinds.INT32 if getattr(values, "dtype", None) == np.int32 else kinds.FLOAT32
        made.isVariable, made.buffer = variable, 0
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(
        self, code: str, inputs: list[int], shape: Sequence[int], kind: str, **options: Any
    ) -> int:
        """The index of the output of a new operator; kind: of its options."""
        if code not in self._codes:
            self._codes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs = self._codes.index(code), inputs
        output = self.tensor(f"{code.lower()}_{len(self._tensors)}", shape)
        made.outputs = [output]
        made.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
        made.builtinOptions = getattr(self.schema, f"{kind}T")()
        vars(made.builtinOptions).update(options)
        self._operators.append(made)
        return output

    def model(self, first: int, last: int) -> bytes:
        """The whole, as the bytes of a ``.tflite`` file."""
        import flatbuffers

        self._tensors[last].name = OUTPUT.encode()
        graph, whole = self.schema.SubGraphT(), self.schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [first], [last]
        whole.version, whole.buffers, whole.subgraphs = 3, self._buffers, [graph]
        whole.operatorCodes = []
        for name in self._codes:
            code = self.schema.OperatorCodeT()
            # Numbers up to 127 stand in the old, one-byte field too.
            code.builtinCode = getattr(self.schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = 1
            whole.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(whole.Pack(builder), b"TFL3")
        return bytes(builder.Output())
