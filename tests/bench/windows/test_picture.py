"""What windows cost, drawn: who is named, what is marked, and what the picture leaves out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.telling import drawing
from bench.windows.cost import Stream
from bench.windows.picture import picture
from tests.bench import made_windows as made

pytest.importorskip("matplotlib", reason="pictures need matplotlib (the extra named plots)")

ALONE = {"while_loop": made.Cost(1e-3, 1e-4)}

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
    svg = picture(learning((30, 20), (60, 8)), "svg").decode()
    assert ">20<" in svg
    assert ">8*<" in svg
    assert STAR in svg


def test_the_picture_says_who_has_no_time_and_what_cannot_be_trusted(tmp_path: Path) -> None:
    (found,) = made.read_streams(
        made.write_windows(tmp_path / "a", {**ALONE, **made.refused("cudnn")}, valid=False)
    )
    svg = picture(found, "svg").decode()
    assert "without a time: cudnn" in svg
    assert "hollow: doubtful times" in svg
    (found,) = made.read_streams(made.write_windows(tmp_path / "b", ALONE))
    trusted = picture(found, "svg").decode()
    assert "hollow" not in trusted
    assert "without a time" not in trusted


def test_without_memory_or_learning_the_picture_has_neither(tmp_path: Path) -> None:
    (found,) = made.read_streams(made.write_windows(tmp_path, memory=False))
    svg = picture(found, "svg").decode()
    assert "peak memory" not in svg
    assert "learns" not in svg


def test_a_backend_has_the_colour_of_its_name_in_every_picture(tmp_path: Path) -> None:
    for number, names in enumerate((["keras", "torch"], ["static_unroll", "while_loop", "torch"])):
        costs = {name: made.Cost(1e-3, 1e-4 * (1 + n)) for n, name in enumerate(names)}
        (found,) = made.read_streams(made.write_windows(tmp_path / str(number), costs))
        svg = picture(found, "svg").decode().lower()
        for name in names:
            assert drawing.look(name).colour.lower() in svg


def test_many_backends_are_named_as_far_as_there_are_colours(tmp_path: Path) -> None:
    costs = {f"backend_{number}": made.Cost(1e-3, 1e-4 * (1 + number)) for number in range(10)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, (3, 30, 300)))
    svg = picture(found, "svg").decode()
    assert "backend_6" in svg
    assert "backend_7" not in svg
    assert "grey: 3 slower backends" in svg


def test_one_window_and_one_backend_are_a_picture_too(tmp_path: Path) -> None:
    (found,) = made.read_streams(made.write_windows(tmp_path, ALONE, (30,), processes=1))
    assert b"while_loop" in picture(found, "svg")
