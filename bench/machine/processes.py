"""Run processes that end in time, with their parent, or with a block.

Work may hang where Python cannot interrupt it (a compiler, a driver), so it is ended from outside.
Other processes keep processors busy during a measurement.
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
"""Seconds after the interruption of a process, in which pytest writes its result file."""

LOOK_EVERY = 0.2
"""Seconds between two checks whether to stop."""


def die_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:  # it had ended before
            os._exit(1)


@dataclass(frozen=True)
class Ended:
    """The end of a process. code: negative for a signal. in_time: it ended by itself in time."""

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
    """Run a command for at most ``seconds``; it and its children write to ``log``.

    After that time it is interrupted as by Ctrl-C, and ``grace`` seconds later killed with all its
    children. The same happens when ``stop`` is set, or if this process is interrupted.
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
    """Return whether a process ended by itself, before ``end`` and before ``stop`` was set."""
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
    # It stops its children itself.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    kill_group(process)
    process.wait()


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
