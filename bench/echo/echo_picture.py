"""The echo task's picture: the loss curve, and what the network saw, should say and said.

Still as a file, moving in a window, or moving in an animated GIF where there is no display. This
room knows matplotlib, which is imported when something is drawn and not before; what it draws is
given to it as plain arrays.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.echo.settings import EchoSettings
from bench.echo.task import COIN_TOSS, Float64, Window
from bench.machine.writing import write_bytes
from bench.render import drawing
from bench.render.drawing import INK, SUBTLE, Figure

SUFFIXES = tuple(f".{kind}" for kind in drawing.FORMATS)

# Okabe & Ito's colours, told apart by colour-blind eyes; the lanes' order says the same again.
INPUT, TARGET, PREDICTION, WRONG = "#0072B2", "#E69F00", "#009E73", "#D55E00"
FAINT, EPOCH = "#B8B8B8", "#E4E4E4"
_CROSS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "x",
    "markersize": 5,
    "markeredgewidth": 1.6,
    "color": INK,
}

SIZE = (12.0, 7.2)  # inches: near 16:9, as a slide or a README shows it
_MOST_SERIES = 6  # panels that stay readable at that height
_MOST_STEPS = 60  # bars that stay apart at that width
_SMOOTH = 50  # windows of the running median, as many as the summary's mean
_LINE = 150  # letters of the second title that fit side by side


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    losses: of all windows so far; best: the best possible of each, as long.
    windows: how many the training will have.
    last: the latest window.
    """

    settings: EchoSettings
    backend: str
    losses: Float64
    best: Float64
    windows: int
    last: Window


def save(scene: Scene, path: Path) -> None:
    """Draw ``scene`` into ``path`` (its suffix one of ``SUFFIXES``), atomically. Raises OSError."""
    figure = new_figure()
    draw(figure, scene)
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:].lower())
    write_bytes(path, file.getvalue())


def draw(figure: Figure, scene: Scene, lowest: float | None = None) -> None:
    """Draw ``scene`` on a matplotlib figure, replacing what it shows.

    lowest: a loss that the axis must reach down to, so that it stands still in a moving picture.
    """
    figure.clear()
    series = min(scene.settings.batch, _MOST_SERIES)
    grid = figure.add_gridspec(
        series,
        2,
        width_ratios=(1.15, 1.0),
        left=0.06,
        right=0.985,
        top=0.775,
        bottom=0.085,
        wspace=0.2,
        hspace=0.42,
    )
    _title(figure, scene)
    curve = figure.add_subplot(grid[:, 0])
    _loss(curve, scene, lowest)
    panels = [figure.add_subplot(grid[row, 1]) for row in range(series)]
    for row, axes in enumerate(panels):
        _series(axes, scene.last, row, scene.settings, last=row == series - 1)
    _headings(figure, curve, panels[0], scene.settings, series)


def _title(figure: Figure, scene: Scene) -> None:
    settings = scene.settings
    steps = "1 step" if settings.echo == 1 else f"{settings.echo} steps"
    at_a_time = "1 step" if settings.window == 1 else f"{settings.window} steps"
    figure.text(
        0.06,
        0.945,
        f"Repeat each bit {steps} later, learned {at_a_time} at a time",
        fontsize=16,
        fontweight="bold",
        color=INK,
    )
    size = f"LSTM of {settings.units} units"
    if settings.layers > 1:
        size += f" in each of {settings.layers} layers"
    parts = [size, f"batch {settings.batch}", f"Adagrad {settings.learning_rate:g}"]
    if settings.dropout:
        parts.append(f"dropout {settings.dropout:g}")
    if settings.step < settings.window:
        parts.append(f"a window every {settings.step} steps")
    parts.append("state reset at each window" if settings.reset_state else "state carried over")
    parts += [f"backend {scene.backend}", settings.dtype, f"seed {settings.seed}"]
    figure.text(
        0.06,
        0.925,
        _lines(parts),
        va="top",
        fontsize=9.5,
        linespacing=1.4,
        color=SUBTLE,
    )


