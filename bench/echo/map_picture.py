"""A map of what truncation windows learn as a picture: d x k, the state carried and reset.

This room knows maps and matplotlib, which is imported when something is drawn and not before.
"""

from __future__ import annotations

import io
import textwrap
from typing import Any

from bench.echo.words import STATE_NAMES, TASK_NAMES, about, percent
from bench.records.maps import LEARNED, LearningMap, nothing_to_learn
from bench.render import drawing
from bench.render.drawing import INK, SUBTLE, Figure

_FAINT = "#B8B8B8"
_LEFT = 0.9  # inches from the picture's edge to its panels and text
_LETTERS = 15.0  # of the subtitle that fit into an inch
_EDGE = "#D55E00"  # Okabe & Ito's vermilion, beside cividis the colour that differs most from it


def picture(found: LearningMap, kind: str) -> bytes:
    """A map drawn as a picture of this kind, one of ``drawing.FORMATS``."""
    file = io.BytesIO()
    # The same map gives the same bytes: no date, and names from a fixed salt.
    with drawing.matplotlib().rc_context(
        {"svg.hashsalt": "bench.learning", "svg.fonttype": "path"}
    ):
        drawn = draw(found)
        drawn.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def draw(found: LearningMap) -> Figure:
    """A figure with a panel for each task (rows) and state (columns) of a map."""
    from matplotlib import colormaps

    tasks = found.tasks()
    states = tuple(
        carried
        for carried in (True, False)
        if any(found.distances(task, carried) for task in tasks)
    )
    width = 0.6 + 5.6 * len(states)
    letters = int((width - _LEFT) * _LETTERS)
    lines = [line for told in _subtitle(found) for line in textwrap.wrap(told, letters)]
    head = 1.05 + 0.175 * len(lines)  # inches above the panels
    figure = drawing.figure(width, head + 0.25 + 2.9 * len(tasks), layout=None, dpi=150)
    colours = colormaps["cividis"]
    height = figure.get_figheight()
    panels = figure.subplots(
        len(tasks),
        len(states),
        squeeze=False,
        gridspec_kw={
            "left": _LEFT / width,
            "right": 0.985,
            "top": 1.0 - head / height,
            "bottom": 0.6 / height,
            "hspace": 0.4,
            "wspace": 0.14,
        },
    )
    for row, task in enumerate(tasks):
        for column, carried in enumerate(states):
            _panel(panels[row][column], found, task, carried, colours)
            if column == 0:
                panels[row][column].set_ylabel("distance d", fontsize=10, color=INK)
            if row == len(tasks) - 1:
                panels[row][column].set_xlabel(
                    "window k (timesteps of back-propagation)", fontsize=10, color=INK
                )
    _write_head(figure, "\n".join(lines))
    return figure


def _write_head(figure: Figure, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(
        _LEFT / width,
        1.0 - 0.42 / height,
        "What a truncation window can learn",
        fontsize=15,
        fontweight="bold",
        color=INK,
    )
    figure.text(
        _LEFT / width,
        1.0 - 0.52 / height,
        subtitle,
        va="top",
        fontsize=8.5,
        linespacing=1.45,
        color=SUBTLE,
    )


def _subtitle(found: LearningMap) -> tuple[str, str, str]:
    return (
        "Per cent of the way from the memoryless loss to the best possible one, mean over seeds.",
        f"Framed: every seed came {LEARNED:.0%} of the way. Orange line: k = d. Hatched: nothing "
        "to learn.",
        about(found),
    )


def _panel(axes: Figure, found: LearningMap, task: str, carried: bool, colours: Any) -> None:
    from matplotlib.patches import Rectangle

    distances, windows = found.distances(task), found.windows(task)
    for row, distance in enumerate(distances):
        for column, window in enumerate(windows):
            cells = found.seeds(task, distance, window, carried)
            shares = [cell.closed for cell in cells if cell.closed is not None]
            corner = (column, row)
            if nothing_to_learn(distance, window, carried) or not shares:
                axes.add_patch(
                    Rectangle(corner, 1, 1, facecolor="white", hatch="///", edgecolor=_FAINT)
                )
                continue
            share = sum(shares) / len(shares)
            seen = min(max(share, 0.0), 1.0)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colours(seen), edgecolor="white"))
            ink = "white" if seen < 0.55 else "black"
            axes.text(
                column + 0.5,
                row + 0.5,
                percent(share),
                ha="center",
                va="center",
                fontsize=9.5,
                color=ink,
            )
            if found.learned(distance, window, carried, task):
                axes.add_patch(
                    Rectangle(
                        (column + 0.07, row + 0.07),
                        0.86,
                        0.86,
                        fill=False,
                        edgecolor=INK,
                        linewidth=1.6,
                        zorder=3,
                    )
                )
    _diagonal(axes, distances, windows)
    axes.set_xlim(-0.02, len(windows) + 0.02)
    axes.set_ylim(-0.02, len(distances) + 0.02)
    axes.set_xticks([column + 0.5 for column in range(len(windows))], [str(k) for k in windows])
    axes.set_yticks([row + 0.5 for row in range(len(distances))], [str(d) for d in distances])
    axes.tick_params(length=0, labelsize=9.5, colors=INK)
    axes.set_title(
        f"{TASK_NAMES[task]}, {STATE_NAMES[carried]}",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    axes.spines[:].set_visible(False)


def _diagonal(axes: Figure, distances: tuple[int, ...], windows: tuple[int, ...]) -> None:
    """The stair between windows that are no longer than the distance and those that are."""
    x: list[float] = []
    y: list[float] = []
    for row, distance in enumerate(distances):
        edge = sum(window <= distance for window in windows)
        x += [edge, edge]
        y += [row, row + 1]
    axes.plot(x, y, color=_EDGE, linewidth=3, zorder=4, solid_capstyle="butt", clip_on=False)
