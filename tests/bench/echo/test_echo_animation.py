"""The echo picture in motion: a GIF of few frames, and a window that follows the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.echo.echo_animation import Animation, Screen, has_display
from tests.bench.echo.made_scenes import scene

pytest.importorskip("matplotlib", reason="pictures need matplotlib (the extra named plots)")


def test_the_animation_takes_few_frames_early_ones_close_together(tmp_path: Path) -> None:
    from PIL import Image

    whole = scene(windows=300)
    # All right: vermilion is rare, in the legend and the best possible losses only.
    whole = replace(whole, last=replace(whole.last, ones=np.where(whole.last.targets, 0.9, 0.1)))
    animation = Animation(300)
    taken = [done for done in range(1, 301) if animation.wants(done)]
    assert taken[:4] == [1, 2, 3, 4]
    assert taken[-1] == 300
    assert 20 < len(taken) <= 60
    for done in (1, 20, 300):
        animation.add(replace(whole, losses=whole.losses[:done], best=whole.best[:done]))
    animation.save(tmp_path / "echo.gif", whole)
    with Image.open(tmp_path / "echo.gif") as image:
        assert image.n_frames == 3  # the last one is the final scene
        frames = []
        for number in range(3):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    assert not np.array_equal(frames[0], frames[1])
    # Vermilion, for what is wrong, survives the GIF's palette.
    assert np.all(frames[0] == (0xD5, 0x5E, 0x00), axis=-1).sum() > 20


def test_without_a_display_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with matplotlib.rc_context():
        matplotlib.use("agg")
        assert not has_display()


def test_the_screen_is_drawn_at_most_every_half_second() -> None:
    import matplotlib
    from matplotlib import pyplot

    with matplotlib.rc_context():
        matplotlib.use("agg")
        now = [10.0]
        screen = Screen(clock=lambda: now[0])
        assert screen.wants()
        screen.show(scene())
        assert len(pyplot.gcf().axes) == 6
        assert not screen.wants()
        now[0] += 0.6
        assert screen.wants()
        pyplot.close("all")
        assert not screen.open
        assert not screen.wants()
        screen.show(scene())  # closed already: both return
        screen.wait()
        assert not pyplot.get_fignums()
