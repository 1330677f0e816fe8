"""Offer ``keras.layers.LSTM`` and ``keras.layers.GRU`` with the argument ``backend``.

>>> import lstm_impl.keras
>>> layer = lstm_impl.keras.LSTM(64, return_sequences=True)  # or backend="while_loop+hoisted"
>>> print(layer.explain())  # what computes it, and why
>>> layer = lstm_impl.keras.GRU(64)

``accelerate(model)`` replaces the LSTMs and GRUs of an existing model by these layers, and
``decelerate(model)`` puts them back;
``tune(model, batch_size=32, steps=100)`` races the backends at these sizes, and ``auto`` uses the
result from then on. ``export_litert(model)`` converts a model for phones, with LiteRT's own LSTM
operator.

The layers have the arguments, weights, names, masks, states and files of Keras's layers.
``docs/keras_layer.md`` lists the differences. The layers run on the backend that Keras uses:
TensorFlow, JAX or PyTorch, each with the backends of this library that compute with it. Importing
this package imports Keras and its backend. Importing ``lstm_impl`` does not.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

from lstm_impl.distribution import compose_install

INSTALL = f"{compose_install('cpu')}, or 'tensorflow[and-cuda]' for a GPU"

if importlib.util.find_spec("keras") is None:
    raise ImportError(f"lstm_impl.keras needs keras, which is not installed: {INSTALL}")
try:
    import keras as _keras
except ModuleNotFoundError as error:
    # Importing Keras also imports its backend, which may be missing.
    raise ImportError(
        f"lstm_impl.keras needs Keras, and Keras needs {error.name}, which is not installed: "
        f"{INSTALL}; or set KERAS_BACKEND=jax or KERAS_BACKEND=torch, with that installed"
    ) from error

if int(_keras.__version__.partition(".")[0]) < 3:
    raise ImportError(
        f"lstm_impl.keras needs Keras 3 and this is Keras {_keras.__version__}: "
        "pip install 'keras>=3', and leave TF_USE_LEGACY_KERAS unset"
    )

from lstm_impl.keras.choice import AUTO, Choice, Explanation  # noqa: E402
from lstm_impl.keras.conversion import convert, restore  # noqa: E402

if (_theirs := _keras.config.backend()) == "tensorflow":
    from lstm_impl.keras.layer import GRU, LSTM
    from lstm_impl.keras.litert import export_litert
    from lstm_impl.keras.predict import Predict, PredictOnBatch
    from lstm_impl.keras.tuning import tune
elif _theirs in ("jax", "torch"):
    from lstm_impl.keras.elsewhere import GRU, LSTM, export_litert, tune
else:
    raise ImportError(
        f"lstm_impl.keras computes with TensorFlow, JAX or PyTorch and Keras runs on {_theirs!r} "
        "here: set the environment variable KERAS_BACKEND before the first import of keras"
    )

__all__ = [
    "GRU",
    "LSTM",
    "Choice",
    "Explanation",
    "accelerate",
    "decelerate",
    "export_litert",
    "tune",
]

_LAYERS = (LSTM, GRU)


def accelerate(
    model: Any, backend: str = AUTO, print_fn: Callable[[str], object] | None = print
) -> Any:
    """Replace every LSTM and GRU of a Keras model by the layers of this package, in place.

    ``LSTM``, ``GRU``, and ``RNN`` of an ``LSTMCell`` or a ``GRUCell`` are replaced wherever they
    are: in ``Bidirectional``, ``TimeDistributed`` and other wrappers, and in models inside the
    model. Weights, names, the optimizer and its state stay. ``fit``, ``evaluate`` and ``predict``
    are traced again. On TensorFlow, ``predict_on_batch`` and ``predict`` then call Keras's graph
    directly for arrays that have the shapes of earlier ones.

    A saved file of the model contains ``keras.layers.LSTM`` and ``keras.layers.GRU``, and loads
    without this library. Call ``accelerate`` again with the loaded model.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        The model, which may be built and compiled, or neither.
    backend : str
        The argument ``backend`` of ``LSTM`` and ``GRU``. A layer that this backend cannot compute
        stays as it is.
    print_fn : callable or None
        A function that is called with one line for each LSTM and GRU, which says what the layer is
        now or why it was kept. None prints nothing.

    Returns
    -------
    keras.Model or keras.Layer
        The same object.

    Raises
    ------
    TypeError
        If ``model`` is not a layer of Keras 3.
    UnsupportedError
        If no layer can have this backend.
    """
    convert(model, _LAYERS, backend, print_fn)
    theirs = getattr(type(model), "predict_on_batch", None)
    if _theirs == "tensorflow" and theirs is _keras.Model.predict_on_batch:
        model.predict_on_batch = PredictOnBatch(model)
        if type(model).predict is _keras.Model.predict:
            model.predict = Predict(model, model.predict_on_batch)
    return model


def decelerate(model: Any, print_fn: Callable[[str], object] | None = print) -> Any:
    """Make every layer of this package in a Keras model one of Keras again, in place.

    Weights, names, the optimizer and its state stay. ``fit``, ``evaluate`` and ``predict`` are
    traced again.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        A model that ``accelerate`` has changed, or that was made with ``lstm_impl.keras.LSTM`` or
        ``lstm_impl.keras.GRU``.
    print_fn : callable or None
        A function that is called with one line for each LSTM and GRU, which says what the layer is
        now. None prints nothing.

    Returns
    -------
    keras.Model or keras.Layer
        The same object.

    Raises
    ------
    TypeError
        If ``model`` is not a layer of Keras 3.
    """
    restore(model, _LAYERS, print_fn)
    for name in ("predict_on_batch", "predict"):
        if name in vars(model):
            delattr(model, name)
    return model
