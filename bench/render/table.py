"""Lay out tables once: for a terminal, as Markdown, and data as CSV and JSON."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.machine.fields import printable
from bench.render import escape
from bench.render.labels import DOUBTFUL, TIME_INTERVAL, bounds_of_time, name, spread_words
from bench.render.quantities import (
    rate,
    seconds,
    seconds_range,
    shape_words,
    size,
    times_as_fast,
)
from bench.stats.intervals import CaseInterval
from bench.stats.latency import PARTS
from bench.stats.rows import KINDS, Row, Table


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
    """What is alike in the cells of a column; its heading may name a backend.

    right: numbers, which stand to the right. names: of backends or cases, which are code in
    Markdown and there and in a terminal have at most ``most`` letters. ours: its cells are our own
    too, and Markdown already. whole: a terminal cuts a cell short rather than break it into lines.
    least, widest: cells in a terminal, as far as that has them. greedy: takes what room the others
    leave. spare: left out of a terminal that has no room for it.
    """

    heading: str
    right: bool = False
    names: bool = False
    most: int = escape.LONGEST_NAME
    ours: bool = False
    whole: bool = False
    least: int | None = None
    widest: int | None = None
    greedy: bool = False
    spare: bool = False


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

    def grid(self, heading: int = escape.LONGEST_NAME) -> Grid:
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
            [escape.prose(column.heading) for column in self.columns],
            [column.right for column in self.columns],
            (map(_in_markdown, self.columns, line) for line in self.lines),
            aligned,
        )

    def fitting(self, width: int) -> Sheet:
        """Without the spare columns where they would leave the first one no room."""
        needed = [
            max(map(len, (column.heading, *(line[at].text for line in self.lines)))) + 2
            for at, column in enumerate(self.columns)
        ]
        left = width - sum(needed[1:])
        kept = [*range(len(needed))]
        for at, column in enumerate(self.columns):
            if column.spare and left < min(_LEAST_NAME, needed[0]):
                kept.remove(at)
                left += needed[at]
        return self.only(kept)


_LEAST_NAME = 26
"""Cells of a terminal that the first column gets before a spare one gets any."""


@dataclass(frozen=True)
class Block:
    """A part of a document: a title, lines and a table, all of which may hold text of a file.

    level: of the title in Markdown; the first is a document's own. style: of the lines, in a
    terminal. indent: cells before each line there.
    """

    title: str = ""
    lines: Sequence[str] = ()
    sheet: Sheet | None = None
    level: int = 3
    style: str = ""
    indent: int = 0


@dataclass(frozen=True)
class Document:
    """An answer as blocks, which every format makes harmless; heading: as of ``Sheet.grid``."""

    blocks: Sequence[Block]
    heading: int = escape.LONGEST_NAME

    def terminal(self, console: Console) -> None:
        """Print it, an empty line between two blocks."""
        for number, block in enumerate(self.blocks):
            if number:
                console.print()
            if block.title:
                console.print(Text(_sentence(block.title), style="bold"))
            if block.sheet is not None:
                console.print(block.sheet.fitting(console.width).grid(self.heading))
            for line in block.lines:
                text = Text(_sentence(line), style=block.style)
                console.print(Padding(text, (0, 0, 0, block.indent), expand=False))

    def markdown(self) -> str:
        """In GitHub's dialect."""
        parts = []
        for block in self.blocks:
            if block.title:
                parts.append(f"{'#' * block.level} {escape.prose(block.title)}")
            if block.sheet is not None:
                parts.append(block.sheet.markdown())
            if block.lines:
                parts.append("\n".join(f"- {escape.prose(line)}" for line in block.lines))
        return "\n\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    return escape.clean(text, escape.LONGEST_SENTENCE)


def _in_terminal(column: Column, cell: Cell) -> Text:
    text = escape.clean(cell.text, column.most) if column.names else _shown(cell.text)
    below = f"\n{_shown(cell.bounds)}" if cell.bounds else ""
    return Text.assemble((text, cell.style), (below, "dim"))


def _shown(text: str) -> str:
    """As a terminal may show it; blanks at its beginning set it in."""
    return escape.without_commands(printable(text, escape.LONGEST_SENTENCE))


def _in_markdown(column: Column, cell: Cell) -> str:
    if column.names:
        text = escape.code(cell.text, column.most)
    else:
        text = cell.text if column.ours else escape.prose(cell.text)
    if cell.bounds:
        text = f"{text} ({escape.prose(cell.bounds)})"
    return f"**{text}**" if cell.strong else text


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
    # At least 2: the line below the headings needs a dash and a colon.
    widths = [max(2, *map(len, column)) if aligned else 0 for column in zip(*rows, strict=True)]
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
        return escape.spreadsheet(value)
    return ("false", "true")[value] if isinstance(value, bool) else value


@dataclass(frozen=True)
class TablePart:
    """One thing told of each case; text gives "" where a row has nothing to say.

    needed: how soon it may be left out where room is short: 0 never, 1 last, then 2, ...
    """

    heading: str
    text: Callable[[Row], str]
    needed: int = 0
    right: bool = True


