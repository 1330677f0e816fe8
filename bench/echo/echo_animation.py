"""The echo task's picture in motion: a GIF, and a window that follows the training."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.echo.echo_picture import (
    EPOCH,
    FAINT,
    INPUT,
    PREDICTION,
    SIZE,
    TARGET,
    WRONG,
    Scene,
    draw,
    lowest_of,
    new_figure,
)
from bench.machine.writing import write_bytes
from bench.render.drawing import INK, SUBTLE, matplotlib

_FRAMES = 60
_FRAME_S = 0.12
_LAST_FRAME_S = 3.0
_GIF_DPI = 80
_REFRESH_S = 0.5  # drawing the figure anew takes about a third of that

# The names under which matplotlib opens windows; others draw into files.
_WINDOWED = ("macosx", "qtagg", "qt5agg", "qt6agg", "tkagg", "gtk3agg", "gtk4agg", "wxagg")


# -- moving pictures


class Animation:
    """An animated GIF of a training.

    Frames are taken at windows in geometric steps, since learning happens early, and drawn when
    saved: taking one costs nothing.
    """

    def __init__(self, windows: int, first: int = 0) -> None:
        """windows: how many the training will have; first: how many it has already."""
        whole = np.geomspace(1, max(windows - first, 1), _FRAMES).round().astype(int)
        self._due = {first + int(number) for number in whole}
        self._scenes: list[Scene] = []

    def wants(self, windows_done: int) -> bool:
        """Whether the moment after this many windows is a frame."""
        return windows_done in self._due

    def add(self, scene: Scene) -> None:
        """Take a frame."""
        self._scenes.append(scene)

    def save(self, path: Path, final: Scene) -> None:
        """Draw the frames and ``final``, and write the GIF atomically. Raises OSError."""
        from PIL import Image

        scenes = [scene for scene in self._scenes if len(scene.losses) < len(final.losses)]
        lowest = lowest_of(final)
        palette = Image.new("P", (1, 1))
        palette.putpalette(_palette())
        figure = new_figure(_GIF_DPI)
        frames = []
        for scene in [*scenes, final]:
            draw(figure, scene, lowest)
            figure.canvas.draw()
            pixels = np.asarray(figure.canvas.buffer_rgba(), np.uint8)
            image = Image.fromarray(pixels).convert("RGB")
            frames.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
        durations = [int(1000 * _FRAME_S)] * len(scenes) + [int(1000 * _LAST_FRAME_S)]
        file = io.BytesIO()
        frames[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
        )
        write_bytes(path, file.getvalue())


def _palette() -> list[int]:
    """Red, green, blue of each of a GIF's 256 colours: ours, and their way to white.

    One palette for all frames: one made for a frame drops colours that are rare in it.
    """
    colours = [INK, SUBTLE, FAINT, EPOCH, INPUT, TARGET, PREDICTION, WRONG]
    shades = 256 // len(colours)
    return [
        round(255 - (255 - int(colour[place : place + 2], 16)) * shade / (shades - 1))
        for colour in colours
        for shade in range(shades)
        for place in (1, 3, 5)
    ]


class Screen:
    """The picture in a window of its own, drawn anew at most every half second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        matplotlib()
        from matplotlib import pyplot

        self._pyplot = pyplot
        self._figure = pyplot.figure(figsize=SIZE, num="bench.echo")
        self._clock = clock
        self._next = -math.inf
        self._figure.show()

    @property
    def open(self) -> bool:
        """Whether the user has left the window open."""
        return bool(self._pyplot.fignum_exists(self._figure.number))

    def wants(self) -> bool:
        """Whether it is time to draw."""
        return self.open and self._clock() >= self._next

    def show(self, scene: Scene) -> None:
        """Draw, and let the window answer to mouse and keyboard; nothing if it was closed."""
        if not self.open:
            return
        draw(self._figure, scene)
        self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()
        self._next = self._clock() + _REFRESH_S

    def wait(self) -> None:
        """Return when the user has closed the window."""
        if self.open:
            self._pyplot.show(block=True)


def has_display() -> bool:
    """Whether matplotlib can open a window here: a display, and a toolkit to use it."""
    matplotlib()
    from matplotlib import pyplot

    name = str(pyplot.get_backend())
    if name.lower() not in _WINDOWED:
        return False
    try:
        # A backend that the user's configuration names may still have no display to work with.
        pyplot.switch_backend(name)
    except ImportError:
        return False
    return True
