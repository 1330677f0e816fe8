"""Make text from result files harmless: for a terminal, Markdown, HTML and a spreadsheet."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.machine.fields import printable

LONGEST_NAME = 60
LONGEST_REASON = 300
LONGEST_SENTENCE = 3000  # of names and reasons that are not longer than the above


def clean(text: str, limit: int = LONGEST_REASON) -> str:
    """Text on one line, not longer than ``limit`` by much, with nothing a terminal acts on."""
    # A run of blanks in a hostile name must not push what follows off the screen. Splitting before
    # the cut would read a megabyte; after it, what is cut is at most blanks.
    line = without_commands(" ".join(printable(text[: 4 * limit], 4 * limit).split()))
    return line[:limit] + ("..." if max(len(text), len(line)) > limit else "")


def without_commands(text: str) -> str:
    """Text in which a CI runner that reads the log finds no command of its own."""
    return re.sub(":(?=:)", ": ", text).replace("##[", "# #[")


# What Markdown acts on anywhere: escapes, code, emphasis, links, HTML, tables, strikes, formulas,
# entities, references to issues. An underscore inside a word is none of it.
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>|~$&#]|(?<![^\W_])_|_(?![^\W_])")


def markdown(text: str, limit: int = LONGEST_REASON) -> str:
    """Text with nothing left in it that Markdown, or HTML inside it, acts on."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", clean(text, limit))
    # At a line's beginning these would make a list or a heading of it.
    escaped = re.sub(r"^[-+=]", r"\\\g<0>", escaped)
    escaped = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)
    # A name must not become a link or an emoji, nor notify a person who happens to bear it.
    escaped = re.sub(r":(?=//|[\w+-]+:)", r"\:", escaped)
    escaped = re.sub(r"(?<!\w)@|@(?=[\w-]+\.)", "@\u200b", escaped)
    return re.sub(r"(?i)\bwww\.", "www\u200b.", escaped)


def prose(text: str) -> str:
    """``markdown`` of whole sentences, which hold names and reasons that are cut already."""
    return markdown(text, LONGEST_SENTENCE)


def code(text: str, limit: int = LONGEST_NAME) -> str:
    """A name as a code span, also in a table's cell; what would end either is escaped instead."""
    inside = clean(text, limit)
    return f"`{inside}`" if inside and not re.search(r"[\\`|]", inside) else markdown(text, limit)


def spreadsheet(text: str, limit: int = 2000) -> str:
    """Text for a CSV file that a spreadsheet may open: on one line, and never a formula.

    What begins one is taken as such after blanks too, and some read the full-width signs of a
    Chinese or Japanese keyboard as the plain ones: before all of them stands an apostrophe.
    """
    found = printable(text, limit)
    first = unicodedata.normalize("NFKC", found.lstrip()[:1])
    return f"'{found}" if first in ("=", "+", "-", "@") else found


def text_console(**options: Any) -> Console:
    """A console that reads no markup, no emoji codes, and colours no numbers on its own.

    options: those of Rich's own ``Console``.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


def terminal_picture(draw: Callable[[Console], object], title: str, width: int) -> str:
    """What a terminal of that width shows, in SVG: the same answer gives the same picture."""
    console = text_console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    draw(console)
    svg = console.export_svg(title=title, unique_id="report")
    # Rich's own asks a server for a typeface; a picture must not ask anybody.
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)


def hanging(head: str, text: Text, style: str = "") -> Table:
    """A line whose continuation stands below its text, not below its head."""
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(f"{head} ", style=style), text)
    return grid
