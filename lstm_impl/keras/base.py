"""Define what the Keras layers of this package have in common on every backend of Keras."""

from __future__ import annotations

import abc
import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import keras

from lstm_impl.availability import Availability
from lstm_impl.backends.fused_cpu import library
from lstm_impl.call import Tensor
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.keras.choice import (
    AUTO,
    Arguments,
    Choice,
    Explanation,
    LayerCall,
    needs_keras,
)
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

TANH = keras.activations.tanh, keras.ops.tanh
SIGMOID = keras.activations.sigmoid, keras.ops.sigmoid


_Read = TypeVar("_Read")


class _OutsideAutocast(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Call a function outside of the autocast scopes of the layers and models around it.

    In such a scope, Keras casts the value of a variable when it is read. A layer without autocast
    is the public way to leave the scopes.
    """

    def __init__(self) -> None:
        super().__init__(autocast=False, dtype="float32", name="as_they_are")
        self.built = True  # The layer has no weights to build.

    def call(self, read: Callable[[], Any]) -> Any:
        """Call a function, and return its result."""
        return read()


@functools.cache
def _outside_autocast() -> _OutsideAutocast:
    """Return the layer, which is made once, because making it takes longer than calling it."""
    return _OutsideAutocast()


def outside_autocast(read: Callable[[], _Read]) -> _Read:
    """Call a function that reads variables, without Keras's casts of their values."""
    found: _Read = _outside_autocast()(read=read)
    return found


LARGE_WEIGHTS = 1 << 17
"""The number of weights below which casting them is faster than leaving Keras's autocast scope.

Outside a graph, leaving the scope took 0.1 ms, and casts of 2^18 weights took 0.2 ms. A graph
leaves the scope only when it is traced.
"""


def are_cast_faster(variables: Sequence[Any]) -> bool:
    """Return whether a call outside a graph is faster if it casts the given weights."""
    return sum(int(math.prod(each.shape)) for each in variables) < LARGE_WEIGHTS


def has_mixed_weights(cell: Any) -> bool:
    """Return whether a cell has float32 weights but computes in bfloat16."""
    return bool(cell.compute_dtype == "bfloat16" and cell.variable_dtype == "float32")


class Weights(NamedTuple):
    """Hold a layer's weights as tensors, with the gates in the canonical order of the cell.

    Attributes
    ----------
    kernel
        The input kernel, ``[in, G*H]``.
    recurrent_kernel
        The recurrent kernel, ``[H, G*H]``.
    bias
        The bias, ``[G*H]``, or ``[2, G*H]`` for a cell with two biases. It is zero for a layer
        without a bias.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor

    @classmethod
    def of(cls, cell: Any, as_they_are: bool = False) -> Weights:
        """Return the current weights of Keras's cell, cast to the type in which it computes.

        With ``as_they_are``, float32 weights are not cast for a cell that computes in bfloat16.
        """
        if as_they_are and has_mixed_weights(cell):
            return outside_autocast(functools.partial(cls._uncast, cell))

        def tensor(variable: Any) -> Tensor:
            return keras.ops.cast(keras.ops.convert_to_tensor(variable), cell.compute_dtype)

        bias = cell.bias if cell.use_bias else keras.ops.zeros(_bias_shape(cell))
        return cls.in_canonical_order(
            cell, tensor(cell.kernel), tensor(cell.recurrent_kernel), tensor(bias)
        )

    @classmethod
    def _uncast(cls, cell: Any) -> Weights:
        bias = cell.bias if cell.use_bias else keras.ops.zeros(_bias_shape(cell), "float32")
        given = cell.kernel, cell.recurrent_kernel, bias
        return cls.in_canonical_order(cell, *map(keras.ops.convert_to_tensor, given))

    @classmethod
    def in_canonical_order(cls, cell: Any, *tensors: Tensor) -> Weights:
        """Make the weights from tensors whose gates are in the order of Keras's cell."""
        if isinstance(cell, keras.layers.GRUCell):
            return cls(*map(_exchange_first_gates, tensors))
        return cls(*tensors)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors in the order of ``Cell.parameters``, in which each bias is separate."""
        kernel, recurrent_kernel, bias = self
        biases = [bias] if len(bias.shape) == 1 else [bias[0], bias[1]]
        return (kernel, recurrent_kernel, *biases)


def _bias_shape(cell: Any) -> tuple[int, ...]:
    """Return the shape of the bias of Keras's cell, which may not have one."""
    columns = int(cell.kernel.shape[-1])
    return (2, columns) if getattr(cell, "reset_after", False) else (columns,)


def _exchange_first_gates(array: Tensor) -> Tensor:
    """Return an array with the gates r, z, n, given one in Keras's order z, r, h."""
    first, second, third = keras.ops.split(array, 3, axis=-1)
    return keras.ops.concatenate([second, first, third], axis=-1)


class CallMemory:
    """Hold what a layer remembers of its calls, in an object that Keras does not track."""

    def __init__(self) -> None:
        # The key is the way of calling and not the size, because there may be many sizes.
        self.choices: dict[tuple[str, bool, bool, str], tuple[LayerCall, Choice]] = {}


_ARGUMENT_KINDS = {"reset_after": "GRU", "unit_forget_bias": "LSTM"}
"""The arguments that only one kind of layer has, with that kind."""

_KerasLayer: Any = object
"""A base class without a type. With it, a type checker accepts all attributes of Keras's layers."""


# The class of a layer is changed later. Python allows that only if the first base of a class
# derives directly from ``object``, which ``abc.ABC`` does not.
class BackendLayer(_KerasLayer, metaclass=abc.ABCMeta):  # type: ignore[misc]
    """Add the argument ``backend``, which a subclass interprets, to a recurrent layer of Keras.

    The bases of a layer's class are a subclass of this class and Keras's class, in this order.

    Attributes
    ----------
    keras_layer
        Keras's class.
    """

    keras_layer: ClassVar[type[Any]]
    # The activations that the backends compute, each with the functions that a user may pass.
    _tanh: ClassVar[tuple[Any, ...]] = TANH
    _sigmoid: ClassVar[tuple[Any, ...]] = SIGMOID
    _backend: str
    _memory: Any

    def __init__(self, units: int, *args: Any, backend: str = AUTO, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)
        self.backend = backend

    def _recurrent_cell(self) -> Cell:
        """Return the cell of this layer."""
        if isinstance(self.cell, keras.layers.GRUCell):
            return GRU(self.cell.reset_after)
        return DEFAULT

    @property
    def backend(self) -> str:
        """The argument ``backend``. Compile the model again after a change."""
        return self._backend

    @backend.setter
    def backend(self, name: str) -> None:
        self._backend = self._begin(name)

    def get_config(self) -> dict[str, Any]:
        """Return Keras's configuration, ``backend`` and the arguments that Keras leaves out."""
        more = {"use_cudnn": self.use_cudnn, "implementation": self.cell.implementation}
        return {**self.keras_layer.get_config(self), **more, "backend": self.backend}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from its configuration or from that of Keras's layer.

        Raises
        ------
        ValueError
            If the configuration is that of the other kind of layer.
        """
        own = cls.keras_layer.__name__
        for argument, kind in _ARGUMENT_KINDS.items():
            if argument in config and kind != own:
                raise ValueError(
                    f"lstm_impl.keras.{own} got the configuration of the layer "
                    f"{config.get('name')!r}, which is of kind {kind}: it has {argument!r}. Make "
                    f"it with lstm_impl.keras.{kind} or keras.layers.{kind}"
                )
        return super().from_config(config)

    def explain(self) -> Explanation:
        """Explain which backend computes this layer and why, as in ``print(layer.explain())``.

        The explanation is about the calls that were made. A call inside a ``tf.function`` counts
        when it is traced. Before the first call, it is about the calls that are expected.
        """
        made = list(self._memory.choices.values())
        for training in () if made else (True, False):
            call = self._call_to_come(training)
            try:
                made.append((call, self._choose(call)))
            except UnsupportedError as error:
                made.append((call, Choice("nothing", str(error))))
        return Explanation(self.backend, tuple(made), bool(self._memory.choices), (self._note(),))

    # -- what a subclass supplies

    @abc.abstractmethod
    def _begin(self, name: str) -> str:
        """Use the backend of the given name, and return its canonical id."""

    @abc.abstractmethod
    def _note(self) -> str:
        """Return a sentence on what else decides the speed of this layer."""

    @abc.abstractmethod
    def _call_to_come(self, training: bool) -> LayerCall:
        """Return the call that this layer expects before its first one."""

    @abc.abstractmethod
    def _choose(self, call: LayerCall) -> Choice:
        """Choose a backend, or raise UnsupportedError if the requested one cannot compute it."""

    # -- what subclasses share

    def _arguments(self) -> Arguments:
        """Return the arguments of the layer that decide which backends can compute it."""
        return Arguments(
            units=self.units,
            activation=_function_name(self.activation, "tanh", self._tanh),
            recurrent_activation=_function_name(
                self.recurrent_activation, "sigmoid", self._sigmoid
            ),
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            implementation=self.cell.implementation,
            unroll=self.unroll,
            use_cudnn=self.use_cudnn,
            compute_dtype=self.cell.compute_dtype,
            cell=self._recurrent_cell(),
        )

    def _remember(self, call: LayerCall, choice: Choice) -> None:
        """Remember a choice, and log it once. It is a warning if only Keras's loop can compute."""
        key = (call.device, call.training, call.masked, choice.backend)
        if key not in self._memory.choices:
            level = logging.WARNING if choice.fallback else logging.INFO
            logger.log(level, "layer %s, %s: %s", self.name, call, choice)
        self._memory.choices[key] = (call, choice)

    def _fits(self, sequences: Tensor, initial_state: Sequence[Tensor]) -> bool:
        """Return whether the known sizes fit the layer and the input is real.

        Keras's own code computes all other calls. Its exceptions, and its results by broadcasting,
        are the specification.
        """
        batch, _, features = sequences.shape
        pairs = [(features, self.cell.kernel.shape[0])]
        for part in initial_state:
            if len(part.shape) != 2:
                return False
            pairs += zip(part.shape, (batch, self.units), strict=True)
        is_real = "complex" not in keras.backend.standardize_dtype(sequences.dtype)
        return is_real and all(a is None or b is None or a == b for a, b in pairs)

    def _require_loop_with_resets(self) -> None:
        """Raise UnsupportedError if only Keras's own loop, without resets, computes this layer."""
        if reason := needs_keras(self._arguments()):
            raise UnsupportedError(
                f"backend={AUTO!r} cannot compute this call: the layer has {reason}, and Keras's "
                "own loop takes no resets; split the sequences there"
            )

    def _apply_dropout(self, sequences: Tensor, training: bool) -> Tensor:
        """Return the input of a backend, to which Keras's dropout mask is applied in training."""
        if not (training and 0.0 < self.dropout < 1.0):
            return sequences
        return sequences * self.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]


