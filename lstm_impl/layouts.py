"""Convert canonical weights to the layouts of other libraries and back."""

from collections.abc import Sequence

import numpy as np

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMWeights

# -- cuDNN: one flat buffer. First every matrix (for each layer and direction the input matrices
#    [H, in] of all gates, then the recurrent ones [H, H]), then every bias (for each layer and
#    direction the input biases of all gates, then the recurrent ones). The gates have the canonical
#    order: i, f, g, o of an LSTM, r, z, n of a GRU.
#    Source: TensorFlow's CudnnRNNParamsToCanonicalV2 and cuDNN's cudnnGetRNNWeightParams.


def cudnn_sizes(spec: LSTMSpec) -> tuple[int, int]:
    """Return how many numbers the matrices and the biases take in cuDNN's buffer."""
    gates = spec.gate_columns
    matrices = sum(
        spec.num_directions * gates * (spec.layer_input_size(layer) + spec.hidden_size)
        for layer in range(spec.num_layers)
    )
    return matrices, spec.state_layers * 2 * gates


def cudnn_pack(spec: LSTMSpec, weights: LSTMWeights) -> FloatArray:
    """Return cuDNN's flat buffer.

    Of a cell with one bias, cuDNN's recurrent bias is that one and its input bias is zero.
    """
    cells = weights.cells()
    # The transpose [G*H, n] of a kernel [n, G*H] is each gate's [H, n] one below the other.
    matrices = [
        matrix.T.ravel() for cell in cells for matrix in (cell.kernel, cell.recurrent_kernel)
    ]
    biases = [part for cell in cells for part in _two_biases(cell)]
    return np.concatenate([*matrices, *biases])


