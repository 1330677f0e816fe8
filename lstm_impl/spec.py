"""Define a network by its sizes, its precision and its cell, without weights or a framework."""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import Cell, get_cell

Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.floating]
"""An array of floating-point numbers."""


class Refusal(enum.StrEnum):
    """Say why a backend does not do what was requested, as a code on which programs can decide."""

    UNSUPPORTED = "unsupported"
    """The backend does not compute this network or this kind of call, and no other code fits."""

    NO_CELL = "no_cell"
    """The backend does not compute this cell."""

    NO_DTYPE = "no_dtype"
    """The backend does not compute in this precision."""

    UNKNOWN_NAME = "unknown_name"
    """No backend, option or variant has this name, or the name lacks its number."""

    NO_GRADIENTS = "no_gradients"
    """The backend is for inference only, or it does not compute these gradients."""

    NO_OPTIMIZER = "no_optimizer"
    """The backend does not update weights with this optimizer."""

    NO_RESETS = "no_resets"
    """The backend takes no resets, so sequences cannot start over in the middle of a call."""

    NO_PROFILER = "no_profiler"
    """The backend has no profiler that could count its operators."""

    UNAVAILABLE = "unavailable"
    """The backend cannot run here, and no code below fits."""

    NOT_INSTALLED = "not_installed"
    NO_COMPILER = "no_compiler"
    BEING_COMPILED = "being_compiled"
    NO_GPU = "no_gpu"
    """This machine has no such GPU, or the framework cannot use it."""

    OTHER_DEVICE = "other_device"
    """The backend runs on another kind of device."""

    OTHER_ENVIRONMENT = "other_environment"
    """The backend needs environment variables that are set before its process starts."""


class RefusalReason(str):
    """State why a backend does not compute something, in words and as a code.

    It is a string, so that it can be used wherever a backend of another package has a plain one.

    Parameters
    ----------
    text
        The reason in words, for a user.
    refusal
        The reason as a code, for a program.

    Examples
    --------
    >>> reason = RefusalReason("it computes in float32 only, not float64", Refusal.NO_DTYPE)
    >>> find_refusal_code(reason)
    <Refusal.NO_DTYPE: 'no_dtype'>
    >>> find_refusal_code("it is Tuesday")
    <Refusal.UNSUPPORTED: 'unsupported'>
    """

    refusal: Refusal

    def __new__(cls, text: str, refusal: Refusal = Refusal.UNSUPPORTED) -> RefusalReason:
        """Make the string, and attach the code to it."""
        reason = super().__new__(cls, text)
        reason.refusal = refusal
        return reason


def find_refusal_code(reason: str) -> Refusal:
    """Return the code of a reason, which is ``UNSUPPORTED`` for a plain string."""
    return reason.refusal if isinstance(reason, RefusalReason) else Refusal.UNSUPPORTED


class UnsupportedError(RuntimeError):
    """Report that a backend cannot do what was requested. The message says why and what would work.

    Attributes
    ----------
    refusal
        The reason as a code.
    """

    def __init__(self, message: str, refusal: Refusal = Refusal.UNSUPPORTED) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True)
class Precision:
    """Describe how numbers are stored and computed under one name of a dtype.

    Attributes
    ----------
    storage
        NumPy's name of the type of weights, inputs and outputs for users. NumPy has no bfloat16, so
        such values are float32 numbers that bfloat16 can represent.
    compute
        The framework's name of the type in which products and gates are computed.
    variable
        The framework's name of the type in which weights are stored.
    roundoff
        The unit roundoff of one product or sum in the compute type.
    """

    storage: str
    compute: str
    variable: str
    roundoff: float


PRECISIONS: dict[str, Precision] = {
    "float64": Precision("float64", "float64", "float64", 2.0**-53),
    "float32": Precision("float32", "float32", "float32", 2.0**-24),
    # Numbers are float32, but products may use the 10-bit mantissa of the tensor cores.
    "tf32": Precision("float32", "float32", "float32", 2.0**-11),
    "float16": Precision("float16", "float16", "float16", 2.0**-11),
    "bfloat16": Precision("float32", "bfloat16", "bfloat16", 2.0**-8),
    # Keras's mixed precision: weights are float32, and each step casts them to half precision.
    "mixed_float16": Precision("float32", "float16", "float32", 2.0**-11),
    "mixed_bfloat16": Precision("float32", "bfloat16", "float32", 2.0**-8),
    # Numbers are float32, but products may round their factors to bfloat16.
    "bf32": Precision("float32", "float32", "float32", 2.0**-8),
    # Numbers are float32, but a product may be the sum of three products of bfloat16 parts of its
    # factors. The product of the two second parts is left out, which is up to 2^-8 squared.
    "bf16x3": Precision("float32", "float32", "float32", 2.0**-16),
}

MOST_SIZE = 2**31 - 1
"""The largest size of an axis. Every framework here counts an axis in 32 bits somewhere."""

MOST_LAYERS = 1_000
"""The largest number of layers. That is far more than any trained LSTM has; a larger number would
take long, because layers are built one by one."""

GATES = DEFAULT_CELL.gates
"""The order of an LSTM's gates in canonical arrays: input, forget, candidate, output. Keras and
PyTorch have the same order."""


