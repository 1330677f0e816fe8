"""Mark TensorFlow functions that LiteRT's converter replaces by the runtime's LSTM operator.

TensorFlow's converter looks for functions whose attribute ``api_implements`` begins with ``lstm_``.
It replaces such a function by the operator ``UNIDIRECTIONAL_SEQUENCE_LSTM``, whatever the
function's body computes, so the body must compute an LSTM. The converter does so only under three
conditions: it reads the model from a SavedModel, all sizes are known, and nothing reads the final
states. Otherwise it keeps the body, which is a WHILE loop.

The operator keeps its states in variables of the model. They begin as zeros and keep their values
from one call of an interpreter to the next.
"""

from __future__ import annotations

import struct
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lstm_impl.backends.tensorflow.backend import PaddingMask, reverse_time
from lstm_impl.backends.tensorflow.loops import WhileLoop
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell

OPERATOR = "UNIDIRECTIONAL_SEQUENCE_LSTM"
"""The name of LiteRT's LSTM operator."""
_H_INPUT, _C_INPUT = 18, 19
"""The positions of the operator's states among its inputs, as in TensorFlow Lite's
``unidirectional_sequence_lstm.cc``."""

_CELL_CLIP_FIELD = 6
"""The position of ``cell_clip`` in the vtable of the operator's options, by TensorFlow Lite's
schema."""


class FusedResult(NamedTuple):
    """Hold what a marked layer computes.

    The final states are not included, because the converter keeps the loop if they are read.

    Attributes
    ----------
    last
        The output after the last timestep, ``[B, H]``.
    y
        All outputs, in the layout of the input.
    """

    last: Tensor
    y: Tensor


def fused_layer(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    *,
    batch_major: bool,
) -> FusedResult:
    """Compute one direction of an LSTM with a function that the converter replaces.

    Parameters
    ----------
    x : tf.Tensor
        ``[T, B, in]``, or ``[B, T, in]`` if ``batch_major``. All sizes must be known.
    h, c : tf.Tensor
        The states before the first timestep, ``[B, H]``. The operator ignores them, because its
        states begin as zeros.
    kernel, recurrent_kernel, bias : tf.Tensor
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``. Variables would crash the converter.
    batch_major : bool
        Whether the first axis of ``x`` is the batch.
    """
    import tensorflow as tf

    def compute(*inputs: Tensor) -> tuple[Tensor, ...]:
        x, h, c, *parameters = inputs
        if batch_major:
            x = tf.transpose(x, [1, 0, 2])
        y, (h, c) = WhileLoop().layer(Call(x, (h, c)), parameters, None, reverse=False)
        # The converter expects these five results. The last one would say which device computed
        # them.
        return y[-1], tf.transpose(y, [1, 0, 2]) if batch_major else y, h, c, tf.constant(0.0)

    marked = tf.function(
        compute,
        autograph=False,
        experimental_attributes={
            # TensorFlow requires a different text for each function.
            "api_implements": f"lstm_{uuid.uuid4().hex}",
            "api_preferred_device": "CPU",
            "time_major": not batch_major,
            "go_backwards": False,
        },
    )
    last, y, *_ = marked(x, h, c, kernel, recurrent_kernel, bias)
    return FusedResult(last, y)


class FusedLoop(WhileLoop):
    """Run a loop whose layers the converter replaces, without final states.

    ``stack`` returns the last outputs and the initial cell states in place of the final states.
    """

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        padding: PaddingMask | None,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        x = reverse_time(call.x, None) if reverse else call.x
        h, c = call.states
        last, y = fused_layer(x, h, c, *parameters, batch_major=False)
        return Outputs(reverse_time(y, None) if reverse else y, (last, c))


def convert_saved_model(
    function: Callable[..., Any], specs: Mapping[str, Any], configure: Callable[[Any], None]
) -> bytes:
    """Convert a function of TensorFlow's tensors through a SavedModel.

    Parameters
    ----------
    function : callable
        Takes its inputs by name, and returns a tensor or a tuple of tensors.
    specs : mapping of str to tf.TensorSpec
        The inputs, whose sizes must all be known.
    configure : callable
        A function that gets the converter before it converts.
    """
    import tensorflow as tf

    traced = tf.function(function, autograph=False)
    concrete = traced.get_concrete_function(**specs)
    holder = tf.Module()
    holder.function = traced
    # The SavedModel must list the variables that the function reads.
    holder.read = list(concrete.variables)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holder, folder, signatures=concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        configure(converter)
        return remove_cell_clips(converter.convert())


def remove_cell_clips(model: bytes) -> bytes:
    """Return the same model, with fused operators that do not limit their cell states.

    The converter writes operators that limit the cell state to [-10, 10]. Keras's LSTM has no
    limit, and neither has the function that the operator replaces.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    changed = bytearray(model)
    for operator in _find_operators(model):
        options = schema.UnidirectionalSequenceLSTMOptions()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        if options.CellClip():
            # A field of a FlatBuffer can be overwritten in place. The vtable gives its position.
            place = table.Pos + table.Offset(_CELL_CLIP_FIELD)
            struct.pack_into("<f", changed, place, 0.0)
    return bytes(changed)


def find_states(model: bytes) -> Iterator[tuple[int, int]]:
    """Yield the tensors of h and of c of each fused operator, in the order of the operators."""
    for operator in _find_operators(model):
        yield operator.Inputs(_H_INPUT), operator.Inputs(_C_INPUT)


def _find_operators(model: bytes) -> Iterator[Any]:
    """Yield the fused operators of a model, in their order."""
    from tensorflow.lite.python import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    for graph in map(root.Subgraphs, range(root.SubgraphsLength())):
        for each in map(graph.Operators, range(graph.OperatorsLength())):
            code = root.OperatorCodes(each.OpcodeIndex()).BuiltinCode()
            if code == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
                yield each
