"""What backends print while they are measured: kept out of the way, its beginning and its end kept.

Python's streams and the files under them, for code that knows nothing of Python, lead into a pipe
whose other end is a small process: it keeps the first and the last of what comes and forgets the
rest, so that a gigabyte takes neither memory nor disk, nor the time of the next backend. It sleeps
while nothing is printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Self, TextIO

from bench.machine.processes import DIE_WITH

KEPT = 16_384
"""Bytes of the beginning, and as many of the end. An error message is some thousands long."""

_KEEPER = f"""
import os, select, socket, sys
{DIE_WITH}
data, control, kept, parent = map(int, sys.argv[1:])
die_with(parent)
control = socket.socket(fileno=control)
os.set_blocking(data, False)
size, head, tail = 0, b"", b""
def read():
    global size, head, tail
    try:
        more = os.read(data, 65536)
    except BlockingIOError:
        return False
    size += len(more)
    room = kept - len(head)
    head, tail = head + more[:room], (tail + more[room:])[-kept:]
    return bool(more)
while True:
    for each in select.select([data, control], [], [])[0]:
        if each is control:
            if not control.recv(1): sys.exit()
            while read(): pass
            control.sendall(b"%20d%20d" % (size, len(head) + len(tail)) + head + tail)
            size, head, tail = 0, b"", b""
        else:
            read()
"""
"""The other end of the pipe. Who asks gets all that was written before the question."""


@dataclass(frozen=True)
class Printed:
    """What was printed. size: bytes of all; text: of the beginning and the end."""

    size: int = 0
    text: str = ""


class Output:
    """While it is entered, what the process prints goes to the keeper.

    Close it, or let the process end. Where the keeper cannot be started printing goes nowhere.
    """

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._control: socket.socket | None = None
        self._aside: tuple[tuple[int, int], ...] = ()
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)

    def __enter__(self) -> Self:
        if self._keeper is not None and self._keeper.poll() is not None:
            self.close()  # it was ended from outside
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        self._streams = sys.stdout, sys.stderr
        for stream in self._streams:
            with contextlib.suppress(Exception):
                stream.flush()
        aside = []
        for file in (1, 2):
            with contextlib.suppress(OSError):  # it was closed, and is so again in the end
                aside.append((file, os.dup(file)))
            os.dup2(self._pipe, file)
        self._aside = tuple(aside)
        sys.stdout, sys.stderr = _Stream.onto(1), _Stream.onto(2)
        return self

    def __exit__(self, *raised: object) -> None:
        sys.stdout, sys.stderr = self._streams
        for file, before in self._aside:
            os.dup2(before, file)
            os.close(before)
        self._aside = ()

    def take(self) -> Printed:
        """What was printed since the last call."""
        if self._control is None:
            return Printed()
        try:
            self._control.sendall(b"?")
            size, length = int(self._receive(20)), int(self._receive(20))
            kept = self._receive(length)
        except (OSError, ValueError):
            self.close()  # it was ended from outside
            return Printed()
        text = kept.decode("utf-8", "replace")
        if size > len(kept):
            text = (
                f"{kept[:KEPT].decode('utf-8', 'replace')}\n"
                f"... ({size - len(kept)} bytes are left out) ...\n"
                f"{kept[KEPT:].decode('utf-8', 'replace')}"
            )
        return Printed(size, text)

    def close(self) -> None:
        """End the keeper; a second call does nothing."""
        if self._control is not None:
            self._control.close()
        if self._pipe is not None:
            os.close(self._pipe)
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = self._pipe = self._control = None

    def _start(self) -> None:
        reader, self._pipe = os.pipe()
        ours, theirs = socket.socketpair()
        arguments = map(str, (reader, theirs.fileno(), KEPT, os.getpid()))
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(reader, theirs.fileno()),
            )
            self._control = ours
        except OSError:
            ours.close()
            os.close(self._pipe)
            self._pipe = os.open(os.devnull, os.O_WRONLY)
        finally:
            os.close(reader)
            theirs.close()

    def _receive(self, count: int) -> bytes:
        assert self._control is not None
        found = b""
        while len(found) < count:
            more = self._control.recv(count - len(found))
            if not more:
                raise OSError("the keeper has gone")
            found += more
        return found


class _Stream(io.TextIOWrapper):
    """A stream that somebody else's code may close: it stays open."""

    @classmethod
    def onto(cls, file: int) -> _Stream:
        raw = io.FileIO(file, "w", closefd=False)
        return cls(raw, "utf-8", "backslashreplace", write_through=True)

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.flush()
