"""An answer of lines and tables: as a terminal shows it, in Markdown, where it was asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Console
from rich.text import Text

from bench.cli import deliver as delivering
from bench.render.inert import LONGEST_SENTENCE, clean, prose
from bench.render.sheet import Sheet


@dataclass(frozen=True)
class Told:
    """Lines before the tables, the tables with what stands above them, and lines after.

    Any of it may hold text of a file: each form makes it harmless. heading: letters in a line of a
    column's heading, in a terminal.
    """

    first: tuple[str, ...]
    tables: tuple[tuple[str, Sheet], ...]
    last: tuple[str, ...]
    heading: int = 10

    def terminal(self, console: Console) -> None:
        """As a terminal shows it."""
        for line in self.first:
            console.print(_inert(line))
        for above, sheet in self.tables:
            if above:
                console.print()
                console.print(_inert(above))
            console.print(_fitting(sheet, console.width).grid(self.heading))
        console.print()
        for line in self.last:
            console.print(_inert(line))

    def markdown(self) -> str:
        """In GitHub's dialect."""
        parts = [prose(line) for line in self.first]
        for above, sheet in self.tables:
            parts += [*([f"{prose(above)}:"] if above else []), sheet.markdown()]
        parts += [prose(line) for line in self.last]
        return "\n\n".join(parts) + "\n"

    def deliver(self, options: argparse.Namespace, **texts: Callable[[], delivering.Text]) -> None:
        """Write it as the options of ``arguments.add_output`` ask; texts: its other forms."""
        delivering.as_asked(options, self.terminal, {"markdown": self.markdown, **texts})


def _inert(line: str) -> Text:
    return Text(clean(line, LONGEST_SENTENCE))


def _fitting(sheet: Sheet, width: int) -> Sheet:
    """A table whose columns have what they ask for where a terminal is wide enough; where it is
    not, the last of them would stand beyond its edge."""
    words = (max(map(len, column.heading.split())) for column in sheet.columns)
    asked = sum(
        max(column.least or 0, word) + 3 for column, word in zip(sheet.columns, words, strict=True)
    )
    if asked <= width:
        return sheet
    return replace(sheet, columns=tuple(replace(column, least=None) for column in sheet.columns))
