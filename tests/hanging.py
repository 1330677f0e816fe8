"""Let a test fail where it would wait forever."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def require_end_within(seconds: int = 120) -> Iterator[None]:
    """Raise AssertionError if the block has not ended in time, which is far more than it needs."""

    def fail(number: int, frame: FrameType | None) -> NoReturn:
        raise AssertionError(f"it has not ended in {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
