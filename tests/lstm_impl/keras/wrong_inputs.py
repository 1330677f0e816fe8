"""Make inputs that do not fit a Keras LSTM, and say how a model answers them."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

BATCH, TIMESTEPS, FEATURES, UNITS = 2, 5, 3, 4


def ones(*shape: int, dtype: Any = np.float32) -> Any:
    return np.ones(shape, dtype)


INPUTS: dict[str, Any] = {
    "too few features": ones(BATCH, TIMESTEPS, FEATURES - 1),
    "too many features": ones(BATCH, TIMESTEPS, FEATURES + 1),
    "an empty batch": ones(0, TIMESTEPS, FEATURES),
    "no timesteps": ones(BATCH, 0, FEATURES),
    "two axes": ones(BATCH, TIMESTEPS),
    "complex numbers": ones(BATCH, TIMESTEPS, FEATURES, dtype=np.complex64),
}


def outcomes(x: Any, change: Callable[[Any], Any]) -> Iterator[str]:
    """Yield how a changed model and layer answer this input, one call after another."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((None, FEATURES)), keras.layers.LSTM(UNITS)]
    model, layer = keras.Sequential(layers), keras.layers.LSTM(UNITS, return_sequences=True)
    layer.build((None, None, FEATURES))
    model.compile("sgd", "mse")
    model, layer = change(model), change(layer)
    target = np.zeros((len(x), UNITS), np.float32)
    wide = [keras.ops.ones((len(x), UNITS + 1))] * 2
    calls: dict[str, Callable[[], Any]] = {
        "model": lambda: model(x),
        "predict_on_batch": lambda: model.predict_on_batch(x),
        "predict_on_batch again": lambda: model.predict_on_batch(x),
        "train_on_batch": lambda: model.train_on_batch(x, target),
        "layer": lambda: layer(x),
        "layer in training": lambda: layer(x, training=True),
        "layer with a wide state": lambda: layer(x, initial_state=wide),
    }
    for name, call in calls.items():
        yield f"{name}: {outcome(call)}"


def outcome(call: Callable[[], Any]) -> str:
    """Return the shape of what a call returns, or the type of its exception."""
    try:
        return str(np.shape(call()))
    except Exception as error:
        return type(error).__name__
