"""The one place that makes a Rich console: text is shown as it is, wherever it comes from.

Rich reads ``[link=...]`` and ``:smile:`` in plain strings, in a table's headings too. Names and
reasons come from files that may come from anywhere, so that is off for whatever is printed through
a console of this room, also where somebody forgets ``Text``. This room knows Rich, and nothing of
what is printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def text_console(**options: Any) -> Console:
    """A console that reads no markup, no emoji codes, and colours no numbers on its own.

    options: those of Rich's own ``Console``.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


def hanging(head: str, text: Text, style: str = "") -> Table:
    """A line whose continuation stands below its text, not below its head."""
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(f"{head} ", style=style), text)
    return grid


def print_below(console: Console, title: str, lines: Iterable[str]) -> None:
    """An empty line, a title, and lines set in below it."""
    console.print()
    console.print(Text(title, style="bold"))
    for line in lines:
        console.print(Padding(Text(line), (0, 0, 0, 2)))
