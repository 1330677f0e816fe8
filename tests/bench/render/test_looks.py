"""Test the looks of backends: fixed by name, and distinct without colour."""

import pytest

from bench.render.plot import COLOURS, MARKERS, USUAL, look_of
from lstm_impl import get_backend


def test_look_of_known_backend_never_changes() -> None:
    # Pages, slides and papers rely on these.
    assert (look_of("keras").colour, look_of("keras").marker) == ("#757575", "o")
    assert (look_of("while_loop+hoisted").colour, look_of("while_loop+hoisted").marker) == (
        "#009E73",
        "^",
    )
    assert (look_of("my_own").colour, look_of("my_own").marker) == ("#A87900", "s")


def test_look_of_usual_backends_differ_in_colour_or_marker() -> None:
    first = USUAL[: len(COLOURS)]
    assert len({look_of(name).colour for name in first}) == len(COLOURS)
    assert len({(look_of(name).colour, look_of(name).marker) for name in USUAL}) == len(USUAL)


def test_usual_looks_names_are_backends() -> None:
    for name in USUAL:
        assert get_backend(name).name == name


def test_look_of_other_name_is_none_of_the_usual_ones() -> None:
    others = {look_of(f"plugin_{number}")[:3] for number in range(500)}
    usual = {look_of(name)[:3] for name in USUAL}
    # All looks are distinct.
    assert not others & usual
    assert len(others | usual) == len(COLOURS) * len(MARKERS)


@pytest.mark.parametrize("text", ["", "\ud800", "<b>", "w" * 100_000])
def test_look_of_any_text_has_a_colour(text: str) -> None:
    assert look_of(text).colour in COLOURS
