"""What windows cost, as a picture: time per timestep and memory against k, and what is learned.

One picture a stream: a line a backend with the band of its intervals, both axes logarithmic; memory
below it on the same windows, where it was measured; above it the distance that was learned at each
window. This room knows a finished stream and how to draw it; matplotlib is imported when it draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from textwrap import fill, wrap

from bench.render import drawing
from bench.render.drawing import FAINT, INK, SUBTLE, Axes
from bench.render.labels import heading, title
from bench.render.quantities import count, listed
from bench.stats.along import BackendCost, Stream, peak_bytes, timestep_interval, window
from bench.stats.intervals import CASE_CONFIDENCE

_SIZE = (7.6, 5.6)  # inches: a page's width
_HEIGHT_WITHOUT_MEMORY = 3.9
_MOST = 7
"""Lines with a name and a colour: more lie on one another; the rest are grey and counted."""

_LABEL_APART = 0.052
"""Of the axes' height: how far the names at the lines' ends keep from one another."""


def picture(stream: Stream, kind: str) -> bytes:
    """The stream's picture as the bytes of an SVG or PNG file."""
    with drawing.style():
        return drawing.encoded(draw(stream), kind)


def draw(stream: Stream) -> drawing.Figure:
    """Its figure: time per timestep, and under it memory where that was measured."""
    costs = [cost for cost in stream.backends if cost.measured]
    named, others = costs[:_MOST], costs[_MOST:]
    sized = any("peak_bytes" in row.memory for cost in costs for row in cost.measured)
    figure = drawing.figure(_SIZE[0], _SIZE[1] if sized else _HEIGHT_WITHOUT_MEMORY)
    grid = figure.add_gridspec(2 if sized else 1, 1, height_ratios=(1.55, 1)[: 1 + sized])
    time = figure.add_subplot(grid[0])
    _times(time, named, others)
    panels = [time]
    if sized:
        memory = figure.add_subplot(grid[1], sharex=time)
        _memory(memory, named, others)
        time.tick_params(labelbottom=False)
        panels.append(memory)
    _windows(panels, stream)
    figure.suptitle(
        "\n".join(
            ["What a truncation window costs", *wrap(drawing.label(title(stream.table), 160), 84)]
        ),
        x=0.01,
        ha="left",
        fontsize=9.5,
        fontweight="bold",
    )
    figure.supxlabel(_caption(stream, costs, others), x=0.01, ha="left", fontsize=6.5, color=SUBTLE)
    return figure


def _caption(stream: Stream, costs: Sequence[BackendCost], others: Sequence[BackendCost]) -> str:
    parts = [f"{heading(stream.section)}. Bands: {100 * CASE_CONFIDENCE:g}% intervals"]
    if any(_ends_early(cost, stream) for cost in costs):
        parts.append("×: the longest window that was reached")
    if any(row.validity.time for cost in costs for row in cost.measured):
        parts.append("hollow: doubtful times")
    if nowhere := [drawing.label(cost.backend) for cost in stream.backends if not cost.measured]:
        parts.append(f"without a time: {listed(nowhere)}")
    if others:
        parts.append(f"pale grey: {count(len(others), 'slower backend')}")
    if stream.learned is not None:
        parts.append("d: the largest measured distance that every seed learned at this window")
        if any(stream.short_of_updates(k) for k in stream.windows):
            parts.append("*: a shorter window learned more, with more updates")
    # A line of this size holds some 150 letters.
    told = f"{'. '.join(parts)}."
    return fill(told, 150, break_on_hyphens=False, break_long_words=False)


