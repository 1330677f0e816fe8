"""Race backends on the sizes of a user's network, and remember which one was the fastest."""

import warnings

from lstm_impl.tuning.decision import (
    FOLDER,
    Decision,
    DecisionError,
    RacedBackend,
    TuningRequest,
    folder,
    load,
    save,
)
from lstm_impl.tuning.machine import TunedMachine
from lstm_impl.tuning.models import CANDIDATES, tune

__all__ = [
    "CANDIDATES",
    "FOLDER",
    "Decision",
    "DecisionError",
    "RacedBackend",
    "TunedMachine",
    "TuningRequest",
    "folder",
    "load",
    "save",
    "tune",
]

_RENAMED = {"Machine": TunedMachine, "Question": TuningRequest, "Raced": RacedBackend}
"""The classes by their names until version 0.2."""


def __getattr__(name: str) -> type:
    """Return a class under its old name, with a DeprecationWarning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = _RENAMED[name]
    warnings.warn(
        f"{__name__}.{name} was renamed and will be removed in the next version; use "
        f"{__name__}.{found.__name__} instead",
        DeprecationWarning,
        stacklevel=2,
    )
    return found
