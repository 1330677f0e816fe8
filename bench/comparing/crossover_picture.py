"""The maps of two devices as a picture: a tile a shape, and a heavy line where the winner changes.

The ratio and its mark stand in each tile, so that nothing depends on colour; what was not measured
stays blank. This room knows matplotlib through ``drawing``, and finished maps.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from bench.comparing.crossover import Cell, Map
from bench.comparing.maps_words import cell_text, map_legend, map_title
from bench.render import drawing
from bench.render.drawing import Axes, Figure
from bench.render.quantities import count

MOST_MAPS = 6
"""So many are drawn on one page, the best of each device first."""

_COLUMNS = 2
_WIDTH = 7.0  # inches
_ROW, _HEAD, _FOOT = 0.34, 0.85, 0.55
# Ratios beyond these have the palest and the strongest colour.
_STRONGEST = math.log(10)


def picture(maps: Sequence[Map], kind: str) -> bytes:
    """The maps, as a PNG, SVG or PDF file."""
    with drawing.style():
        return drawing.encoded(_draw(maps), kind)


def _draw(maps: Sequence[Map]) -> Figure:
    shown = maps[:MOST_MAPS]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    tallest = max(len(found.batches) for found in shown)
    figure = drawing.figure(_WIDTH, rows * (_HEAD + _ROW * tallest) + _FOOT)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, found in zip(grid, shown, strict=False):
        _map(axes, found)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    lines = map_legend(shown)
    if len(maps) > len(shown):
        lines.append(f"{count(len(maps) - len(shown), 'more map')} not drawn.")
    below = textwrap.fill(" ".join(lines), 125, break_long_words=False, break_on_hyphens=False)
    figure.supxlabel(below, fontsize=7, x=0.01, ha="left", color=drawing.SUBTLE)
    return figure


def _map(axes: Axes, found: Map) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    colours = colormaps["PuOr"]
    title, _, work = map_title(found).partition(": ")
    axes.set_title(
        f"{drawing.label(title, 70)}\n{drawing.label(work, 70)}", loc="left", fontsize=7.5
    )
    places = {
        (row, column): found.by_place[batch, hidden]
        for row, batch in enumerate(found.batches)
        for column, hidden in enumerate(found.hidden_sizes)
        if (batch, hidden) in found.by_place
    }
    for (row, column), cell in places.items():
        # Orange where the base is faster, violet where the new device is: both dark at the ends.
        strength = max(-1.0, min(1.0, -cell.comparison.log_ratio / _STRONGEST))
        colour = colours(0.5 + 0.5 * strength)
        # What cannot be trusted has no colour: it would say who wins.
        colour = to_rgba("#EEEEEE") if cell.invalid else colour
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor=colour,
                edgecolor="white",
                hatch="////" if cell.invalid else "",
            )
        )
        red, green, blue = (float(part) for part in colour[:3])
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axes.text(
            column,
            row,
            cell_text(cell),
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold" if cell.wins else "normal",
            color="white" if dark else drawing.INK,
        )
    for start, end in _line(places):
        axes.plot(*zip(start, end, strict=True), color="black", linewidth=2.4, zorder=3)
    axes.set_xlim(-0.5, len(found.hidden_sizes) - 0.5)
    axes.set_ylim(len(found.batches) - 0.5, -0.5)
    axes.set_xticks(range(len(found.hidden_sizes)), [str(each) for each in found.hidden_sizes])
    axes.set_yticks(range(len(found.batches)), [str(each) for each in found.batches])
    axes.set_xlabel("hidden size")
    axes.set_ylabel("batch")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


_Point = tuple[float, float]


def _line(places: dict[tuple[int, int], Cell]) -> list[tuple[_Point, _Point]]:
    """The edges between neighbouring tiles, of which the new device wins one and not the other.

    Beside a blank there is no edge: what is not measured is on no side.
    """
    edges: list[tuple[_Point, _Point]] = []
    for (row, column), cell in places.items():
        right, below = places.get((row, column + 1)), places.get((row + 1, column))
        if right is not None and right.wins != cell.wins:
            edges.append(((column + 0.5, row - 0.5), (column + 0.5, row + 0.5)))
        if below is not None and below.wins != cell.wins:
            edges.append(((column - 0.5, row + 0.5), (column + 0.5, row + 0.5)))
    return edges
