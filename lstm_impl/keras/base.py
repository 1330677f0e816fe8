"""Share what the Keras layers of this package have in common on any backend of Keras."""

from __future__ import annotations

import abc
import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import keras

from lstm_impl.availability import Availability
from lstm_impl.backends.fused_cpu import library
from lstm_impl.call import Tensor
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.keras.choice import AUTO, Arguments, Choice, Explanation, LayerCall
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

TANH = keras.activations.tanh, keras.ops.tanh
SIGMOID = keras.activations.sigmoid, keras.ops.sigmoid


_Read = TypeVar("_Read")


class _OutsideAutocast(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Call a function outside of the autocast scopes of the layers and models around it.

    In such a scope a variable's value is cast when it is read. The public way to leave the scopes
    is a layer without autocast.
    """

    def __init__(self) -> None:
        super().__init__(autocast=False, dtype="float32", name="as_they_are")
        self.built = True  # it has no weights

    def call(self, read: Callable[[], Any]) -> Any:
        """Return what ``read`` returns."""
        return read()


@functools.cache
def _outside_autocast() -> _OutsideAutocast:
    """Make the layer once, which takes longer than to call it."""
    return _OutsideAutocast()


def outside_autocast(read: Callable[[], _Read]) -> _Read:
    """Call a function that reads variables, and let Keras cast none of their values."""
    found: _Read = _outside_autocast()(read=read)
    return found


LARGE_WEIGHTS = 1 << 17
"""Fewer weights are cast faster than a call outside a graph leaves Keras's autocast scope.

Leaving it took 0.1 ms, and casts of 2^18 weights 0.2 ms. A graph leaves it only when it is traced.
"""


def are_cast_faster(variables: Sequence[Any]) -> bool:
    """Return whether a call outside a graph takes less time if it casts these weights."""
    return sum(int(math.prod(each.shape)) for each in variables) < LARGE_WEIGHTS


def has_mixed_weights(cell: Any) -> bool:
    """Return whether a cell has float32 weights, and computes in bfloat16."""
    return bool(cell.compute_dtype == "bfloat16" and cell.variable_dtype == "float32")


class Weights(NamedTuple):
    """Hold a layer's weights as tensors, with the gates in the canonical order of the cell.

    kernel: ``[in, G*H]``. recurrent_kernel: ``[H, G*H]``. bias: ``[G*H]``, or ``[2, G*H]`` of a
    cell that has two. A layer without a bias has zeros.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor

    @classmethod
    def of(cls, cell: Any, as_they_are: bool = False) -> Weights:
        """Return the current weights of Keras's cell, cast to the type that it computes in.

        as_they_are: whether weights of float32 stay what they are next to inputs of bfloat16.
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
        """Return the weights from tensors in the order in which Keras's cell has its gates."""
        if isinstance(cell, keras.layers.GRUCell):
            return cls(*map(_exchange_first_gates, tensors))
        return cls(*tensors)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The arrays that a cell has by ``Cell.parameters``: each bias is one of its own."""
        kernel, recurrent_kernel, bias = self
        biases = [bias] if len(bias.shape) == 1 else [bias[0], bias[1]]
        return (kernel, recurrent_kernel, *biases)


def _bias_shape(cell: Any) -> tuple[int, ...]:
    """Return the shape that the bias of Keras's cell has, or would have."""
    columns = int(cell.kernel.shape[-1])
    return (2, columns) if getattr(cell, "reset_after", False) else (columns,)


def _exchange_first_gates(array: Tensor) -> Tensor:
    """Return an array with the gates r, z, n of one that has Keras's order z, r, h."""
    first, second, third = keras.ops.split(array, 3, axis=-1)
    return keras.ops.concatenate([second, first, third], axis=-1)


class CallMemory:
    """What a layer keeps of its calls, in an object that Keras does not track."""

    def __init__(self) -> None:
        # One call for each way of calling, not for each size, of which there are many.
        self.choices: dict[tuple[str, bool, bool, str], tuple[LayerCall, Choice]] = {}


_ARGUMENT_KINDS = {"reset_after": "GRU", "unit_forget_bias": "LSTM"}
"""Arguments that only one kind of layer has."""

_KerasLayer: Any = object
"""A base without a type. A type checker then takes every attribute of Keras's layers for known."""


# Python lets a layer change its class only between classes whose first own base is a direct one of
# ``object``, which ``abc.ABC`` is not.
class BackendLayer(_KerasLayer, metaclass=abc.ABCMeta):  # type: ignore[misc]
    """Add the argument ``backend``, which a subclass interprets, to a recurrent layer of Keras.

    A layer's class has a subclass of this class and Keras's class as its bases, in this order.

    keras_layer: Keras's class.
    """

    keras_layer: ClassVar[type[Any]]
    # The functions that the backends compute, each in all of the forms that a user may pass.
    _tanh: ClassVar[tuple[Any, ...]] = TANH
    _sigmoid: ClassVar[tuple[Any, ...]] = SIGMOID
    _backend: str
    _memory: Any

    def __init__(self, units: int, *args: Any, backend: str = AUTO, **kwargs: Any) -> None:
        super().__init__(units, *args, **kwargs)
        self.backend = backend

    def _recurrent_cell(self) -> Cell:
        """Return what a timestep of this layer computes."""
        if isinstance(self.cell, keras.layers.GRUCell):
            return GRU(self.cell.reset_after)
        return DEFAULT

    @property
    def backend(self) -> str:
        """The argument ``backend``. After changing it, compile the model again."""
        return self._backend

    @backend.setter
    def backend(self, name: str) -> None:
        self._backend = self._begin(name)

    def get_config(self) -> dict[str, Any]:
        """Return Keras's configuration with ``backend`` and what Keras leaves out."""
        more = {"use_cudnn": self.use_cudnn, "implementation": self.cell.implementation}
        return {**self.keras_layer.get_config(self), **more, "backend": self.backend}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from a configuration, which may be that of Keras's layer.

        Raises ValueError for the configuration of the other kind of layer.
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
        """Return what computes this layer, and why: ``print(layer.explain())``.

        It is about the calls that were made (one inside a ``tf.function`` counts when it is
        traced), or before the first call about those to come.
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
        """Use the backend of this name, and return its canonical id."""

    @abc.abstractmethod
    def _note(self) -> str:
        """Return what else decides the speed of this layer."""

    @abc.abstractmethod
    def _call_to_come(self, training: bool) -> LayerCall:
        """Return the call that this layer expects before its first one."""

    @abc.abstractmethod
    def _choose(self, call: LayerCall) -> Choice:
        """Choose a backend. Raises UnsupportedError if the named one cannot compute the call."""

    # -- what subclasses share

    def _arguments(self) -> Arguments:
        """Return the layer's arguments that decide which backends can compute it."""
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
        """Keep what computes such a call, and log it once, as a warning if nothing else can."""
        key = (call.device, call.training, call.masked, choice.backend)
        if key not in self._memory.choices:
            level = logging.WARNING if choice.fallback else logging.INFO
            logger.log(level, "layer %s, %s: %s", self.name, call, choice)
        self._memory.choices[key] = (call, choice)

    def _fits(self, sequences: Tensor, initial_state: Sequence[Tensor]) -> bool:
        """Return whether the sizes that are known fit the layer, and the input is real.

        Keras's own code gets all other calls: its exceptions, or what it computes by broadcasting,
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

    def _dropped(self, sequences: Tensor, training: bool) -> Tensor:
        """Return a backend's input: in training with Keras's dropout mask applied."""
        if not (training and 0.0 < self.dropout < 1.0):
            return sequences
        return sequences * self.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]


def not_fused(
    call: LayerCall, dtype: str, binding: library.Binding, load: Callable[[], object]
) -> str:
    """Return why ``auto`` does not take the fused kernels for a call, or an empty string.

    load: loads the binding's library.
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
    """Return whether there are libraries, cached: to look takes as long as a small layer."""
    return library.available_to(binding)


def forget_traces(model: Any) -> None:
    """Let a model, and those inside it, trace their steps again: a trace keeps an old choice."""
    for each in model._flatten_layers():
        if isinstance(each, keras.Model):
            each.train_function = each.test_function = each.predict_function = None


def one_mask(mask: Any) -> Any:
    """Return the mask of a layer's only input; Keras passes a list of them."""
    return mask[0] if isinstance(mask, list | tuple) else mask


def _function_name(function: Any, name: str, same: tuple[Any, ...]) -> str:
    if function in same:
        return name
    return str(getattr(function, "__name__", function))
