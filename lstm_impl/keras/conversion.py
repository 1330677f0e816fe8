"""Replace the LSTMs and GRUs of a Keras model by the layers of this package, and put them back."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras

from lstm_impl.keras.base import BackendLayer, forget_traces
from lstm_impl.spec import UnsupportedError

Layers = Sequence[type[BackendLayer]]
"""The layer classes of this package, one for each class of Keras that it can replace."""

CELLS = {keras.layers.LSTM: keras.layers.LSTMCell, keras.layers.GRU: keras.layers.GRUCell}
"""The class of the cell of each class of layers."""


def convert(
    model: Any,
    layer_classes: Layers,
    backend: str,
    print_fn: Callable[[str], object] | None,
) -> None:
    """Turn each LSTM and GRU of a model into a layer of this package, as in ``accelerate``."""
    _check(model)
    _check_backend(layer_classes, backend)
    replace = functools.partial(_replace, layer_classes=layer_classes, backend=backend)
    _each_layer(model, replace, print_fn)


def restore(model: Any, layer_classes: Layers, print_fn: Callable[[str], object] | None) -> None:
    """Turn each layer of this package in a model into one of Keras, as in ``decelerate``."""
    _check(model)
    _each_layer(model, functools.partial(_restore, layer_classes=layer_classes), print_fn)


def _check_backend(layer_classes: Layers, backend: str) -> None:
    """Raise UnsupportedError if no layer can have this backend."""
    errors = []
    for layer_class in layer_classes:
        try:
            layer_class(1, backend=backend)
        except UnsupportedError as error:
            errors.append(error)
    if len(errors) == len(layer_classes):
        raise errors[0]


def _check(model: Any) -> None:
    if not isinstance(model, keras.Layer):
        raise TypeError(
            f"the model is of type {type(model).__name__}; expected a Keras 3 model or layer"
        )


def _each_layer(
    model: Any, change: Callable[[Any], str | None], print_fn: Callable[[str], object] | None
) -> None:
    """Call a function with each layer of a model, and print what it returns."""
    lines = []
    for layer in model._flatten_layers():  # They include layers in wrappers and nested models.
        found = change(layer)
        if found is not None:
            lines.append(f"{layer.path or layer.name}: {found}")
    forget_traces(model)
    for line in lines or [f"{model.name}: it has no LSTM and no GRU"]:
        if print_fn is not None:
            print_fn(line)


class _SavedAsKeras:
    """Give a layer the configuration that Keras's own layer has in a file.

    Attributes
    ----------
    replaced
        The previous class of the layer.
    keras_layer
        Keras's class.
    """

    replaced: ClassVar[type[Any]]
    keras_layer: ClassVar[type[Any]]

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of Keras's layer."""
        config: dict[str, Any] = self.keras_layer.get_config(self)
        return config


_classes: dict[tuple[type, type], type[BackendLayer]] = {}


def accelerated(layer_class: type[BackendLayer], replaced: type) -> type[BackendLayer]:
    """Return the class that ``accelerate`` gives to a layer. It is made once.

    Keras writes the name and the module of a layer's class to files. This class has the name and
    the module of ``keras.layers.LSTM`` or ``keras.layers.GRU``, so that Keras can read the files
    where this library is not installed.
    """
    key = layer_class, replaced
    if key not in _classes:
        names = {"__module__": "keras.layers", "replaced": replaced}
        bases = _SavedAsKeras, layer_class
        name = layer_class.keras_layer.__name__
        _classes[key] = types.new_class(name, bases, exec_body=lambda space: space.update(names))
    return _classes[key]


def is_accelerated(layer: Any) -> bool:
    """Return whether ``accelerate`` has changed a layer's class."""
    return isinstance(layer, _SavedAsKeras)


def _replace(layer: Any, layer_classes: Layers, backend: str) -> str | None:
    """Replace an LSTM or a GRU, and return a line about it, or None for another kind of layer."""
    before, cell = type(layer), getattr(layer, "cell", None)
    cells = cell.cells if isinstance(cell, keras.layers.StackedRNNCells) else [cell]
    if not any(isinstance(each, tuple(CELLS.values())) for each in cells):
        return None
    name = f"{before.__module__.partition('.')[0]}.{before.__qualname__}"
    kept = f"{name} is kept: "
    is_ours = before in layer_classes or is_accelerated(layer)
    if before not in (*CELLS, keras.layers.RNN) and not is_ours:
        return kept + "its class may compute something else"
    if type(cell) not in CELLS.values():
        return kept + f"its cell is a {type(cell).__name__}, not an LSTMCell or a GRUCell"
    (layer_class,) = (each for each in layer_classes if CELLS[each.keras_layer] is type(cell))
    # The new class has the same attributes. So the weights, the state of the optimizer, the graph
    # of the model and the name of the layer stay the same.
    if not is_ours:
        layer.__class__ = accelerated(layer_class, before)
    had_cudnn = hasattr(layer, "use_cudnn")
    try:
        if not had_cudnn:
            layer.use_cudnn = "auto"
        layer.backend = backend
    except UnsupportedError as error:
        layer.__class__ = before
        return kept + str(error)
    return f'{name} is now lstm_impl.keras.{layer_class.__name__}, backend="{backend}"'


def _restore(layer: Any, layer_classes: Layers) -> str | None:
    """Turn a layer of this package into one of Keras, and return a line about it.

    Return None for any other layer.
    """
    if type(layer) not in layer_classes and not is_accelerated(layer):
        return None
    keras_layer = layer.keras_layer
    before = layer.replaced if is_accelerated(layer) else keras_layer
    config = keras_layer.get_config(layer)
    layer.__class__ = before
    for name in ("_backend", "_memory"):
        delattr(layer, name)
    if before is keras.layers.RNN:
        del layer.use_cudnn
        layer.supports_jit = True
    else:  # Keras decides this when it makes a layer.
        layer.supports_jit = before.from_config(config).supports_jit
    return f"lstm_impl.keras.{keras_layer.__name__} is now keras.layers.{before.__name__}"
