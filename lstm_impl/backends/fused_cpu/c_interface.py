"""Call the kernels of ``fused_cpu`` through their C interface (``lstm_impl/native/c_api.h``)."""

import ctypes
import functools
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm_impl.backends.fused_cpu.library as library
from lstm_impl.evidence import Evidence
from lstm_impl.model import Model
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

TYPES: Mapping[str, int] = {
    "float32": 0,
    "bfloat16": 1,
    "bf32": 2,
    "int8": 3,
    "mixed_bfloat16": 4,
    "bf16x3": 5,
}
"""The number of a layer's type in the C interface, by precision.

int8 is for weights that ``Kernels.pack`` has rounded. In mixed_bfloat16, the weights and their
gradients are float32, and all other numbers are bfloat16."""

CELLS: Mapping[str, int] = {"lstm": 0, "gru": 1, "gru_reset_before": 2}
"""The number of a layer's cell in the C interface, by the name of the cell."""


STEP, FROM_ZEROS, FROM_INITIAL = 1, 2, 4
"""Bits of a mask's bytes: the step is there, and the state from which the sequence starts over."""


class KernelLayer(ctypes.Structure):
    """Hold the sizes, the type and the cell of one direction of one layer.

    Attributes
    ----------
    type
        One of ``TYPES``.
    threads
        The largest number of threads. 0 means one on each CPU.
    transposed
        Whether the kernels and their gradients are ``[G*H, in]`` and ``[G*H, H]``, where G is the
        number of the cell's gates.
    cell
        One of ``CELLS``.
    only_steps
        Whether the input, the output and their gradients have only the rows of the steps that the
        mask leaves, ``[rows, features]``, as the data of a ``PackedSequence`` of PyTorch.
    keeps_places
        Whether steps that the mask leaves out have a place in what is kept, ``[time][batch]``, so
        that it can be cut into parts of the batch.
    """

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("timesteps", "batch", "inputs", "units")),
        *((name, ctypes.c_int32) for name in ("batch_major", "reverse", "type", "threads")),
        *((name, ctypes.c_int32) for name in ("transposed", "cell", "only_steps", "keeps_places")),
    ]


kernel_layer = functools.lru_cache(KernelLayer)
"""Return the structure of these sizes. It is made once, because that takes half as long as a small
kernel."""


# Packing addresses with struct is faster: making a ctypes array takes a third of a small kernel's
# time.
_FOUR, _THIRTEEN, _FOURTEEN, _SEVENTEEN, _EIGHTEEN = (
    struct.Struct(f"{count}P").pack for count in (4, 13, 14, 17, 18)
)


class KernelError(RuntimeError):
    """Report that a kernel could not compute, for example because there was too little memory."""


