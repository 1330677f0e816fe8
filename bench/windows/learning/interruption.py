"""Ctrl-C in a training: the first ends it after the window, the second at once."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import Any, Self

from bench.disk.closing import Closing


class Interruption(Closing):
    """Notes the first Ctrl-C (or SIGTERM) instead of raising in the middle of a window.

    A second one raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Signals belong to the main thread; elsewhere they are left as they are.
            with contextlib.suppress(ValueError):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def close(self) -> None:
        """Put back who heard of Ctrl-C before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
