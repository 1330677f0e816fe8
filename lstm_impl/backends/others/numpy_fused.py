"""Run ``numpy_fused``: the kernels of ``fused_cpu`` on NumPy arrays, without any framework."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Tensor, Upstream
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LayerWeights, LSTMWeights
from lstm_impl.workload import OPTIMIZERS, Workload, select_differentiated

Array = npt.NDArray[np.float32]


LINE = 16
"""The number of float32 numbers in a cache line."""


class _Kept(NamedTuple):
    """Hold what a layer and direction keeps for its gradient."""

    layer: c_interface.KernelLayer
    x: Array
    states: tuple[Array | None, Array | None]
    hidden: Array
    gates: Array
    cells: Array


class NumPyFusedModel(NumPyModel):
    """Keep canonical weights in float32, and call the kernels once for each layer and direction."""

    kernel_type: ClassVar[int] = 0

    def _load_kernels(self) -> c_interface.Kernels:
        """Return the library that computes the layers."""
        return c_interface.kernels()

    def _open(self, weights: LSTMWeights) -> None:
        self._kernels = self._load_kernels()
        self._cell = c_interface.CELLS[self.spec.cell.name]
        super()._open(weights)

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self._arrays = [_aligned(each) for each in weights.arrays()]
        addresses = map(_address, self._arrays)
        self._parameters = len(self.spec.cell.parameters)
        self._addresses = list(zip(*self._parameters * [addresses], strict=True))

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        return np.ascontiguousarray(array, None if array.dtype.kind in "biu" else np.float32)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.asarray(tensor)  # Nothing else uses this memory, so it need not be copied.

    def _infer(self, call: Call) -> Outputs:
        return self._forward(call, None)

    def _forward(self, call: Call, kept: list[_Kept] | None) -> Outputs:
        """Compute the outputs, and append what the backward pass needs to ``kept``, row by row."""
        x, spec = call.x, self.spec
        masks = self._masks(call)
        final = tuple(map(np.empty_like, call.states))
        before, after = list(map(_address, call.states)), list(map(_address, final))
        stride = final[0].strides[0]
        # A GRU has no cell state. An address of 0 tells the kernels so.
        none = [0] * (2 - len(final))
        for number in range(spec.num_layers):
            if number and call.masks is not None:
                x = x * self._swapped(call.masks[number - 1])
            x, outputs = np.ascontiguousarray(x), []
            for direction in range(spec.num_directions):
                row = number * spec.num_directions + direction
                layer, mask = self._sizes(row, x), masks[direction]
                y = np.empty((*x.shape[:2], spec.hidden_size), np.float32)
                keep = (0, 0, 0)
                if kept is not None:
                    sizes = layer.timesteps, layer.batch, layer.units
                    counts = self._kernels.kept_sizes(*sizes, spec.cell.name)
                    gates, cells = (np.empty(count, np.float32) for count in counts)
                    # Without a mask, the outputs are the hidden states.
                    own = None if mask is None else np.empty(y.size, np.float32)
                    keep = (_address(gates), _address(cells), _address(own))
                    hidden = y if own is None else own
                    h_first, c_first = self._rows(call.states, row)
                    kept.append(_Kept(layer, x, (h_first, c_first), hidden, gates, cells))
                at = row * stride
                read = _address(x), *(each + at for each in before), *none, _address(mask)
                written = _address(y), *(each + at for each in after), *none
                weights, second = self._addresses[row][:3], self._addresses[row][3:]
                self._kernels.forward(layer, *weights, *read, *written, *keep, *second)
                outputs.append(y)
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
        return Outputs(x, final)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        kept: list[_Kept] = []
        outputs = self._forward(call, kept)
        masks, spec, units = self._masks(call), self.spec, self.spec.hidden_size
        arrays = iter(map(np.empty_like, self._arrays))
        grouped = zip(*self._parameters * [arrays], strict=True)
        dweights = [LayerWeights(*each) for each in grouped]
        dstates = tuple(map(np.empty_like, call.states))
        dy: Any = upstream.dy
        for number in reversed(range(spec.num_layers)):
            below: Any = 0.0
            for direction in range(spec.num_directions):
                row = number * spec.num_directions + direction
                part = dy[:, :, direction * units : (direction + 1) * units]
                layer, x, states, hidden, gates, cells = kept[row]
                kernel, recurrent_kernel = self._arrays[self._parameters * row :][:2]
                read = (recurrent_kernel, x, *states, masks[direction], hidden, gates, cells)
                flows = np.ascontiguousarray(part), *self._rows(upstream.dstates, row)
                written = gates, *self._rows(dstates, row), *dweights[row]  # dz over gates
                self._kernels.backward(layer, *map(_address, (*read, *flows, *written)))
                if number or gradients != "weights":
                    dx = np.empty_like(x)
                    of_x = kernel, gates, masks[direction], dx
                    self._kernels.input_gradient(layer, *map(_address, of_x))
                    below = below + dx
            if number and call.masks is not None:
                below = below * self._swapped(call.masks[number - 1])
            dy = below
        inputs = select_differentiated(gradients, dy, *dstates)
        return RawGradients.of(outputs, inputs, LSTMWeights.from_cells(spec, dweights))

    def _sizes(self, row: int, x: Array) -> c_interface.KernelLayer:
        """Return the sizes of a row's layer."""
        batch, timesteps = x.shape[:2] if self.batch_major else x.shape[1::-1]
        sizes = timesteps, batch, x.shape[2], self.spec.hidden_size
        reverse = row % self.spec.num_directions == 1
        how = self.batch_major, reverse, self.kernel_type
        return c_interface.kernel_layer(*sizes, *how, cell=self._cell)

    @staticmethod
    def _rows(states: Sequence[Array], row: int) -> tuple[Array | None, Array | None]:
        """Return the h and c of a row. A GRU has no c."""
        return states[0][row], states[1][row] if len(states) > 1 else None

    def _masks(self, call: Call) -> list[npt.NDArray[np.uint8] | None]:
        """Return the mask of each direction, None where all steps are there."""
        valid = None
        if call.lengths is not None:
            timesteps = call.x.shape[1 if self.batch_major else 0]
            valid = np.arange(timesteps)[:, None] < call.lengths
        directions = (False, True)[: self.spec.num_directions]
        return [make_mask(call, valid, reverse) for reverse in directions]

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        products = c_interface.products(self.spec, workload, self.kernel_type)
        return {"kernels": ["lstm_forward"], "device": "cpu", "products": products}


