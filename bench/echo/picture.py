"""Draw a training: its loss curve, and the last window's inputs, targets and predictions."""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.echo.task import COIN_TOSS, EchoSettings, Float64
from bench.echo.training import Window
from bench.machine.writing import write_bytes
from bench.render import plot
from bench.render.palette import BLUE, BROWN, GREEN, LIGHT, ORANGE, Theme
from bench.render.plot import Figure, current_theme

SUFFIXES = tuple(f".{kind}" for kind in plot.FORMATS)
INPUT, TARGET, PREDICTION, WRONG = BLUE, BROWN, GREEN, ORANGE
_MOST_SERIES = 6  # The number of panels that are readable at this height.
_MOST_STEPS = 60  # The number of bars that are distinct at this width.
_SMOOTH = 50  # The windows of the running median.
_LANE = 1.35  # The height of a lane: a bar of 1 and a gap.


@dataclass(frozen=True)
class Scene:
    """Hold the state of a training that is drawn.

    ``losses`` and ``best`` (the best possible loss) have an entry for each window so far.
    ``windows`` is the number of windows of the complete training.
    """

    settings: EchoSettings
    backend: str
    losses: Float64
    best: Float64
    windows: int
    last: Window


def save(scene: Scene, path: Path, theme: Theme = LIGHT) -> None:
    """Write a picture whose suffix is one of ``SUFFIXES``, atomically. Raises OSError."""
    with plot.apply_style(theme):
        figure = plot.empty_figure(12.0, 7.2, dpi=150)
        draw(figure, scene)
        write_bytes(path, plot.encode_figure(figure, path.suffix[1:].lower()))


