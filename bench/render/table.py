"""Lay out a command's answer for a terminal and as Markdown.

An answer is a ``Document``: blocks of a title, a table (``TextTable``) and lines.
"""

from __future__ import annotations

import enum
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.machine.fields import printable
from bench.render import escape
from bench.stats.comparison import Verdict

_NARROWEST_NAME = 16  # The first column keeps this many letters before other columns are left out.
_SHORTEST_BAR, _LONGEST_BAR = 6, 24
_LESS_THAN_A_BAR = 3  # Columns that are needed this little or less give way to bars.
_GAP = 2  # The number of blanks between two columns in a terminal.


class Standing(enum.Enum):
    """List what a cell can say of its case: a verdict, or why there is none."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNCLEAR = "unclear"
    INVALID = "invalid"
    FAILED = "failed"
    BASELINE = "baseline"

    @classmethod
    def of(cls, verdict: Verdict) -> Standing:
        """Return the state that a verdict stands for."""
        return cls[verdict.name]

    @property
    def style(self) -> str:
        """Rich's style of this state, for a terminal."""
        return _STATE_STYLES[self]


_STATE_STYLES = {
    Standing.FASTER: "bold green",
    Standing.SLOWER: "bold red",
    Standing.SAME: "cyan",
    Standing.UNCLEAR: "yellow",
    Standing.INVALID: "bold red",
    Standing.FAILED: "bold red",
    Standing.BASELINE: "dim",
}


@dataclass(frozen=True)
class TableCell:
    """Describe a cell of a table.

    Attributes
    ----------
    text
        What the cell says, without markup.
    bounds
        The interval of the number in the text. A terminal shows it below the number, and Markdown
        in brackets after it.
    style
        The style in a terminal, as Rich names styles: ``dim``, ``bold green``.
    strong
        Whether the text is bold in Markdown.
    mark
        A sign after a name, such as a star.
    share
        The length of the bar in the cell, as a part from 0 to 1 of the column's width.
    state
        The verdict or the validity that the text names, for formats that colour by it.
    """

    text: str = ""
    bounds: str = ""
    style: str = ""
    strong: bool = False
    mark: str = ""
    share: float = 0.0
    state: Standing | None = None


@dataclass(frozen=True)
class Column:
    """Describe what the cells of a column share.

    Attributes
    ----------
    heading
        The heading, which may name a backend.
    right
        Whether cells are aligned to the right, as numbers are.
    names
        Whether cells are names of backends or cases, which are code in Markdown.
    most
        The number of letters to which such names are cut.
    ours
        Whether cells are Markdown already.
    no_wrap
        Whether a terminal cuts a cell short rather than breaking it into lines.
    least, widest
        The least and the largest width in a terminal, in letters.
    needed
        How soon a terminal may omit the column where space is short: 0 never, 1 last, then 2, and
        so on.
    bars
        Whether cells show bars of their share, in a terminal that is wide enough.
    """

    heading: str
    right: bool = False
    names: bool = False
    most: int = escape.LONGEST_NAME
    ours: bool = False
    no_wrap: bool = False
    least: int | None = None
    widest: int | None = None
    needed: int = 0
    bars: bool = False


def numbers(*headings: str) -> list[Column]:
    """Return columns of numbers with these headings."""
    return [Column(each, right=True) for each in headings]


