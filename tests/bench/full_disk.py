"""Simulate a full disk."""

import errno
import os
from collections.abc import Callable


def full_disk(after: int) -> Callable[[int, memoryview], int]:
    """Return an ``os.write`` of a disk that is full after ``after`` bytes."""
    real = os.write
    left = after

    def write(file: int, data: memoryview) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(file, data[:left])
        left -= taken
        return taken

    return write
