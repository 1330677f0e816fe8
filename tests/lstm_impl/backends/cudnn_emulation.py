"""Emulate TensorFlow's cuDNN RNN ops on the CPU by plain ops, for tests without a GPU.

It uses the ops' public arguments and their layout of the parameter buffer, and none of this
library's packing, so that a mistake there shows as a difference.
Sources: ``CudnnRNNParamsToCanonical`` (which region of the buffer is which matrix) and
``ExtractForwardInput`` (what is refused) in TensorFlow's ``core/kernels/cudnn_rnn_ops.cc``; its
``python/ops/cudnn_rnn_grad.py``; the call in Keras's ``backend/tensorflow/rnn.py``; the equations
and the order of matrices of ``cudnnRNNMode_t`` and ``cudnnGetRNNWeightParams`` in the reference of
NVIDIA's cuDNN.

It computes LSTMs and GRUs without dropout and projection; the rest raises NotImplementedError.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import lstm_impl
from lstm_impl.availability import AVAILABLE, Availability
from lstm_impl.backend import Backend

Tensor = Any  # TensorFlow has no types of its own here

GATES = {"lstm": 4, "gru": 3}
"""A cell's matrices and biases that meet the input. As many meet the state, and come after them."""


@contextlib.contextmanager
def cudnn_on_cpu() -> Iterator[None]:
    """Let tests build the ``cudnn`` backend on the CPU, where its real ops can only be traced."""
    backend = type(lstm_impl.get_backend("cudnn"))
    real = backend.availability

    def availability(self: Backend, device: str = "cpu") -> Availability:
        return AVAILABLE if device == "cpu" else real(self, device)

    with mock.patch.object(backend, "availability", availability):
        yield


@contextlib.contextmanager
def emulate_cudnn() -> Iterator[None]:
    """Replace the ops in ``tf.raw_ops`` by the emulation, in ``cudnn_on_cpu``.

    A model traces its functions at their first call: build it and call it inside.
    """
    import tensorflow as tf

    with contextlib.ExitStack() as stack:
        stack.enter_context(cudnn_on_cpu())
        for name, emulate in EMULATIONS.items():
            real = getattr(tf.raw_ops, name)
            stack.enter_context(mock.patch.object(tf.raw_ops, name, _standing_in(real, emulate)))
        yield


def _standing_in(
    real: Callable[..., Any], emulate: Callable[[dict[str, Any]], tuple[Any, ...]]
) -> Callable[..., Any]:
    """Give ``emulate`` the arguments, defaults, checks and output names of ``real``."""
    import inspect

    import tensorflow as tf

    parameters = inspect.signature(real).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    # Tensors are known by name; the other arguments are attributes of the op.
    tensors = {"input", "input_h", "input_c", "params", "sequence_lengths"}

    def op(**arguments: Any) -> Any:
        # A Python number, such as Keras's input_c of a GRU, gets the input's type.
        hints = dict.fromkeys(tensors, tf.convert_to_tensor(arguments["input"]).dtype)
        hints["sequence_lengths"] = tf.int32
        values = {
            name: tf.convert_to_tensor(value, dtype_hint=hints[name]) if name in tensors else value
            for name, value in arguments.items()
        }
        # The real op, in a graph that is discarded, checks names, types, attributes and
        # ranks, and infers the outputs' shapes.
        with tf.Graph().as_default():
            stand_ins = {
                name: tf.compat.v1.placeholder(value.dtype, value.shape)
                if name in tensors
                else value
                for name, value in values.items()
            }
            declared = real(**stand_ins)
        outputs = emulate({**defaults, **values})
        if not isinstance(declared, tuple):
            return outputs[0]
        for tensor, promise in zip(outputs, declared, strict=True):
            if not isinstance(tensor, list):
                tensor.set_shape(promise.shape)
        return type(declared)(*outputs)

    return op


# -- the forward ops


