"""Write a command's answer to a terminal, a pipe or a file, in the form requested."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from bench.cli import command_line
from bench.cli.command_line import UsageError
from bench.machine.fields import printable
from bench.machine.writing import ResultWriteError, write_bytes
from bench.render.escape import text_console

# Wide enough for a whole row, narrow enough for a terminal next to an editor.
WIDTH = 100

Draw: TypeAlias = Callable[[Console], None]
"""Prints an answer as a terminal shows it."""

Answer: TypeAlias = str | bytes | Iterable[str]
"""An answer in another form, at once or line by line."""


@dataclass(frozen=True)
class Target:
    """Where an answer goes: a file or standard output; environment: that of GitHub Actions."""

    output: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)


def kind_of(output: Path | None) -> str:
    """What a file's name asks for where no form is named: what a terminal shows by default."""
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    return {"md": "markdown", "csv": "csv", "json": "json"}.get(suffix, "terminal")


def as_asked(
    options: argparse.Namespace, terminal: Draw, texts: Mapping[str, Callable[[], Answer]]
) -> None:
    """``deliver`` in the form and to the place that the options of ``add_output`` name."""
    output = options.output
    deliver(options.format or kind_of(output), Target(output), terminal, texts)


def deliver(
    kind: str,
    target: Target,
    terminal: Draw,
    texts: Mapping[str, Callable[[], Answer]],
    annotations: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Write one of an answer's forms where it is wanted, and its Markdown for GitHub Actions.

    Raises UsageError if a file cannot be written.
    """
    output = target.output
    if output is not None:
        write_file(output, texts[kind]() if kind in texts else plain_text(terminal))
    elif kind in texts:
        text = texts[kind]()
        assert not isinstance(text, bytes), "checked before"
        sys.stdout.writelines([text] if isinstance(text, str) else text)
    else:
        terminal(console())
    if summary := target.environment.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), _encoded(texts["markdown"]()) + b"\n")
        # Next to output that another program reads, annotations would be in the way on stdout;
        # the runner reads them from stderr as well.
        stream = sys.stdout if output is not None or kind == "terminal" else sys.stderr
        for line in annotations():
            print(line, file=stream)
    sys.stdout.flush()


def console() -> Console:
    """Standard output: as wide as it is, or where that is not known as ``WIDTH``."""
    return text_console(width=None if command_line.width_is_known() else WIDTH)


def plain_text(draw: Draw, width: int = WIDTH) -> str:
    """What a terminal shows as it stands in a file: without colour."""
    file = io.StringIO()
    draw(text_console(file=file, width=width, no_color=True))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def write_file(path: Path, text: Answer) -> None:
    """Write a file, whole or not at all, and say so. Raises UsageError if it cannot be written."""
    try:
        write_bytes(path, _encoded(text))
    except ResultWriteError as error:
        raise UsageError(str(error)) from None
    print(f"written: {printable(str(path))}", file=sys.stderr)


def _encoded(text: Answer) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "replace")
    # Line by line: as one text, a large table would be in memory several times.
    return b"".join(line.encode("utf-8", "replace") for line in text)


def _append(path: Path, data: bytes) -> None:
    """To GitHub's summary, which other steps of the job have written to."""
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{printable(str(path))} cannot be written: {error.strerror}") from None
