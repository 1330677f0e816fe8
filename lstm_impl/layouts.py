"""Convert canonical weights to the layouts of other libraries and back."""

from collections.abc import Sequence

import numpy as np

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMWeights

# -- cuDNN has one flat buffer. It holds all matrices and then all biases. The matrices of each
# layer and direction are the input matrices [H, in] of all gates and then the recurrent ones [H,
# H]. The biases of each layer and direction are the input biases of all gates and then the
# recurrent ones. The gates have the canonical order: i, f, g, o of an LSTM, and r, z, n of a GRU.
# Source: TensorFlow's CudnnRNNParamsToCanonicalV2 and cuDNN's cudnnGetRNNWeightParams.


def cudnn_sizes(spec: LSTMSpec) -> tuple[int, int]:
    """Return how many numbers the matrices and the biases take in cuDNN's buffer."""
    gates = spec.gate_columns
    matrices = sum(
        spec.num_directions * gates * (spec.layer_input_size(layer) + spec.hidden_size)
        for layer in range(spec.num_layers)
    )
    return matrices, spec.state_layers * 2 * gates


def cudnn_pack(spec: LSTMSpec, weights: LSTMWeights) -> FloatArray:
    """Convert canonical weights to cuDNN's flat buffer.

    If the cell has one bias, it becomes cuDNN's recurrent bias, and cuDNN's input bias is zero.
    """
    cells = weights.cells()
    # The transpose [G*H, n] of a kernel [n, G*H] holds the [H, n] of all gates, one below the
    # other.
    matrices = [
        matrix.T.ravel() for cell in cells for matrix in (cell.kernel, cell.recurrent_kernel)
    ]
    biases = [part for cell in cells for part in _two_biases(cell)]
    return np.concatenate([*matrices, *biases])


