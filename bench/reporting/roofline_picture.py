"""The roofline as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.judging.rows import Row, ranked_backends
from bench.reporting.plot import Plot
from bench.telling import drawing
from bench.telling.drawing import Axes, Figure
from bench.telling.headings import heading, machine
from bench.telling.quantities import rate


def title(figure: Figure, plot: Plot, told: str) -> None:
    """What it is, then where and when it was measured."""
    letters = int(plot.width * 16)
    kinds = {row.case.device.partition(":")[0].upper() for row in plot.rows}
    hardware = [text for label, text in machine(plot.section) if label[:3] in kinds]
    lines = [
        told,
        drawing.label(heading(plot.section), letters),
        drawing.label("; ".join(hardware), letters),
    ]
    figure.suptitle(
        "\n".join(line for line in lines if line), fontsize=8.5, x=0.01, ha="left", linespacing=1.4
    )


# The roofline

_CHAIN = {"linestyle": "none", "marker": "_", "markersize": 9, "color": drawing.SUBTLE}


def roofline(plot: Plot) -> Figure:
    """Rate of operations over operations a byte, below what the device can do at best.

    Williams, Waterman & Patterson 2009. The roofs are taken back from how near to them the cases
    came, so they are those that were measured beside them.
    """
    rows = [row for row in plot.rows if plot.kind.has(row)]
    devices = list(dict.fromkeys(row.case.device for row in rows))
    figure = drawing.figure(plot.width, 3.6 * len(devices))
    title(figure, plot, "Roofline: how near to the device's measured best")
    names = ranked_backends(rows, plot.section.baseline)
    grid = figure.subplots(len(devices), 1, squeeze=False).flatten()
    for axes, device in zip(grid, devices, strict=True):
        _roofs(axes, [row for row in rows if row.case.device == device], names)
        axes.set_title(drawing.label(device, 20), loc="left")
    entries: dict[str, object] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    longest = max(map(len, entries))
    ncols = max(1, int(plot.width / (0.4 + 0.058 * longest)))
    figure.set_figheight(0.9 + 2.7 * len(devices) + 0.165 * math.ceil(len(entries) / ncols))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower left", ncols=ncols, frameon=False
    )
    return figure


def _roofs(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    xs = [row.roofs["operations"] / row.roofs["bytes"] for row in rows]
    ys = [row.roofs["operations"] / row.time for row in rows]
    _points(axes, rows, xs, ys, names)
    rates = [y / part for y, r in zip(ys, rows, strict=True) if (part := r.roofs.get("of_matmul"))]
    widths = [
        r.roofs["bytes"] / r.time / part for r in rows if (part := r.roofs.get("of_bandwidth"))
    ]
    low, high = min(xs) / 4, max(xs) * 4
    _lines(axes, low, high, rates, widths)
    if any(row.roofs.get("of_chain") for row in rows):
        axes.plot([], [], label="chain of waiting products", **_CHAIN)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    # matplotlib's own labels of a log axis are formulas, and none are read here.
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: rate(value))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("operations/s")


def _points(
    axes: Axes,
    rows: Sequence[Row],
    xs: Sequence[float],
    ys: Sequence[float],
    names: Sequence[str],
) -> None:
    """Each case by its backend and mode, with the roof of its own chain."""
    for name in names:
        look = drawing.look(name)
        for mode, filled in (("training", True), ("inference", False)):
            here = [
                (x, y)
                for x, y, row in zip(xs, ys, rows, strict=True)
                if (row.case.backend, row.case.workload.mode) == (name, mode)
            ]
            if here:
                axes.plot(
                    *zip(*here, strict=True),
                    linestyle="none",
                    marker=look.marker,
                    markersize=5,
                    markeredgewidth=1.2,
                    color=look.colour,
                    markerfacecolor=look.colour if filled else "white",
                    label=f"{drawing.label(name, 24)}, {mode}",
                )
    for x, y, row in zip(xs, ys, rows, strict=True):
        if row.invalid:
            axes.annotate("INVALID", (x, y), xytext=(4, -7), textcoords="offset points", fontsize=6)
        if chain := row.roofs.get("of_chain"):
            axes.plot(x, y / chain, **_CHAIN)


def _lines(
    axes: Axes, low: float, high: float, rates: Sequence[float], widths: Sequence[float]
) -> None:
    """The highest rate of products and the widest memory, from ``low`` to ``high``."""
    line = {"color": drawing.INK, "linewidth": 1.2}
    words = {"textcoords": "offset points", "fontsize": 7}
    if rates:
        top = max(rates)
        axes.plot([low, high], [top] * 2, **line)
        told = f"matrix products: {rate(top)}/s"
        axes.annotate(told, (low, top), xytext=(6, 2), va="bottom", **words)
    if widths:
        width = max(widths)
        # Where it passes the other roof it is none any more.
        until = min(high, max(rates) / width) if rates else high
        if until > low:
            axes.plot([low, until], [low * width, until * width], linestyle=(0, (5, 2)), **line)
            told = f"memory: {rate(width)}B/s"
            axes.annotate(told, (low, low * width), xytext=(6, 0), va="top", **words)