def draw(figure: Figure, scene: Scene) -> None:
    """Draw a scene on an empty matplotlib figure with constrained layout."""
    settings = scene.settings
    title = f"Repeat each bit {settings.echo} timesteps later, with windows of {settings.window}"
    text = f"{title}\n{textwrap.fill(_subtitle(scene), 150)}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, color=current_theme().dim)
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1.0))
    curve = left.subplots()
    _draw_losses(curve, scene)
    series = min(settings.batch, _MOST_SERIES)
    panels = right.subplots(series, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(panels):
        _draw_series(axes, scene.last, row, settings)
    panels[-1].tick_params(axis="x", labelbottom=True, length=3.5)
    panels[-1].set_xlabel("timestep of the window", fontsize=10)
    _draw_legends(left, right, curve, settings)


def _subtitle(scene: Scene) -> str:
    settings = scene.settings
    layers = f" in each of {settings.layers} layers" if settings.layers > 1 else ""
    parts = [f"LSTM of {settings.units} units{layers}", f"batch {settings.batch}"]
    parts.append(f"{settings.optimizer.capitalize()} {settings.learning_rate:g}")
    if settings.dropout:
        parts.append(f"dropout {settings.dropout:g}")
    parts.append("state reset at each window" if settings.reset_state else "state carried over")
    parts += [f"backend {scene.backend}", settings.dtype, f"seed {settings.seed}"]
    return "  ·  ".join(parts)


def _draw_losses(axes: Figure, scene: Scene) -> None:
    losses, epoch = scene.losses, scene.settings.windows_per_epoch
    theme = current_theme()
    x = np.arange(1, len(losses) + 1)
    for start in range(epoch, scene.windows, epoch):
        axes.axvline(start + 0.5, color=theme.grid, linewidth=1, zorder=0)
    axes.axhline(COIN_TOSS, color=theme.text, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.text(1.0, COIN_TOSS * 1.06, "a coin toss, ln 2", ha="right", fontsize=9,
              transform=axes.get_yaxis_transform())  # fmt: skip
    axes.plot(x, losses, color=theme.edge, linewidth=0.7, zorder=2, label="each window")
    smooth = compute_running_median(losses, _SMOOTH)
    label = f"median of {_SMOOTH} windows"
    axes.plot(x, smooth, color=INPUT, linewidth=2.2, zorder=4, label=label)
    unknown = scene.best > 0
    if unknown.any():
        # A few windows are shown as marks, many as a line.
        line = np.count_nonzero(unknown) > 40
        look = {"linestyle": "-" if line else "none", "marker": "" if line else "v"}
        label = "best possible" if line else "best possible, where it is not 0"
        axes.plot(x[unknown], scene.best[unknown], color=WRONG, zorder=5, label=label, **look)
    axes.set_yscale("log")
    shown = np.concatenate([losses, scene.best])
    lowest = float(shown[shown > 0].min(initial=1.0))
    axes.set_ylim(10.0 ** math.floor(math.log10(0.7 * lowest)), max(2.0, 1.3 * losses.max()))
    axes.set_xlim(0, max(scene.windows, 2))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    epochs = f"; vertical lines: epochs of {epoch}" if scene.windows > epoch else ""
    axes.set_xlabel(f"window (training step){epochs}", fontsize=10)
    axes.tick_params(labelsize=9, which="both")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_series(axes: Figure, window: Window, row: int, settings: EchoSettings) -> None:
    """Draw the inputs, targets and predictions of a series. The height of a prediction is P(1)."""
    part = slice(max(0, settings.window - _MOST_STEPS), settings.window)
    arrays = window.inputs, window.targets, window.ones
    inputs, targets, ones = (array[part, row] for array in arrays)
    x = np.arange(settings.window)[part] + 1
    right = (ones > 0.5) == (targets == 1)
    shades = np.where(right, PREDICTION, WRONG)
    for lane, heights, colours in ((2, inputs, INPUT), (1, targets, TARGET), (0, ones, shades)):
        axes.bar(x, heights, bottom=lane * _LANE, width=0.78, color=colours, linewidth=0)
        axes.axhline(lane * _LANE, color=current_theme().line, linewidth=0.8, zorder=0)
    # A wrong prediction of 0 has no visible bar, and colour alone is not enough.
    axes.plot(x[~right], np.full(np.count_nonzero(~right), 0.5), **_cross())
    axes.set_ylim(-0.08, 3 * _LANE)
    axes.set_xlim(x[0] - 0.6, x[-1] + 0.6)
    names = ("prediction", "target", "input")
    axes.set_yticks([lane * _LANE + 0.5 for lane in range(3)], names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9, labelbottom=False, length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    share = f"series {row + 1}: {int(right.sum())} of {len(x)} correct"
    axes.set_title(share, loc="right", fontsize=9, pad=2)
    axes.spines[:].set_visible(False)


def _cross() -> dict[str, Any]:
    """Return the look of the sign for a wrong prediction."""
    look: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 5}
    return {**look, "color": current_theme().text}


def _draw_legends(left: Figure, right: Figure, curve: Figure, settings: EchoSettings) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    which = "The last window"
    if settings.batch > _MOST_SERIES:
        which += f", {_MOST_SERIES} of {settings.batch} series"
    if settings.window > _MOST_STEPS:
        which += f", its last {_MOST_STEPS} timesteps"
    wrong = (Patch(color=WRONG), Line2D([], [], **_cross()))
    bars = [Patch(color=colour) for colour in (INPUT, TARGET, PREDICTION)]
    names = ["input", "target", "prediction, as high as P(1)", "wrong"]
    for figure, heading, handles, labels in (
        (left, "Loss: cross-entropy in nats", *curve.get_legend_handles_labels()),
        (right, which, [*bars, wrong], names),
    ):
        figure.legend(
            *(handles, labels),
            loc="outside upper left",
            ncols=len(labels),
            title=heading,
            alignment="left",
            fontsize=9,
            frameon=False,
            handlelength=1.1,
        )


def compute_running_median(values: Float64, length: int) -> Float64:
    """Return the median of the latest ``length`` values at each place."""
    return np.array(
        [np.median(values[max(0, end - length) : end]) for end in range(1, len(values) + 1)]
    )
