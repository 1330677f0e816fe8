"""Convert canonical weights to the layouts of other libraries and back."""

from collections.abc import Sequence

import numpy as np

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMWeights

# -- cuDNN: one flat buffer. First every matrix (for each layer and direction the four input
#    matrices [H, in], then the four recurrent ones [H, H], gates i, f, g, o), then every bias (for
#    each layer and direction the four input biases, then the four recurrent ones).
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
    """Return cuDNN's flat buffer; the recurrent bias is the canonical one, the input bias zero."""
    cells = weights.cells()
    # The transpose [4H, n] of a kernel [n, 4H] is the four gates' [H, n] one below the other.
    matrices = [
        matrix.T.ravel() for cell in cells for matrix in (cell.kernel, cell.recurrent_kernel)
    ]
    biases = [part for cell in cells for part in (np.zeros_like(cell.bias), cell.bias)]
    return np.concatenate([*matrices, *biases])


def cudnn_unpack(spec: LSTMSpec, buffer: FloatArray, bias: str = "sum") -> LSTMWeights:
    """Return canonical weights from cuDNN's buffer."""
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
    kept = pairs.sum(axis=1) if bias == "sum" else pairs[:, 1]
    cells = [LayerWeights(kernels[2 * row], kernels[2 * row + 1], kept[row]) for row in rows]
    return LSTMWeights.from_cells(spec, cells)


# -- PyTorch and JAX's cuDNN layer: weight_ih [4H, in], weight_hh [4H, H], bias_ih, bias_hh [4H].


def torch_parameters(weights: LSTMWeights) -> dict[str, FloatArray]:
    """Return ``nn.LSTM``'s parameters by name, with ``bias_ih`` zero."""
    named: dict[str, FloatArray] = {}
    for number, layer in enumerate(weights.layers):
        for direction, cell in enumerate(layer):
            suffix = f"l{number}" + ("_reverse" if direction else "")
            named[f"weight_ih_{suffix}"] = np.ascontiguousarray(cell.kernel.T)
            named[f"weight_hh_{suffix}"] = np.ascontiguousarray(cell.recurrent_kernel.T)
            named[f"bias_ih_{suffix}"] = np.zeros_like(cell.bias)
            named[f"bias_hh_{suffix}"] = cell.bias
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
    """Return a copy with the four gates on the last axis in another order."""
    gates = np.split(array, 4, axis=-1)
    return np.concatenate([gates[number] for number in order], axis=-1)


# -- ONNX: W [D, 4H, in], R [D, 4H, H], B [D, 8H], gates i, o, f, c.


def onnx_layer(layer: Sequence[LayerWeights]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return W, R and B of ONNX's LSTM operator for one layer, all directions."""
    w = [_gates(cell.kernel, 0, 3, 1, 2).T for cell in layer]
    r = [_gates(cell.recurrent_kernel, 0, 3, 1, 2).T for cell in layer]
    b = [np.append(_gates(cell.bias, 0, 3, 1, 2), np.zeros_like(cell.bias)) for cell in layer]
    return np.stack(w), np.stack(r), np.stack(b)
