"""A LiteRT model of the runtime's own LSTM operator, written without the converter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMWeights

OPERATOR = "UNIDIRECTIONAL_SEQUENCE_LSTM"

INPUT, OUTPUT = "x", "y"

_ABSENT = -1
"""The index of an optional input that is not given."""


def state_name(kind: str, row: int) -> str:
    """The variable that holds row ``row`` of the state: ``h`` or ``c`` of a layer and direction."""
    return f"{kind}_{row}"


def network(
    spec: LSTMSpec, weights: LSTMWeights, timesteps: int, batch: int, batch_major: bool
) -> bytes:
    """The model for one shape, float32: input ``x``, output ``y``, a variable a state row."""
    written = _Writer(batch_major)
    sizes = (batch, timesteps) if batch_major else (timesteps, batch)
    first = x = written.tensor(INPUT, (*sizes, spec.input_size))
    row = 0
    for layer in weights.layers:
        outputs = []
        for number, cell in enumerate(layer):
            state = [
                written.tensor(state_name(kind, row), (batch, spec.hidden_size), variable=True)
                for kind in "hc"
            ]
            read = written.reversed(x) if number else x
            y = written.lstm(read, cell, state, (*sizes, spec.hidden_size))
            outputs.append(written.reversed(y) if number else y)
            row += 1
        x = outputs[0]
        if len(outputs) > 1:
            x = written.joined(outputs, (*sizes, spec.output_size))
    return written.model(first, x)


class _Writer:
    """Tensors and operators of one graph, in the order in which they are run."""

    def __init__(self, batch_major: bool) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        self._schema = schema
        self._batch_major = batch_major
        self._buffers = [schema.BufferT()]  # the first is that of whatever has no values
        self._tensors: list[Any] = []
        self._codes: list[str] = []
        self._operators: list[Any] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        values: np.ndarray[Any, Any] | None = None,
        *,
        variable: bool = False,
    ) -> int:
        """A new tensor's index: float32, or int32 if its values are."""
        schema = self._schema
        made = schema.TensorT()
        integer = values is not None and values.dtype == np.int32
        made.name, made.shape = name.encode(), list(shape)
        made.type = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
        made.isVariable = variable
        made.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> int:
        return self.tensor(name, values.shape, values)

    def lstm(self, x: int, cell: LayerWeights, state: Sequence[int], shape: Sequence[int]) -> int:
        """One direction of one layer."""
        parts = [
            [
                self.constant(f"weights_{len(self._tensors)}", each.T.astype(np.float32))
                for each in np.split(array, 4, axis=-1)
            ]
            for array in cell
        ]
        of_input, recurrent, bias = parts
        peepholes, projection = [_ABSENT] * 3, [_ABSENT] * 2
        options = self._schema.UnidirectionalSequenceLSTMOptionsT()
        options.fusedActivationFunction = self._schema.ActivationFunctionType.TANH
        options.timeMajor = not self._batch_major
        return self._operator(
            OPERATOR,
            [x, *of_input, *recurrent, *peepholes, *bias, *projection, *state],
            shape,
            "UnidirectionalSequenceLSTMOptions",
            options,
        )

    def reversed(self, x: int) -> int:
        """The steps from the last to the first."""
        axis = self.constant(f"axis_{len(self._tensors)}", np.array([self._axis], np.int32))
        options = self._schema.ReverseV2OptionsT()
        shape = self._tensors[x].shape
        return self._operator("REVERSE_V2", [x, axis], shape, "ReverseV2Options", options)

    def joined(self, parts: Sequence[int], shape: Sequence[int]) -> int:
        """The features of both directions side by side."""
        options = self._schema.ConcatenationOptionsT()
        options.axis = 2
        return self._operator("CONCATENATION", list(parts), shape, "ConcatenationOptions", options)

    @property
    def _axis(self) -> int:
        return 1 if self._batch_major else 0

    def _operator(
        self, code: str, inputs: list[int], shape: Sequence[int], kind: str, options: Any
    ) -> int:
        if code not in self._codes:
            self._codes.append(code)
        made = self._schema.OperatorT()
        made.opcodeIndex = self._codes.index(code)
        made.inputs = inputs
        output = self.tensor(f"{code.lower()}_{len(self._tensors)}", shape)
        made.outputs = [output]
        made.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        made.builtinOptions = options
        self._operators.append(made)
        return output

    def model(self, first: int, last: int) -> bytes:
        """The whole, as the bytes of a ``.tflite`` file."""
        import flatbuffers

        schema = self._schema
        self._tensors[last].name = OUTPUT.encode()
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [first], [last]
        whole = schema.ModelT()
        whole.version = 3
        whole.buffers, whole.subgraphs = self._buffers, [graph]
        whole.operatorCodes = []
        for name in self._codes:
            code = schema.OperatorCodeT()
            # Numbers up to 127 stand in the old, one-byte field too.
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = 1
            whole.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(whole.Pack(builder), b"TFL3")
        return bytes(builder.Output())