def cudnn_unpack(spec: LSTMSpec, buffer: FloatArray, bias: str = "sum") -> LSTMWeights:
    """Return canonical weights from cuDNN's buffer.

    bias: how a cell with one bias gets it from cuDNN's two: ``sum``, or ``second`` for gradients,
        which are the same for both.
    """
    matrices, biases = cudnn_sizes(spec)
    if buffer.shape != (matrices + biases,):
        raise ValueError(
            f"cuDNN's buffer has shape {buffer.shape}; this spec needs ({matrices + biases},)"
        )
    gates, rows = spec.gate_columns, range(spec.state_layers)
    inputs = [spec.layer_input_size(row // spec.num_directions) for row in rows]
    ends = np.cumsum([gates * size for each in inputs for size in (each, spec.hidden_size)])
    *parts, rest = np.split(buffer, ends)
    kernels = [np.ascontiguousarray(part.reshape(gates, -1).T) for part in parts]
    pairs = rest.reshape(spec.state_layers, 2, gates)
    kept: list[tuple[FloatArray, ...]]
    if "recurrent_bias" in spec.cell.parameters:
        kept = [(pair[0], pair[1]) for pair in pairs]
    else:
        kept = [(pair.sum(axis=0) if bias == "sum" else pair[1],) for pair in pairs]
    cells = [LayerWeights(kernels[2 * row], kernels[2 * row + 1], *kept[row]) for row in rows]
    return LSTMWeights.from_cells(spec, cells)


def _two_biases(cell: LayerWeights) -> tuple[FloatArray, FloatArray]:
    """Return the input's and the recurrence's bias, for libraries that always have both."""
    if cell.recurrent_bias is None:
        return np.zeros_like(cell.bias), cell.bias
    return cell.bias, cell.recurrent_bias


# -- PyTorch and JAX's cuDNN layer: weight_ih [G*H, in], weight_hh [G*H, H], bias_ih and bias_hh
#    [G*H], with the gates in the canonical order.


def torch_parameters(weights: LSTMWeights) -> dict[str, FloatArray]:
    """Return the parameters of ``nn.LSTM`` or ``nn.GRU`` by name.

    Of a cell with one bias ``bias_hh`` is that one and ``bias_ih`` is zero.
    """
    named: dict[str, FloatArray] = {}
    for number, layer in enumerate(weights.layers):
        for direction, cell in enumerate(layer):
            suffix = f"l{number}" + ("_reverse" if direction else "")
            named[f"weight_ih_{suffix}"] = np.ascontiguousarray(cell.kernel.T)
            named[f"weight_hh_{suffix}"] = np.ascontiguousarray(cell.recurrent_kernel.T)
            named[f"bias_ih_{suffix}"], named[f"bias_hh_{suffix}"] = _two_biases(cell)
    return named


# -- the 2016 BasicLSTMCell: one kernel [in + H, 4H] and bias, gates i, j, f, o, and a constant
#    (1 by default) added to the forget gate at run time.


def basic_cell(cell: LayerWeights, forget_bias: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Return kernel ``[in + H, 4H]`` and bias ``[4H]`` of a BasicLSTMCell with this forget bias."""
    kernel = _gates(np.concatenate([cell.kernel, cell.recurrent_kernel], axis=0), 0, 2, 1, 3)
    bias = _gates(cell.bias, 0, 2, 1, 3)
    hidden = len(bias) // 4
    bias[2 * hidden : 3 * hidden] -= bias.dtype.type(forget_bias)
    return kernel, bias


def from_basic_cell(kernel: FloatArray, bias: FloatArray, forget_bias: float = 1.0) -> LayerWeights:
    """Return canonical weights of a BasicLSTMCell; for gradients with ``forget_bias=0``."""
    hidden = len(bias) // 4
    bias = bias.copy()
    bias[2 * hidden : 3 * hidden] += bias.dtype.type(forget_bias)
    inputs = len(kernel) - hidden
    both = _gates(kernel, 0, 2, 1, 3)
    return LayerWeights(both[:inputs], both[inputs:], _gates(bias, 0, 2, 1, 3))


def _gates(array: FloatArray, *order: int) -> FloatArray:
    """Return a copy with the gates on the last axis in another order."""
    gates = np.split(array, len(order), axis=-1)
    return np.concatenate([gates[number] for number in order], axis=-1)


def reorder_gates(array: FloatArray, order: Sequence[str], new: Sequence[str]) -> FloatArray:
    """Return a copy of an array with the gates of its last axis, in ``order``, in another order."""
    return _gates(array, *(list(order).index(gate) for gate in new))


# -- ONNX: W [D, 4H, in], R [D, 4H, H], B [D, 8H], gates i, o, f, c.


def onnx_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return W, R and B of ONNX's LSTM operator for one layer, all directions."""
    w = [_gates(cell.kernel, 0, 3, 1, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 0, 3, 1, 2).T for cell in layer]
    b = [np.append(_gates(cell.bias, 0, 3, 1, 2), np.zeros_like(cell.bias)) for cell in layer]
    return np.stack(w), np.stack(r), np.stack(b)


# -- Keras's GRU: kernel [in, 3H], recurrent_kernel [H, 3H], gates z, r, h, and a bias [3H], or with
#    ``reset_after`` two of them in one array [2, 3H].


def keras_gru(cell: LayerWeights) -> list[FloatArray]:
    """Return the weights of ``keras.layers.GRU``, in the order of its ``get_weights``."""
    kernel, recurrent_kernel, *biases = (_gates(array, 1, 0, 2) for array in cell)
    return [kernel, recurrent_kernel, np.stack(biases) if len(biases) == 2 else biases[0]]


def from_keras_gru(arrays: Sequence[FloatArray]) -> LayerWeights:
    """Return canonical weights of a ``keras.layers.GRU``, or their gradients.

    Raises ValueError unless the bias has the shape of one of the two forms.
    """
    kernel, recurrent_kernel, bias = arrays
    columns = kernel.shape[-1]
    if bias.shape not in ((columns,), (2, columns)):
        raise ValueError(
            f"the bias of a GRU has shape {bias.shape}; expected ({columns},), or (2, {columns}) "
            "with reset_after"
        )
    biases = [bias] if bias.ndim == 1 else list(bias)
    return LayerWeights(*(_gates(array, 1, 0, 2) for array in (kernel, recurrent_kernel, *biases)))


# -- ONNX's GRU: W [D, 3H, in], R [D, 3H, H], B [D, 6H], gates z, r, h.


def onnx_gru_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return W, R and B of ONNX's GRU operator for one layer, all directions.

    A cell with one bias is computed with ``linear_before_reset=0``, a cell with two with 1.
    """
    w = [_gates(cell.kernel, 1, 0, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2).T for cell in layer]
    b = []
    for cell in layer:
        second = np.zeros_like(cell.bias) if cell.recurrent_bias is None else cell.recurrent_bias
        b.append(np.concatenate([_gates(cell.bias, 1, 0, 2), _gates(second, 1, 0, 2)]))
    return np.stack(w), np.stack(r), np.stack(b)


# -- OpenVINO: W [D, G*H, in], R [D, G*H, H] and B. LSTMSequence has the gates f, i, c, o and one
#    bias [D, 4H]. GRUSequence has z, r, h and one bias [D, 3H], or with ``linear_before_reset`` two
#    for the candidate, [D, 4H]: those of z and r are sums, then come the input's and the
#    recurrence's.


def openvino_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return W, R and B of OpenVINO's LSTMSequence for one layer, all directions."""
    w = [_gates(cell.kernel, 1, 0, 2, 3).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2, 3).T for cell in layer]
    b = [_gates(cell.bias, 1, 0, 2, 3) for cell in layer]
    return np.stack(w), np.stack(r), np.stack(b)


def openvino_gru_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return W, R and B of OpenVINO's GRUSequence for one layer, all directions.

    A cell with one bias is computed with ``linear_before_reset=False``, a cell with two with True.
    """
    w = [_gates(cell.kernel, 1, 0, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2).T for cell in layer]
    b = []
    for cell in layer:
        bias = _gates(cell.bias, 1, 0, 2)
        if cell.recurrent_bias is not None:
            second = _gates(cell.recurrent_bias, 1, 0, 2)
            both = 2 * len(bias) // 3  # the gates z and r, whose two biases are added
            bias = np.concatenate([bias[:both] + second[:both], bias[both:], second[both:]])
        b.append(bias)
    return np.stack(w), np.stack(r), np.stack(b)
