"""Allow one measurement at a time on a machine, with a lock that names its holder.

The lock is the system's (``flock``) on a file in the user's temporary folder, and ends with its
last holder. Worker processes inherit it. If a killed manager leaves some running, they still hold
the lock.
"""

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.machine.fields import Field, InputError, printable
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import Closing, lock

VARIABLE = "LSTM_LOCK"
"""The environment variable with another path for the file of the lock, for a container or for
tests.
"""

LARGEST = 10_000
"""The number of bytes of the file that are read. Its holder writes a hundred."""

LOOK_EVERY = 0.5
"""The interval between two attempts to take the lock, in seconds."""


class HeldError(RuntimeError):
    """Another run measures on this machine. The message names the run and its start."""


class LockError(OSError):
    """The file of the lock cannot be used. The message is one line."""


def check_system() -> None:
    """Raise InputError on a system without the locks and process groups that measuring needs."""
    if not hasattr(os, "killpg"):
        raise InputError(
            "measuring needs Linux or macOS (on Windows, use WSL2); reading results does not"
        )


def default_path() -> Path:
    """Return a path of the user's own. Another user's file could not be opened or trusted."""
    own = Path(tempfile.gettempdir()) / f"lstm-bench-{os.getuid()}.lock"
    return Path(os.environ.get(VARIABLE) or own)


class MachineLock(Closing):
    """Hold a lock from ``acquire`` until ``close``.

    The lock also ends when the process and its workers end.

    fd: the open file, to be inherited; None if the lock was not acquired.

    Raises the InputError of ``check_system``.
    """

    def __init__(self, path: Path | None = None) -> None:
        check_system()
        self.path = path or default_path()
        self.fd: int | None = None

    def acquire(self, what: str) -> None:
        """Take the lock. Raise HeldError or LockError.

        what: what is measured, for the message that others see.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise LockError(f"{self.path} cannot be locked: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise LockError(f"{self.path} cannot be locked: not a regular file; remove it")
        if lock(file, wait=False) is False:
            os.close(file)
            raise HeldError(f"another run measures on this machine: {self._holder()}")
        self.fd = file
        since = datetime.now(UTC).isoformat(timespec="seconds")
        # On a full disk, the lock is held without the name of its holder.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            holder = {"pid": os.getpid(), "since": since, "what": what}
            os.pwrite(file, json.dumps(holder).encode(), 0)

    def wait(
        self, what: str, tell: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Repeat ``acquire`` until it succeeds. If it must wait, call ``tell`` once."""
        announced = False
        while self.fd is None:
            try:
                self.acquire(what)
            except HeldError as error:
                if not announced:
                    tell(f"{error}; waiting for it")
                    announced = True
                sleep(LOOK_EVERY)

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _holder(self) -> str:
        try:
            holder = Field(self.path, "", parse_json(self.path, regular_bytes(self.path, LARGEST)))
            pid, since, what = (
                holder["pid"].integer(1),
                holder["since"].text(),
                holder["what"].text(),
            )
            alive = psutil.pid_exists(pid)
        except (ValueError, RecursionError, OverflowError):  # A ResultError is a ValueError.
            return "it did not identify itself"
        text = f"process {pid}, since {printable(since, 40)}, {printable(what, 80)}"
        # This is only a hint, because another process may have this number by now.
        return text if alive else f"a worker that outlives {text}"