def make_mask(
    call: Call, valid: npt.NDArray[np.bool_] | None, reverse: bool
) -> npt.NDArray[np.uint8] | None:
    """Return the bytes ``[T, B]`` that the kernels take as a mask, or None if they need none.

    valid: bool ``[T, B]``, None if all steps are there. A reset at a step that is not changes
    nothing. In reverse the first step after a reset is the one before it in time.
    """
    first = call.resets if call.restarts is None else call.restarts
    there: Any = c_interface.STEP if valid is None else valid.astype(np.uint8)
    if first is None:
        return None if valid is None else there
    if valid is not None:
        first = first & valid
    if reverse:
        first = np.concatenate([first[1:], np.zeros_like(first[:1])])
    bit = c_interface.FROM_ZEROS if call.restarts is None else c_interface.FROM_INITIAL
    mask: npt.NDArray[np.uint8] = first.astype(np.uint8) * np.uint8(bit) | np.uint8(there)
    return mask


def _aligned(array: npt.NDArray[np.generic]) -> Array:
    """Copy an array to the start of a cache line.

    Loads that cross two cache lines would cost a stream a fifth of its time.
    """
    memory = np.empty(array.size + LINE, np.float32)
    start = -memory.ctypes.data // memory.itemsize % LINE
    copy = memory[start : start + array.size].reshape(array.shape)
    copy[...] = array
    return copy


def _address(array: Any) -> int:
    """Return the address of an array's memory, or 0 for None."""
    if array is None:
        return 0
    try:  # This takes a quarter of the time of array.ctypes.data, and a call needs seven addresses.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # The array is read-only or empty.
        return int(array.ctypes.data)


class NumPyFused(library.KernelBackend):
    """Call the kernels of ``fused_cpu`` through ctypes."""

    strategy = "numpy_fused"
    framework = "numpy"
    model = NumPyFusedModel
    summary = "the kernels of fused_cpu on NumPy's arrays, without a framework"
    binding = library.C
    optimizers = OPTIMIZERS
    cells: ClassVar[tuple[str, ...] | None] = tuple(c_interface.CELLS)
    takes_resets = True

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype != "float32":
            text = f"it computes in float32 only, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)
