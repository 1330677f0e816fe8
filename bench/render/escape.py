"""Escape text from result files for a terminal, Markdown and a spreadsheet."""

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
LONGEST_SENTENCE = 3000  # The limits above apply to the names and reasons in a sentence.


def clean(text: str, limit: int = LONGEST_REASON) -> str:
    """Return text on one line of about ``limit`` letters, without control sequences."""
    # A run of blanks in a hostile name must not push what follows off the screen. Splitting the
    # text before cutting it would read a megabyte. What the first cut loses is at most blanks.
    line = without_commands(" ".join(printable(text[: 4 * limit], 4 * limit).split()))
    return line[:limit] + ("..." if max(len(text), len(line)) > limit else "")


def without_commands(text: str) -> str:
    """Return text without workflow commands, which a CI runner would execute from its log."""
    return re.sub(":(?=:)", ": ", text).replace("##[", "# #[")


# Markdown's special characters: escapes, code, emphasis, links, HTML, tables, strikethrough,
# formulas, entities and references to issues. An underscore inside a word is not special.
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>|~$&#]|(?<![^\W_])_|_(?![^\W_])")


def markdown(text: str, limit: int = LONGEST_REASON) -> str:
    """Return text with all Markdown and HTML escaped."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", clean(text, limit))
    # At the beginning of a line these characters start a list or a heading.
    escaped = re.sub(r"^[-+=]", r"\\\g<0>", escaped)
    escaped = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)
    # A name must not become a link or an emoji, nor notify a user with that name.
    escaped = re.sub(r":(?=//|[\w+-]+:)", r"\:", escaped)
    escaped = re.sub(r"(?<!\w)@|@(?=[\w-]+\.)", "@\u200b", escaped)
    return re.sub(r"(?i)\bwww\.", "www\u200b.", escaped)


def prose(text: str) -> str:
    """Return ``markdown`` of a sentence, whose names and reasons are short already."""
    return markdown(text, LONGEST_SENTENCE)


def code(text: str, limit: int = LONGEST_NAME) -> str:
    """Return a name as a code span, or escaped where it would end the span or a cell."""
    inside = clean(text, limit)
    return f"`{inside}`" if inside and not re.search(r"[\\`|]", inside) else markdown(text, limit)


def spreadsheet(text: str) -> str:
    """Return text for a CSV file: on one line, and never a formula.

    A spreadsheet also reads a formula after blanks, or one that begins with a full-width sign. An
    apostrophe is put before each.
    """
    found = printable(text, 2000)
    first = unicodedata.normalize("NFKC", found.lstrip()[:1])
    return f"'{found}" if first in ("=", "+", "-", "@") else found


def text_console(**options: Any) -> Console:
    """Return a Rich console that reads no markup or emoji codes and does not colour numbers."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def terminal_picture(draw: Callable[[Console], object], title: str, width: int) -> str:
    """Return what a terminal of this width shows as SVG. Equal documents give equal pictures."""
    console = text_console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    draw(console)
    svg = console.export_svg(title=title, unique_id="report")
    # Rich's SVG loads a typeface from a server, which a report must not do.
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)


def hanging(head: str, text: Text, style: str = "") -> Table:
    """Return a line whose continuation is indented below its text."""
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(f"{head} ", style=style), text)
    return grid
