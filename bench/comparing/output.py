"""How a comparison is shown: in a terminal, as Markdown, CSV or JSON, and to GitHub Actions.

This room knows a finished ``compare.Report`` and nothing of how it came about. Names and reasons
in it come from result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from bench.cli.command_line import UsageError
from bench.cli.output import Target, deliver
from bench.comparing import words
from bench.comparing.comparison import Report, Row
from bench.comparing.data import as_json, comma_separated
from bench.comparing.maps_words import markdown_maps, terminal_maps
from bench.render import drawing
from bench.render.console import print_below
from bench.render.escape import code
from bench.render.escape import markdown as escaped
from bench.render.marks import RATIO_INTERVAL, STYLES
from bench.render.quantities import seconds
from bench.render.table import Cell, Column, Sheet
from bench.stats.comparison import Verdict

_COLUMNS = (
    Column("case", names=True, most=160 + len("...")),
    *(Column(heading, right=True, whole=True) for heading in ("base", "new", "speed")),
    *(Column(heading, whole=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("runs", right=True, whole=True),
)
_GAP = 2  # blanks between the columns of a terminal's table
_NARROWEST = 24  # of a case's name, before columns are left out for it


def show(report: Report, kind: str, target: Target) -> None:
    """Write the report, and tell GitHub Actions of it where it runs.

    Raises UsageError if a file cannot be written.
    """
    deliver(
        kind,
        target,
        terminal=lambda console: _terminal(report, console),
        texts={
            "markdown": lambda: markdown(report),
            "csv": lambda: comma_separated(report),
            "json": lambda: as_json(report),
            **{form: functools.partial(_picture, report, form) for form in drawing.FORMATS},
        },
        annotations=lambda: words.warning_lines(report),
    )


def _picture(report: Report, kind: str) -> bytes:
    """The maps, drawn. Raises UsageError where there is none."""
    if not report.maps:
        raise UsageError(report.no_map or report.finding or "there is no map to draw")
    from bench.comparing import crossover_picture

    return crossover_picture.picture(report.maps, kind)


# A terminal


def _terminal(report: Report, console: Console) -> None:
    console.print(Text(words.clean_name(report.title, 300), style="bold"))
    for line in report.opening:
        console.print(Text(words.clean_name(line, 2000)))
    constant = words.constant_parts(report.rows)
    if constant:
        common = ", ".join(
            words.clean_name(words.part_words(report.rows[0].case, part)) for part in constant
        )
        console.print(Text(f"All of them: {common}.", style="dim"))
    sheets = {
        heading: _sheet(report, heading, lambda row: words.row_name(row, constant))
        for heading in dict.fromkeys(row.heading for row in report.rows)
    }
    columns, widths = _fitting(sheets.values(), console.width)
    for heading, sheet in sheets.items():
        console.print()
        if heading:
            console.print(Text(words.clean_name(heading, 200), style="bold"))
        # Columns are as wide as those of every other table of the report.
        told = tuple(
            replace(column, least=width, widest=None if column.whole else width)
            for column, width in zip(sheet.columns, widths, strict=True)
        )
        console.print(replace(sheet, columns=told).only(columns).grid())
    terminal_maps(report, console)
    for lines, style in ((words.summary_lines(report), ""), (words.method_lines(report), "dim")):
        if lines:
            console.print()
        for line in lines:
            console.print(Text(line, style=style))
    for title, lines in words.details(report):
        print_below(console, title, lines)


def _fitting(sheets: Iterable[Sheet], room: int) -> tuple[list[int], list[int]]:
    """The columns for which there is room, and how wide each of all is."""
    columns = [*range(len(_COLUMNS))]
    widths = [
        max(len(text) for text in (column.heading, *(line[at].text for line in lines)))
        for lines in [[line for sheet in sheets for line in sheet.lines]]
        for at, column in enumerate(_COLUMNS)
    ]

    def left() -> int:
        taken: int = sum(widths[index] + _GAP for index in columns[1:])
        return room - taken

    for index, column in enumerate(_COLUMNS):
        if column.heading in ("base", "new", "runs") and left() < min(_NARROWEST, widths[0]):
            columns.remove(index)
    widths[0] = max(8, min(widths[0], left()))
    return columns, widths


def _sheet(report: Report, heading: str, name: Callable[[Row], str]) -> Sheet:
    """The cases below a heading of the report."""
    return Sheet.of(
        _COLUMNS, [_cells(row, name(row)) for row in report.rows if row.heading == heading]
    )


def _cells(row: Row, name: str) -> list[str | Cell]:
    found = row.comparison
    verdict = found.verdict
    return [
        name,
        seconds(row.base_s),
        seconds(row.new_s),
        words.speed_words(found.ratio.mid),
        words.bounds_words(found.ratio),
        Cell(
            words.verdict_word(row),
            style=STYLES[verdict],
            strong=verdict in (Verdict.FASTER, Verdict.SLOWER),
        ),
        f"{found.processes}{'*' if found.allowance else ''}",
    ]


# Markdown


def markdown(report: Report) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {escaped(words.clean_name(report.title, 300))}", ""]
    out += [f"- {escaped(words.clean_name(line, 2000), 2000)}" for line in report.opening]
    out += [f"- {escaped(line)}" for line in words.summary_lines(report)]
    headings = dict.fromkeys(row.heading for row in report.rows)
    for heading in headings:
        out.append("")
        if heading:
            out += [f"### {escaped(words.clean_name(heading, 200))}", ""]
        out.append(
            _sheet(report, heading, lambda row: words.clean_name(row.case.id, 160)).markdown()
        )
    out += markdown_maps(report)
    method = words.method_lines(report)
    if method:
        out += ["", *(f"- {escaped(line)}" for line in method)]
    for title, lines in words.details(report):
        told = (code(words.clean_name(line, 1000), 1000 + len("...")) for line in lines)
        out += ["", f"#### {escaped(title)}", "", *(f"- {each}" for each in told)]
    return "\n".join(out) + "\n"
