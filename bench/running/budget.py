"""A time budget that the stages of long work share."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """A number of seconds that stages share; each may take a part of what is left when it begins.

    reserve: seconds that are never shared out, for what must happen at the end.
    """

    def __init__(
        self, seconds: float, reserve: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._start = now()
        self.seconds = seconds
        self.reserve = reserve

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end, the reserve included; 0 after it."""
        return max(0.0, self.seconds - self.spent)

    def share(self, part: float) -> float:
        """Seconds for a stage that may take this part of what is left beside the reserve."""
        return max(0.0, part * (self.left - self.reserve))
