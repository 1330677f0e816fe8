"""Let the gate drive a LiteRT file (``.tflite``), whose constants are replaced by its weights.

A file holds an LSTM in one of two forms: as the operator ``UNIDIRECTIONAL_SEQUENCE_LSTM``, or as a
loop over the timesteps. Both keep their weights as constants of the file.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstm_impl.backends.others.litert import open_interpreter
from lstm_impl.call import Tensor
from lstm_impl.cell import Cell
from lstm_impl.checking.layers import LayerBackend, infer_spec, match_parameters
from lstm_impl.checking.layout import CallLayout, TargetError
from lstm_impl.spec import FloatArray, LSTMSpec

FUSED_OPERATOR = "UNIDIRECTIONAL_SEQUENCE_LSTM"

INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES = slice(1, 5), slice(5, 9), slice(12, 16)
"""The operator's inputs that have one array for each gate, in the order i, f, g, o. The numbers are
those of TensorFlow Lite's kernel ``unidirectional_sequence_lstm.cc``."""

OTHER_WEIGHTS = (*range(9, 12), *range(16, 18))
"""The operator's inputs for peephole weights and a projection."""

FLOAT32 = 0
"""The schema's number of the type float32."""


@dataclass(frozen=True)
class LiteRTFile:
    """Hold a LiteRT file and where its weights are.

    Attributes
    ----------
    path
        The path of the file.
    model
        The model as TensorFlow's schema unpacks it.
    buffers
        The number of the buffer of each gate's input weights, recurrent weights and bias for the
        operator; of the kernel, recurrent kernel and bias for a loop.
    spec
        The sizes of the network.
    layout
        How the constants hold the weights, and what a call takes.
    batch, timesteps
        The sizes of the input, which a file fixes.
    """

    path: Path
    model: Any
    buffers: Sequence[Sequence[int]]
    spec: LSTMSpec
    layout: CallLayout
    batch: int
    timesteps: int


def load_litert(path: Path, cell: Cell, dtype: str, layout: CallLayout) -> LiteRTFile:
    """Load a LiteRT file, and find its weights.

    Parameters
    ----------
    path
        The path of the file.
    cell
        The cell that the file should compute.
    dtype
        The precision in which it computes. Only ``float32`` is served.
    layout
        What the user declared of the layout.

    Raises
    ------
    TargetError
        If the file is no LiteRT model of one layer in float32, or TensorFlow, which has the schema
        of such files, is not installed.
    """
    try:
        from tensorflow.lite.python import schema_py_generated as schema
    except ImportError as error:
        raise TargetError(f"{path} needs TensorFlow; run pip install tensorflow") from error
    if dtype != "float32":
        raise TargetError(f"{path}: a LiteRT file is checked in float32, not {dtype}")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise TargetError(f"{path} cannot be read as a LiteRT model: it has no identifier TFL3")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        first, second, inputs, takes_state = _read_inputs(path, model, cell)
        batch, timesteps = (first, second) if layout.batch_major else (second, first)
        fused = _find_fused_operators(schema, model)
        found = _read_operator if fused else _read_loop
        buffers, spec, layout = found(path, model, cell, fused, inputs, layout)
    except TargetError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise TargetError(f"{path} cannot be read as a LiteRT model: {reason}") from error
    states = cell.states if takes_state and not fused else ()
    layout = replace(layout, arguments=("x", *states, "weights"))
    return LiteRTFile(path, model, buffers, spec, layout, batch, timesteps)


def _read_inputs(path: Path, model: Any, cell: Cell) -> tuple[int, int, int, bool]:
    """Return the three axes of x, and whether the file takes the states."""
    graph = model.subgraphs[0]
    tensors = [graph.tensors[number] for number in graph.inputs]
    sequences = [each for each in tensors if len(each.shape) == 3]
    if not sequences or len(tensors) not in (1, 1 + len(cell.states)):
        shapes = [tuple(map(int, each.shape)) for each in tensors]
        raise TargetError(
            f"{path} takes inputs of the shapes {shapes}; expected x with three axes, and perhaps "
            "the states"
        )
    if any(each.type != FLOAT32 for each in tensors):
        raise TargetError(f"{path} takes inputs that are not float32; expected float32")
    first, second, inputs = map(int, sequences[0].shape)
    return first, second, inputs, len(tensors) > 1


def _find_fused_operators(schema: Any, model: Any) -> list[tuple[Any, Any]]:
    """Return each fused LSTM operator with the subgraph that it belongs to."""
    wanted = getattr(schema.BuiltinOperator, FUSED_OPERATOR)
    codes = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in model.operatorCodes]
    return [
        (graph, operator)
        for graph in model.subgraphs
        for operator in graph.operators or ()
        if codes[operator.opcodeIndex] == wanted
    ]


_Found = tuple[list[list[int]], LSTMSpec, CallLayout]