def cudnn_unpack(spec: LSTMSpec, buffer: FloatArray, bias: str = "sum") -> LSTMWeights:
    """Convert cuDNN's flat buffer to canonical weights.

    ``bias`` says how a cell with one bias gets it from cuDNN's two. ``sum`` adds them. ``second``
    takes the recurrent one, which is right for gradients, because they are equal for both.

    Raises
    ------
    ValueError
        If the size of the buffer is not that of the network.
    """
    matrices, biases = cudnn_sizes(spec)
    if buffer.shape != (matrices + biases,):
        raise ValueError(
            f"cuDNN's buffer has shape {buffer.shape}; expected ({matrices + biases},) for this "
            "spec"
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


# -- PyTorch, and JAX's cuDNN layer, have weight_ih [G*H, in], weight_hh [G*H, H], bias_ih and
# bias_hh [G*H]. The gates have the canonical order.


def torch_parameters(weights: LSTMWeights) -> dict[str, FloatArray]:
    """Convert canonical weights to the parameters of ``nn.LSTM`` or ``nn.GRU``, by name.

    If the cell has one bias, it becomes ``bias_hh``, and ``bias_ih`` is zero.

    Raises ValueError for a GRU with ``reset_after=False``, which no module of PyTorch computes.
    """
    first = weights.layers[0][0]
    if first.recurrent_bias is None and len(first.bias) == 3 * len(first.recurrent_kernel):
        raise ValueError(
            "the weights are of a GRU with reset_after=False, which has one bias; torch.nn.GRU has "
            "two, and its reset gate acts after the recurrent product (reset_after=True)"
        )
    named: dict[str, FloatArray] = {}
    for number, layer in enumerate(weights.layers):
        for direction, cell in enumerate(layer):
            suffix = f"l{number}" + ("_reverse" if direction else "")
            named[f"weight_ih_{suffix}"] = np.ascontiguousarray(cell.kernel.T)
            named[f"weight_hh_{suffix}"] = np.ascontiguousarray(cell.recurrent_kernel.T)
            named[f"bias_ih_{suffix}"], named[f"bias_hh_{suffix}"] = _two_biases(cell)
    return named


# -- The BasicLSTMCell of 2016 has one kernel [in + H, 4H] and one bias, with the gates i, j, f, o.
# It adds a constant, 1 by default, to the forget gate at run time.


def basic_cell(cell: LayerWeights, forget_bias: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Convert canonical weights to the kernel ``[in + H, 4H]`` and the bias of a BasicLSTMCell."""
    kernel = _gates(np.concatenate([cell.kernel, cell.recurrent_kernel], axis=0), 0, 2, 1, 3)
    bias = _gates(cell.bias, 0, 2, 1, 3)
    hidden = len(bias) // 4
    bias[2 * hidden : 3 * hidden] -= bias.dtype.type(forget_bias)
    return kernel, bias


def from_basic_cell(kernel: FloatArray, bias: FloatArray, forget_bias: float = 1.0) -> LayerWeights:
    """Convert a BasicLSTMCell's arrays to canonical weights.

    For gradients, ``forget_bias`` must be 0, because adding a constant does not change them.
    """
    hidden = len(bias) // 4
    bias = bias.copy()
    bias[2 * hidden : 3 * hidden] += bias.dtype.type(forget_bias)
    inputs = len(kernel) - hidden
    both = _gates(kernel, 0, 2, 1, 3)
    return LayerWeights(both[:inputs], both[inputs:], _gates(bias, 0, 2, 1, 3))


# -- the 2016 GRUCell, which has the form of the paper: a kernel [in + H, 2H] and a bias [2H] of the
#    gates r and z, a kernel [in + H, H] and a bias [H] of the candidate.


def legacy_gru_cell(cell: LayerWeights) -> list[FloatArray]:
    """Return the gates' kernel and bias, then those of the candidate, of a 2016 GRUCell."""
    units = len(cell.recurrent_kernel)
    both = np.concatenate([cell.kernel, cell.recurrent_kernel], axis=0)
    kernels, biases = (np.split(each, [2 * units], axis=-1) for each in (both, cell.bias))
    return [kernels[0], biases[0], kernels[1], biases[1]]


def from_legacy_gru_cell(arrays: Sequence[FloatArray]) -> LayerWeights:
    """Return canonical weights of a 2016 GRUCell, or their gradients."""
    gates, gates_bias, candidate, candidate_bias = arrays
    both = np.concatenate([gates, candidate], axis=-1)
    kernel, recurrent_kernel = np.split(both, [len(both) - len(candidate_bias)], axis=0)
    return LayerWeights(kernel, recurrent_kernel, np.append(gates_bias, candidate_bias))


def _gates(array: FloatArray, *order: int) -> FloatArray:
    """Return a copy with the gates of the last axis in another order."""
    gates = np.split(array, len(order), axis=-1)
    return np.concatenate([gates[number] for number in order], axis=-1)


def reorder_gates(array: FloatArray, order: Sequence[str], new: Sequence[str]) -> FloatArray:
    """Return a copy of an array whose last axis has the gates in another order.

    ``order`` names the gates as they are, and ``new`` names them as they should be.
    """
    return _gates(array, *(list(order).index(gate) for gate in new))


# -- ONNX has W [D, 4H, in], R [D, 4H, H] and B [D, 8H], with the gates i, o, f, c.


def onnx_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Convert all directions of one layer to W, R and B of ONNX's LSTM operator."""
    w = [_gates(cell.kernel, 0, 3, 1, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 0, 3, 1, 2).T for cell in layer]
    b = [np.append(_gates(cell.bias, 0, 3, 1, 2), np.zeros_like(cell.bias)) for cell in layer]
    return np.stack(w), np.stack(r), np.stack(b)


# -- Keras's GRU has kernel [in, 3H] and recurrent_kernel [H, 3H], with the gates z, r, h. Its bias
# is [3H]. With ``reset_after`` it has two biases in one array [2, 3H].


def keras_gru(cell: LayerWeights) -> list[FloatArray]:
    """Convert canonical weights to ``keras.layers.GRU``'s, in the order of ``get_weights``."""
    kernel, recurrent_kernel, *biases = (_gates(array, 1, 0, 2) for array in cell)
    return [kernel, recurrent_kernel, np.stack(biases) if len(biases) == 2 else biases[0]]


def from_keras_gru(arrays: Sequence[FloatArray]) -> LayerWeights:
    """Convert the weights of a ``keras.layers.GRU``, or their gradients, to canonical weights.

    Raises
    ------
    ValueError
        If the shape of the bias is that of neither form of the GRU.
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


# -- ONNX's GRU has W [D, 3H, in], R [D, 3H, H] and B [D, 6H], with the gates z, r, h.


def onnx_gru_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Convert all directions of one layer to W, R and B of ONNX's GRU operator.

    A cell with one bias needs ``linear_before_reset=0``, and a cell with two biases needs 1.
    """
    w = [_gates(cell.kernel, 1, 0, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2).T for cell in layer]
    b = []
    for cell in layer:
        second = np.zeros_like(cell.bias) if cell.recurrent_bias is None else cell.recurrent_bias
        b.append(np.concatenate([_gates(cell.bias, 1, 0, 2), _gates(second, 1, 0, 2)]))
    return np.stack(w), np.stack(r), np.stack(b)


# -- OpenVINO has W [D, G*H, in], R [D, G*H, H] and B. LSTMSequence has the gates f, i, c, o and one
# bias [D, 4H]. GRUSequence has the gates z, r, h and one bias [D, 3H]. With ``linear_before_reset``
# its bias is [D, 4H]: the sums of the two biases of z and of r, the candidate's input bias, and the
# candidate's recurrent bias.


def openvino_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Convert all directions of one layer to W, R and B of OpenVINO's LSTMSequence."""
    w = [_gates(cell.kernel, 1, 0, 2, 3).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2, 3).T for cell in layer]
    b = [_gates(cell.bias, 1, 0, 2, 3) for cell in layer]
    return np.stack(w), np.stack(r), np.stack(b)


def openvino_gru_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Convert all directions of one layer to W, R and B of OpenVINO's GRUSequence.

    A cell with one bias needs ``linear_before_reset=False``, and a cell with two biases needs True.
    """
    w = [_gates(cell.kernel, 1, 0, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 1, 0, 2).T for cell in layer]
    b = []
    for cell in layer:
        bias = _gates(cell.bias, 1, 0, 2)
        if cell.recurrent_bias is not None:
            second = _gates(cell.recurrent_bias, 1, 0, 2)
            both = 2 * len(bias) // 3  # The end of the gates z and r, whose two biases are added.
            bias = np.concatenate([bias[:both] + second[:both], bias[both:], second[both:]])
        b.append(bias)
    return np.stack(w), np.stack(r), np.stack(b)