def _cudnn_rnn(arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    """Return the outputs of the real ops: output, states, reserve_space and host_reserved."""
    import tensorflow as tf

    _refuse_what_is_not_emulated(arguments)
    mode = arguments["rnn_mode"]
    given = [arguments[name] for name in ("input", "input_h", "input_c", "params")]
    if "sequence_lengths" in arguments:  # no whole numbers: TensorFlow's py_function would fail
        given.append(tf.cast(arguments["sequence_lengths"], tf.float64))
    time_major = arguments.get("time_major", True)
    directions = 2 if arguments["direction"] == "bidirectional" else 1
    x, h = given[:2]
    if None in (h.shape[0 if time_major else 1], h.shape[2], x.shape[2]):
        raise ValueError("the emulation needs static layers, units and input features")

    def kernel(*given: Tensor) -> list[Tensor]:
        return _compute(*given, mode=mode, directions=directions, time_major=time_major)

    stored = x.dtype
    if tf.executing_eagerly():
        results = kernel(*given)
    else:  # one op in the graph, as the real one, which is not traced
        results = tf.py_function(kernel, given, [stored] * 3)
    if arguments["is_training"]:
        # Opaque in the real op; a caller only knows that they are not empty.
        return (*results, tf.zeros([1], stored), tf.zeros([2], tf.int8))
    return (*_remove_gradient(results), tf.zeros([], stored), tf.zeros([], tf.int8))


def _compute(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    params: Tensor,
    lengths: Tensor | None = None,
    *,
    mode: str,
    directions: int,
    time_major: bool,
) -> list[Tensor]:
    """Compute output, output_h and output_c.

    The op ignores a GRU's input_c, and its output_c has no meaning.
    """
    import tensorflow as tf

    if mode == "gru":
        c = tf.zeros_like(h)
    if not time_major:  # the state too: [batch, layers * directions, units]
        x, h, c = (tf.transpose(tensor, [1, 0, 2]) for tensor in (x, h, c))
    timesteps, batch, features = x.shape
    rows, _, units = h.shape
    lengths = tf.fill([batch], timesteps) if lengths is None else tf.cast(lengths, tf.int32)
    # Half precision is stored in 16 bits and computed in 32, as TensorFlow requests it.
    stored = x.dtype
    dtype = stored if stored in (tf.float32, tf.float64) else tf.float32
    x, h, c, params = (tf.cast(tensor, dtype) for tensor in (x, h, c, params))
    gates = GATES[mode]
    matrices, biases = _regions(params, rows // directions, units, features, directions, gates)
    last_h, last_c = [], []
    for layer in range(rows // directions):
        outputs = []
        for row in range(layer * directions, (layer + 1) * directions):
            cell = slice(2 * gates * row, 2 * gates * (row + 1))
            y, h_row, c_row = _one_direction(
                x,
                h[row],
                c[row],
                matrices[cell],
                biases[cell],
                lengths,
                backwards=row % directions == 1,
            )
            outputs.append(y)
            last_h.append(h_row)
            last_c.append(c_row)
        x = tf.concat(outputs, axis=2)
    results = [x, tf.stack(last_h), tf.stack(last_c)]
    if not time_major:
        results = [tf.transpose(tensor, [1, 0, 2]) for tensor in results]
    if mode == "gru":  # the op declares a scalar
        results[2] = tf.zeros([], dtype)
    return [tf.cast(tensor, stored) for tensor in results]


def _one_direction(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    matrices: list[Tensor],
    biases: list[Tensor],
    lengths: Tensor,
    backwards: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute outputs ``[T, B, H]``, zero on padding, and the state after the last valid step."""
    import tensorflow as tf

    valid = tf.transpose(tf.sequence_mask(lengths, x.shape[0]))[:, :, None]
    x = tf.where(valid, x, tf.zeros_like(x))  # padding is never read
    if backwards:
        x = tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)
    gates = len(matrices) // 2
    w, r = (tf.concat(part, axis=0) for part in (matrices[:gates], matrices[gates:]))
    b_w, b_r = (tf.concat(part, axis=0) for part in (biases[:gates], biases[gates:]))
    from_input = tf.matmul(x, w, transpose_b=True) + b_w
    outputs = []
    for of_x, alive in zip(tf.unstack(from_input), tf.unstack(valid), strict=True):
        of_h = tf.matmul(h, r, transpose_b=True) + b_r
        if gates == GATES["lstm"]:
            i, f, new_memory, o = tf.split(of_x + of_h, gates, axis=1)
            c_next = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(new_memory)
            h_next = tf.sigmoid(o) * tf.tanh(c_next)
        else:
            parts = zip(tf.split(of_x, gates, axis=1), tf.split(of_h, gates, axis=1), strict=True)
            reset, update, (x_new, h_new) = parts
            new_memory = tf.tanh(x_new + tf.sigmoid(sum(reset)) * h_new)
            i = tf.sigmoid(sum(update))
            h_next, c_next = (1 - i) * new_memory + i * h, c
        h, c = tf.where(alive, h_next, h), tf.where(alive, c_next, c)
        outputs.append(h)
    hs = tf.stack(outputs)
    y = tf.where(valid, hs, tf.zeros_like(hs))
    if backwards:
        y = tf.reverse_sequence(y, lengths, seq_axis=0, batch_axis=1)
    return y, h, c


def _remove_gradient(tensors: list[Tensor]) -> list[Tensor]:
    """Return the same tensors without a gradient, as in inference mode."""
    import tensorflow as tf

    @tf.custom_gradient
    def identity(*tensors: Tensor) -> tuple[list[Tensor], Callable[..., Any]]:
        def backward(*_: Tensor) -> Any:
            raise ValueError("gradients of a cuDNN RNN op need is_training=True")

        return [tf.identity(tensor) for tensor in tensors], backward

    return list(identity(*tensors))


def _refuse_what_is_not_emulated(arguments: dict[str, Any]) -> None:
    if (mode := arguments.get("rnn_mode")) not in GATES:
        raise NotImplementedError(f"the emulation has no rnn_mode={mode!r}")
    expected = {"input_mode": "linear_input", "dropout": 0, "num_proj": 0}
    for name, value in expected.items():
        if arguments.get(name, value) != value:
            raise NotImplementedError(f"the emulation has no {name}={arguments[name]!r}")


# -- the parameter buffer


def params_size(layers: int, units: int, features: int, directions: int) -> int:
    """Return the size of an LSTM's buffer: eight matrices and eight biases for each cell."""
    total = 0
    for layer in range(layers):
        inputs = features if layer == 0 else directions * units
        total += directions * (4 * units * inputs + 4 * units * units + 8 * units)
    return total


def _regions(
    params: Tensor, layers: int, units: int, features: int, directions: int, gates: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the buffer's matrices ``[units, inputs]`` and biases ``[units]``, in order.

    Layer by layer and within it direction by direction, each cell has the matrices of its gates for
    the input, then the same for the hidden state. Those of an LSTM are the input gate, the forget
    gate, the new memory and the output gate. Those of a GRU are the reset gate, the update gate and
    the new memory. After the last matrix of all come the biases in the same order.
    """
    import tensorflow as tf

    shapes = []
    for layer in range(layers):
        inputs = features if layer == 0 else directions * units
        for _ in range(directions):
            shapes += [(units, inputs)] * gates + [(units, units)] * gates
    sizes = [height * width for height, width in shapes] + [units] * len(shapes)
    pieces = tf.split(params, sizes)
    matrices = [tf.reshape(piece, shape) for piece, shape in zip(pieces, shapes, strict=False)]
    return matrices, pieces[len(shapes) :]


EMULATIONS: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    "CudnnRNNV2": _cudnn_rnn,
    "CudnnRNNV3": _cudnn_rnn,
}
