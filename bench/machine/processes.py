"""End processes with their parent, and keep processors busy during a measurement."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

GRACE = 20.0
"""Seconds after the interruption of a process, in which pytest writes its result file."""

LOOK_EVERY = 0.2
"""Seconds between two checks whether to stop."""


def die_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:  # it had ended before
            os._exit(1)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group of its own, with all its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


# One product at a time keeps a processor busy, but no cache or memory. It checks every 10 ms or so
# whether its parent still runs.
_COUNTING = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    number = 1
    for _ in range(200_000):
        number = number * 5 % 1_000_003
"""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processors busy during the block, with a process each."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _COUNTING, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(started.wait)
            stack.callback(started.kill)
        yield
