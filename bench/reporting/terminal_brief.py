"""The report at a glance: each shape's backends in a screenful, the fastest first.

What a run ends with for somebody who has never seen a report: who has the shortest times, by how
much, and whether that is a verdict; the whole report has the rest. This room knows Rich and the
report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from bench.render.headings import few, heading, machine, name, title
from bench.render.marks import BARS, FASTEST, mark, notes
from bench.render.quantities import count, times_as, times_bounds
from bench.render.verdict_words import spread_words, unclear
from bench.reporting.sentences import findings
from bench.reporting.tables import parts, work_words
from bench.reporting.terminal import STYLES, WINNER, bar, compared, finding_line
from bench.stats.intervals import CASE_CONFIDENCE
from bench.stats.process_means import VERDICT_CONFIDENCE
from bench.stats.rows import KINDS, Row, Section, Table
from bench.stats.verdict import SAME_WITHIN

_GAP = 2
_SHORTEST_BAR, _LONGEST_BAR = 6, 16
_SHORTEST_NAME = 8


def draw(section: Section, console: Console, rows: int) -> None:
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
    bars = min(left(), _LONGEST_BAR) if any(map(compared, table.groups)) else 0
    return _Layout([*columns.items()], bars if bars >= _SHORTEST_BAR else 0, around in columns)


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
    told = Text()
    if row.to_baseline is not None:
        found = row.to_baseline
        ratio, verdict = found.ratio, found.verdict.value
        told.append(f"{verdict:<9}", style=STYLES.get(verdict, ""))
        told.append(times_as(ratio.mid))
        around = times_bounds(ratio.low, ratio.high)
        if spread := spread_words(found):
            around += f"; spread {spread}"
        told.append(f" ({around})", style="dim")
    elif row.measured and row.case.backend == table.baseline:
        told.append("baseline", style="dim")
    if not row.trusted:
        told.append(" INVALID", style=STYLES["INVALID"])
    return told


def _reading(section: Section, layouts: Sequence[_Layout]) -> list[str]:
    """How to read what is shown, and no more."""
    lines = [f"{each}." for each in notes(section.rows)]
    if any(layout.bars for layout in layouts):
        lines.append(f"{BARS}.")
    told = "Times are medians"
    if any(layout.intervals for layout in layouts):
        told += f", with {100 * CASE_CONFIDENCE:g}% intervals"
    told += "."
    if any(row.to_baseline for row in section.rows):
        told += (
            f" Speeds are against {name(section.baseline)}, with {100 * VERDICT_CONFIDENCE:g}% "
            "intervals. FASTER and SLOWER: all of the interval is on that side of 1, SAME: within "
            f"±{100 * SAME_WITHIN:g}%, UNCLEAR: anything else."
        )
    lines.append(told)
    more = [*unclear([row.to_baseline for row in section.rows]), *few(section.rows)]
    return [*lines, *(f"{each}." for each in more)]
