"""Write the output of a command to a terminal, a pipe or a file, in the requested format."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from bench.cli.command_line import UsageError
from bench.machine.fields import printable
from bench.machine.writing import ResultWriteError, write_bytes
from bench.render.escape import text_console

WIDTH = 100
"""The number of columns if the width is unknown. A complete row fits into it, and the
terminal leaves space for an editor.
"""

Draw: TypeAlias = Callable[[Console], None]
"""A function that prints the output to a terminal."""

Answer: TypeAlias = str | bytes | Iterable[str]
"""The output in another format, as a whole or line by line."""


def deliver(
    options: argparse.Namespace,
    terminal: Draw,
    texts: Mapping[str, Callable[[], Answer]],
    summary: str | None = None,
    annotations: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Write the output in the format and to the place that the options of ``add_output`` name.

    terminal: prints the output to a terminal. texts: for each other format, a function that returns
    the output. summary: the file to which GitHub Actions wants Markdown appended. annotations:
    returns the lines that GitHub Actions shows as annotations.

    Raises UsageError if a file cannot be written.
    """
    output, kind = options.output, options.format
    if output is not None:
        write_file(output, texts[kind]() if kind in texts else render_text(terminal))
    elif kind in texts:
        text = texts[kind]()
        assert not isinstance(text, bytes), "checked before"
        sys.stdout.writelines([text] if isinstance(text, str) else text)
    else:
        terminal(make_console())
    if summary:
        try:
            with Path(summary).open("ab") as file:
                file.write(_encode(texts["markdown"]()) + b"\n")
        except OSError as error:
            text = f"{printable(summary)} cannot be written: {error.strerror}"
            raise UsageError(text) from None
        # Another program may read standard output. GitHub's runner reads annotations from standard
        # error, too.
        stream = sys.stdout if output is not None or kind == "terminal" else sys.stderr
        for line in annotations():
            print(line, file=stream)
    sys.stdout.flush()


def make_console() -> Console:
    """Return a console for standard output with its own width.

    If this width is unknown, the console takes it from ``WIDTH``.
    """
    # The width is known for a terminal, or if the user has set it.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return text_console(width=None if known else WIDTH)


def render_text(draw: Draw, width: int = WIDTH) -> str:
    """Return what ``draw`` prints to a terminal as text without colour."""
    file = io.StringIO()
    draw(text_console(file=file, width=width, no_color=True))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def write_file(path: Path, text: Answer) -> None:
    """Write a file atomically and report its path. Raise UsageError if it cannot be written."""
    try:
        write_bytes(path, _encode(text))
    except ResultWriteError as error:
        raise UsageError(str(error)) from None
    print(f"written: {printable(str(path))}", file=sys.stderr)


def _encode(text: Answer) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "replace")
    # Encoding line by line avoids several copies of a large table in memory.
    return b"".join(line.encode("utf-8", "replace") for line in text)
