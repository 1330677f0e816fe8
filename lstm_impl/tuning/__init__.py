"""Choosing a backend by racing the candidates on a user's own sizes, and remembering who won.

``tune`` races models of the library, ``lstm_impl.keras.tune`` the layers of a Keras model. A
decision (``decision.py``) is kept in a folder of small files (``store.py``), where
``backend="auto"`` of ``lstm_impl.keras.LSTM`` finds it. Nothing here races unasked.
"""

from lstm_impl.tuning.decision import Decision, DecisionError, Raced, TunedMachine, TuningRequest
from lstm_impl.tuning.models import CANDIDATES, tune
from lstm_impl.tuning.store import FOLDER, folder, load, save

Machine = TunedMachine
"""The name until version 0.2."""
Question = TuningRequest
"""The name until version 0.2."""

__all__ = [
    "CANDIDATES",
    "FOLDER",
    "Decision",
    "DecisionError",
    "Machine",
    "Question",
    "Raced",
    "TunedMachine",
    "TuningRequest",
    "folder",
    "load",
    "save",
    "tune",
]