class Kernels:
    """Call the functions of the library.

    Each takes a layer and the addresses of its arrays in order. The address of an array that is
    left out is 0. The caller's arrays must be contiguous, have the right sizes, and live until the
    call returns. The interpreter's lock is released meanwhile.
    """

    def __init__(self, loaded: ctypes.CDLL) -> None:
        if (version := loaded.lstm_version()) != library.VERSION:
            raise KernelError(f"the library has version {version}; expected {library.VERSION}")
        loaded.lstm_error.restype = ctypes.c_char_p
        self._lanes = int(loaded.lstm_lanes())
        self._loaded = loaded
        self._forward, self._backward = loaded.lstm_forward, loaded.lstm_backward
        self._input_gradient = loaded.lstm_input_gradient
        loaded.lstm_products.restype = ctypes.c_char_p
        loaded.lstm_packed_size.restype = ctypes.c_int64
        sizes, kinds, addresses = (
            2 * [ctypes.c_int64],
            2 * [ctypes.c_int32],
            2 * [ctypes.c_void_p],
        )
        loaded.lstm_transpose.argtypes = [*sizes, *kinds, *addresses]

    def kept_sizes(
        self, timesteps: Any, batch: Any, units: Any, cell: str = "lstm"
    ) -> tuple[Any, Any]:
        """Return how many gates and how many cell states a forward pass keeps.

        Sizes may be symbols of a tracer. ``cell`` is one of ``CELLS``. A GRU keeps no cell states.
        """
        numbers = -(-units // self._lanes) * self._lanes * timesteps * batch
        return 4 * numbers, numbers if cell == "lstm" else 0

    def forward(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute a forward pass.

        The addresses are those of the inputs kernel, recurrent_kernel, bias, x, h0, c0 and mask,
        and of the results y, h, c, gates, cells and hidden. The mask is a byte array ``[T, B]``
        with the bits ``STEP``, ``FROM_ZEROS`` and ``FROM_INITIAL``. It is 0 where a step is left
        out. For a GRU, c0, c and cells are 0. A GRU that resets
        after the product has one address more at the end, the recurrent bias.
        """
        packed = _THIRTEEN if len(addresses) == 13 else _FOURTEEN
        self._check(self._forward(ctypes.byref(layer), None, packed(*addresses)))

    def backward(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute a backward pass.

        The addresses are those of the inputs recurrent_kernel, x, h0, c0, mask, hidden, gates,
        cells, dy, dh and dc, and of the results dz, dh0, dc0, dkernel, drecurrent_kernel and dbias.
        A GRU that resets after the product has one address more at the end, the gradient of the
        recurrent bias.
        """
        packed = _SEVENTEEN if len(addresses) == 17 else _EIGHTEEN
        self._check(self._backward(ctypes.byref(layer), None, packed(*addresses)))

    def input_gradient(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute the input's gradient.

        The addresses are those of kernel, dz and mask, and of the result dx.
        """
        self._check(self._input_gradient(ctypes.byref(layer), None, _FOUR(*addresses)))

    def transpose(
        self, rows: int, columns: int, kind: int, threads: int, matrix: int, transposed: int
    ) -> None:
        """Write the transpose ``[columns, rows]`` of a matrix ``[rows, columns]``.

        Parameters
        ----------
        rows, columns : int
            The sizes of the matrix.
        kind : int
            The type of its numbers: that of float32 or bfloat16 in ``TYPES``.
        threads : int
            The largest number of threads; 0 means one on each CPU.
        matrix, transposed : int
            The addresses of the matrix and of its transpose, which must not overlap.

        Raises
        ------
        KernelError
            If a size is negative or above 2^31 - 1, or the type is another.
        """
        given = rows, columns, kind, threads, matrix, transposed
        self._check(self._loaded.lstm_transpose(*given))

    def pack(self, layer: KernelLayer, *addresses: int) -> npt.NDArray[np.uint8]:
        """Round the kernel and the recurrent kernel to int8, and pack them with the bias.

        ``forward`` of a layer of type int8 takes the address of the result as its kernel, and 0 for
        the other weights.

        Parameters
        ----------
        layer : KernelLayer
            A layer of type int8.
        *addresses : int
            The addresses of kernel, recurrent_kernel and bias, in float32. A GRU that resets after
            the product also has the address of its recurrent bias.
        """
        packed = np.empty(self._loaded.lstm_packed_size(ctypes.byref(layer)), np.uint8)
        weights, second = addresses[:3], addresses[3:]
        given = *weights, packed.ctypes.data, *second
        pointers = struct.pack(f"{len(given)}P", *given)
        self._check(self._loaded.lstm_pack(ctypes.byref(layer), pointers))
        return packed

    def products(self, layer: KernelLayer) -> str:
        """Return how a forward pass multiplies on this machine, such as ``vdpbf16ps``."""
        return str(self._loaded.lstm_products(ctypes.byref(layer)).decode())

    def _check(self, code: int) -> None:
        if code:
            raise KernelError(f"fused LSTM: {self._loaded.lstm_error().decode()}")


@functools.cache
def kernels() -> Kernels:
    """Return the kernels, and compile them first if necessary.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled or loaded.
    """
    return Kernels(library.load(library.C))


def get_available_kernels() -> Kernels | None:
    """Return the kernels, or None if they would have to be compiled first."""
    path = library.find_compiled(library.C)
    try:
        return None if path is None else Kernels(ctypes.CDLL(str(path)))
    except OSError:  # The library may have been made on another system.
        return None


def products(spec: LSTMSpec, workload: Workload, kind: int) -> str:
    """Return how the kernels multiply in a forward pass on this machine, such as ``vdpbf16ps``.

    ``kind`` is one of ``TYPES``. If layers multiply in different ways, all ways are listed.
    """
    one, units, found = workload.first_window(), spec.hidden_size, []
    for inputs in map(spec.layer_input_size, range(spec.num_layers)):
        sizes = one.timesteps, one.batch, inputs, units
        layer = KernelLayer(*sizes, type=kind, cell=CELLS[spec.cell.name])
        found.append(kernels().products(layer))
    return ", ".join(dict.fromkeys(found))


class KernelModel(Model):
    """Share what models that use the kernels have in common: evidence of how they multiply."""

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        assert isinstance(found, Evidence)
        # TF32 exists only on GPUs, so it is float32 here.
        kind = TYPES.get(self.spec.dtype, TYPES["float32"])
        made = products(self.spec, workload, kind)
        return replace(found, details={**found.details, "products": made})
