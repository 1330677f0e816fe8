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

TYPES: Mapping[str, int] = {"float32": 0, "bfloat16": 1, "bf32": 2, "int8": 3, "mixed_bfloat16": 4}
"""The type of a layer, by precision.

int8 is for weights that ``Kernels.pack`` has rounded. In mixed_bfloat16 the weights and their
gradients are float32, and all other numbers bfloat16.
"""

CELLS: Mapping[str, int] = {"lstm": 0, "gru": 1, "gru_reset_before": 2}
"""The cell of a layer, by the name of the cell."""


class KernelLayer(ctypes.Structure):
    """Sizes, type and cell of one direction of one layer.

    type: one of ``TYPES``. threads: the largest number of threads; 0 means one on each CPU.
    transposed: whether the kernels and their gradients are ``[G*H, in]`` and ``[G*H, H]``, where G
    is the number of the cell's gates. cell: one of ``CELLS``.
    """

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("timesteps", "batch", "inputs", "units")),
        *((name, ctypes.c_int32) for name in ("batch_major", "reverse", "type", "threads")),
        *((name, ctypes.c_int32) for name in ("transposed", "cell")),
    ]


kernel_layer = functools.lru_cache(KernelLayer)
"""The structure of these sizes, made once: it takes as long as half a small kernel."""


# To make an array of ctypes takes a third as long as a small kernel.
_THREE, _THIRTEEN, _FOURTEEN, _SEVENTEEN, _EIGHTEEN = (
    struct.Struct(f"{count}P").pack for count in (3, 13, 14, 17, 18)
)


class KernelError(RuntimeError):
    """A kernel could not compute, such as for want of memory."""


class Kernels:
    """The functions of the library: each takes a layer and the addresses of its arrays, in order.

    An address is 0 where an array is left out. The caller's arrays are contiguous, of the right
    sizes, and live until the call returns; the interpreter's lock is not held meanwhile.
    """

    def __init__(self, loaded: ctypes.CDLL) -> None:
        if (version := loaded.lstm_version()) != library.VERSION:
            raise KernelError(f"its library has version {version}; expected {library.VERSION}")
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
        """Return how many gates and cell states a forward pass keeps.

        Sizes may be a tracer's symbols. cell: one of ``CELLS``; a GRU keeps no cell states.
        """
        numbers = -(-units // self._lanes) * self._lanes * timesteps * batch
        return 4 * numbers, numbers if cell == "lstm" else 0

    def forward(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute: kernel, recurrent_kernel, bias, x, h0, c0, mask; y, h, c, gates, cells, hidden.

        What is behind the semicolon is written. mask: bytes ``[T, B]``, 0 where a step is left out.
        c0, c and cells are 0 for a GRU. One that resets after the product has the recurrent bias as
        one address more, the last.
        """
        packed = _THIRTEEN if len(addresses) == 13 else _FOURTEEN
        self._check(self._forward(ctypes.byref(layer), None, packed(*addresses)))

    def backward(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute: recurrent_kernel, x, h0, c0, mask, hidden, gates, cells, dy, dh, dc; dz, dh0,
        dc0, dkernel, drecurrent_kernel, dbias.

        A GRU that resets after the product has the gradient of the recurrent bias as one address
        more, the last.
        """
        packed = _SEVENTEEN if len(addresses) == 17 else _EIGHTEEN
        self._check(self._backward(ctypes.byref(layer), None, packed(*addresses)))

    def input_gradient(self, layer: KernelLayer, *addresses: int) -> None:
        """Compute: kernel, dz; dx."""
        self._check(self._input_gradient(ctypes.byref(layer), None, _THREE(*addresses)))

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

        ``forward`` of a layer of type int8 takes the address of the result as its kernel, and
        0 for the other weights.

        Parameters
        ----------
        layer : KernelLayer
            A layer of type int8.
        *addresses : int
            kernel, recurrent_kernel and bias, in float32. A GRU that resets after the product has
            the recurrent bias as one address more.
        """
        packed = np.empty(self._loaded.lstm_packed_size(ctypes.byref(layer)), np.uint8)
        weights, second = addresses[:3], addresses[3:]
        given = *weights, packed.ctypes.data, *second
        pointers = struct.pack(f"{len(given)}P", *given)
        self._check(self._loaded.lstm_pack(ctypes.byref(layer), pointers))
        return packed

    def products(self, layer: KernelLayer) -> str:
        """Return how a forward pass of the layer multiplies here, such as ``vdpbf16ps``."""
        return str(self._loaded.lstm_products(ctypes.byref(layer)).decode())

    def _check(self, code: int) -> None:
        if code:
            raise KernelError(f"fused LSTM: {self._loaded.lstm_error().decode()}")


@functools.cache
def kernels() -> Kernels:
    """Return the kernels; compile them first, where that was not done.

    Raises UnavailableError where they cannot be compiled or loaded.
    """
    return Kernels(library.load(library.C))


def kernels_at_hand() -> Kernels | None:
    """Return the kernels, or None where they would have to be compiled first."""
    path = library.at_hand(library.C)
    try:
        return None if path is None else Kernels(ctypes.CDLL(str(path)))
    except OSError:  # made on another system, perhaps
        return None


def products(spec: LSTMSpec, workload: Workload, kind: int) -> str:
    """Return how the kernels multiply in a forward pass here, such as ``vdpbf16ps``.

    kind: one of ``TYPES``. Layers that multiply in another way are named as well.
    """
    one, units, found = workload.first_window(), spec.hidden_size, []
    for inputs in map(spec.layer_input_size, range(spec.num_layers)):
        sizes = one.timesteps, one.batch, inputs, units
        layer = KernelLayer(*sizes, type=kind, cell=CELLS[spec.cell.name])
        found.append(kernels().products(layer))
    return ", ".join(dict.fromkeys(found))


class KernelModel(Model):
    """A framework's model by the kernels; its evidence says how they multiply."""

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        assert isinstance(found, Evidence)
        kind = TYPES.get(self.spec.dtype, TYPES["float32"])  # tf32 is of GPUs
        made = products(self.spec, workload, kind)
        return replace(found, details={**found.details, "products": made})