@dataclass(frozen=True)
class TextTable:
    """Hold a table: columns, and lines of as many cells. The first column names the line.

    If the table is ``grouped``, the first column names a group, in the first line of each group. A
    terminal shows that name above the group.
    """

    columns: tuple[Column, ...]
    lines: tuple[tuple[TableCell, ...], ...]
    grouped: bool = False

    @classmethod
    def of(
        cls,
        columns: Iterable[Column],
        lines: Iterable[Iterable[TableCell | str]],
        grouped: bool = False,
    ) -> TextTable:
        """Return a table whose cells may be given as plain texts."""
        cells = (
            tuple(TableCell(each) if isinstance(each, str) else each for each in line)
            for line in lines
        )
        return cls(tuple(columns), tuple(cells), grouped)

    def without_empty(self) -> TextTable:
        """Return the table without the columns that are empty in every line."""
        columns = enumerate(zip(*self.lines, strict=True))
        return self.only([at for at, cells in columns if at == 0 or any(c.text for c in cells)])

    def only(self, indices: Sequence[int]) -> TextTable:
        """Return the table with these columns alone."""
        return replace(
            self,
            columns=tuple(self.columns[index] for index in indices),
            lines=tuple(tuple(line[index] for index in indices) for line in self.lines),
        )

    def terminal(self, width: int, heading: int = escape.LONGEST_NAME) -> Iterator[RenderableType]:
        """Yield what fits the width of a terminal, each group below its name."""
        if not self.grouped:
            yield self._fitting(width).grid(heading)
            return
        rest = self.only(range(1, len(self.columns)))._fitting(width)
        place = 0
        for first, lines in self.groups():
            if place:
                yield Text("")
            below = f" · {_shown(first.bounds)}" if first.bounds else ""
            yield Text.assemble((_shown(first.text), "bold"), (below, "dim"))
            shown = rest.lines[place : place + len(lines)]
            yield replace(rest, lines=shown).grid(heading, place == 0)
            place += len(lines)

    def groups(self) -> Iterator[tuple[TableCell, tuple[tuple[TableCell, ...], ...]]]:
        """Yield each group's cell of the first column, and the other cells of its lines."""
        starts = [place for place, line in enumerate(self.lines) if line[0].text]
        for start, end in itertools.pairwise([*starts, len(self.lines)]):
            yield self.lines[start][0], tuple(line[1:] for line in self.lines[start:end])

    def _fitting(self, width: int) -> TextTable:
        """Return the table without its least needed columns, as far as the width requires."""
        if not any(column.needed or column.bars for column in self.columns):
            return self
        sizes = [
            max(map(cell_len, [column.heading, *(f"{c.text} {c.mark}".rstrip() for c in cells)]))
            for column, cells in zip(self.columns, zip(*self.lines, strict=True), strict=True)
        ]
        longest = sizes[0]
        sizes[0] = min(longest, _NARROWEST_NAME)
        bars = [at for at, column in enumerate(self.columns) if column.bars]
        kept = [at for at, column in enumerate(self.columns) if not column.bars]

        def left() -> int:
            return width - sum(sizes[at] + _GAP for at in kept) + _GAP

        def drop(space: int, least: int) -> None:
            while left() < space and (most := max(self.columns[at].needed for at in kept)) >= least:
                kept[:] = [at for at in kept if self.columns[at].needed < most]

        drop(0, least=1)
        if bars:
            drop(_SHORTEST_BAR + _GAP + longest - sizes[0], least=_LESS_THAN_A_BAR)
        sizes[0] = max(6, min(longest, sizes[0] + left()))
        if bars and left() - _GAP >= _SHORTEST_BAR:
            sizes[bars[0]] = min(_LONGEST_BAR, left() - _GAP)
            kept += bars
        columns = tuple(
            replace(column, least=size, widest=size)
            for column, size in zip(self.columns, sizes, strict=True)
        )
        return replace(self, columns=columns).only(kept)

    def grid(self, heading: int = escape.LONGEST_NAME, header: bool = True) -> Grid:
        """Return a Rich table.

        Headings are broken before a name at ``heading`` letters per line.
        """
        grid = Grid(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            show_header=header,
            padding=(0, 1, 0, 0),  # The box adds another blank between two columns.
        )
        for column in self.columns:
            grid.add_column(
                Text("\n".join(textwrap.wrap(column.heading, heading))),
                justify="right" if column.right else "left",
                no_wrap=column.no_wrap,
                overflow="ellipsis" if column.no_wrap else "fold",
                min_width=column.least,
                max_width=column.widest,
            )
        for line in self.lines:
            grid.add_row(*map(_render_for_terminal, self.columns, line))
        return grid

    def markdown(self, aligned: bool = False) -> str:
        """Return GitHub's Markdown, without bars.

        With ``aligned``, columns are padded to one width.
        """
        shown = self.only([at for at, column in enumerate(self.columns) if not column.bars])
        return markdown_table(
            [escape.prose(column.heading) for column in shown.columns],
            [column.right for column in shown.columns],
            (map(_render_as_markdown, shown.columns, line) for line in shown.lines),
            aligned,
        )


def _render_for_terminal(column: Column, cell: TableCell) -> RenderableType:
    if column.bars:
        # The length is in eighths of a letter, which a terminal can show, and at least one eighth.
        size = column.least or _SHORTEST_BAR
        end = max(1, round(8 * size * cell.share)) if cell.share else 0
        return Bar(8 * size, 0, end, width=size, color=cell.style or "cyan")
    text = escape.clean(cell.text, column.most) if column.names else _shown(cell.text)
    below = f"\n{_shown(cell.bounds)}" if cell.bounds else ""
    return Text.assemble((f"{text} {cell.mark}" if cell.mark else text, cell.style), (below, "dim"))


def _shown(text: str) -> str:
    """Return text that is safe in a terminal. Blanks at its beginning stay."""
    return escape.without_commands(printable(text, escape.LONGEST_SENTENCE))


