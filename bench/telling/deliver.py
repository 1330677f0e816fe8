"""How a command's output reaches a terminal, a pipe or a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.disk.fields import printable
from bench.disk.writing import ResultWriteError, write_bytes
from bench.telling import command_line, drawing
from bench.telling.command_line import UsageError
from bench.telling.terminal import text_console

# Wide enough for a whole row, narrow enough for a terminal beside an editor.
WIDTH = 100


@dataclass(frozen=True)
class Target:
    """Where a report goes: a file, or standard output; environment: whether GitHub Actions runs."""

    output: Path | None
    environment: Mapping[str, str]


def deliver(
    kind: str,
    target: Target,
    terminal: Callable[[Console], None],
    texts: Mapping[str, Callable[[], str | bytes]],
    annotations: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Write one of a report's forms where it is wanted, and its Markdown for GitHub Actions.

    Raises UsageError if a file cannot be written, and for a picture that no file is named for.
    """
    output = target.output
    if output is None and kind in drawing.FORMATS:
        raise UsageError(f"--format {kind} needs --output FILE.{kind}")
    if output is None and kind == "terminal":
        terminal(text_console(width=None if command_line.width_is_known() else WIDTH))
    else:
        data = _encoded(texts[kind]() if kind in texts else _plain(terminal))
        if output is None:
            sys.stdout.write(data.decode())
        else:
            _write(output, data)
    if summary := target.environment.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), _encoded(texts["markdown"]()) + b"\n")
        # Beside output that another program reads, annotations would be in the way on stdout;
        # the runner reads them from stderr as well.
        stream = sys.stdout if output is not None or kind == "terminal" else sys.stderr
        for line in annotations():
            print(line, file=stream)
    sys.stdout.flush()


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except ResultWriteError as error:
        raise UsageError(str(error)) from None


def _append(path: Path, data: bytes) -> None:
    """To GitHub's summary, which other steps of the job have written to."""
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{printable(str(path))} cannot be written: {error.strerror}") from None


def _plain(terminal: Callable[[Console], None]) -> str:
    console = text_console(file=io.StringIO(), width=WIDTH, no_color=True)
    terminal(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
