"""What backends print while they are measured: its beginning and its end, kept out of the way.

Python's streams and the files under them, for code that knows nothing of Python, lead into a file
without a name, which is emptied for each case.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Self, TextIO

KEPT = 16_384
"""Bytes of the beginning, and as many of the end. An error message is some thousands long."""


@dataclass(frozen=True)
class Printed:
    """What was printed. size: bytes of all; text: of the beginning and the end."""

    size: int = 0
    text: str = ""


class Output:
    """While it is entered, what the process prints goes to a file. Close it, or let it end."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._before: tuple[tuple[int, int], ...] = ()
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)

    def __enter__(self) -> Self:
        self._streams = sys.stdout, sys.stderr
        for stream in self._streams:
            with contextlib.suppress(Exception):
                stream.flush()
        before = []
        for file in (1, 2):
            with contextlib.suppress(OSError):  # it was closed, and is so again in the end
                before.append((file, os.dup(file)))
            os.dup2(self._file.fileno(), file)
        self._before = tuple(before)
        sys.stdout, sys.stderr = _stream_onto(1), _stream_onto(2)
        return self

    def __exit__(self, *raised: object) -> None:
        sys.stdout, sys.stderr = self._streams
        for file, before in self._before:
            os.dup2(before, file)
            os.close(before)
        self._before = ()

    def take(self) -> Printed:
        """What was printed since the last call."""
        file = self._file.fileno()
        size = os.fstat(file).st_size
        text = os.pread(file, 2 * KEPT, 0).decode("utf-8", "replace")
        if size > 2 * KEPT:
            head, tail = os.pread(file, KEPT, 0), os.pread(file, KEPT, size - KEPT)
            text = (
                f"{head.decode('utf-8', 'replace')}\n"
                f"... ({size - 2 * KEPT} bytes are left out) ...\n"
                f"{tail.decode('utf-8', 'replace')}"
            )
        # All that print share its position, children among them.
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
        return Printed(size, text)

    def close(self) -> None:
        """Give the file back; a second call does nothing."""
        self._file.close()


class _Stream(io.TextIOWrapper):
    """A stream that somebody else's code may close: it stays open."""

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.flush()


def _stream_onto(file: int) -> _Stream:
    raw = io.FileIO(file, "w", closefd=False)
    return _Stream(raw, "utf-8", "backslashreplace", write_through=True)
