"""Processes with an end: when their time is up, when their parent has gone, or with a block.

What runs in a stage of long work may hang where Python cannot reach it (a compiler, a driver), so
it is a process of its own and is ended from outside. Others keep processors busy next to what is
measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE = 20.0
"""Seconds from the interruption of a process, in which pytest makes its result file, to its end."""

LOOK_EVERY = 0.2
"""Seconds between two looks at whether to stop."""


def die_with(parent: int) -> None:
    """Have Linux kill this process when its parent has ended, however that came."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:  # it ended before that was said
            os._exit(1)


@dataclass(frozen=True)
class Ended:
    """code: the exit code, negative for a signal. in_time: whether it ended by itself in time."""

    code: int
    in_time: bool
    seconds: float


def run(
    command: Sequence[str],
    seconds: float,
    log: Path,
    environ: Mapping[str, str] | None = None,
    grace: float = GRACE,
    stop: threading.Event | None = None,
) -> Ended:
    """Run a command for at most ``seconds``; what it and its children print goes into ``log``.

    When the time is up it is interrupted as by Ctrl-C, and after ``grace`` seconds killed, with all
    its children. The same happens when ``stop`` is set, or if this process is interrupted.
    """
    start = time.monotonic()
    with log.open("ab") as file:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environ is None else environ),
            # A group of its own, so that its children can be ended with it.
            start_new_session=True,
        )
        try:
            in_time = _wait(process, start + seconds, stop or threading.Event())
            if not in_time:
                _end(process, grace)
        except BaseException:
            _end(process, grace)
            raise
        finally:
            # Children that outlive it would go on using the device.
            kill_group(process)
    return Ended(process.returncode, in_time, time.monotonic() - start)


def _wait(process: subprocess.Popen[bytes], end: float, stop: threading.Event) -> bool:
    """Return whether a process ended by itself, before ``end`` and before it was to stop."""
    while not stop.is_set():
        left = end - time.monotonic()
        try:
            process.wait(timeout=max(0.0, min(left, LOOK_EVERY)))
        except subprocess.TimeoutExpired:
            if left <= 0:
                return False
        else:
            return True
    return False


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Interrupt, wait, kill."""
    # To the process alone: its children are its own to stop.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    kill_group(process)
    process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group of its own, with all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


# A product at a time keeps a processor as busy as any program does, and no cache or memory. Every
# 10 ms or so it looks whether its parent still lives.
_COUNTING = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    number = 1
    for _ in range(200_000):
        number = number * 5 % 1_000_003
"""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processors busy, by a process each, which have ended when it is left."""
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
