"""Replace the LSTM layers of a Keras model by the layer of this package, and put them back."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from lstm_impl.keras.base import BackendLSTM, forget_traces
from lstm_impl.spec import UnsupportedError


def convert(
    model: Any,
    layer_class: type[BackendLSTM],
    backend: str,
    print_fn: Callable[[str], object] | None,
) -> None:
    """Make every LSTM of a model a ``layer_class``, as ``accelerate`` says."""
    _check(model)
    layer_class(1, backend=backend)  # raises for a backend that no layer can have
    replace = functools.partial(_replaced, layer_class=layer_class, backend=backend)
    _each_lstm(model, replace, print_fn)


def restore(
    model: Any, layer_class: type[BackendLSTM], print_fn: Callable[[str], object] | None
) -> None:
    """Make every ``layer_class`` of a model a layer of Keras, as ``decelerate`` says."""
    _check(model)
    _each_lstm(model, functools.partial(_restored, layer_class=layer_class), print_fn)


def _check(model: Any) -> None:
    if not isinstance(model, keras.Layer):
        raise TypeError(f"expected a Keras 3 model or layer, and got {type(model).__name__}")


def _each_lstm(
    model: Any, change: Callable[[Any], str | None], print_fn: Callable[[str], object] | None
) -> None:
    """Call a function with each layer of a model, and print what it returns."""
    lines = []
    for layer in model._flatten_layers():  # also those inside wrappers and nested models
        found = change(layer)
        if found is not None:
            lines.append(f"{layer.path or layer.name}: {found}")
    forget_traces(model)
    for line in lines or [f"{model.name}: it has no LSTM"]:
        if print_fn is not None:
            print_fn(line)


class _SavedAsKeras(keras.layers.LSTM):  # type: ignore[misc]  # Keras has no types
    """Give a layer the configuration that Keras's own layer has in a file."""

    replaced: type = keras.layers.LSTM
    """The class that the layer had before."""

    def get_config(self) -> dict[str, Any]:
        """Return Keras's configuration alone."""
        config: dict[str, Any] = keras.layers.LSTM.get_config(self)
        return config


_classes: dict[tuple[type, type], type[BackendLSTM]] = {}


def accelerated(layer_class: type[BackendLSTM], replaced: type) -> type[BackendLSTM]:
    """Return the class of a layer that ``accelerate`` has changed, made once.

    Keras writes the name and the module of a layer's class to files. They are those of
    ``keras.layers.LSTM``, which reads the files where this library is not installed.
    """
    key = layer_class, replaced
    if key not in _classes:
        names = {"__module__": "keras.layers", "replaced": replaced}
        _classes[key] = type("LSTM", (_SavedAsKeras, layer_class), names)
    return _classes[key]


def is_accelerated(layer: Any) -> bool:
    """Return whether ``accelerate`` has changed a layer's class."""
    return isinstance(layer, _SavedAsKeras)


def _replaced(layer: Any, layer_class: type[BackendLSTM], backend: str) -> str | None:
    """Replace a layer if it is an LSTM; return what was done, or None for any other layer."""
    before, cell = type(layer), getattr(layer, "cell", None)
    cells = cell.cells if isinstance(cell, keras.layers.StackedRNNCells) else [cell]
    if not any(isinstance(each, keras.layers.LSTMCell) for each in cells):
        return None
    name = f"{before.__module__.partition('.')[0]}.{before.__qualname__}"
    kept = f"{name} is kept: "
    is_ours = before is layer_class or is_accelerated(layer)
    if before not in (keras.layers.LSTM, keras.layers.RNN) and not is_ours:
        return kept + "its class may compute something else"
    if type(cell) is not keras.layers.LSTMCell:
        return kept + f"its cell is a {type(cell).__name__}, not an LSTMCell"
    # A layer of this class has the same attributes, so the weights, the optimizer's state, the
    # model's graph and the layer's name stay what they are.
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
    return f'{name} is now lstm_impl.keras.LSTM, backend="{backend}"'


def _restored(layer: Any, layer_class: type[BackendLSTM]) -> str | None:
    """Make a layer of this package one of Keras; return what was done, or None for any other."""
    if type(layer) is not layer_class and not is_accelerated(layer):
        return None
    before = layer.replaced if is_accelerated(layer) else keras.layers.LSTM
    config = keras.layers.LSTM.get_config(layer)
    layer.__class__ = before
    for name in ("_backend", "_memory"):
        delattr(layer, name)
    if before is keras.layers.RNN:
        del layer.use_cudnn
        layer.supports_jit = True
    else:  # as Keras decides when it makes the layer
        layer.supports_jit = before.from_config(config).supports_jit
    return f"lstm_impl.keras.LSTM is now keras.layers.{before.__name__}"
