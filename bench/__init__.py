"""The benchmark suite: cases, the gate, the clock, result files, and what is read from them.

``bench.load_frame(paths)`` and ``bench.load_samples(paths)`` give results as pandas frames;
``python -m bench`` lists the commands. The packages of the source are in ``docs/architecture.md``.
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


if sys.argv[:1] == ["-m"]:  # while Python looks for the module that -m names
    sys.excepthook = _hook  # Ctrl-C before the command runs, in its imports, shows no traceback

__all__ = ["load_frame", "load_samples"]


def __getattr__(name: str) -> object:
    """What is taken from the package is imported when it is: pytest's plugin needs none of it."""
    if name == "load_frame":
        from bench.render.data import load_frame

        return load_frame
    if name == "load_samples":
        from bench.render.data import load_samples

        return load_samples
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
