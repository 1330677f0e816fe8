"""A map of what windows learn as a picture: a panel a state, a number a place."""

from dataclasses import replace

import pytest

from bench.echo import map_picture
from tests.bench.echo.made_maps import made

pytest.importorskip("matplotlib", reason="pictures need matplotlib (the extra named plots)")


def test_the_picture_has_a_panel_for_each_state_and_a_number_in_each_place() -> None:
    figure = map_picture.draw(made())
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["Echo, state carried", "Echo, state reset at each window"]
    carried, reset = panels.values()
    assert [text.get_text() for text in carried.texts] == ["0", "100", "0", "100"]
    # With the state reset, k = d = 3 is hatched and has no number.
    assert [text.get_text() for text in reset.texts] == ["0", "57", "80"]
    assert [patch.get_hatch() for patch in reset.patches if patch.get_hatch()] == ["///"]
    # Where every seed learned it there is a frame: two places of the left panel.
    assert sum(not patch.get_fill() for patch in carried.patches) == 2
    assert sum(not patch.get_fill() for patch in reset.patches) == 0
    # The line k = d stands left of the first window longer than the distance.
    (line,) = carried.lines
    assert line.get_xydata().tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]


def test_one_state_alone_has_the_picture_to_itself() -> None:
    found = made()
    only = replace(found, cells=tuple(each for each in found.cells if not each.carried))
    figure = map_picture.draw(only)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Echo, state reset at each window"
    ]


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_same_map_gives_the_same_bytes(kind: str, begins: bytes) -> None:
    first, second = (map_picture.picture(made(), kind) for _ in range(2))
    assert first == second
    assert first.startswith(begins)


def test_no_text_of_the_picture_is_wider_than_the_picture() -> None:
    settings = {
        "seeds": 3,
        "timesteps": 10_000,
        "by_task": {
            task: {"batch": 32, "hidden": 24, "optimizer": "adam", "learning_rate": 0.02}
            for task in ("echo", "copy")
        },
    }
    found = made(settings=settings)
    for cells in (found.cells, tuple(each for each in found.cells if each.carried)):
        figure = map_picture.draw(replace(found, cells=cells))
        renderer = figure.canvas.get_renderer()
        width, height = figure.bbox.width, figure.bbox.height
        for text in [*figure.texts, *(axes.title for axes in figure.axes)]:
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0
            assert box.x1 <= width, text.get_text()
            assert box.y1 <= height
        top = max(axes.get_tightbbox(renderer).y1 for axes in figure.axes)
        assert min(text.get_window_extent(renderer).y0 for text in figure.texts) >= top
