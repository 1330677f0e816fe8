"""Draw a report in a terminal: in full, in a screenful, or with what binds each case."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich import box
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.render.escape import LONGEST_SENTENCE, clean, hanging, text_console
from bench.render.labels import (
    BARS,
    FASTEST,
    RATIO_INTERVAL,
    TIME_INTERVAL,
    heading,
    machine,
    mark,
    name,
    notes,
    spread_words,
    title,
)
from bench.render.messages import (
    Finding,
    bound_sentence,
    decisions,
    few,
    findings,
    headline,
    method,
    unclear,
    uneven_bridges,
)
from bench.render.messages import unmeasured as without_time
from bench.render.quantities import count, seconds, times_as_fast, times_bounds
from bench.render.table import TablePart, error, measured_rows, parts, work_words
from bench.stats.comparison import SAME_WITHIN
from bench.stats.rows import KINDS, Report, Row, Section, Table

_NARROWEST_NAME = 16  # of a backend in a line of its own, before columns are left out for it
# Nobody reads more rows than these, and to lay them out takes longer than to judge them.
_MOST_ROWS = 1000
_FEWEST_ROWS = 20  # of each table, however many tables there are
_LONGEST_HEAD = 20  # of a backend above a column, before it is broken anywhere
_SHORTEST_BAR, _LONGEST_BAR = 6, 24
_PICTURE = (
    112  # cells of a picture's width: bars of a brief report have room next to all its columns
)
_LESS_THAN_A_BAR = 3  # what is needed as little as this makes room for bars

STYLES = {
    "FASTER": "green",
    "SLOWER": "red",
    "SAME": "cyan",
    "UNCLEAR": "yellow",
    "INVALID": "bold red",
    "failed": "bold red",
    "crashed": "bold red",
    "timed out": "bold red",
    "baseline": "dim",
}
WINNER = "bold green"

Draw: TypeAlias = Callable[[Section, Console, int], None]
"""Prints a section, of each of its tables so many rows at the most."""


def show(report: Report, console: Console, draw: Draw | None = None) -> None:
    """Print the report: each section by ``draw``, or as a whole."""
    tables = sum(len(section.tables) for section in report.sections)
    rows = max(_FEWEST_ROWS, _MOST_ROWS // max(1, tables))
    for number, section in enumerate(report.sections):
        if number:
            console.print()
        (draw or draw_whole)(section, console, rows)
    for note in report.notes:
        console.print(Text(f"note: {clean(note)}", style="dim"))


def as_picture(report: Report, width: int = _PICTURE, draw: Draw | None = None) -> str:
    """The report as it looks in a terminal, in SVG: the same report gives the same picture."""
    console = text_console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    show(report, console, draw)
    command = f"python -m bench.report{' --brief' if draw else ''}"
    svg = console.export_svg(title=command, unique_id="report")
    # Rich's own asks a server for a typeface; a picture must not ask anybody.
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)


def draw_whole(section: Section, console: Console, rows: int, unmeasured: bool = False) -> None:
    """Print all of a section; unmeasured: list what has no time, too."""
    console.print(Text(heading(section), style="bold"))
    for label, text in machine(section):
        console.print(Text(f"{label}: {text}", style="dim"))
    console.print()
    for decided in decisions(section):
        console.print(finding_line(decided))
    drawn = False
    for table in section.timed_tables:
        console.print()
        console.print(Text(title(table), style="bold"))
        shown, left = table.begin(rows)
        grid = _side_by_side(shown, console.width)
        for item in [grid] if grid is not None else _ranked(shown, console.width):
            console.print(item)
            drawn = drawn or _has_bars(item)
        if left:
            more = count(left, f"more {table.noun}")
            console.print(Text(f"and {more}; --format csv has every case", style="dim"))
    console.print()
    console.print(Text("Findings", style="bold"))
    for finding in findings(section):
        console.print(finding_line(finding))
    for group in without_time(section) if unmeasured else ():
        console.print()
        console.print(Text(headline(group), style="bold"))
        for case in group.cases:
            console.print(Text(f"  {name(case.id)}"))
    key = [*notes(section.rows), *[BARS] * drawn]
    lines = [*(f"{each}." for each in key), *method(section)]
    if lines:
        console.print()
    for line in lines:
        console.print(Text(line, style="dim"))


def finding_line(finding: Finding) -> Padding:
    """A sentence, which stands out as far as it matters."""
    subject, colon, rest = finding.text.partition(": ")
    style = "bold red" if finding.loud else "bold" if finding.answer else ""
    # A sentence's other lines are set in, so that its beginning is seen.
    described = Text.assemble((subject + colon, style), rest)
    return Padding(hanging("!" if finding.loud else "-", described), 0)


def _side_by_side(table: Table, width: int) -> Grid | None:
    """A row a shape, a column a backend; None if the backends do not fit, or some have no rank."""
    if any(row.case.approximate for row in table.rows):
        return None
    described = parts(table)
    grid = Grid(box=box.SIMPLE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    work = [work_words(group[0], table) for group in table.groups]
    headings = [part.heading for part in described]
    columns = []
    for backend in table.backends:
        rows = [_of(group, backend) for group in table.groups]
        cells = [[_cell(row, part) for part in described] for row in rows]
        space = max(cell_len(cell.plain) for column in cells for cell in column)
        # A name is broken where its options begin, and elsewhere only if it is very long.
        longest = max(cell_len(piece) + 1 for piece in name(backend).split("+"))
        head = _folded(name(backend), max(space, min(longest, _LONGEST_HEAD)))
        columns.append((head, cells, max([space, *map(cell_len, head)])))
    first = max(map(cell_len, (line for lines in work for line in lines)))
    bars = min(size for *_, size in columns)
    second = max(map(len, headings))
    # Every column but the last is followed by the blanks of its padding and its edge.
    if first + second + sum(size for *_, size in columns) + 2 * (len(columns) + 1) > width:
        return None
    grid.add_column(table.noun, no_wrap=True)
    grid.add_column("", no_wrap=True, style="dim")
    for head, _, size in columns:
        grid.add_column(Text("\n".join(head)), justify="right", no_wrap=True, min_width=size)
    for index, group in enumerate(table.groups):
        used = [
            number
            for number, part in enumerate(described)
            if any(cells[index][number].plain for _, cells, _ in columns)
        ]
        told_here: list[list[RenderableType]] = [
            [Text(headings[number]), *(cells[index][number] for _, cells, _ in columns)]
            for number in used
        ]
        # Under the times; each column sets it to the right, as it does its numbers.
        drawn = [
            Padding(bar(_of(group, backend), group, bars), (0, 0, 0, size - bars))
            for backend, (*_, size) in zip(table.backends, columns, strict=True)
        ]
        if compared(group):
            told_here.insert(1, ["", *drawn])
        lines = max(len(work[index]), len(told_here))
        for line in range(lines):
            label = work[index][line] if line < len(work[index]) else ""
            style = "bold" if line == 0 else "dim" if line == len(work[index]) - 1 else ""
            grid.add_row(
                Text(label, style=style),
                *(told_here[line] if line < len(told_here) else ()),
                end_section=line == lines - 1 and group is not table.groups[-1],
            )
    return grid


def _ranked(table: Table, width: int) -> Iterable[Grid | Text]:
    """A line a case, the fastest of a shape first; columns left out that do not fit."""
    shown = parts(table)
    rows = [row for group in table.groups for row in group]
    sizes = {
        part.heading: max(
            cell_len(part.heading), *(cell_len(_cell(row, part).plain) for row in rows)
        )
        for part in shown
    }
    longest = max(cell_len(name(row.case.backend)) for row in rows)
    names = min(longest, _NARROWEST_NAME)

    def space() -> int:
        return width - sum(sizes[part.heading] + 1 for part in shown)

    while space() < names and (least := max(part.needed for part in shown)):
        shown = [part for part in shown if part.needed != least]
    drawn = any(map(compared, table.groups))
    while (
        drawn
        and space() - longest <= _SHORTEST_BAR
        and (least := max(part.needed for part in shown)) >= _LESS_THAN_A_BAR
    ):
        shown = [part for part in shown if part.needed != least]
    names = max(6, min(longest, space()))
    bars = min(_LONGEST_BAR, space() - names - 1) if drawn else 0
    for group in table.groups:
        if group is not table.groups[0]:
            yield Text("")
        *words, last = work_words(group[0], table)
        yield Text.assemble((", ".join(words), "bold"), (f" · {last}" if words else last, "dim"))
        grid = Grid(box=None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        grid.add_column("", width=names)
        for part in shown:
            grid.add_column(
                Text(part.heading),
                justify="right" if part.right else "left",
                no_wrap=True,
                min_width=sizes[part.heading],
                header_style="dim",
            )
        if bars >= _SHORTEST_BAR:
            grid.add_column("", width=bars)
        for row in group:
            backend = Text("\n".join(_folded(name(row.case.backend), names)))
            if mark(row) == FASTEST:
                backend.stylize(WINNER)
            cells: list[RenderableType] = [_cell(row, part) for part in shown]
            if bars >= _SHORTEST_BAR:
                cells.append(bar(row, group, bars))
            grid.add_row(backend, *cells)
        yield grid


def bar(row: Row | None, group: Sequence[Row], width: int) -> Bar | Text:
    """As long as the case is fast, against the fastest of its group; its time is next to it."""
    if row is None or not row.measured:
        return Text("")
    fastest = min(each.time for each in group if each.measured)
    # In whole eighths of a letter, one at least, which is what a terminal can show.
    whole = 8 * width
    colour = "green" if mark(row) == FASTEST else "cyan"
    return Bar(whole, 0, max(1, round(whole * fastest / row.time)), width=width, color=colour)


def _has_bars(item: Grid | Text) -> bool:
    columns = item.columns if isinstance(item, Grid) else []
    cells = (cell for column in columns for cell in column.cells)
    return any(isinstance(getattr(cell, "renderable", cell), Bar) for cell in cells)


def compared(group: Sequence[Row]) -> bool:
    """Whether there are times to hold against each other."""
    return sum(row.measured for row in group) > 1


def _of(group: Sequence[Row], backend: str) -> Row | None:
    return next((row for row in group if row.case.backend == backend), None)


def _cell(row: Row | None, part: TablePart) -> Text:
    """What a part tells of a row; the mark of the first stands before its time."""
    if row is None:
        return Text("")
    text = part.text(row)
    sign = mark(row)
    if part.heading in ("median", "per timestep") and sign:
        return Text(f"{sign} {text}", style=WINNER if sign == FASTEST else "bold")
    # The last words of a cell are its verdict or its outcome, if it has one.
    last = text.split()[-1:] or [""]
    return Text(text, style=STYLES.get(text) or STYLES.get(last[0], ""))


def _folded(text: str, width: int) -> list[str]:
    """A name over several lines, broken after a plus sign or else where it must be."""
    lines = [""]
    for piece in text.replace("+", "+\0").split("\0"):
        for start in range(0, len(piece), width):
            part = piece[start : start + width]
            if cell_len(lines[-1]) + cell_len(part) > width and lines[-1]:
                lines.append("")
            lines[-1] += part
    return lines


_GAP = 2
_SHORTEST_BRIEF_BAR, _LONGEST_BRIEF_BAR = 6, 16
_SHORTEST_NAME = 8


def draw_brief(section: Section, console: Console, rows: int) -> None:
    """Print a section; of each table at most ``rows`` rows."""
    console.print(Text(heading(section), style="bold"))
    for label, text in machine(section):
        if label != "System":
            console.print(Text(f"{label}: {text}", style="dim"))
    layouts = []
    for table in section.timed_tables:
        layouts.append(layout := _layout(table, console.width))
        shown, left = table.begin(rows)
        console.print()
        console.print(Text(title(table), style="bold"))
        for group in filter(None, map(_worth_a_line, shown.groups)):
            console.print(Text(", ".join(_work(group[0], table))))
            console.print(_group(group, layout))
        if left:
            console.print(Text(f"and {count(left, f'more {table.noun}')}", style="dim"))
    console.print()
    for finding in findings(section):
        if finding.loud:
            console.print(finding_line(finding))
    if any(row.measured for row in section.rows):
        for line in _reading(section, layouts):
            console.print(Text(line, style="dim"))


def _worth_a_line(group: Sequence[Row]) -> Sequence[Row]:
    """Without what cannot run here, which is no news in a screenful: the whole report has why."""
    return [row for row in group if row.outcome not in ("not_measured", "refused")]


def _work(row: Row, table: Table) -> list[str]:
    words = work_words(row, table)
    return words if table.kind == KINDS[1] else words[:-1]  # without the shape's id


@dataclass(frozen=True)
class _Layout:
    """What stands in the lines of a table. columns: what each says of a row, and how wide it is.

    bars: their length, 0 where there is no room or nothing to compare. intervals: whether those of
    times are among the columns.
    """

    columns: Sequence[tuple[Callable[[Row], Text], int]]
    bars: int
    intervals: bool


def _layout(table: Table, width: int) -> _Layout:
    time, interval = parts(table)[:2]

    def backend(row: Row) -> Text:
        return Text(name(row.case.backend), style=_style(row))

    def median(row: Row) -> Text:
        text = time.text(row)
        return Text(text, style=_style(row) or STYLES.get(text, ""), justify="right")

    def around(row: Row) -> Text:
        return Text(interval.text(row), style="dim", justify="right")

    def versus(row: Row) -> Text:
        return _versus(row, table)

    rows = [row for each in table.groups for row in _worth_a_line(each)]
    columns = {
        cell: max((cell_len(cell(row).plain) for row in rows), default=0)
        for cell in (_sign, backend, median, around, versus)
    }

    def left() -> int:
        """Cells for a bar, or less than none."""
        return width - sum(columns.values()) - _GAP * len(columns)

    if left() < 0:
        del columns[around]
    # Names give way where there is no room: of all that stands here they are the longest.
    columns[backend] = max(min(columns[backend], _SHORTEST_NAME), columns[backend] + min(0, left()))
    bars = min(left(), _LONGEST_BRIEF_BAR) if any(map(compared, table.groups)) else 0
    return _Layout(
        [*columns.items()], bars if bars >= _SHORTEST_BRIEF_BAR else 0, around in columns
    )


def _group(group: Sequence[Row], layout: _Layout) -> Grid:
    """A line for each backend; all groups of a table have the same columns."""
    bars = layout.bars if compared(group) else 0
    grid = Grid(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    for size in [*(size for _, size in layout.columns), *[bars] * bool(bars)]:
        grid.add_column(no_wrap=True, width=size)
    for row in group:
        cells: list[RenderableType] = [cell(row) for cell, _ in layout.columns]
        grid.add_row(*cells, *([bar(row, group, bars)] if bars else []))
    return grid


def _sign(row: Row) -> Text:
    return Text(f"  {mark(row)}".ljust(3), style=_style(row))


def _style(row: Row) -> str:
    """The winner's, if it is FASTER than the others."""
    return WINNER if mark(row) == FASTEST else "bold" if mark(row) else ""