@dataclass(frozen=True)
class MaskWithResets:
    """Carry resets in the place of a mask through the method ``call`` of Keras's layer.

    Attributes
    ----------
    mask
        The mask ``[B, T]`` or ``[B, T, 1]``, or None.
    resets
        Bool ``[B, T]``.
    reset_to
        The state from which a sequence starts over, one of ``RESET_TO``.
    """

    mask: Tensor | None
    resets: Tensor
    reset_to: str


def not_fused(
    call: LayerCall, dtype: str, binding: library.Binding, load: Callable[[], object]
) -> str:
    """Return why ``auto`` does not use the fused kernels for a call, or an empty string.

    Parameters
    ----------
    call
        The call.
    dtype
        The type in which the layer computes.
    binding
        The binding of the kernels.
    load
        A function that loads the library of the binding.
    """
    if call.device != "cpu":
        return "its kernels are for a CPU"
    if reason := library.unsupported_type(dtype):
        return reason
    if call.traced and not (call.training or call.keras_step):
        return "a program for inference may be exported, and would run only where this library is"
    if not (available := _offered(binding)):
        return str(available)
    ready = library.ready(binding, load, "other code computes")
    return "" if ready else str(ready)


@functools.cache
def _offered(binding: library.Binding) -> Availability:
    """Return whether there are libraries.

    The result is cached, because the search takes as long as a small layer.
    """
    return library.available_to(binding)


def forget_traces(model: Any) -> None:
    """Make a model and those inside it trace their steps again, since a trace keeps a choice."""
    for each in model._flatten_layers():
        if isinstance(each, keras.Model):
            each.train_function = each.test_function = each.predict_function = None


def one_mask(mask: Any) -> Any:
    """Return the mask of a layer's only input, which Keras may pass in a list."""
    return mask[0] if isinstance(mask, list | tuple) else mask


def _function_name(function: Any, name: str, same: tuple[Any, ...]) -> str:
    if function in same:
        return name
    return str(getattr(function, "__name__", function))