def parts(table: Table) -> list[TablePart]:
    """What is told of each case of this table."""
    if table.kind == KINDS[1]:
        found = [
            TablePart("per timestep", _per_timestep),
            TablePart(TIME_INTERVAL, _per_timestep_interval, 1),
        ]
    elif table.kind == KINDS[2]:
        found = _of_streams(table)
    else:
        found = [
            TablePart("median", _median),
            TablePart(TIME_INTERVAL, _interval, 1),
            TablePart("sequences/s", lambda row: _told(row.sequences_per_s, rate), 2),
            TablePart("timesteps/s", lambda row: _told(row.timesteps_per_s, rate), 3),
            TablePart("first result", _first_result, 4),
        ]
    if any("peak_bytes" in row.memory for row in table.rows):
        found.append(TablePart("memory", lambda row: _told(row.memory.get("peak_bytes"), size), 5))
    if any(row.to_baseline for row in table.rows):
        versus = f"vs {name(table.baseline)}"
        found.append(TablePart(versus, lambda row: _versus(row, table.baseline), right=False))
    if any(tail_versus(row) for row in table.rows):
        versus = f"{part_words(TAIL)} vs {name(table.baseline)}"
        found.append(TablePart(versus, tail_versus, right=False))
    if any(row.error is not None for row in table.rows):
        found.append(TablePart("error", error))
    if any(_spread(row) for row in table.rows):
        found.append(TablePart("processes spread", _spread, 3))
    if not all(row.trusted for row in table.rows):
        found.append(TablePart("trust", lambda row: "" if row.trusted else "INVALID", right=False))
    return found


def _of_streams(table: Table) -> list[TablePart]:
    """Of every call from when it was due: what most take, and what few do."""
    found = [TablePart("median", _median), TablePart(TIME_INTERVAL, _interval, 2)]
    for part in known_percentiles(table.rows):
        words, tail = part_words(part), part == TAIL
        text = functools.partial(percentile_text, part=part)
        found.append(TablePart(words, text, 0 if tail else 3))
        if tail:
            text = functools.partial(interval_text, part=part)
            found.append(TablePart(f"{words}, {TIME_INTERVAL}", text, 1))
    if any(missed_text(row) for row in table.rows):
        found.append(TablePart("late", missed_text, 2))
    found.append(TablePart("first result", _first_result, 4))
    return found


def work_words(row: Row, table: Table) -> list[str]:
    """What work a group of this table does, a short line each, its id last."""
    case = row.case
    dtypes = {each.case.spec.dtype for each in table.rows}
    dtype = [case.spec.dtype] if len(dtypes) > 1 else []
    if table.kind == KINDS[1]:
        return [f"window {case.workload.window}", *dtype]
    return [*shape_words(case), *dtype, case.shape]


def _median(row: Row) -> str:
    return _time(row, row.time) if row.measured else row.outcome.replace("_", " ")


def _time(row: Row, value: float) -> str:
    return f"{DOUBTFUL if row.validity.of_time else ''}{seconds(value)}"


def _interval(row: Row) -> str:
    return "" if row.interval is None else bounds_of_time(row.interval, row.time)


def _per_timestep(row: Row) -> str:
    time = row.time_per_timestep
    return row.outcome.replace("_", " ") if time is None else _time(row, time)


def _per_timestep_interval(row: Row) -> str:
    time, steps = row.time_per_timestep, row.case.workload.timesteps
    if row.interval is None or time is None:
        return ""
    return bounds_of_time(row.interval, time, steps)


def _spread(row: Row) -> str:
    """How far the processes' ratios spread, where they leave it UNCLEAR which side is faster."""
    return "" if row.to_baseline is None else spread_words(row.to_baseline)


def error(row: Row) -> str:
    """How far the outputs of a backend that approximates are from the reference."""
    return "" if row.error is None else f"{row.error:.2%}"


def _first_result(row: Row) -> str:
    return _told(row.first_result, seconds)


def _told(value: float | None, words: Callable[[float], str]) -> str:
    return "" if value is None else words(value)


def _versus(row: Row, baseline: str) -> str:
    """Ratio and verdict, each at its place in a fixed width."""
    if row.to_baseline is not None:
        found = row.to_baseline
        return f"{times_as_fast(found.ratio.mid):>4}× {found.verdict.value:<8}"
    return f"{1:>4}× {'baseline':<8}" if row.measured and row.case.backend == baseline else ""


TAIL = 99.0
"""The percentile of which an interval and a ratio stand in the tables: the last that a run of some
minutes can tell of calls that come a hundred times in a second."""


def part_words(part: float) -> str:
    """``p99.9``."""
    return f"p{part:g}"


def percentile_text(row: Row, part: float) -> str:
    """A percentile of a row's calls; empty where there are too few calls to tell."""
    found = percentile(row, part)
    return "" if found is None else seconds(found.mid)


def interval_text(row: Row, part: float) -> str:
    """Its interval over the processes, or with one of its own calls."""
    found = percentile(row, part)
    return "" if found is None else seconds_range(found.low, found.high, found.mid)


def missed_text(row: Row) -> str:
    """How many calls missed their deadline, of all."""
    stream = row.stream
    if stream is None or stream.missed is None:
        return ""
    return f"{stream.missed:,} of {stream.calls:,}"


def tail_versus(row: Row) -> str:
    """The ratio of ``TAIL`` to the baseline's with its verdict, as the medians' stands."""
    found = None if row.stream is None else row.stream.to_baseline.get(TAIL)
    return "" if found is None else f"{times_as_fast(found.ratio.mid):>4}× {found.verdict.value:<8}"


def percentile(row: Row, part: float) -> CaseInterval | None:
    """Return a percentile of a row's calls, None where there are too few calls for it."""
    return None if row.stream is None else row.stream.latency.get(part)


def known_percentiles(rows: Sequence[Row]) -> list[float]:
    """The percentiles beyond the median that any of these rows can tell."""
    return [part for part in PARTS[1:] if any(percentile(row, part) for row in rows)]


def measured_rows(table: Table) -> list[Row]:
    """Return the rows that have a time, fastest first within each group."""
    return [row for group in table.groups for row in group if row.measured]
