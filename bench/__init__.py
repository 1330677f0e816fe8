"""Measure LSTM backends, check them against a reference, and judge the results.

``bench.load_frame(paths)`` and ``bench.load_samples(paths)`` return results as pandas frames.
``python -m bench`` lists the commands. ``docs/architecture.md`` maps the packages of the source.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.render.data import load_frame, load_samples


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


# The first argument is -m while Python still looks for the module that -m names.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _hook  # Ctrl-C during the command's own imports then shows no traceback.

__all__ = ["load_frame", "load_samples"]


def __getattr__(name: str) -> object:
    """Import an exported name at its first use, because pytest's plugin needs none of them."""
    if name == "load_frame":
        from bench.render.data import load_frame

        return load_frame
    if name == "load_samples":
        from bench.render.data import load_samples

        return load_samples
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
