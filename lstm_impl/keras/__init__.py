"""``lstm_impl.keras.LSTM``: ``keras.layers.LSTM`` with one more argument, ``backend``.

>>> import lstm_impl.keras
>>> layer = lstm_impl.keras.LSTM(64, return_sequences=True)  # or backend="while_loop+hoisted"
>>> print(layer.explain())  # what computes it, and why

``tune(model, batch_size=32, steps=100)`` races the backends on these sizes, and ``auto`` remembers.

The layer has Keras's arguments, weights, names, masks, states and files; ``docs/keras_layer.md``
says where it differs. Importing this package imports Keras and TensorFlow; ``lstm_impl`` does not.
"""

from __future__ import annotations

import importlib.util

INSTALL = "pip install 'lstm-benchmark-suite[cpu]', or 'tensorflow[and-cuda]' for a GPU"

for _package in ("keras", "tensorflow"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(f"lstm_impl.keras needs {_package}, which is not installed: {INSTALL}")

import keras as _keras  # noqa: E402

if int(_keras.__version__.partition(".")[0]) < 3:
    raise ImportError(
        f"lstm_impl.keras needs Keras 3 and this is Keras {_keras.__version__}: "
        "pip install 'keras>=3', and leave TF_USE_LEGACY_KERAS unset"
    )
if _keras.config.backend() != "tensorflow":
    raise ImportError(
        f"lstm_impl.keras computes with TensorFlow and Keras runs on {_keras.config.backend()!r} "
        "here: set the environment variable KERAS_BACKEND=tensorflow before the first import of "
        "keras"
    )

from lstm_impl.keras.choice import Choice, Explanation  # noqa: E402
from lstm_impl.keras.layer import LSTM  # noqa: E402
from lstm_impl.keras.tuning import tune  # noqa: E402

__all__ = ["LSTM", "Choice", "Explanation", "tune"]