def _render_as_markdown(column: Column, cell: TableCell) -> str:
    if column.names:
        text = escape.code(cell.text, column.most)
    else:
        text = cell.text if column.ours else escape.prose(cell.text)
    if cell.bounds:
        text = f"{text} ({escape.prose(cell.bounds)})"
    text = f"**{text}**" if cell.strong and text else text
    return f"{text} {cell.mark}" if cell.mark else text


def markdown_table(
    headings: Iterable[str],
    right: Iterable[bool],
    lines: Iterable[Iterable[str]],
    aligned: bool = False,
) -> str:
    """Return a table of Markdown texts.

    ``right`` says which columns are aligned as numbers. With ``aligned``, each column is padded to
    one width.
    """
    right, rows = list(right), [list(headings), *map(list, lines)]
    # At least 2, because the line below the headings needs a dash and a colon.
    widths = [max(2, *map(len, column)) if aligned else 0 for column in zip(*rows, strict=True)]
    under = zip(widths, right, strict=True)
    rows.insert(1, ["-" * (width - end if aligned else 3) + ":" * end for width, end in under])
    return "\n".join(f"| {' | '.join(map(_pad, row, widths, right))} |" for row in rows)


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


@dataclass(frozen=True)
class Finding:
    """Hold a sentence, and whether it is an answer or a warning."""

    text: str
    answer: bool = False
    warning: bool = False


@dataclass(frozen=True)
class Block:
    """Describe a part of a document: a title, a table and lines.

    All of them may contain text from a file.

    Attributes
    ----------
    title
        The title, or "" for none.
    lines
        Sentences below the table.
    table
        The table, if there is one.
    level
        The level of the title in Markdown: 2 for the title of a document, 0 on a page with its own
        headings.
    style
        The style of the lines in a terminal.
    indent
        The number of blanks before each line in a terminal.
    joined
        Whether the lines form one paragraph in Markdown.
    typed
        Whether the lines are commands, which are not broken.
    """

    title: str = ""
    lines: Sequence[Finding | str] = ()
    table: TextTable | None = None
    level: int = 3
    style: str = ""
    indent: int = 0
    joined: bool = False
    typed: bool = False


@dataclass(frozen=True)
class Document:
    """Hold an answer as blocks, which every format escapes.

    ``heading`` is as in ``TextTable.grid``.
    """

    blocks: Iterable[Block]
    heading: int = escape.LONGEST_NAME

    def terminal(self, console: Console) -> None:
        """Print the blocks with an empty line between two of them."""
        for number, block in enumerate(self.blocks):
            if number:
                console.print()
            if block.title:
                console.print(Text(_sentence(block.title), style="bold"))
            if block.table is not None:
                for item in block.table.terminal(console.width, self.heading):
                    console.print(item)
            for line in block.lines:
                if block.typed:
                    console.print(Text(f"  {_shown(str(line))}"), soft_wrap=True)
                    continue
                text = _render_line(line) if isinstance(line, Finding) else _sentence(line)
                shown = Text(text, block.style) if isinstance(text, str) else text
                console.print(Padding(shown, (0, 0, 0, block.indent), expand=False))

    def markdown(self) -> str:
        """Return the document as GitHub's Markdown."""
        parts = []
        for block in self.blocks:
            if block.title:
                title = escape.prose(block.title)
                parts.append(f"{'#' * block.level} {title}" if block.level else f"**{title}**")
            if block.table is not None:
                parts.append(block.table.markdown())
            if block.joined:
                parts.append(escape.prose(" ".join(map(str, block.lines))))
            elif block.typed:
                parts.append("\n".join(f"    {_shown(str(line))}" for line in block.lines))
            elif block.lines:
                parts.append("\n".join(f"- {_render_list_item(line)}" for line in block.lines))
        return "\n\n".join(filter(None, parts)) + "\n"


def _sentence(text: str) -> str:
    return escape.clean(text, escape.LONGEST_SENTENCE)


def _render_line(finding: Finding) -> RenderableType:
    """Return a sentence for a terminal.

    Answers are bold, warnings are red, and other lines are indented.
    """
    subject, colon, rest = _sentence(finding.text).partition(": ")
    style = "bold red" if finding.warning else "bold" if finding.answer else ""
    text = Text.assemble((subject + colon, style), rest)
    return escape.hanging("!" if finding.warning else "-", text)


def _render_list_item(line: Finding | str) -> str:
    """Return Markdown. Answers and warnings are bold up to their colon."""
    if isinstance(line, str) or not (line.warning or line.answer):
        return escape.prose(line if isinstance(line, str) else line.text)
    subject, colon, rest = line.text.partition(": ")
    return f"**{escape.prose(subject)}**{escape.prose(colon + rest)}"
