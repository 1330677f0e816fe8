"""Show one line on standard error while something takes long, and remove it at the end.

It is drawn by a thread, only on a terminal and after a second; nothing of it reaches a pipe or a
file. It must not run while times are measured.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from bench.cli.command_line import UsageError, tell_errors
from bench.machine.fields import printable
from bench.machine.reading import default_folder
from bench.machine.writing import Closing
from bench.records.files import by_default, collect
from bench.records.schema import Results
from bench.render.escape import clean

AFTER = 1.0
"""Seconds before the line appears."""

EVERY = 0.2
"""Seconds from one look to the next."""

_CLEAR = "\r\x1b[2K"


class Progress(Closing):
    """Shows progress while its block goes on. what: ``reading results``. after, every: seconds."""

    def __init__(
        self, what: str, stream: TextIO | None = None, after: float = AFTER, every: float = EVERY
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._what, self._part = what, ""
        self._after, self._every = after, every
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        # A terminal that cannot go back to the start of a line would keep every picture of it.
        if self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def over(self, items: Sequence[Path]) -> Iterator[Path]:
        """Yield the files, and show the number of the current one."""
        for number, item in enumerate(items, start=1):
            self._part = f"{number:,} of {len(items):,}"
            yield item

    def close(self) -> None:
        """Remove the line."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _draw(self) -> None:
        if self._ended.wait(self._after):
            return
        shown = ""
        while True:
            text = clean(f"{self._what}: {self._part}" if self._part else f"{self._what} ...")
            text = text[: max(1, shutil.get_terminal_size().columns - 1)]
            if text != shown:
                self._write(f"{_CLEAR}{text}")
                shown = text
            if self._ended.wait(self._every):
                self._write(_CLEAR)
                return

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: so is whoever looked
            self._ended.set()


def read_results(paths: Iterable[str | os.PathLike[str] | Path], *, tell: bool = True) -> Results:
    """Collect results, showing progress; warnings go to standard error.

    tell: whether errors go there too.
    """
    with Progress("reading results") as progress:
        results = collect(paths, progress.over)
    for note in results.warnings:
        print(f"warning: {note}", file=sys.stderr)
    if tell:
        tell_errors(results.errors)
    return results


def asked_for(paths: Sequence[Any], made_by: str = "pytest --benchmark-only") -> Sequence[Any]:
    """The paths of a command, or else those of ``by_default``. Raises UsageError for none.

    made_by: the command that makes results.
    """
    folder = default_folder()
    found = paths or by_default(folder)
    if not found:
        raise UsageError(
            f"there are no results in {printable(folder)}/; make some with `{made_by}`, or name "
            "result files or folders"
        )
    return found