@dataclass(frozen=True)
class LSTMSpec:
    """Describe a network of LSTM layers, or of layers of another recurrent cell.

    Attributes
    ----------
    input_size
        The number of features in each timestep of the input.
    hidden_size
        The number of units H in each layer and direction.
    num_layers
        The number of stacked layers L.
    bidirectional
        Whether each layer has two directions, whose outputs are concatenated on the feature axis.
    dtype
        The precision, one of ``PRECISIONS``.
    cell
        What each layer computes in a timestep.

    Raises
    ------
    ValueError
        If a field has a wrong value. The message names the field.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dtype: str = "float32"
    cell: Cell = DEFAULT_CELL

    def __post_init__(self) -> None:
        for field in ("input_size", "hidden_size"):
            require_positive_integer(f"LSTMSpec.{field}", getattr(self, field))
        require_positive_integer("LSTMSpec.num_layers", self.num_layers, MOST_LAYERS)
        require_flag("LSTMSpec.bidirectional", self.bidirectional)
        require_choice("LSTMSpec.dtype", self.dtype, PRECISIONS)
        if not isinstance(self.cell, Cell):
            raise ValueError(
                f"LSTMSpec.cell is {self.cell!r}; expected a Cell, such as get_cell('lstm')"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for files. The cell is included only if it is not the LSTM."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        cell = data.pop("cell")
        return data if cell == DEFAULT_CELL else {**data, "cell": cell.name}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LSTMSpec:
        """Make a spec from the plain data that ``to_dict`` returns.

        Raises
        ------
        ValueError, TypeError
            If the data is wrong.
        """
        given = dict(data)
        if "cell" in given:
            given["cell"] = get_cell(given["cell"])
        return cls(**given)

    @property
    def num_directions(self) -> int:
        """The number of directions D: 2 if the network is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The number of features of the output, D*H."""
        return self.num_directions * self.hidden_size

    @property
    def state_layers(self) -> int:
        """The size of the state's first axis, L*D: by layer, forward before backward."""
        return self.num_layers * self.num_directions

    @property
    def precision(self) -> Precision:
        """How numbers of this spec's dtype are stored and computed."""
        return PRECISIONS[self.dtype]

    def layer_input_size(self, layer: int) -> int:
        """Return the number of features that a layer reads from the input or the layer below."""
        return self.input_size if layer == 0 else self.output_size

    @property
    def parameter_count(self) -> int:
        """The number of trainable parameters, including all biases that the cell has."""
        return self.num_directions * sum(
            math.prod(shape)
            for layer in range(self.num_layers)
            for shape in self.parameter_shapes(layer).values()
        )

    @property
    def gate_columns(self) -> int:
        """The number of columns of a kernel, G*H: one for each gate of each unit."""
        return len(self.cell.gates) * self.hidden_size

    def parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of one direction of a layer."""
        return self.cell.parameter_shapes(self.layer_input_size(layer), self.hidden_size)

    def quantize(self, values: npt.ArrayLike) -> FloatArray:
        """Round values to this dtype, and return them in its NumPy storage type."""
        array = np.asarray(values)
        if self.precision.variable == "bfloat16":
            return round_to_bfloat16(array)
        # Values that are too large become infinite. Callers check for infinity.
        with np.errstate(over="ignore"):
            return array.astype(self.precision.storage)


def round_to_bfloat16(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Round float32 values to the nearest bfloat16, ties to even, and return them as float32."""
    with np.errstate(over="ignore"):
        single = np.asarray(values, dtype=np.float32)
        bits = single.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(single), rounded.view(np.float32), single).astype(np.float32)


def have_same_bits(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Return whether two arrays have the same shape, type and bits.

    A NaN equals a NaN of the same bits, and zero differs from minus zero. This takes a fraction of
    the time of ``np.array_equal`` with ``equal_nan``, which looks for NaN first.
    """
    kinds = (one.dtype, one.shape), (other.dtype, other.shape)
    return kinds[0] == kinds[1] and one.tobytes() == other.tobytes()


def require_real(name: str, array: Array) -> None:
    """Raise ValueError, with the name of the array, unless it holds real numbers.

    NumPy would cast dates, structures and text to floats, and drop the imaginary part of a complex
    number with only a warning. Arrays of objects pass, because casting them calls ``float()`` on
    each object, which raises an error for anything but a number.
    """
    # Types that other packages add, such as ml_dtypes.bfloat16, have the kind of a structure.
    is_added = array.dtype.kind == "V" and array.dtype.type is not np.void
    if array.dtype.kind not in "biufO" and not is_added:
        raise ValueError(f"{name} has type {array.dtype}; expected real numbers")


def require_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise ValueError, with the name of the field, unless ``value`` is one of the known values."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")


def require_flag(name: str, value: object) -> None:
    """Raise ValueError, with the name of the field, unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected True or False")


def require_positive_integer(name: str, value: object, most: int = MOST_SIZE) -> None:
    """Raise ValueError, naming the field, unless ``value`` is an integer from 1 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")
    if value > most:
        shown = value if value < 10**30 else "a number of over 30 digits"
        raise ValueError(f"{name} is {shown}; expected at most {most}")
