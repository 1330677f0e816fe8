"""Replace the hidden or the cell state of an LSTM in calls, outputs and gradients, for tests."""

from dataclasses import replace
from typing import Any, TypeVar

from lstm_impl.call import Call, Outputs, RawGradients, Upstream

T = TypeVar("T", Call, Outputs, RawGradients, Upstream)

NAMES = {"h": ("states", 0), "c": ("states", 1), "dh": ("dstates", 0), "dc": ("dstates", 1)}
"""The field and the place in it of each state, and of each state's gradient."""


def replace_states(given: T, **arrays: Any) -> T:
    """Return a copy with other arrays for some of h, c, dh and dc."""
    for name, array in arrays.items():
        field, place = NAMES[name]
        states = list(getattr(given, field))
        states[place] = array
        changed: Any = {field: tuple(states)}
        if isinstance(given, RawGradients):
            given = replace(given, **changed)
        else:
            given = given._replace(**changed)
    return given


def get_state(given: Call | Outputs | RawGradients | Upstream, name: str) -> Any:
    """Return one of h, c, dh and dc, or None if there is no such array."""
    field, place = NAMES[name]
    states = getattr(given, field, None)
    return None if states is None else states[place]


def scale_state(given: T, name: str, factor: float) -> T:
    """Return a copy with one of h, c, dh and dc multiplied by a factor."""
    return replace_states(given, **{name: factor * get_state(given, name)})
