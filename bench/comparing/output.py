"""How a comparison is shown: in a terminal, as Markdown, CSV or JSON, and to GitHub Actions.

This room knows a finished ``compare.Report`` and nothing of how it came about. Names and reasons
in it come from result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.comparing.comparison import Report, Row
from bench.comparing.data import as_json, comma_separated
from bench.comparing.github import warning_lines
from bench.comparing.maps_words import STYLES, markdown_maps, terminal_maps
from bench.comparing.words import (
    bounds_words,
    clean_name,
    constant_parts,
    details,
    method_lines,
    part_words,
    row_name,
    speed_words,
    summary_lines,
    verdict_word,
)
from bench.judging.verdict import Verdict
from bench.telling import drawing
from bench.telling.command_line import UsageError
from bench.telling.deliver import Target, deliver
from bench.telling.inert import code
from bench.telling.inert import markdown as escaped
from bench.telling.marks import RATIO_INTERVAL
from bench.telling.quantities import seconds

_HEADINGS = ("case", "base", "new", "speed", RATIO_INTERVAL, "verdict", "runs")
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
        annotations=lambda: warning_lines(report),
    )


def _picture(report: Report, kind: str) -> bytes:
    """The maps, drawn. Raises UsageError where there is none, or nothing to draw with."""
    if not report.maps:
        raise UsageError(report.no_map or report.finding or "there is no map to draw")
    if not drawing.available():
        raise UsageError(f"a picture needs matplotlib: {drawing.INSTALL}")
    from bench.comparing import crossover_picture

    return crossover_picture.picture(report.maps, kind)


# A terminal


def _terminal(report: Report, console: Console) -> None:
    console.print(Text(clean_name(report.title, 300), style="bold"))
    constant = constant_parts(report.rows)
    if constant:
        words = ", ".join(clean_name(part_words(report.rows[0].case, part)) for part in constant)
        console.print(Text(f"All of them: {words}.", style="dim"))
    rows = [(row, _cells(row, row_name(row, constant))) for row in report.rows]
    columns = [*range(len(_HEADINGS))]
    widths = [
        max(map(len, column)) for column in zip(_HEADINGS, *(c for _, c in rows), strict=True)
    ]

    def room() -> int:
        taken: int = sum(widths[index] + _GAP for index in columns[1:])
        return console.width - taken

    for name in ("base", "new", "runs"):
        if room() < min(_NARROWEST, widths[0]):
            columns.remove(_HEADINGS.index(name))
    widths[0] = max(8, min(widths[0], room()))
    for heading in dict.fromkeys(row.heading for row in report.rows):
        console.print()
        if heading:
            console.print(Text(clean_name(heading, 200), style="bold"))
        below = [item for item in rows if item[0].heading == heading]
        console.print(_table(below, columns, widths))
    terminal_maps(report, console)
    for lines, style in ((summary_lines(report), ""), (method_lines(report), "dim")):
        if lines:
            console.print()
        for line in lines:
            console.print(Text(line, style=style))
    for title, lines in details(report):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def _cells(row: Row, name: str) -> list[str]:
    found = row.comparison
    return [
        name,
        seconds(row.base_s),
        seconds(row.new_s),
        speed_words(found.ratio.mid),
        bounds_words(found.ratio),
        verdict_word(row),
        f"{found.processes}{'*' if found.allowance else ''}",
    ]


def _table(
    rows: Sequence[tuple[Row, list[str]]], columns: Sequence[int], widths: Sequence[int]
) -> Table:
    """A table whose columns are as wide as those of every other table of the report."""
    # The box puts one blank between two columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for index in columns:
        name, width = _HEADINGS[index], widths[index]
        if name == "case":
            table.add_column(name, overflow="fold", min_width=width, max_width=width)
        else:
            left = name in (RATIO_INTERVAL, "verdict")
            table.add_column(
                name, justify="left" if left else "right", no_wrap=True, min_width=width
            )
    verdict = _HEADINGS.index("verdict")
    for row, cells in rows:
        texts = [Text(cell) for cell in cells]
        texts[verdict].stylize(STYLES[row.comparison.verdict])
        table.add_row(*(texts[index] for index in columns))
    return table


# Markdown


def markdown(report: Report) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {escaped(clean_name(report.title, 300))}", ""]
    out += [f"- {escaped(line)}" for line in summary_lines(report)]
    headings = dict.fromkeys(row.heading for row in report.rows)
    for heading in headings:
        out.append("")
        if heading:
            out += [f"### {escaped(clean_name(heading, 200))}", ""]
        out += [f"| {' | '.join(_HEADINGS)} |", "|---|---:|---:|---:|---|---|---:|"]
        for row in report.rows:
            if row.heading == heading:
                name, *cells = _cells(row, _code(row.case.id))
                cells = [escaped(cell) for cell in cells]
                if row.comparison.verdict in (Verdict.FASTER, Verdict.SLOWER):
                    cells[-2] = f"**{cells[-2]}**"
                out.append(f"| {name} | {' | '.join(cells)} |")
    out += markdown_maps(report)
    method = method_lines(report)
    if method:
        out += ["", *(f"- {escaped(line)}" for line in method)]
    for title, lines in details(report):
        out += ["", f"#### {escaped(title)}", "", *(f"- {_code(line, 1000)}" for line in lines)]
    return "\n".join(out) + "\n"


def _code(text: str, limit: int = 160) -> str:
    """Text as a code span, also in a table's cell: nothing in it is Markdown, HTML or a mention."""
    return code(clean_name(text, limit), limit + len("..."))
