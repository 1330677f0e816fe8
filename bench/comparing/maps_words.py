"""The maps of two devices as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from bench.comparing.comparison import Report
from bench.comparing.crossover import INVALID, Cell, Map
from bench.comparing.words import clean_name, speed_words
from bench.render.escape import markdown as escaped
from bench.render.marks import STYLES
from bench.render.quantities import count
from bench.render.table import Cell as Place
from bench.render.table import Column, Sheet
from bench.stats.comparison import Verdict

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


def cell_text(cell: Cell) -> str:
    """``3.205 F``."""
    return f"{speed_words(cell.comparison.ratio.mid)} {MARKS[cell.state]}"


def _sheet(found: Map, line: str) -> Sheet:
    """Per batch: its name, its cells, and from where on the new device wins; line: before a cell
    at which it begins, or ceases, to win."""

    def place(batch: int, hidden: int) -> Place:
        cell = found.by_place.get((batch, hidden))
        if cell is None:
            return Place()
        style = "yellow" if cell.invalid else STYLES[cell.comparison.verdict]
        before = line if found.starts(cell) else ""
        return Place(f"{before}{cell_text(cell)}", style=style, strong=cell.wins)

    return Sheet.of(
        [
            Column("batch \\ hidden", right=True, whole=True),
            *(Column(str(hidden), right=True, whole=True) for hidden in found.hidden_sizes),
            Column(_WINS),
        ],
        [
            [
                str(batch),
                *(place(batch, hidden) for hidden in found.hidden_sizes),
                found.wins_from(batch),
            ]
            for batch in found.batches
        ],
    )


def _shown_maps(report: Report) -> tuple[Sequence[Map], list[str]]:
    """Those that are shown, and what stands below them."""
    maps, more = report.maps[:_MOST_MAPS], len(report.maps) - _MOST_MAPS
    told = f"{count(more, 'more map')}: --format json has all." if more > 0 else ""
    return maps, [line for line in (*map_legend(maps), told, report.no_map) if line]


def terminal_maps(report: Report, console: Console) -> None:
    """Each map in a terminal, as wide as that is."""
    maps, lines = _shown_maps(report)
    for found in maps:
        console.print()
        console.print(Text(map_title(found), style="bold"))
        console.print(_sheet(found, _LINE).grid())
    if lines:
        console.print()
    for words in lines:
        console.print(Text(words, style="dim"))


def markdown_maps(report: Report) -> list[str]:
    """Each map as a table, in lines of Markdown."""
    maps, lines = _shown_maps(report)
    out = []
    for found in maps:
        out += ["", f"### {escaped(map_title(found))}", "", _sheet(found, "").markdown()]
    if lines:
        out += ["", *(f"- {escaped(line, 500)}" for line in lines)]
    return out
