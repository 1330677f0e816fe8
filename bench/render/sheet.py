"""A table, laid out once: as a terminal shows it, in Markdown, and data as CSV and JSON.

What a table says is made elsewhere; this room knows how each form is written, and makes what comes
from files harmless in each.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.machine.fields import printable
from bench.render import inert


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table.

    bounds: of the text, below it in a terminal and in brackets behind it in Markdown. style: that
    of Rich, for a terminal. strong: stands out in Markdown.
    """

    text: str = ""
    bounds: str = ""
    style: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """What is alike in the cells of a column; its heading is our own and stands as it is.

    right: numbers, which stand to the right. names: of backends or cases, which are code in
    Markdown and there and in a terminal have at most ``most`` letters. ours: its cells are our own
    too, and Markdown already. whole: a terminal cuts a cell short rather than break it into lines.
    least, widest: cells in a terminal, as far as that has them. greedy: takes what room the others
    leave.
    """

    heading: str
    right: bool = False
    names: bool = False
    most: int = inert.LONGEST_NAME
    ours: bool = False
    whole: bool = False
    least: int | None = None
    widest: int | None = None
    greedy: bool = False


def numbers(*headings: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(each, right=True) for each in headings]


@dataclass(frozen=True)
class Sheet:
    """A table: columns, and lines of as many cells. The first column names the line."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, columns: Iterable[Column], lines: Iterable[Iterable[Cell | str]]) -> Sheet:
        """With plain texts for cells that are nothing more."""
        return cls(
            tuple(columns),
            tuple(
                tuple(Cell(each) if isinstance(each, str) else each for each in line)
                for line in lines
            ),
        )

    def without_empty(self) -> Sheet:
        """Without the columns that say nothing in any line."""
        return self.only(
            [
                index
                for index in range(len(self.columns))
                if index == 0 or any(line[index].text for line in self.lines)
            ]
        )

    def only(self, indices: Sequence[int]) -> Sheet:
        """With these columns alone."""
        return replace(
            self,
            columns=tuple(self.columns[index] for index in indices),
            lines=tuple(tuple(line[index] for index in indices) for line in self.lines),
        )

    def grid(self, heading: int = inert.LONGEST_NAME) -> Grid:
        """For a terminal, two blanks between columns. heading: letters in a line of one.

        Long headings are broken before a name is, which has no blank to break at.
        """
        grid = Grid(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            padding=(0, 1, 0, 0),  # the box puts another blank between two columns
            expand=any(column.greedy for column in self.columns),
        )
        for column in self.columns:
            grid.add_column(
                Text("\n".join(textwrap.wrap(column.heading, heading))),
                justify="right" if column.right else "left",
                no_wrap=column.whole,
                overflow="ellipsis" if column.whole else "fold",
                min_width=column.least,
                max_width=column.widest,
                ratio=1 if column.greedy else None,
            )
        for line in self.lines:
            grid.add_row(*map(_in_terminal, self.columns, line))
        return grid

    def markdown(self, aligned: bool = False) -> str:
        """In GitHub's dialect. aligned: to be read as it stands, too."""
        return markdown_table(
            [column.heading for column in self.columns],
            [column.right for column in self.columns],
            (map(_in_markdown, self.columns, line) for line in self.lines),
            aligned,
        )


def _in_terminal(column: Column, cell: Cell) -> Text:
    text = inert.clean(cell.text, column.most) if column.names else _shown(cell.text)
    below = f"\n{_shown(cell.bounds)}" if cell.bounds else ""
    return Text.assemble((text, cell.style), (below, "dim"))


def _shown(text: str) -> str:
    """As a terminal may show it; blanks at its beginning set it in."""
    return printable(text, inert.LONGEST_SENTENCE)


def _in_markdown(column: Column, cell: Cell) -> str:
    if column.names:
        told = inert.code(cell.text, column.most)
    else:
        told = cell.text if column.ours else inert.prose(cell.text)
    if cell.bounds:
        told = f"{told} ({inert.prose(cell.bounds)})"
    return f"**{told}**" if cell.strong else told


def markdown_table(
    headings: Iterable[str],
    right: Iterable[bool],
    lines: Iterable[Iterable[str]],
    aligned: bool = False,
) -> str:
    """A table of texts that are Markdown already; right: the columns of numbers.

    aligned: with blanks, so that its columns stand below one another.
    """
    right, rows = list(right), [list(headings), *map(list, lines)]
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*rows, strict=True)]
    under = zip(widths, right, strict=True)
    rows.insert(1, ["-" * (width - end if aligned else 3) + ":" * end for width, end in under])
    return "\n".join(f"| {' | '.join(map(_padded, row, widths, right))} |" for row in rows)


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def comma_separated(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """CSV line by line: rows under a line of column names; empty where there is no value.

    Text is on one line, and where a spreadsheet would take it for a formula begins with an
    apostrophe.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for values in rows:
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        # Most values are numbers or none, which stay what they are.
        writer.writerow(
            [value if value is None or type(value) is float else _value(value) for value in values]
        )
    yield out.getvalue()


def records(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The same of rows by name; what a row does not name is empty."""

    def values(row: Mapping[str, object]) -> list[object]:
        assert row.keys() <= set(columns), f"no such columns: {row.keys() - set(columns)}"
        return [row.get(name) for name in columns]

    return comma_separated(columns, map(values, rows))


def finite(value: Any) -> Any:
    """The value; None in place of a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(document: Mapping[str, object]) -> str:
    """Data for other programs, with nothing in it that is not every reader's JSON."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _value(value: object) -> object:
    if isinstance(value, str):
        return inert.spreadsheet(value)
    return ("false", "true")[value] if isinstance(value, bool) else value