def _versus(row: Row, table: Table) -> Text:
    """How it stands to the baseline, in words that can be read aloud."""
    described = Text()
    if row.to_baseline is not None:
        found = row.to_baseline
        ratio, verdict = found.ratio, found.verdict.value
        described.append(f"{verdict:<9}", style=STYLES.get(verdict, ""))
        described.append(f"{times_as_fast(ratio.mid)}×")
        around = times_bounds(ratio.low, ratio.high)
        if spread := spread_words(found):
            around += f"; spread {spread}"
        described.append(f" ({around})", style="dim")
    elif row.measured and row.case.backend == table.baseline:
        described.append("baseline", style="dim")
    if row.error is not None:
        described.append(f" error {error(row)}")
    if not row.trusted:
        described.append(" INVALID", style=STYLES["INVALID"])
    return described


def _reading(section: Section, layouts: Sequence[_Layout]) -> list[str]:
    """How to read what is shown, and no more."""
    lines = [f"{each}." for each in notes(section.rows)]
    if any(layout.bars for layout in layouts):
        lines.append(f"{BARS}.")
    text = "Times are medians"
    if any(layout.intervals for layout in layouts):
        text += f" with their {TIME_INTERVAL}"
    text += "."
    if any(row.to_baseline for row in section.rows):
        text += (
            f" Speedups are over {name(section.baseline)} with their {RATIO_INTERVAL}. FASTER and "
            "SLOWER: all of it is on that side of 1 (statistically significant), SAME: within "
            f"±{100 * SAME_WITHIN:g}%, UNCLEAR: anything else."
        )
    lines.append(text)
    more = [*unclear([row.to_baseline for row in section.rows]), *few(section.rows)]
    return [*lines, *(f"{each}." for each in more)]


def draw_whys(section: Section, console: Console, rows: int) -> None:
    """Print what binds each case, for a terminal."""
    console.print(Text(heading(section), style="bold"))
    for table in section.timed_tables:
        shown, left = table.begin(rows)
        console.print()
        console.print(Text(title(table), style="bold"))
        for row in measured_rows(shown):
            text = f"{name(row.case.backend)} {name(row.case.shape)} {seconds(row.time)}"
            console.print(Text(text))
            console.print(Text(f"  {clean(bound_sentence(row), LONGEST_SENTENCE)}", style="dim"))
        if left:
            console.print(Text(f"and {left:,} more; --format csv has all", style="dim"))
    for text in uneven_bridges(section.rows):
        console.print()
        console.print(Text(f"{text}."))
