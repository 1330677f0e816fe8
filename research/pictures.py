"""Draw the pictures of ``research/verdicts.md``: how often the verdicts are right."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.render.palette import COLOURS, DARK, DASHES, LIGHT, MARKERS, Theme
from bench.render.plot import Axes, Figure, apply_style, current_theme, empty_figure
from bench.render.quantities import count as number_of
from bench.stats.comparison import Verdict
from research.noises import (
    PAIRED_SPREADS,
    UNPAIRED_SPREADS,
    Noise,
    draw_measured,
    draw_outlying_processes,
)
from research.rules import (
    paired_verdicts,
    processes_needed,
    rate,
)

PROMISES = {6: (0.10, 0.70, 0.55), 20: (0.05, 0.80, 0.68)}
"""The promises by the number of processes: an effect, and the power in measured noise and with
outliers.
"""

# Pictures

LINES = tuple(zip(MARKERS, (*DASHES, *DASHES), strict=True))
"""The marker and the dashes of each line: colour alone distinguishes nothing."""

COUNTS = (1, 3, 6, 10, 20, 50)


EFFECTS = np.linspace(0, 0.15, 61)
"""The slowdowns of the picture of power."""


@functools.cache
def _simulate_power(noise: Noise, count: int, trials: int) -> list[float]:
    """Return in how many of a hundred comparisons each of ``EFFECTS`` is found."""
    found = paired_verdicts(EFFECTS, noise, count, trials)
    return [100 * rate(each, Verdict.SLOWER) for each in found]


def draw_power(trials: int) -> Figure:
    """Draw the power over the size of the effect, with a line for each number of processes."""
    figure, axes = _figure(2, "How surely an effect is found: paired processes")
    worlds = (
        ("noise as measured", draw_measured),
        ("a bad process in ten", draw_outlying_processes),
    )
    for panel, (axis, (name, noise)) in enumerate(zip(axes, worlds, strict=True)):
        for count, colour, look in zip(COUNTS, COLOURS, LINES, strict=False):
            rates = _simulate_power(noise, count, trials)
            axis.plot(
                100 * EFFECTS, rates, color=colour, label=number_of(count, "process"), **_line(look)
            )
        for count, (effect, *promised) in PROMISES.items():
            axis.plot(
                100 * effect,
                100 * promised[panel],
                marker="D",
                markersize=8,
                markerfacecolor=current_theme().back,
                markeredgecolor=COLOURS[COUNTS.index(count)],
                markeredgewidth=2,
                linestyle="none",
                label=f"promised for {count}",
            )
        axis.set(title=name, xlabel="true slowdown, %")
    axes[0].set_ylabel("comparisons that say SLOWER, %")
    _legend_below(figure, axes[0], 4)
    return figure


def draw_needed() -> Figure:
    """Draw how many processes are needed over the size of the effect."""
    figure, axes = _figure(1, "Processes needed to find an effect in 90% of comparisons")
    axis = axes[0]
    effects = np.geomspace(0.02, 1.0, 100)
    lines = (
        *((True, spread) for spread in (0.013, *PAIRED_SPREADS)),
        *((False, spread) for spread in UNPAIRED_SPREADS),
    )
    for (paired, spread), colour, look in zip(lines, COLOURS, LINES, strict=False):
        counts = [processes_needed(e, spread, paired) for e in effects.tolist()]
        axis.step(
            100 * effects,
            [math.nan if count is None else count for count in counts],
            where="post",
            color=colour,
            **_line(look),
            label=f"paired, spread {spread:.1%}" if paired else f"unpaired, spread {spread:.0%}",
        )
    axis.axhspan(0.8, 5.5, color=current_theme().text, alpha=0.06, lw=0)
    axis.text(
        2.1, 3.4, "fewer than 6: an allowance stands\nfor what they cannot show", va="top", size=9
    )
    axis.set(xscale="log", yscale="log", xlim=(2, 100), ylim=(0.8, 2000))
    _plain_ticks(axis.xaxis, [2, 3, 5, 10, 20, 50, 100])
    _plain_ticks(axis.yaxis, [1, 2, 3, 6, 10, 20, 50, 100, 200, 500, 1000])
    axis.set(xlabel="true slowdown, %", ylabel="processes (unpaired: on each side)")
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def _line(look: tuple[str, object]) -> dict[str, Any]:
    """Return how a line is drawn, apart from its colour; it has some ten markers."""
    marker, dashes = look
    return {"lw": 1.8, "ls": dashes, "marker": marker, "markersize": 5, "markevery": 0.1}


def _plain_ticks(axis: Axes, values: Sequence[float]) -> None:
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def _legend_below(figure: Figure, axis: Axes, columns: int) -> None:
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
    )


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    made = empty_figure({1: 7.5, 2: 10.0}[panels], 4.6, dpi=120)
    axes = list(made.subplots(1, panels, sharey=True, squeeze=False)[0])
    made.suptitle(title, fontsize=13)
    for axis in axes:
        axis.grid(color=current_theme().text, alpha=0.12, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def pictures(trials: int) -> dict[str, Callable[[], bytes]]:
    """Return the functions that draw the pictures of ``research/verdicts.md``, by file name.

    Each picture has a version for a dark page.
    """
    drawn = {"verdicts-power": lambda: draw_power(trials), "verdicts-needed": draw_needed}
    return {
        f"{name}{suffix}.png": functools.partial(_draw_png, draw, theme)
        for name, draw in drawn.items()
        for suffix, theme in (("", LIGHT), ("-dark", DARK))
    }


def _draw_png(draw: Callable[[], Figure], theme: Theme) -> bytes:
    with apply_style(theme):
        file = io.BytesIO()
        draw().savefig(file, format="png")
    return file.getvalue()
