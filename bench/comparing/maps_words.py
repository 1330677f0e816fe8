"""The maps of two devices as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.comparing.comparison import Report
from bench.comparing.crossover import INVALID, Cell, Map
from bench.comparing.words import clean_name, speed_words
from bench.judging.verdict import Verdict
from bench.telling.inert import markdown as escaped
from bench.telling.inert import spreadsheet
from bench.telling.quantities import count

# Of a map's cells, beside their ratios.
MARKS = {
    Verdict.FASTER.value: "F",
    Verdict.SLOWER.value: "S",
    Verdict.SAME.value: "=",
    Verdict.UNCLEAR.value: "?",
    INVALID: "!",
}

_LINE = "┃"
_MOST_MAPS = 12  # are shown; CSV and JSON have all
_WINS = "wins from hidden size"
STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}


# The maps of two devices


def map_title(found: Map) -> str:
    """``gpu:0 over cpu, the fastest backend of each: training, float32, 50 steps, 128 in``."""
    who = clean_name(found.backend, 60) if found.backend else "the fastest backend of each"
    return f"{clean_name(found.new_label)} over {clean_name(found.base_label)}, {who}: {found.work}"


def map_legend(maps: Sequence[Map]) -> list[str]:
    """How to read the maps."""
    if not maps:
        return []
    kinds = {cell.state: None for found in maps for cell in found.cells}
    marks = ", ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in kinds)
    few = any(cell.comparison.allowance for found in maps for cell in found.cells)
    lines = [
        "In a map: how many times as fast the new device is as the base, above 1 it is faster; "
        f"{marks}. Blank: not measured on both."
    ]
    if any(cell.base_case.backend != cell.case.backend for found in maps for cell in found.cells):
        lines.append(
            "The fastest backend of each: picked after measuring, so that its time is a little too "
            "short on both sides; --format json says which it was."
        )
    if few:
        lines.append("With an allowance for the spread between processes, as * in the table.")
    return lines


def cell_text(cell: Cell | None) -> str:
    """``3.205 F``, empty where nothing was measured."""
    return f"{speed_words(cell.comparison.ratio.mid)} {MARKS[cell.state]}" if cell else ""


def _map_rows(found: Map, line: str) -> list[list[str]]:
    """Per batch: its name, its cells, and from where on the new device wins; line: before a cell
    at which it begins, or ceases, to win."""
    rows = []
    for batch in found.batches:
        cells = []
        for hidden in found.hidden_sizes:
            cell = found.by_place.get((batch, hidden))
            before = line if cell is not None and found.starts(cell) else ""
            cells.append(f"{before}{cell_text(cell)}")
        rows.append([str(batch), *cells, found.wins_from(batch)])
    return rows


def _shown_maps(report: Report) -> tuple[Sequence[Map], str]:
    """Those that are shown, and a word of those that are not."""
    more = len(report.maps) - _MOST_MAPS
    told = f"{count(more, 'more map')}: --format json has all." if more > 0 else ""
    return report.maps[:_MOST_MAPS], told


def terminal_maps(report: Report, console: Console) -> None:
    """Each map in a terminal, as wide as that is."""
    maps, more = _shown_maps(report)
    for found in maps:
        console.print()
        console.print(Text(map_title(found), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("batch \\ hidden", justify="right", no_wrap=True)
        for hidden in found.hidden_sizes:
            table.add_column(str(hidden), justify="right", no_wrap=True)
        table.add_column(_WINS, overflow="fold")
        for batch, cells in zip(found.batches, _map_rows(found, _LINE), strict=True):
            texts = [Text(each) for each in cells]
            for text, hidden in zip(texts[1:], found.hidden_sizes, strict=False):
                cell = found.by_place.get((batch, hidden))
                if cell is not None:
                    style = "yellow" if cell.invalid else STYLES[cell.comparison.verdict]
                    text.stylize(style)
            table.add_row(*texts)
        console.print(table)
    lines = [*map_legend(maps), *([more] if more else []), *([report.no_map] * bool(report.no_map))]
    if lines:
        console.print()
    for words in lines:
        console.print(Text(words, style="dim"))


def markdown_maps(report: Report) -> list[str]:
    """Each map as a table, in lines of Markdown."""
    maps, more = _shown_maps(report)
    out = []
    for found in maps:
        out += ["", f"### {escaped(map_title(found))}", ""]
        sizes = [str(hidden) for hidden in found.hidden_sizes]
        out.append(f"| batch \\ hidden | {' | '.join(sizes)} | {_WINS} |")
        out.append(f"|---:|{'---:|' * len(sizes)}---|")
        for batch, cells in zip(found.batches, _map_rows(found, ""), strict=True):
            texts = [escaped(each) for each in cells]
            for place, hidden in enumerate(found.hidden_sizes, start=1):
                cell = found.by_place.get((batch, hidden))
                if cell is not None and cell.wins:
                    texts[place] = f"**{texts[place]}**"
            out.append(f"| {' | '.join(texts)} |")
    lines = [*map_legend(maps), *([more] if more else []), *([report.no_map] * bool(report.no_map))]
    if lines:
        out += ["", *(f"- {escaped(line, 500)}" for line in lines)]
    return out


def cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet may open: no text becomes a formula."""
    return spreadsheet(value) if isinstance(value, str) else value
