"""What windows cost, drawn: who is named, what is marked, and what the picture leaves out."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.render import drawing
from bench.stats.along import Stream
from bench.windows.picture import draw, picture
from tests.bench import made_windows as made

pytest.importorskip("matplotlib", reason="pictures need matplotlib (the extra named plots)")

ALONE = {"while_loop": made.Cost(1e-3, 1e-4)}


def words(stream: Stream) -> str:
    """All that is written in a stream's picture."""
    from matplotlib.text import Text

    figure = draw(stream)
    figure.canvas.draw()  # ticks have their texts then
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


STAR = "*: a shorter window learned more, with more updates"


def test_the_picture_shows_every_backend_both_panels_and_what_is_learned(
    learning: Callable[..., Stream],
) -> None:
    found = learning((30, 20), (60, 50))
    svg = picture(found, "svg").decode()
    assert STAR not in svg
    for text in (*made.COSTS, "peak memory (MiB)", "time per timestep", "learns d =", ">50<"):
        assert text in svg
    assert "the longest window that was reached" in svg
    assert picture(found, "svg").decode() == svg
    assert picture(found, "png").startswith(b"\x89PNG")


def test_the_picture_marks_what_was_learned_where_updates_ran_out_and_says_how(
    learning: Callable[..., Stream],
) -> None:
    told = words(learning((30, 20), (60, 8)))
    assert " 20 " in told
    assert " 8* " in told
    assert STAR in told


def test_the_picture_says_who_has_no_time_and_what_cannot_be_trusted(tmp_path: Path) -> None:
    (found,) = made.read_streams(
        made.write_windows(tmp_path / "a", {**ALONE, **made.refused("cudnn")}, valid=False)
    )
    told = words(found)
    assert "without a time: cudnn" in told
    assert "hollow: doubtful times" in told
    (found,) = made.read_streams(made.write_windows(tmp_path / "b", ALONE))
    trusted = words(found)
    assert "hollow" not in trusted
    assert "without a time" not in trusted


def points(line: Any) -> list[tuple[float, float]]:
    return [(x, y) for x, y in line.get_xydata().tolist()]


def test_lines_stand_at_what_was_measured_and_bands_around_them(stream: Stream) -> None:
    figure = draw(stream)
    time, memory = figure.axes
    assert time.get_ylabel() == "time per timestep (µs)"
    assert [time.get_xscale(), time.get_yscale(), memory.get_yscale()] == ["log"] * 3

    def per_timestep(cost: made.Cost, k: int) -> float:
        return (cost.fixed / k + cost.per_timestep) / 1e-6

    def peak(cost: made.Cost, k: int) -> float:
        return (cost.base_bytes + k * cost.bytes_per_timestep) / 2**20

    for axes, value in ((time, per_timestep), (memory, peak)):
        lines = [points(line) for line in axes.lines if len(points(line)) > 1]
        for drawn, ours in zip(stream.backends, lines, strict=True):
            cost = made.COSTS[drawn.backend]
            assert [k for k, _ in ours] == [k for k in made.WINDOWS if k <= cost.reaches]
            for k, y in ours:
                assert y == pytest.approx(value(cost, int(k)), rel=0.03)
    middles = [y for line in time.lines for _, y in points(line)]
    for band in time.collections:
        heights = band.get_paths()[0].vertices[:, 1]
        assert min(middles) * 0.9 < heights.min() < heights.max() < max(middles) * 1.1
    assert len(time.collections) == len(made.COSTS)
    names = [text for text in time.texts if text.get_text() in made.COSTS]
    assert [text.get_text() for text in names] == [
        # From the lowest end up.
        "while_loop+hoisted",
        "static_unroll+xla",
        "while_loop",
    ]
    # A cross at the end of who reached less, and nowhere else.
    crosses = [points(line) for line in time.lines if line.get_marker() == "x"]
    assert [[k for k, _ in each] for each in crosses] == [[60]]
    low, high = time.get_xlim()
    assert low < made.WINDOWS[0] < made.WINDOWS[-1] < high


