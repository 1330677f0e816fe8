"""Test what the picture of the echo task shows, and that nothing overlaps."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.echo.picture import Scene, compute_running_median, draw, save
from bench.echo.task import EchoSettings
from bench.render import plot
from bench.render.palette import DARK, LIGHT
from tests.bench.echo.made_scenes import scene

pytest.importorskip("matplotlib", reason="pictures need matplotlib (the extra named plots)")


def drawn(what: Scene) -> Any:
    figure = plot.empty_figure(12.0, 7.2)
    draw(figure, what)
    figure.canvas.draw()
    return figure


def test_picture_for_a_dark_page_has_light_letters(tmp_path: Path) -> None:
    save(scene(), path := tmp_path / "dark.svg", DARK)
    svg = path.read_text("utf-8")
    assert f"fill: {DARK.back}" in svg
    assert f"fill: {DARK.text}" in svg
    assert LIGHT.back not in svg
    assert LIGHT.text not in svg


MANY = EchoSettings(
    bits=5000, batch=20, window=100, layers=3, dropout=0.5, units=128, reset_state=True
)


@cache
def usual() -> tuple[Scene, Any]:
    """Return a scene and its figure; no test changes them."""
    what = scene()
    return what, drawn(what)


@cache
def crowded() -> Any:
    return drawn(scene(MANY, backend="while_loop+hoisted+xla"))


def test_draw_series_shows_inputs_targets_and_predictions() -> None:
    what, figure = usual()
    curve, *panels = figure.axes
    assert len(panels) == 5
    for row, axes in enumerate(panels):
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            "prediction",
            "target",
            "input",
        ]
        inputs, targets, predictions = (
            [bar.get_height() for bar in axes.containers[number]] for number in range(3)
        )
        np.testing.assert_array_equal(inputs, what.last.inputs[:, row])
        np.testing.assert_array_equal(targets, what.last.targets[:, row])
        np.testing.assert_array_equal(predictions, what.last.ones[:, row])
    assert curve.get_yscale() == "log"


def test_draw_wrong_predictions_are_marked_and_counted() -> None:
    what, figure = usual()
    axes = figure.axes[1]
    right = (what.last.ones[:, 0] > 0.5) == (what.last.targets[:, 0] == 1)
    assert 0 < right.sum() < 15
    colours = [bar.get_facecolor() for bar in axes.containers[2]]
    assert len({colour for colour, ok in zip(colours, right, strict=True) if ok}) == 1
    assert len(set(colours)) == 2
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    np.testing.assert_array_equal(crosses.get_xdata(), np.flatnonzero(~right) + 1)
    assert axes.get_title(loc="right") == f"series 1: {right.sum()} of 15 correct"


def test_draw_curve_shows_losses_and_best_possible_ones() -> None:
    what, figure = usual()
    curve = figure.axes[0]
    lines = {line.get_label(): line for line in curve.lines}
    np.testing.assert_array_equal(lines["each window"].get_ydata(), what.losses)
    shown = lines["best possible, where it is not 0"]
    np.testing.assert_array_equal(shown.get_xdata(), [1, 21, 41, 61])  # epochs of 20 windows
    assert curve.get_ylim()[0] <= what.losses.min()


def test_draw_large_batch_and_window_shows_a_labelled_part() -> None:
    figure = crowded()
    assert len(figure.axes) == 1 + 6
    (heading,) = (legend.get_title().get_text() for legend in figure.subfigs[1].legends)
    assert heading == "The last window, 6 of 20 series, its last 60 timesteps"
    assert len(figure.axes[1].containers[0]) == 60


@pytest.mark.parametrize(
    "draws",
    [
        lambda: usual()[1],
        crowded,
        lambda: drawn(scene(EchoSettings(bits=1500, reset_state=True), windows=300)),
        lambda: drawn(scene(EchoSettings(bits=8, batch=1, window=1, echo=1, units=1), windows=1)),
        lambda: drawn(scene(EchoSettings(bits=400, window=3), windows=20)),
    ],
    ids=["usual", "crowded", "costly", "tiny", "short"],
)
def test_draw_texts_stay_inside_and_do_not_overlap(draws: Callable[[], Any]) -> None:
    figure = draws()
    renderer = figure.canvas.get_renderer()
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        texts += [axes.title, axes._left_title, axes._right_title]
        texts += [
            label
            for label in axes.get_yticklabels()
            if axes.get_ylim()[0] <= label.get_position()[1] <= axes.get_ylim()[1]
        ]
    boxes = [
        (text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()
    ]
    legends = [legend for part in figure.subfigs for legend in part.legends]
    assert len(legends) == 2
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in legends]
    assert len(boxes) > 8
    for number, (name, box) in enumerate(boxes):
        assert box.x0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        for other, second in boxes[number + 1 :]:
            assert not box.overlaps(second), (name, other)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_save_each_format_writes_one_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"echo{suffix}"
    save(scene(), path)
    start = {".png": b"\x89PNG", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_running_median_uses_the_latest_values() -> None:
    values = np.array([5.0, 1.0, 3.0, 100.0, 2.0])
    np.testing.assert_array_equal(compute_running_median(values, 3), [5.0, 3.0, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(compute_running_median(values[:1], 50), [5.0])
    np.testing.assert_array_equal(compute_running_median(values[:2], 50), [5.0, 3.0])


def test_draw_zero_losses_uses_the_default_axis() -> None:
    what = replace(scene(), losses=np.zeros(80), best=np.zeros(80))
    assert drawn(what).axes[0].get_ylim()[0] == 0.1
