"""Which backend Keras 3 has in this process, and whether it is the one that is needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from lstm_impl.availability import AVAILABLE, Availability, Package
from lstm_impl.backend import Backend

VARIABLE = "KERAS_BACKEND"
DEFAULT = "tensorflow"
KNOWN = ("tensorflow", "jax", "torch", "openvino", "numpy")

PACKAGE = Package("keras", "Keras", "pip install keras")


def keras_backend() -> str:
    """The backend that Keras has in this process, or will have when it is imported."""
    if (loaded := sys.modules.get("keras")) is not None and hasattr(loaded, "config"):
        return str(loaded.config.backend())
    return os.environ.get(VARIABLE) or _configured() or DEFAULT


def _configured() -> str:
    """What the user's configuration file says, or an empty string."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~").expanduser() / ".keras")
    try:
        found = json.loads((home / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    name = found.get("backend") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


class KerasThree(Backend):
    """A backend that needs Keras 3 on one of its backends, ``environment``'s."""

    environment: ClassVar[Mapping[str, str]] = {VARIABLE: DEFAULT}

    def conflict(self) -> str:
        if {"unroll", "loop"} <= set(self.options):
            return "an unrolled layer has no loop; leave one of the two out"
        return ""

    def process(self) -> Availability:
        wanted, found = self.environment[VARIABLE], keras_backend()
        if found == wanted:
            return AVAILABLE
        if found not in KNOWN:
            reason = f"{VARIABLE} is {found!r}, which is no backend of Keras"
        else:
            reason = (
                "Keras chooses its backend when it is imported, and in this process that is "
                f"{found}; {self.strategy} needs a process with {wanted}"
            )
        return Availability(False, reason, f"{VARIABLE}={wanted} python ...")