def _times(axes: Axes, named: Sequence[BackendCost], others: Sequence[BackendCost]) -> None:
    bands = {
        cost.backend: [
            (window(row), found)
            for row in cost.measured
            if (found := timestep_interval(row)) is not None
        ]
        for cost in (*named, *others)
    }
    middle = sorted(found.mid for points in bands.values() for _, found in points)
    unit, name = drawing.scale([middle[len(middle) // 2]])
    for cost in named:
        points = bands[cost.backend]
        axes.fill_between(
            [k for k, _ in points],
            [found.low / unit for _, found in points],
            [found.high / unit for _, found in points],
            color=drawing.look(cost.backend).colour,
            alpha=0.18,
            linewidth=0,
            zorder=2,
        )
    axes.set_xscale("log")
    times = {
        backend: [(k, found.mid / unit) for k, found in points] for backend, points in bands.items()
    }
    _lines(axes, named, others, times)
    axes.set_ylabel(f"time per timestep ({name})")


def _memory(axes: Axes, named: Sequence[BackendCost], others: Sequence[BackendCost]) -> None:
    sizes = {
        cost.backend: [
            (window(row), peak_bytes(row) / 2**20)
            for row in cost.measured
            if row.memory.get("peak_bytes")  # a peak of nothing has no place on such an axis
        ]
        for cost in (*named, *others)
    }
    _lines(axes, named, others, sizes)
    axes.set_ylabel("peak memory (MiB)")


def _lines(
    axes: Axes,
    named: Sequence[BackendCost],
    others: Sequence[BackendCost],
    found: Mapping[str, Sequence[tuple[int, float]]],
) -> None:
    """Of each backend what was found at its windows: a line with its name, or a pale one."""
    for cost in others:
        x, y = _x_and_y(found[cost.backend])
        axes.plot(x, y, color=FAINT, linewidth=0.8, zorder=1)
    ends = []
    for cost in named:
        if points := found[cost.backend]:
            _line(axes, cost, *_x_and_y(points))
            colour = drawing.look(cost.backend).colour
            ends.append((*points[-1], drawing.label(cost.backend), colour))
    axes.set_yscale("log")
    _plain_numbers(axes)
    _label_ends(axes, ends)


def _x_and_y(points: Iterable[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _line(axes: Axes, cost: BackendCost, x: Sequence[int], y: Sequence[float]) -> None:
    look = drawing.look(cost.backend)
    marks = {"marker": look.marker, "markersize": 3.2}
    axes.plot(x, y, color=look.colour, linestyle=look.dashes, linewidth=1.4, zorder=3, **marks)
    doubtful = {window(row) for row in cost.measured if row.validity.time}
    if hollow := [point for point in zip(x, y, strict=True) if point[0] in doubtful]:
        axes.plot(
            *_x_and_y(hollow),
            linestyle="none",
            markerfacecolor="white",
            markeredgecolor=look.colour,
            zorder=4,
            **marks,
        )
    if any(window(row) > x[-1] for row in cost.unreached):
        axes.plot(
            x[-1:],
            y[-1:],
            linestyle="none",
            marker="x",
            markersize=7,
            markeredgewidth=1.6,
            color=INK,
            zorder=4,
        )


def _ends_early(cost: BackendCost, stream: Stream) -> bool:
    last = window(cost.measured[-1])
    return last < stream.windows[-1] and any(window(row) > last for row in cost.unreached)


def _plain_numbers(axes: Axes) -> None:
    """Numbers as they are spoken, not powers of ten, on an axis that may span less than a decade.

    A decade has marks at 1, 2 and 5, and if the axis is shorter than that at more of them.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.5, alpha=0.6)


def _label_ends(axes: Axes, ends: Sequence[tuple[int, float, str, str]]) -> None:
    """The name of each line at the right edge, in its colour, apart from one another.

    A thin line leads from the name to where its line ends.
    """
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(((to_axes.transform((x, y))[1], x, y, *rest) for x, y, *rest in ends))
    height = _LABEL_APART * (1 if axes.get_subplotspec().rowspan.start == 0 else 1.55)
    heights = [each[0] for each in placed]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + height)
    # What was pushed past the top moves down again, and what is under it with it.
    over = heights[-1] - 1.0
    if over > 0:
        heights[-1] = 1.0
        for index in range(len(heights) - 2, -1, -1):
            heights[index] = min(heights[index], heights[index + 1] - height)
    for (_, x, y, name, colour), at in zip(placed, heights, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.035, at),
            textcoords="axes fraction",
            va="center",
            ha="left",
            fontsize=7,
            fontweight="bold",
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.7,
                "relpos": (0.0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def _windows(panels: Sequence[Axes], stream: Stream) -> None:
    """The windows along the shared axis, and above the first panel what was learned at each."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    windows = stream.windows
    last = panels[-1]
    last.xaxis.set_major_locator(FixedLocator(_apart(windows)))
    last.xaxis.set_minor_locator(NullLocator())
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    last.set_xlabel("k, timesteps in a window")
    if len(windows) > 1:
        last.set_xlim(windows[0] / 1.12, windows[-1] * 1.06)
    if stream.learned is None:
        return
    annotate = partial(
        panels[0].annotate,
        textcoords="offset points",
        va="bottom",
        fontsize=7.5,
        fontweight="bold",
    )
    learned = {k: stream.learnable(k) for k in windows}
    for k in _apart(windows):
        distance, mark = learned[k], "*" if stream.short_of_updates(k) else ""
        told = "–" if distance is None else f"{distance}{mark}"
        annotate(told, (k, 1.0), (0, 3), ("data", "axes fraction"), ha="center")
    annotate("learns d =", (0.0, 1.0), (-4, 3), "axes fraction", ha="right")
    # Where a longer distance is learned for the first time, a line through all panels.
    before = 0
    for k in windows:
        distance = learned[k] or 0
        if distance > before:
            for axes in panels:
                axes.axvline(k, color=SUBTLE, linewidth=0.7, linestyle=(0, (1, 2.5)), zorder=0)
            before = distance


def _apart(windows: Sequence[int]) -> list[int]:
    """Those whose numbers have room beside one another on a logarithmic axis; the ends always."""
    if len(windows) < 2:
        return list(windows)
    least = (windows[-1] / windows[0]) ** 0.04
    found = [windows[-1]]
    for k in reversed(windows[:-1]):
        if found[-1] / k >= least:
            found.append(k)
    return found[::-1]
