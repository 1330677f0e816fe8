"""A map of what was learned as text and as a picture."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.results.maps import LearningMap
from bench.telling import drawing
from bench.telling.deliver import draw_on
from bench.windows.learning import map_picture, words
from tests.bench.results.test_maps import a_map, cell


def made(**run: Any) -> LearningMap:
    """Two distances, two windows, two seeds; the longer window learns, the reset state in part."""
    cells = [
        cell(
            distance=d,
            window=k,
            stride=k,
            carried=carried,
            seed=seed,
            memoryless=0.7,
            best=0.0 if carried else 0.7 * d / k,
            loss=0.0 if k == 8 and (carried or seed == 0) else 0.7,
            accuracy=0.75,
            updates=100 // k,
        )
        for d in (1, 3)
        for k in (3, 8)
        for carried in (True, False)
        for seed in (0, 1)
        if carried or k > d
    ]
    found = a_map(*cells)
    return replace(found, run=replace(found.run, **run))


def printed(found: LearningMap, values: str = "closed", encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, highlight=False, width=100)
    draw_on(console, lambda console: words.terminal(found, values, console))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_markdown_has_a_table_for_each_state_with_the_mean_and_who_learned_it() -> None:
    assert words.markdown(made()).startswith(
        "backend numpy on cpu\n\n"
        "**Echo, state carried**\n\n"
        "| d \\ k | 3 | 8 |\n"
        "| ---: | ---: | ---: |\n"
        "| 1 | 0 | 100 ✓ |\n"
        "| 3 | 0 | 100 ✓ |\n"
        "| updates | 33 | 12 |\n\n"
        "**Echo, state reset at each window**\n\n"
        "| d \\ k | 3 | 8 |\n"
        "| ---: | ---: | ---: |\n"
        "| 1 | 0 | 57 1/2 |\n"
        "| 3 | – | 80 1/2 |\n"
        "| updates | 33 | 12 |\n\n"
    )


def test_losses_stand_beside_the_best_possible_and_accuracies_in_per_cent() -> None:
    assert "| 1 | 0.7 (0) | 0 (0) ✓ |" in words.markdown(made(), "loss")
    assert "| 1 | 0.7 (0.233) | 0.35 (0.0875) 1/2 |" in words.markdown(made(), "loss")
    assert "| 1 | 75.0% | 75.0% ✓ |" in words.markdown(made(), "accuracy")


def test_the_smallest_window_of_each_distance_is_told_in_words() -> None:
    assert words.summary(made()) == [
        "Echo, state carried, smallest window that every seed learned through: d=1: k=8, d=3: k=8",
        "Echo, state reset at each window, smallest window that every seed learned through: "
        "d=1: none, d=3: none",
    ]


def test_the_terminal_says_the_same_also_where_it_has_only_ascii() -> None:
    assert re.search(r"\n +1 +0 +100 ✓ *\n", printed(made()))
    plain = printed(made(), encoding="ascii")
    assert re.search(r"\n +1 +0 +100 \+ *\n", plain)
    assert re.search(r"\n +3 +- +80 1/2 *\n", plain)


def test_a_place_that_was_not_trained_is_empty_and_one_that_diverged_says_so() -> None:
    bad = cell(window=6, stride=6, loss=None, accuracy=None, problem="diverged at window 3")
    found = a_map(cell(distance=1), bad)
    texts = {
        (d, k): words.text(found, "echo", d, k, True, "closed") for d in (1, 3) for k in (5, 6)
    }
    assert texts == {(1, 5): "86", (1, 6): "", (3, 5): "", (3, 6): "diverged"}


def test_what_it_was_made_with_is_told_in_a_line() -> None:
    settings = {
        "seeds": 3,
        "timesteps": 10_000,
        "stride": None,
        "by_task": {"echo": {"batch": 16, "learning_rate": 0.02}, "copy": "?"},
    }
    assert words.about(made(settings=settings, complete=False)) == (
        "backend numpy on cpu; seeds 3; timesteps 10000; echo: batch 16, learning rate 0.02; "
        "not complete"
    )


def test_progress_is_one_line_a_cell() -> None:
    line = words.progress(cell(memoryless=1.0, loss=0.25), 3, 10)
    assert line == "[3/10] echo d=3 k=5 carried seed 0: loss 0.25 (best 0), 75% of the way"
    bad = cell(loss=None, accuracy=None, problem="a\nb\x1b[2J", carried=False)
    line = words.progress(bad, 4, 10)
    assert line.startswith("[4/10] echo d=3 k=5 reset seed 0: a")
    assert line.isprintable()


# -- the picture


@pytest.fixture
def drawable() -> None:
    if not drawing.available():
        pytest.skip("matplotlib is not installed")


def test_the_picture_has_a_panel_for_each_state_and_a_number_in_each_place(drawable: None) -> None:
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


def test_one_state_alone_has_the_picture_to_itself(drawable: None) -> None:
    found = made()
    only = replace(found, cells=tuple(each for each in found.cells if not each.carried))
    figure = map_picture.draw(only)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Echo, state reset at each window"
    ]


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_same_map_gives_the_same_bytes(kind: str, begins: bytes, drawable: None) -> None:
    first, second = (map_picture.picture(made(), kind) for _ in range(2))
    assert first == second
    assert first.startswith(begins)


def test_no_text_of_the_picture_is_wider_than_the_picture(drawable: None) -> None:
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
