"""Choosing a backend by racing the candidates on a user's own sizes, and remembering who won."""

from lstm_impl.tuning.decision import (
    FOLDER,
    Decision,
    DecisionError,
    Raced,
    TuningRequest,
    folder,
    load,
    save,
)
from lstm_impl.tuning.machine import TunedMachine
from lstm_impl.tuning.models import CANDIDATES, tune

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