def _lines(parts: list[str]) -> str:
    """The parts side by side, in as many lines as they need."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}  ·  {part}"
        if len(longer) <= _LINE:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def _loss(axes: Figure, scene: Scene, lowest: float | None) -> None:
    from matplotlib.ticker import FuncFormatter

    losses, epoch = scene.losses, scene.settings.windows_per_epoch
    x = np.arange(1, len(losses) + 1)
    for start in range(epoch, scene.windows, epoch):
        axes.axvline(start + 0.5, color=EPOCH, linewidth=1, zorder=0)
    axes.axhline(COIN_TOSS, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(x, losses, color=FAINT, linewidth=0.7, zorder=2, label="each window")
    axes.plot(
        x,
        running_median(losses, _SMOOTH),
        color=INPUT,
        linewidth=2.2,
        zorder=4,
        label=f"median of {_SMOOTH} windows",
    )
    costly = scene.best > 0
    if costly.any():
        often = np.count_nonzero(costly) > 40
        axes.plot(
            x[costly],
            scene.best[costly],
            linestyle="-" if often else "none",
            linewidth=1.8,
            marker="" if often else "v",
            markersize=7,
            color=WRONG,
            zorder=5,
            clip_on=False,
            label="best possible" if often else "best possible, where it is not 0",
        )
    axes.set_yscale("log")
    reach = min(lowest or 1.0, lowest_of(scene))
    axes.set_ylim(10.0 ** math.floor(math.log10(0.7 * reach)), max(2.0, 1.3 * losses.max()))
    axes.set_xlim(0, max(scene.windows, 2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.text(
        0.995,
        COIN_TOSS * 1.06,
        "a coin toss, ln 2",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=9,
        color=INK,
    )
    axes.set_xlabel(
        f"window (training step); lines part epochs of {epoch}"
        if scene.windows > epoch
        else "window (training step)",
        fontsize=10,
        color=INK,
    )
    axes.tick_params(labelsize=9, colors=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)


def lowest_of(scene: Scene) -> float:
    """The lowest positive loss that is drawn (0 has no place on a logarithmic axis)."""
    shown = np.concatenate([scene.losses, scene.best])
    return float(shown[shown > 0].min(initial=1.0))


_LANES = ("prediction", "target", "input")  # from the bottom up
_LANE = 1.35  # height of a lane: a bar of 1 and room above it


def _series(axes: Figure, window: Window, row: int, settings: EchoSettings, *, last: bool) -> None:
    """One series' three lanes of bars; a prediction's bar is as high as its probability of a 1."""
    part = slice(max(0, settings.window - _MOST_STEPS), settings.window)
    inputs, targets, ones = (
        array[part, row] for array in (window.inputs, window.targets, window.ones)
    )
    x = np.arange(settings.window)[part] + 1
    right = (ones > 0.5) == (targets == 1)
    for lane, heights, colours in (
        (2, inputs, INPUT),
        (1, targets, TARGET),
        (0, ones, np.where(right, PREDICTION, WRONG)),
    ):
        bottom = lane * _LANE
        axes.bar(x, heights, bottom=bottom, width=0.78, color=colours, linewidth=0)
        axes.axhline(bottom, color=FAINT, linewidth=0.8, zorder=0)
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    # A wrong prediction of 0 has no bar to be seen by, and colour alone is not enough.
    axes.plot(x[~right], np.full(np.count_nonzero(~right), 0.5), **_CROSS)
    axes.set_ylim(-0.08, 3 * _LANE)
    axes.set_xlim(x[0] - 0.6, x[-1] + 0.6)
    axes.set_yticks([lane * _LANE + 0.5 for lane in range(3)], _LANES, fontsize=8)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.tick_params(axis="x", labelsize=9, colors=INK, labelbottom=last, length=3.5 if last else 0)
    axes.set_title(
        f"series {row + 1}: {int(right.sum())} of {len(x)} right",
        loc="right",
        fontsize=9,
        color=INK,
        pad=2,
    )
    axes.spines[:].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if last:
        axes.set_xlabel("timestep of the window", fontsize=10, color=INK)


def _headings(
    figure: Figure, curve: Figure, top: Figure, settings: EchoSettings, series: int
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    which = "The last window"
    if series < settings.batch:
        which += f", {series} of {settings.batch} series"
    if settings.window > _MOST_STEPS:
        which += f", its last {_MOST_STEPS} steps"
    left, right = curve.get_position().x0, top.get_position().x0
    for x, text in ((left, "Loss: cross-entropy in nats"), (right, which)):
        figure.text(x, 0.845, text, fontsize=11.5, fontweight="bold", color=INK)
    wrong = (Patch(color=WRONG), Line2D([], [], **_CROSS))
    bars = [Patch(color=colour) for colour in (INPUT, TARGET, PREDICTION)]
    curves, names = curve.get_legend_handles_labels()
    for x, handles, labels in (
        (left, curves, names),
        (right, [*bars, wrong], ["input", "target", "prediction, as high as P(1)", "wrong"]),
    ):
        figure.legend(
            handles=handles,
            labels=labels,
            loc="upper left",
            bbox_to_anchor=(x - 0.006, 0.838),
            ncols=len(labels),
            fontsize=9,
            frameon=False,
            handlelength=1.1,
            columnspacing=1.4,
            handletextpad=0.5,
            borderpad=0.2,
        )


def running_median(values: Float64, length: int) -> Float64:
    """The median of the latest ``length`` values at each place, of fewer where there are fewer."""
    start = min(length, len(values))
    first = [np.median(values[: end + 1]) for end in range(start - 1)]
    rest = np.median(np.lib.stride_tricks.sliding_window_view(values, start), axis=-1)
    return np.concatenate([first, rest])


def new_figure(dpi: int = 150) -> Figure:
    """A figure that draws into memory, whatever display there is."""
    return drawing.figure(*SIZE, layout=None, dpi=dpi)
