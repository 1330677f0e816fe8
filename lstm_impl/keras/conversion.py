"""Replace the LSTM layers of a Keras model by the layer of this package."""

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
    if not isinstance(model, keras.Layer):
        raise TypeError(f"expected a Keras 3 model or layer, and got {type(model).__name__}")
    layer_class(1, backend=backend)  # raises for a backend that no layer can have
    lines = []
    for layer in model._flatten_layers():  # also those inside wrappers and nested models
        found = _replaced(layer, layer_class, backend)
        if found is not None:
            lines.append(f"{layer.path or layer.name}: {found}")
    forget_traces(model)
    for line in lines or [f"{model.name}: it has no LSTM"]:
        if print_fn is not None:
            print_fn(line)


def _replaced(layer: Any, layer_class: type[BackendLSTM], backend: str) -> str | None:
    """Replace a layer if it is an LSTM; return what was done, or None for any other layer."""
    before, cell = type(layer), getattr(layer, "cell", None)
    cells = cell.cells if isinstance(cell, keras.layers.StackedRNNCells) else [cell]
    if not any(isinstance(each, keras.layers.LSTMCell) for each in cells):
        return None
    name = f"{before.__module__.partition('.')[0]}.{before.__qualname__}"
    kept = f"{name} is kept: "
    if before not in (keras.layers.LSTM, keras.layers.RNN, layer_class):
        return kept + "its class may compute something else"
    if type(cell) is not keras.layers.LSTMCell:
        return kept + f"its cell is a {type(cell).__name__}, not an LSTMCell"
    # A layer of this class has the same attributes, so the weights, the optimizer's state, the
    # model's graph and the layer's name stay what they are.
    layer.__class__ = layer_class
    had_cudnn = hasattr(layer, "use_cudnn")
    try:
        if not had_cudnn:
            layer.use_cudnn = "auto"
        layer.backend = backend
    except UnsupportedError as error:
        layer.__class__ = before
        return kept + str(error)
    return f'{name} is now lstm_impl.keras.LSTM, backend="{backend}"'