def test_what_cannot_be_trusted_is_hollow(tmp_path: Path) -> None:
    (path,) = made.write_windows(tmp_path, ALONE, processes=1, valid=False)
    document = json.loads(path.read_text())
    for entry in document["benchmarks"][2:]:
        entry["extra_info"]["lstm"]["validity"] = {"valid": True, "reasons": []}
    path.write_text(json.dumps(document))
    (found,) = made.read_streams([path])
    for axes in draw(found).axes:
        (hollow,) = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert [k for k, _ in points(hollow)] == [3, 5]


def test_a_line_goes_up_where_a_longer_distance_is_learned_first(
    learning: Callable[..., Stream],
) -> None:
    found = learning((15, 8), (30, 20), (60, 8), (120, 20), (240, 50))
    for axes in draw(found).axes:
        upright = [line for line in axes.lines if len(set(line.get_xdata())) == 1]
        places = [line.get_xdata()[0] for line in upright if line.get_marker() != "x"]
        assert places == [15, 30, 240]


def test_names_at_the_ends_of_lines_keep_apart(tmp_path: Path) -> None:
    costs = {f"backend_{number}": made.Cost(1e-3, 1e-4 * 1.001**number) for number in range(7)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, (3, 30, 300), noise=0.0))
    for axes in draw(found).axes:
        heights = sorted(text.xyann[1] for text in axes.texts if text.get_text() in costs)
        assert len(heights) == 7
        assert heights[-1] <= 1
        assert min(b - a for a, b in itertools.pairwise(heights)) > 0.05


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_numbers_of_an_axis_are_plain(spread: float, tmp_path: Path) -> None:
    costs = {"keras": made.Cost(0.0, 1e-4), "torch": made.Cost(0.0, 1.5e-4 * spread)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, (3, 30), noise=0.0))
    figure = draw(found)
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    ticks = [
        (place, text.get_text())
        for place, text in zip(
            figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels(), strict=True
        )
        if low <= place <= high
    ]
    assert len(ticks) > 1
    assert all(text == f"{place:g}" for place, text in ticks)


def test_windows_that_stand_close_leave_out_numbers_but_not_the_ends(tmp_path: Path) -> None:
    windows = (3, 4, 5, 100, 200, 300, 301, 302)
    (found,) = made.read_streams(made.write_windows(tmp_path, ALONE, windows, processes=1))
    places = draw(found).axes[-1].get_xticks()
    assert [place for place in places if 3 <= place <= 302] == [3, 4, 5, 100, 200, 302]


def test_without_memory_or_learning_the_picture_has_neither(tmp_path: Path) -> None:
    (found,) = made.read_streams(made.write_windows(tmp_path, memory=False))
    assert len(draw(found).axes) == 1
    assert "peak memory" not in words(found)
    assert "learns" not in words(found)


def test_a_backend_has_the_colour_of_its_name_in_every_picture(tmp_path: Path) -> None:
    for number, names in enumerate((["keras", "torch"], ["static_unroll", "while_loop", "torch"])):
        costs = {name: made.Cost(1e-3, 1e-4 * (1 + n)) for n, name in enumerate(names)}
        (found,) = made.read_streams(made.write_windows(tmp_path / str(number), costs))
        for axes in draw(found).axes:
            colours = {text.get_text(): text.get_color() for text in axes.texts}
            assert colours == {name: drawing.look(name).colour for name in names}
            assert {line.get_color() for line in axes.lines} == set(colours.values())


def test_many_backends_are_named_as_far_as_there_are_colours(tmp_path: Path) -> None:
    costs = {f"backend_{number}": made.Cost(1e-3, 1e-4 * (1 + number)) for number in range(10)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, (3, 30, 300)))
    told = words(found)
    assert "backend_6" in told
    assert "backend_7" not in told
    assert "grey: 3 slower backends" in told
    for axes in draw(found).axes:
        pale = [line for line in axes.lines if line.get_color() == drawing.FAINT]
        assert [[k for k, _ in points(line)] for line in pale] == [[3, 30, 300]] * 3


def test_one_window_and_one_backend_are_a_picture_too(tmp_path: Path) -> None:
    (found,) = made.read_streams(made.write_windows(tmp_path, ALONE, (30,), processes=1))
    assert b"while_loop" in picture(found, "svg")