def _read_operator(
    path: Path,
    model: Any,
    cell: Cell,
    fused: list[tuple[Any, Any]],
    inputs: int,
    layout: CallLayout,
) -> _Found:
    if cell.name != "lstm" or len(fused) != 1:
        raise TargetError(
            f"{path} has {len(fused)} operators {FUSED_OPERATOR}; expected one, and --cell lstm"
        )
    graph, operator = fused[0]
    given = list(map(int, operator.inputs))
    if any(given[number] >= 0 for number in OTHER_WEIGHTS):
        raise TargetError(
            f"{path}: its {FUSED_OPERATOR} has peephole weights or a projection; expected neither"
        )
    groups = [given[INPUT_WEIGHTS], given[RECURRENT_WEIGHTS], given[BIASES]]
    if any(
        number < 0 or graph.tensors[number].type != FLOAT32 for each in groups for number in each
    ):
        raise TargetError(f"{path}: the weights of its {FUSED_OPERATOR} are not all float32")
    hidden = int(graph.tensors[groups[1][0]].shape[0])
    spec = LSTMSpec(inputs, hidden, 1, False, "float32", cell)
    operator.inputs = np.array(operator.inputs)  # which was read-only
    buffers = [
        [_unshare(model, graph, operator, place) for place in range(*each.indices(len(given)))]
        for each in (INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES)
    ]
    made = replace(layout, gates="ifgo", biases=1, transposed=True)
    return buffers, spec, made


def _unshare(model: Any, graph: Any, operator: Any, place: int) -> int:
    """Give an input of the operator a buffer of its own, and return the buffer's number.

    The converter writes equal constants once. Three of the four biases of a new Keras layer are
    zeros, for example.
    """
    tensor = copy.copy(graph.tensors[operator.inputs[place]])
    model.buffers.append(copy.copy(model.buffers[tensor.buffer]))
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    operator.inputs[place] = len(graph.tensors) - 1
    return int(tensor.buffer)


def _read_loop(
    path: Path,
    model: Any,
    cell: Cell,
    fused: list[tuple[Any, Any]],
    inputs: int,
    layout: CallLayout,
) -> _Found:
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if tensor.type == FLOAT32 and data is not None and len(data):
                name = tensor.name.decode(errors="replace")
                found[f"{name} #{tensor.buffer}"] = (
                    int(tensor.buffer),
                    tuple(map(int, tensor.shape)),
                )
    shapes = {name: shape for name, (_, shape) in found.items()}
    spec = infer_spec(list(shapes.values()), cell, "float32")
    if spec is None or inputs not in (spec.input_size, spec.hidden_size):
        raise TargetError(
            f"{path} has constants of the shapes {sorted(set(shapes.values()))}; expected a "
            "kernel, a recurrent kernel and a bias of one layer in float32"
        )
    spec = LSTMSpec(inputs, spec.hidden_size, 1, False, "float32", cell)
    columns, rows = spec.gate_columns, (spec.input_size, spec.hidden_size)
    weights = {
        name: shape
        for name, shape in shapes.items()
        if shape == (columns,) or (len(shape) == 2 and columns in shape and set(shape) & set(rows))
    }
    names, layout = match_parameters(str(path), weights, spec, layout)
    return [[found[name][0]] for name in names], spec, layout


class LiteRTFunction:
    """Call a LiteRT file as a function of x, the states and weights.

    The weights replace the file's constants, so an interpreter is made whenever they change.
    """

    def __init__(self, file: LiteRTFile) -> None:
        self._file = file
        self._kept: tuple[list[Any], Any] | None = None

    def __call__(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> list[FloatArray]:
        interpreter = self._open(list(weights))
        # The operator keeps its states from call to call.
        interpreter.reset_all_variables()
        details = interpreter.get_input_details()
        sequence = next(each for each in details if len(each["shape"]) == 3)
        # h comes before c in a call, and after it in the alphabet.
        rest = sorted(
            (each for each in details if each is not sequence),
            key=lambda each: str(each["name"]),
            reverse=True,
        )
        interpreter.set_tensor(sequence["index"], x)
        for each, state in zip(rest, states, strict=False):
            interpreter.set_tensor(each["index"], state)
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]

    def _open(self, weights: list[Any]) -> Any:
        """Return an interpreter whose constants are these weights. The latest one is kept."""
        import flatbuffers

        kept = self._kept
        if kept is not None and all(a is b for a, b in zip(kept[0], weights, strict=True)):
            return kept[1]
        file = self._file
        for numbers, array in zip(file.buffers, weights, strict=True):
            # The operator has an array for each gate, and a loop has one for all.
            for number, part in zip(numbers, np.split(array, len(numbers)), strict=True):
                data = np.frombuffer(np.ascontiguousarray(part, np.float32).tobytes(), np.uint8)
                file.model.buffers[number].data = data
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(file.model.Pack(builder), b"TFL3")
        interpreter = open_interpreter(bytes(builder.Output()), 1)
        interpreter.allocate_tensors()
        self._kept = weights, interpreter
        return interpreter


def make_litert_backend(file: LiteRTFile) -> LayerBackend:
    """Return a LiteRT file as a backend."""
    made = LayerBackend(str(file.path), "numpy", file.layout, LiteRTFunction(file), True)
    made.no_gradients = "LiteRT only infers"
    return made
